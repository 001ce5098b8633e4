#!/usr/bin/env bash
# `make down`: takes away all that `make run` made: pods, daemon, bridge and rules, registry, files. Looks afterwards whether it did.
set -euo pipefail
# shellcheck source=room.sh
source "$(dirname "$0")/room.sh"
if [ ! -e "$room" ] && [ ! -e "$state" ]; then echo "nothing is there"; exit 0; fi
[ "$(id -u)" = 0 ] || { echo "make down removes mounts and cgroups: run it as root" >&2; exit 1; }

# Whether the daemon answers; one that does not run is started.
answers() {
  runs "$room/orlopd.pid" orlopd || start_orlopd
  orlop pods
}

# Pods are known by their ids alone, so they are taken note of while they are there.
pods=$(ls "$state/pods" 2>/dev/null || true)
if [ -e "$room/config.toml" ] && [ -x "$programs/orlopd" ]; then
  # A daemon that was killed is started once more: what it made, it takes down.
  until_ok answers
  for pod in $(orlop pods --quiet --no-trunc); do orlop rm --force "$pod"; done
  # The end of a daemon that has no pods: it takes its bridge, rules and cgroups with it.
  end "$room/orlopd.pid" orlopd
fi
end "$room/registry.pid" docker-registry

# What is left would be a fault of ours: say it, and fail. Its files then stay, for they may say why.
left() {
  grep -E "$bridge|$room|$state" /proc/self/mountinfo
  find /sys/fs/cgroup -type d -name "$bridge"
  # Containers' processes are in cgroups; whoever else has a file of ours open is none of them.
  for process in /proc/[0-9]*; do
    case $(cat "$process/comm") in orlopd | orlop-shim | docker-registry) ;; *) continue ;; esac
    if tr '\0' ' ' <"$process/cmdline" | grep -qE "$room|$state"; then echo "process ${process#/proc/}"; fi
  done
  for pod in $pods; do
    ls -d "/run/netns/$pod"
    ip -o link show "ve${pod:0:13}"
  done
  ip -o link show "$bridge"
  if command -v nft >/dev/null; then nft list tables | grep -- "$bridge"; fi
} 2>/dev/null
if [ -n "$(left)" ]; then sleep 1; fi
if [ -n "$(left)" ]; then echo "left behind:" >&2; left >&2 || true; exit 1; fi
rm -rf "$room" "$state"
rmdir --ignore-fail-on-non-empty "$checkout/var" 2>/dev/null || true
echo "all gone"
