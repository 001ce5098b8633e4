#!/usr/bin/env bash
# Every test: the order of the source, format, lints, documentation, the programs, and what cargo runs. `make test` calls it, as root.
# Leaves var/test/counts ("N passed, N failed, N skipped") and var/test/unproven, one line for each suite that could not run here.
set -uo pipefail
cd "$(dirname "$0")/.."
out=var/test
rm -rf "$out"; mkdir -p "$out"
passed=0 failed=0 skipped=0

# A check that counts as one test: its output is shown only if it fails.
check() {
  local name=$1; shift
  if "$@" >"$out/check.log" 2>&1; then
    passed=$((passed + 1)); echo "check $name ... ok"
  else
    failed=$((failed + 1)); echo "check $name ... FAILED"; tail -n 60 "$out/check.log"
  fi
}

# A suite that only others have: it is said, and counted, that it did not run.
absent() {
  skipped=$((skipped + 1)); echo "$1" >>"$out/unproven"
}

# What the tests drive: the daemon can be told to die at a point of its work, which no build that is installed can.
failpoints() {
  cargo build --release -p orlopd --features failpoints --message-format json >"$out/built.json" &&
    install -D -m 755 -t "$out/bin" bin/orlop bin/orlop-shim "$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$out/built.json")"
}

# All in the release profile: what is tested is what runs, and nothing is compiled twice.
check format cargo fmt --all --check
check programs make -s programs
check "programs with failpoints" failpoints
check lints cargo clippy --release --workspace --all-targets --features orlop-ttrpc/go,orlop-cdi/reference,orlop-tests/checkpointctl,orlop-tests/client-go,orlop-tests/crictl,orlop-tests/nri-plugins,orlop-tests/kubelet,orlop-tests/runc,orlop-tests/crun --quiet -- -D warnings
check documentation env RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet
check "programs are static" sh -c 'for program in bin/*; do ! readelf -l "$program" | grep -q INTERP || { echo "$program"; exit 1; }; done'

# What needs a program of others is built where that program is.
features=()
if command -v go >/dev/null; then features+=(--features orlop-tests/client-go,orlop-tests/nri,orlop-ttrpc/go,orlop-cdi/reference); else absent "Kubernetes' own client library, ttrpc and NRI's plugins in Go, CDI's reference implementation: no go on PATH"; fi
if [ -n "${NRI_PLUGINS:-}" ]; then features+=(--features orlop-tests/nri-plugins); else absent "plugins of NRI's own repository: NRI_PLUGINS names no directory of them"; fi
if command -v crictl >/dev/null; then features+=(--features orlop-tests/crictl); else absent "crictl: not on PATH"; fi
# Runtimes of others: below PEERS, else those that are installed.
for runtime in runc crun; do
  if [ -x "${PEERS:-/nowhere}/bin/$runtime" ] || PATH=$PATH:/usr/sbin command -v $runtime >/dev/null; then
    features+=(--features orlop-tests/$runtime)
  else
    absent "pods and containers with $runtime: neither below PEERS nor installed"
  fi
done
absent "handlers that are containerd shims (kata, gVisor, runwasi): this version refuses them"
if [ -n "${KUBELET:-}" ]; then features+=(--features orlop-tests/kubelet); else absent "an unmodified kubelet over orlopd: KUBELET names none"; fi
if CRIU=$(tests/criu.sh 2>"$out/criu.log"); then
  export CRIU; features+=(--features orlop-tests/criu)
  grep -q '^CapEff:.*[13579bdf]......$' /proc/self/status || absent "a checkpoint of a user's processes: no CAP_SYS_RESOURCE here"
  if CHECKPOINTCTL=$(tests/clients/checkpointctl.sh 2>"$out/checkpointctl.log"); then
    export CHECKPOINTCTL; features+=(--features orlop-tests/checkpointctl)
  else absent "archives of checkpoints by checkpointctl: it could not be built"; fi
else absent "checkpoint and restore by CRIU: none works here, and none could be installed"; fi
cargo test --release --workspace --no-fail-fast "${features[@]}" 2>&1 | tee "$out/cargo.log"
ended=${PIPESTATUS[0]}
read -r ok bad ignored < <(awk '/^test result:/ { ok += $4; bad += $6; ignored += $8 } END { print ok + 0, bad + 0, ignored + 0 }' "$out/cargo.log")
# What did not compile, or died, has no result line.
if [ "$ended" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + ignored))
[ "$ignored" = 0 ] || echo "$ignored tests are marked as ignored" >>"$out/unproven"

if [ -n "${VM_SH:-}" ] && [ -n "${VM_DIR:-}" ] && [ -n "${CRITEST:-}" ]; then
  check "AppArmor in a virtual machine" tests/vm-apparmor.sh
else
  absent "the conformance suite's AppArmor specs: VM_SH and VM_DIR name no virtual machine, or CRITEST no suite"
fi
[ -e /sys/fs/selinux/enforce ] || absent "SELinux contexts in a kernel with a policy: this one has none"
if [ -n "${CRITEST:-}" ]; then check conformance tests/conformance.sh; else absent "the conformance suite of CRI: CRITEST names none"; fi
absent "the OCI runtime validation suite: orlop-oci is planned"
if [ -n "${VM_SH:-}" ] && [ -n "${VM_DIR:-}" ]; then
  tests/vm.sh 2>&1 | tee "$out/vm.log"
  read -r ok bad < <(awk '{ print $1 + 0, $3 + 0 }' "$out/vm.counts")
  passed=$((passed + ok)) failed=$((failed + bad))
else
  absent "pure cgroup v2, systemd, AppArmor: VM_SH and VM_DIR name no virtual machine"
fi

echo "$passed passed, $failed failed, $skipped skipped" >"$out/counts"
[ "$failed" = 0 ]
