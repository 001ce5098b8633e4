# Static programs in an otherwise empty image: to be copied onto a node, or to be run with the node's namespaces and /var/lib/orlop, /run/orlop.
#   docker build -t orlop .
# The daemon is meant to run on the host; deploy/ (planned) holds what installs it from this image.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends make musl-tools \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make build

FROM scratch
COPY --from=build /src/bin/ /usr/local/bin/
COPY LICENSE /usr/share/doc/orlop/LICENSE
ENTRYPOINT ["/usr/local/bin/orlopd"]
