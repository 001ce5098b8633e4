# What both benchmarks stand on: peers, the client, a registry with two images, orlopd. Read by them; as root.
#   PEERS   directory with peers/install.sh, peers/containerd.sh and bench/cribench (default ../shared)
# Gives: checkout, room, state, peers, target, address, image; serve, stop, measure. A script that reads it sets `clean_more`, if it
# has more to clean.
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
peers=$(cd "${PEERS:-$checkout/../shared}" 2>/dev/null && pwd) || { echo "make bench: PEERS=DIR says where the peers are" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "make bench: as root" >&2; exit 1; }
command -v go >/dev/null || { echo "make bench: the client is written in Go, which is not here" >&2; exit 1; }
room=/var/tmp/orlop-bench state=/run/orlop-bench
mkdir -p "$room" "$state"
target=${CARGO_TARGET_DIR:-$checkout/target}/$(sed -n 's/^target = "\(.*\)"/\1/p' "$checkout/.cargo/config.toml")/release
export PATH=$room/peers/bin:$PATH CNI_BIN=$room/peers/cni
cp -r "$peers/bench/cribench" "$room/" && (cd "$room/cribench" && go build -o "$room/cribench.bin" .)
(cd "$checkout" && cargo build --quiet --release -p orlop-tests --bins)

declare -A daemons=()
stop() {
  local daemon=${daemons[$1]:-}
  [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null; } || true
  unset "daemons[$1]"
}
clean() {
  local name
  for name in "${!daemons[@]}"; do stop "$name"; done
  ${clean_more:-true}
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
image=$address/bench:latest
mkdir -p "$room/certs.d/$address"
printf 'server = "http://%s"\n' "$address" >"$room/certs.d/$address/hosts.toml"

# serve NAME PROGRAMS NUMBER: an orlopd of that directory at $state/NAME.sock, its pods in 10.NUMBER.0.0/16.
serve() {
  local name=$1 programs=$2 number=$3
  printf '[registry]\ncerts_dir = "%s"\n[network]\nbridge = "ob-%s"\nsubnet = "10.%s.0.0/16"\n[cgroup]\nparent = "orlop-bench-%s"\n' \
    "$room/certs.d" "$name" "$number" "$name" >"$room/$name.toml"
  mkdir -p "$state/$name"
  "$programs/orlopd" --config "$room/$name.toml" --root "$room/root-$name" --state "$state/$name" --socket "$state/$name.sock" \
    </dev/null >"$room/$name.log" 2>&1 &
  daemons[$name]=$!
  until [ -S "$state/$name.sock" ]; do kill -0 "${daemons[$name]}"; sleep 0.1; done
}

# measure NAME SCENARIO PROCESSES DAEMON [FLAG...]: of the runtime at $state/NAME.sock.
measure() {
  local name=$1 scenario=$2 processes=$3 daemon=$4
  shift 4
  "$room/cribench.bin" -socket "$state/$name.sock" -image "$image" -scenario "$scenario" -procs "$processes|$daemon" -daemon "$daemon" "$@"
}
