# orlop: what people type. `make run` on a fresh Debian shows a pod; `make test` is what a change has to pass.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)
TARGET := $(shell sed -n 's/^target = "\(.*\)"/\1/p' .cargo/config.toml)
BUILT := $(or $(CARGO_TARGET_DIR),target)/$(TARGET)

.PHONY: help deps build programs test run down bench bench-quick fmt clean
help:
	@sed -n 's/^## //p' Makefile

## make deps    install the Debian packages and the Rust target that are missing
deps:
	@tests/deps.sh

## make build   the programs, in bin/
build: deps programs

# The daemon and the command line in the profile of the tests, so that nothing is compiled twice; the shim in its own, for its size.
programs:
	cargo build --release -p orlopd -p orlop
	cargo build --profile shim -p orlop-shim
	@mkdir -p bin
	@install -m 755 $(BUILT)/release/orlopd $(BUILT)/release/orlop $(BUILT)/shim/orlop-shim bin/
	@ln -f bin/orlop-shim bin/orlop-oci

## make test    every test; as root
test: deps
	@tests/clients/python.sh
	@tests/all.sh

## make run     a registry, orlopd and a pod of two containers on this machine; as root
run: build
	@tests/demo/run.sh

## make down    take away all that make run made
down:
	@tests/demo/down.sh

## make bench   orlop beside its peers on this machine (PEERS: where their install.sh and the benchmark are)
bench: build
	@tests/bench.sh

## make bench-quick   each step beside those of an earlier build (BEFORE: the directory of its programs)
bench-quick: build
	@tests/bench-quick.sh

## make fmt     format the source
fmt:
	cargo fmt --all

clean: down
	rm -rf bin var target
