#!/usr/bin/env bash
# `make bench-quick`: each step of a pod's life by this checkout's programs, in turns with those of an earlier one. As root; two minutes.
#   BEFORE  directory with the orlopd and orlop-shim of an earlier build (none: this checkout's alone)
#   PEERS   as for make bench;  ROUNDS (default 5)
# Ends with the median of the rounds' medians, and their ratio: figures mean something beside each other only.
set -euo pipefail
. "$(dirname "$0")/bench/stage.sh"
out=$room/quick; rm -rf "$out"; mkdir -p "$out"

names=(now)
if [ -n "${BEFORE:-}" ]; then names=(before now); fi
for round in $(seq "${ROUNDS:-5}"); do
  for name in "${names[@]}"; do
    # One daemon at a time: two would share what the machine has.
    if [ "$name" = now ]; then serve now "$checkout/bin" 214; else serve before "$BEFORE" 213; fi
    for scenario in lifecycle exec density; do
      echo "== round $round, $scenario, $name"
      measure "$name" "$scenario" orlop-shim '(^|/)orlopd$' | sed "s/^/$scenario: /" | tee -a "$out/$name"
    done
    stop "$name"
  done
done

# A step's medians by the client's lines "STEP n=N p50=MS ...", memory by "PSS KIB/pod" and the daemon's own.
figures() {
  sed -nE -e 's/^(.*[^ ]) +n=[0-9]+ p50=([0-9.]+) .*/\1 (ms)\t\2/p' \
    -e 's/^density: daemon PSS .*-> ([0-9.]+) MiB; .*PSS ([0-9.]+) MiB\/pod.*/daemon (MiB)\t\1\npod (MiB)\t\2/p' "$out/$1" |
    sort -t$'\t' -k1,1 -k2,2n | awk -F'\t' 'function out() { if (n) print last "\t" v[int((n + 1) / 2)] }
      $1 != last { out(); n = 0; last = $1 } { v[++n] = $2 } END { out() }'
}
echo
if [ -n "${BEFORE:-}" ]; then
  join -t$'\t' <(figures before) <(figures now) |
    awk -F'\t' 'BEGIN { printf "%-38s %10s %10s %7s\n", "", "before", "now", "ratio" } { printf "%-38s %10.2f %10.2f %7.2f\n", $1, $2, $3, $2 ? $3 / $2 : 0 }'
else
  figures now | awk -F'\t' '{ printf "%-38s %10.2f\n", $1, $2 }'
fi
