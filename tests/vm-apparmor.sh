#!/usr/bin/env bash
# The specs of the conformance suite that are about AppArmor, in a virtual machine whose kernel has it. As root; tests/all.sh calls it
# where there is such a machine. (What our own suites say of AppArmor they say in tests/vm.sh.)
#   VM_SH, VM_DIR   as for tests/vm.sh
#   CRITEST, CRITEST_IMAGES, CRITEST_SH   as for tests/conformance.sh
# The last line is "N passed, N failed"; status 1 if any failed, was skipped or did not run.
set -uo pipefail
cd "$(dirname "$0")/.."
: "${VM_SH:?VM_SH names no program}" "${VM_DIR:?VM_DIR names no machine}"
: "${CRITEST:?names the program critest}" "${CRITEST_IMAGES:?names the directory of its images}"
export VM_DIR
out=var/test
mkdir -p "$out"
specs=$(cd "$(dirname "${CRITEST_SH:-../shared/cri/critest.sh}")" && pwd)
registry=$(command -v docker-registry) || { echo "vm-apparmor: no docker-registry on PATH"; exit 1; }
# What is needed there, without what lies in another of it; below /host, so that the machine's own directories stay its own.
shares=()
while read -r path; do shares+=(-v "$path:/host$path:ro"); done < <(
  for path in "$PWD" "$(dirname "$CRITEST")" "$CRITEST_IMAGES" "$specs" "$(dirname "$registry")"; do echo "$path"; done | sort -u |
    awk '{ for (one in kept) if (index($0 "/", kept[one] "/") == 1) next; kept[++n] = $0; print }')
"$VM_SH" run "${shares[@]}" -m 3072 -t "${LIMIT:-1500}" -- \
  "BIN='/host$PWD/$out/bin' CRITEST='/host$CRITEST' IMAGES='/host$CRITEST_IMAGES' TABLE='/host$specs/images.yaml' REGISTRY='/host$registry' bash '/host$PWD/tests/vm-apparmor-guest.sh'" \
  2>&1 | tee "$out/vm.apparmor.log"
read -r passed failed skipped < <(sed -n 's/^vm-apparmor: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$out/vm.apparmor.log")
failed=$((${failed:-1} + ${skipped:-0}))
echo "${passed:-0} passed, $failed failed"
[ "$failed" = 0 ] && [ "${passed:-0}" != 0 ]
