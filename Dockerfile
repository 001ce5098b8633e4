# Static programs in an otherwise empty image: to be copied onto a node, or to be run with the node's namespaces and /var/lib/orlop, /run/orlop.
#   docker build -t orlop .
# The daemon is meant to run on the host; deploy/ (planned) holds what installs it from this image.
FROM debian:bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl gcc libc6-dev make musl-tools \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/root/.cargo/bin:$PATH
RUN curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none
WORKDIR /src
COPY . .
RUN make build

FROM scratch
COPY --from=build /src/bin/ /usr/local/bin/
COPY LICENSE /usr/share/doc/orlop/LICENSE
ENTRYPOINT ["/usr/local/bin/orlopd"]
