#!/usr/bin/env bash
# `make bench`: orlop and containerd beside each other in one run, by the same client, in turns. As root.
#   PEERS   directory with peers/install.sh, peers/containerd.sh and bench/cribench (default ../shared)
#   ROUNDS  how often each scenario is run with each (default 3)
# Figures mean something beside each other only; docs/numbers.md keeps them with machine and date.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
peers=$(cd "${PEERS:-$checkout/../shared}" 2>/dev/null && pwd) || { echo "make bench: PEERS=DIR says where the peers are" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "make bench: as root" >&2; exit 1; }
command -v go >/dev/null || { echo "make bench: the client is written in Go, which is not here" >&2; exit 1; }
room=/var/tmp/orlop-bench; state=/run/orlop-bench
mkdir -p "$room" "$state"
target=${CARGO_TARGET_DIR:-$checkout/target}/$(sed -n 's/^target = "\(.*\)"/\1/p' "$checkout/.cargo/config.toml")/release

"$peers/peers/install.sh" "$room/peers"
export PATH=$room/peers/bin:$PATH CNI_BIN=$room/peers/cni
cp -r "$peers/bench/cribench" "$room/" && (cd "$room/cribench" && go build -o "$room/cribench.bin" .)
(cd "$checkout" && cargo build --quiet --release -p orlop-tests --bins)

clean() {
  [ -z "${daemon:-}" ] || kill "$daemon" 2>/dev/null || true
  "$peers/peers/containerd.sh" stop "$room/containerd" || true
  [ -z "${registry:-}" ] || kill "$registry" 2>/dev/null || true
  rm -rf "$state"
}
trap clean EXIT

cat >"$room/registry.yml" <<END
version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $room/registry}}
http: {addr: "127.0.0.1:0"}
END
docker-registry serve "$room/registry.yml" </dev/null >"$room/registry.log" 2>&1 &
registry=$!
until grep -q 'listening on 127.0.0.1:' "$room/registry.log"; do kill -0 "$registry"; sleep 0.1; done
address=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$room/registry.log" | head -n 1)
"$target/seed-registry" "$address" bench:latest
# What containerd keeps each pod by: a program that stays.
"$target/seed-registry" "$address" pause:latest sleep 1000000000
image=$address/bench:latest
mkdir -p "$room/certs.d/$address"
printf 'server = "http://%s"\n' "$address" >"$room/certs.d/$address/hosts.toml"

printf '[registry]\ncerts_dir = "%s"\n[network]\nbridge = "orlop-bench"\nsubnet = "10.214.0.0/16"\n[cgroup]\nparent = "orlop-bench"\n' \
  "$room/certs.d" >"$room/config.toml"
"$checkout/bin/orlopd" --config "$room/config.toml" --root "$room/root" --state "$state" --socket "$state/orlop.sock" \
  </dev/null >"$room/orlopd.log" 2>&1 &
daemon=$!
CERTS_D=$room/certs.d PAUSE=$address/pause:latest "$peers/peers/containerd.sh" start "$room/containerd" "$state/containerd.sock"
until [ -S "$state/orlop.sock" ]; do kill -0 "$daemon"; sleep 0.1; done

# 1 GiB through an exec, by crictl, which speaks SPDY: how long it takes until all is counted.
stream() {
  local runtime=$1 pod container
  crictl() { command crictl --config /dev/null --runtime-endpoint "unix://$state/$runtime.sock" --image-endpoint "unix://$state/$runtime.sock" "$@"; }
  printf '{"metadata":{"name":"stream","uid":"stream-%s","namespace":"bench","attempt":0},"log_directory":"%s/stream"}' "$runtime" "$room" >"$room/pod.json"
  printf '{"metadata":{"name":"c","attempt":0},"image":{"image":"%s"},"command":["sleep","1000"],"log_path":"c.log"}' "$image" >"$room/c.json"
  pod=$(crictl runp "$room/pod.json"); container=$(crictl create "$pod" "$room/c.json" "$room/pod.json"); crictl start "$container" >/dev/null
  local began=$EPOCHREALTIME count
  count=$(crictl exec "$container" dd if=/dev/zero bs=1M count=1024 2>/dev/null | wc -c)
  awk -v a="$began" -v b="$EPOCHREALTIME" -v n="$count" 'BEGIN { printf "%d bytes by exec in %.2f s, %.0f MB/s\n", n, b - a, n / (b - a) / 1e6 }'
  crictl rmp -f "$pod" >/dev/null
}

# Whose processes count for the memory of a pod: each its own.
declare -A procs=([containerd]='containerd-shim|/pause' [orlop]='orlop-shim') daemons=([containerd]='(^|/)containerd$' [orlop]='(^|/)orlopd$')
for round in $(seq "${ROUNDS:-3}"); do
  for scenario in lifecycle exec density logs; do
    for runtime in containerd orlop; do
      echo "== round $round, $scenario, $runtime"
      "$room/cribench.bin" -socket "$state/$runtime.sock" -image "$image" -scenario "$scenario" \
        -procs "${procs[$runtime]}|${daemons[$runtime]}" -daemon "${daemons[$runtime]}"
    done
  done
  for runtime in containerd orlop; do
    echo "== round $round, log of a fast program, $runtime"
    "$target/log-rate" "$state/$runtime.sock" "$image" 256
  done
  command -v crictl >/dev/null || continue
  for runtime in containerd orlop; do
    echo "== round $round, 1 GiB through an exec, $runtime"
    stream "$runtime"
  done
done
