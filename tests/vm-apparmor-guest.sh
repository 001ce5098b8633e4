#!/usr/bin/env bash
# In the virtual machine: orlopd, a registry, and the specs of the conformance suite that are about AppArmor. tests/vm-apparmor.sh calls it.
set -uo pipefail
ip link set lo up
modprobe -a bridge veth overlay nf_tables br_netfilter 2>/dev/null
work=/tmp/apparmor state=/run/orlop-apparmor
mkdir -p $work/registry $state
cp -a "$IMAGES/registry/docker" $work/registry/
sed "s|rootdirectory: [^}]*|rootdirectory: $work/registry|" "$IMAGES/registry.yml" >$work/registry.yml
"$REGISTRY" serve $work/registry.yml </dev/null >$work/registry.log 2>&1 &
cat >$work/config.toml <<END
[registry]
certs_dir = "$IMAGES/certs.d"
END
"$BIN/orlopd" --config $work/config.toml --root $work/root --state $state --socket $state/orlop.sock --log-level debug \
  </dev/null >$work/orlopd.log 2>&1 &
for _ in $(seq 300); do [ -S $state/orlop.sock ] && break; sleep 0.1; done
# The suite loads its profiles by sudo.
mkdir -p $work/bin && printf '#!/bin/sh\nexec "$@"\n' >$work/bin/sudo && chmod 755 $work/bin/sudo
export PATH=$work/bin:$PATH
echo "AppArmor: $(cat /sys/module/apparmor/parameters/enabled), $(apparmor_parser --version | head -n 1)"
cd $work
"$CRITEST" -runtime-endpoint=unix://$state/orlop.sock -image-endpoint=unix://$state/orlop.sock -config=/nonexistent \
  -test-images-file="$TABLE" -ginkgo.no-color -ginkgo.v -ginkgo.focus=AppArmor -ginkgo.timeout=20m </dev/null >$work/critest.log 2>&1
grep -E '^(• |S |\[FAILED\]|\[SKIPPED\]|  \[k8s|Ran |FAIL|PASS|SUCCESS)|\[FAIL|should|Passed' $work/critest.log | head -n 80
grep -E 'AppArmor|apparmor|WARN|ERROR' $work/orlopd.log | head -n 20
grep orlop-default /sys/kernel/security/apparmor/profiles
# What ginkgo says at its end: "9 Passed | 0 Failed | 0 Pending | 128 Skipped", where those out of focus count as skipped.
line=$(sed 's/\x1b\[[0-9;]*m//g' $work/critest.log | grep -E '^(FAIL|SUCCESS)!.*Passed' | tail -n 1)
count() { grep -oE "[0-9]+ $1" <<<"$line" | cut -d' ' -f1; }
skipped=$(grep -c '^S \[SKIPPED\]' $work/critest.log)
passed=$(count Passed) failed=$(count Failed)
[ -n "$passed" ] || { tail -n 30 $work/critest.log $work/orlopd.log $work/registry.log; passed=0 failed=1; }
echo "vm-apparmor: $passed passed, $failed failed, ${skipped:-0} skipped"
