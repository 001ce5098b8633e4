#!/usr/bin/env bash
# The test programs in a virtual machine: cgroup v2 alone, another kernel, AppArmor; once as they are, once under systemd.
#   VM_SH   the program that runs a command in a fresh virtual machine, with what it prints and its status
#   VM_DIR  the machine that it is to run
#   MODES   plain, systemd, v1 (default: "plain systemd")
#   SUITES  names of test programs (default: those below);  FILTER  a part of tests' names
# The checkout is shared read-only at its own path; whatever is written lies in the machine's own /tmp, which is no virtiofs.
# Each suite's result is printed; the last line is "N passed, N failed"; var/test/vm.counts has it too. Status 1 if any failed, died
# or did not run.
set -uo pipefail
cd "$(dirname "$0")/.."
: "${VM_SH:?VM_SH names no program}" "${VM_DIR:?VM_DIR names no machine}"
export VM_DIR
out=var/test
mkdir -p "$out"
modes=${MODES:-plain systemd}
suites=${SUITES:-resources lifecycle containers updates stats events streams fields security kernel count}
# An emulated machine is many times slower than one of metal.
limit=${LIMIT:-3000} patience=${PATIENCE:-5}

target=${CARGO_TARGET_DIR:-$PWD/target}
built=$out/vm.json
cargo test --release -p orlop-tests -p orlop-cgroup --no-run --message-format json >"$built" 2>"$out/vm.build" || { tail -n 40 "$out/vm.build"; exit 1; }
list=()
for suite in $suites; do
  program=$(sed -n 's/.*"kind":\["test"\][^}]*"name":"'"$suite"'".*"executable":"\([^"]*\)".*/\1/p' "$built" | tail -n 1)
  [ -n "$program" ] || { echo "vm: there is no suite $suite"; exit 1; }
  list+=("$suite=$program")
done

shares=(-v "$PWD:$PWD:ro")
case $target/ in "$PWD"/*) ;; *) shares+=(-v "$target:$target:ro") ;; esac
passed=0 failed=0
for mode in $modes; do
  how=()
  case $mode in systemd) how=(-i systemd) ;; v1) how=(-c v1) ;; plain) ;; *) echo "vm: there is no mode $mode"; exit 1 ;; esac
  log=$out/vm.$mode.log
  "$VM_SH" run "${how[@]}" "${shares[@]}" -m 3072 -t "$limit" -- \
    "cd '$PWD' && ORLOP_TEST_PATIENCE=$patience ORLOP_TEST_BIN='$PWD/$out/bin' FILTER='${FILTER:-}' tests/vm-guest.sh ${list[*]}" \
    2>&1 | tee "$log" | grep -v '^test .* ok$'
  read -r ok bad < <(awk '/^test result:/ { ok += $4; bad += $6 } /^vm: .* (died|did not end)/ { bad += 1 } END { print ok + 0, bad + 0 }' "$log")
  # A machine that was cut off has suites without a result.
  missing=$((${#list[@]} - $(grep -c '^vm: suite .* ended' "$log")))
  [ "$missing" = 0 ] || echo "vm: $mode: $missing suites have no result"
  passed=$((passed + ok)) failed=$((failed + bad + missing))
  echo "vm: $mode: $ok passed, $bad failed"
done
echo "$passed passed, $failed failed" | tee "$out/vm.counts"
[ "$failed" = 0 ]
