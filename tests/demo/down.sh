#!/usr/bin/env bash
# `make down`: takes away all that `make run` made: pods, daemon, bridge and rules, registry, files.
set -euo pipefail
# shellcheck source=room.sh
source "$(dirname "$0")/room.sh"
if [ ! -e "$room" ] && [ ! -e "$state" ]; then echo "nothing is there"; exit 0; fi
[ "$(id -u)" = 0 ] || { echo "make down removes mounts and cgroups: run it as root" >&2; exit 1; }

# A daemon that was killed is started once more: what it made, it takes down.
if [ -e "$room/config.toml" ] && [ -x "$checkout/bin/orlopd" ]; then
  if ! runs "$room/orlopd.pid" orlopd; then
    setsid "$checkout/bin/orlopd" --config "$room/config.toml" --root "$room/root" --state "$state" --socket "$socket" \
      </dev/null >>"$room/orlopd.log" 2>&1 &
    echo $! >"$room/orlopd.pid"
  fi
  until_ok orlop pods
  "$tools/demo-pod" down "$socket"
  end "$room/orlopd.pid" orlopd
  # What a daemon keeps between two starts: its bridge and rules, its own cgroup.
  orlopd --tear-down
fi
end "$room/registry.pid" docker-registry
rm -rf "$room" "$state"
rmdir --ignore-fail-on-non-empty "$checkout/var" 2>/dev/null || true

# What is left would be a fault of ours: say it, and fail.
left=$(
  grep -E "orlop-demo|$room" /proc/self/mountinfo
  ip -o link show 2>/dev/null | grep -o "$bridge"
  find /sys/fs/cgroup -maxdepth 2 -type d -name 'orlop-demo*'
  ls -d /run/netns/orlop-demo* 2>/dev/null
) || true
[ -z "$left" ] || { echo "left behind:" >&2; echo "$left" >&2; exit 1; }
echo "all gone"
