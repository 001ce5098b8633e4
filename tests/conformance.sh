#!/usr/bin/env bash
# The conformance suite of CRI against an orlopd of its own: serially, four at once, and with its streams over WebSocket. As root.
#   CRITEST          the program critest
#   CRITEST_SH       what runs it offline (default ../shared/cri/critest.sh)
#   CRITEST_IMAGES   the directory of the images that it asks for, with a registry.yml that serves them, and certs.d that says where
#   ROUNDS           how often the serial run is repeated (default 1)
# Fails if a spec fails, or if one is skipped that CONFORMANCE.md does not name.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
: "${CRITEST:?names the program critest}" "${CRITEST_IMAGES:?names the directory of its images}"
run=${CRITEST_SH:-$checkout/../shared/cri/critest.sh}
[ -x "$run" ] || [ -f "$run" ] || { echo "conformance: CRITEST_SH=$run is not there" >&2; exit 1; }
place=$(mktemp -d "${TMPDIR:-/var/tmp}/orlop-conformance.XXXXXX"); state=/run/orlop-conformance.$$
mkdir -p "$state"
unset daemon registry
end() {
  [ -z "${daemon:-}" ] || { kill "$daemon" && wait "$daemon"; } || true
  [ -z "${registry:-}" ] || kill "$registry" || true
  rm -rf "$state"
}
trap end EXIT

address=$(sed -n 's/.*addr: *"*\([0-9.]*:[0-9]*\).*/\1/p' "$CRITEST_IMAGES/registry.yml" | head -n 1)
[ -n "$address" ] || { echo "conformance: $CRITEST_IMAGES/registry.yml says no addr" >&2; exit 1; }
listens() { (exec 3<>"/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; }
if ! listens; then
  docker-registry serve "$CRITEST_IMAGES/registry.yml" </dev/null >"$place/registry.log" 2>&1 & registry=$!
  until listens; do kill -0 "$registry"; sleep 0.1; done
fi
cat >"$place/config.toml" <<END
[registry]
certs_dir = "$CRITEST_IMAGES/certs.d"
[network]
bridge = "orlop-conf"
subnet = "10.212.0.0/16"
[cgroup]
parent = "orlop-conformance"
END
"${ORLOP_TEST_BIN:-$checkout/var/test/bin}/orlopd" --config "$place/config.toml" --root "$place/root" --state "$state" \
  --socket "$state/orlop.sock" --log-level debug </dev/null >"$place/orlopd.log" 2>&1 & daemon=$!
until [ -S "$state/orlop.sock" ]; do kill -0 "$daemon"; sleep 0.1; done

status=0
round() {
  local name=$1; shift
  echo "== $name"
  mkdir -p "$place/$name"
  OUT=$place/$name bash "$run" "$state/orlop.sock" -nri-socket="$state/nri.sock" "$@" || status=1
  # A spec that is skipped stands in CONFORMANCE.md, by its name.
  while IFS=$'\t' read -r state_of _ spec _; do
    if [ "$state_of" = skipped ] && ! grep -qF "$spec" "$checkout/CONFORMANCE.md"; then
      echo "skipped, and not in CONFORMANCE.md: $spec"; status=1
    fi
  done <"$place/$name/result.tsv"
}
for number in $(seq "${ROUNDS:-1}"); do round "serial-$number"; done
if command -v ginkgo >/dev/null; then round parallel -parallel=4; else echo "conformance: no ginkgo on PATH, so not in parallel"; fi
round websocket -ginkgo.focus=Streaming -websocket-exec -websocket-attach -websocket-portforward
[ "$status" = 0 ] && rm -rf "$place" || echo "conformance: logs in $place"
exit "$status"
