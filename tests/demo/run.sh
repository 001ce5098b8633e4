#!/usr/bin/env bash
# `make run`: a registry with an image of this machine's busybox, orlopd, a pod of two containers, and what can be seen of them.
set -euo pipefail
# shellcheck source=room.sh
source "$(dirname "$0")/room.sh"
[ "$(id -u)" = 0 ] || { echo "make run makes namespaces, mounts and cgroups: run it as root" >&2; exit 1; }
if [ -e "$room" ] || [ -e "$state" ]; then echo "it runs already, or ran; 'make down' takes it away" >&2; exit 1; fi
trap 'echo "that went wrong; \"make down\" takes away what there is, and $room/orlopd.log may say why" >&2' ERR

mkdir -p "$room/logs" "$state"
cargo build --quiet --release -p orlop-tests --bins

echo "== a registry on loopback"
cat >"$room/registry.yml" <<END
version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $room/registry}}
http: {addr: "127.0.0.1:0"}
END
OTEL_TRACES_EXPORTER=none setsid docker-registry serve "$room/registry.yml" </dev/null >"$room/registry.log" 2>&1 &
echo $! >"$room/registry.pid"
until_ok grep -q 'listening on 127.0.0.1:' "$room/registry.log"
registry=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$room/registry.log" | head -n 1)
"$tools/seed-registry" "$registry" busybox:latest
image=$registry/busybox:latest

echo "== orlopd, with a store, a bridge and a socket of its own"
mkdir -p "$room/certs.d/$registry"
printf 'server = "http://%s"\n' "$registry" >"$room/certs.d/$registry/hosts.toml"
cat >"$room/config.toml" <<END
[registry]
certs_dir = "$room/certs.d"
[network]
mode = "bridge"
bridge = "$bridge"
subnet = "$subnet"
[cgroup]
parent = "$name"
END
start_orlopd
until_ok orlop pods || { tail -n 20 "$room/orlopd.log" >&2; exit 1; }

show orlop pull "$image"

echo; echo "== a pod of two containers: one serves a page, the other fetches it over localhost"
pod='' web='' client='' address=''
while IFS='=' read -r name value; do
  case $name in pod) pod=$value ;; web) web=$value ;; client) client=$value ;; address) address=$value ;; esac
done < <("$tools/demo-pod" "$socket" "$image" "$room/logs")
[ -n "$address" ] || { tail -n 20 "$room/orlopd.log" >&2; exit 1; }

show orlop pods
show orlop ps
show orlop images
until_ok grep -q . "$room/logs/client/0.log"
show orlop logs "${client:0:12}"
show orlop exec "${web:0:12}" sh -c 'hostname; id; ip -o addr show eth0'
show curl -sS --noproxy '*' --max-time 10 "http://$address:8080/"
show orlop explain "${web:0:12}"

cat <<END

The pod runs. What to type next:
  export PATH=$programs:\$PATH
  orlop --host unix://$socket ps
  orlop --host unix://$socket exec ${client:0:12} wget -q -O - http://127.0.0.1:8080/
  orlop --host unix://$socket explain ${pod:0:12}
  orlop --host unix://$socket audit
  crictl --runtime-endpoint unix://$socket pods
  kill -9 \$(cat $room/orlopd.pid)      # the containers run on: curl http://$address:8080/
  make down                             # takes all of it away
END
