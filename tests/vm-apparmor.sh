#!/usr/bin/env bash
# AppArmor, which this machine's kernel may lack, in a virtual machine whose kernel has it: the suite security, then the specs of the
# conformance suite that are about AppArmor. As root.
#   VM_SH, VM_DIR   as for tests/vm.sh
#   CRITEST, CRITEST_IMAGES, CRITEST_SH   as for tests/conformance.sh; without CRITEST the specs are left out, and it is said
# The last line is "N passed, N failed"; status 1 if any failed, was skipped or did not run.
set -uo pipefail
cd "$(dirname "$0")/.."
: "${VM_SH:?VM_SH names no program}" "${VM_DIR:?VM_DIR names no machine}"
MODES=plain SUITES=${SUITES:-security} tests/vm.sh
status=$?
read -r passed failed < <(awk '{ print $1, $3 }' var/test/vm.counts)
if [ -n "${CRITEST:-}" ]; then
  specs=$(cd "$(dirname "${CRITEST_SH:-../shared/cri/critest.sh}")" && pwd)
  registry=$(command -v docker-registry) || { echo "vm-apparmor: no docker-registry on PATH"; exit 1; }
  for path in "$PWD" "$(dirname "$CRITEST")" "$CRITEST_IMAGES" "$specs" "$(dirname "$registry")"; do echo "$path"; done |
    sort -u | awk '{ for (one in kept) if (index($0 "/", kept[one] "/") == 1) next; kept[++n] = $0; print }' >var/test/vm.shares
  shares=()
  # The machine's own directories stay its own: what is shared lies elsewhere there.
  while read -r path; do shares+=(-v "$path:/host$path:ro"); done <var/test/vm.shares
  "$VM_SH" run "${shares[@]}" -m 3072 -t "${LIMIT:-1500}" -- \
    "BIN='/host$PWD/var/test/bin' CRITEST='/host$CRITEST' IMAGES='/host$CRITEST_IMAGES' TABLE='/host$specs/images.yaml' REGISTRY='/host$registry' bash '/host$PWD/tests/vm-apparmor-guest.sh'" \
    2>&1 | tee var/test/vm.apparmor.log | tail -n 40
  read -r ok bad skipped < <(sed -n 's/^vm-apparmor: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' var/test/vm.apparmor.log)
  passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-1} + ${skipped:-0}))
else
  echo "vm-apparmor: the conformance suite is left out: CRITEST names none"
fi
echo "$passed passed, $failed failed"
[ "$status" = 0 ] && [ "$failed" = 0 ]
