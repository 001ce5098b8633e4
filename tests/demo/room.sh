# Where the demonstration lives; sourced by run.sh and down.sh. All of it is private: beside a real orlop it disturbs nothing.
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Tests have one of their own: DEMO is its name, which is the bridge's and the cgroup's, too; DEMO_SUBNET, its network.
name=${DEMO:-orlop-demo}
room=$checkout/var/$name     # images, layers, logs, the registry
state=/run/$name             # records of running things, the socket: a tmpfs, and a short path
socket=$state/orlop.sock
bridge=$name
subnet=${DEMO_SUBNET:-10.213.88.0/24}
programs=${ORLOP_TEST_BIN:-$checkout/bin}
tools=${CARGO_TARGET_DIR:-$checkout/target}/$(sed -n 's/^target = "\(.*\)"/\1/p' "$checkout/.cargo/config.toml")/release

# Starts the daemon, and leaves it running. Nothing of this script's own is handed on to it.
start_orlopd() {
  setsid "$programs/orlopd" --config "$room/config.toml" --root "$room/root" --state "$state" --socket "$socket" \
    </dev/null >>"$room/orlopd.log" 2>&1 &
  echo $! >"$room/orlopd.pid"
}
orlop() { "$programs/orlop" --host "unix://$socket" "$@"; }

# Whether the process whose number a file holds runs, and is the program that it should be (numbers are used again). What has
# ended and was not waited for has a name still, but no program.
runs() {
  local file=$1 program=$2 pid
  pid=$(cat "$file" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${program:0:15}" ] && readlink "/proc/$pid/exe" >/dev/null
}

# Ends the process whose number a file holds, and waits for its end.
end() {
  local file=$1 program=$2 pid
  runs "$file" "$program" || { rm -f "$file"; return 0; }
  pid=$(cat "$file"); kill "$pid"
  for _ in $(seq 100); do runs "$file" "$program" || break; sleep 0.1; done
  if runs "$file" "$program"; then kill -9 "$pid"; fi
  rm -f "$file"
}

# Runs a command until it succeeds, ten seconds at most.
until_ok() {
  for _ in $(seq 100); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.1; done
  "$@"
}

# Shows a command, then runs it.
show() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }
