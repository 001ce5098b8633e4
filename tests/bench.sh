#!/usr/bin/env bash
# `make bench`: orlop and containerd beside each other in one run, by the same client, in turns. As root.
#   PEERS   where the peers are: see bench/stage.sh
#   ROUNDS  how often each scenario is run with each (default 3)
# Figures mean something beside each other only; docs/numbers.md keeps them with machine and date.
set -euo pipefail
. "$(dirname "$0")/bench/stage.sh"
"$peers/peers/install.sh" "$room/peers"
stop_containerd() { "$peers/peers/containerd.sh" stop "$room/containerd" || true; }
clean_more=stop_containerd
# What containerd keeps each pod by: a program that stays.
"$target/seed-registry" "$address" pause:latest sleep 1000000000
serve orlop "$checkout/bin" 214
CERTS_D=$room/certs.d PAUSE=$address/pause:latest "$peers/peers/containerd.sh" start "$room/containerd" "$state/containerd.sock"

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
declare -A processes=([containerd]='containerd-shim|/pause' [orlop]='orlop-shim') programs=([containerd]='(^|/)containerd$' [orlop]='(^|/)orlopd$')
for round in $(seq "${ROUNDS:-3}"); do
  for scenario in lifecycle exec density logs; do
    for runtime in containerd orlop; do
      echo "== round $round, $scenario, $runtime"
      measure "$runtime" "$scenario" "${processes[$runtime]}" "${programs[$runtime]}"
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
