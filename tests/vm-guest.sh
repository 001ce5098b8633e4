#!/usr/bin/env bash
# In the virtual machine: runs the test programs NAME=PATH one after the other, few tests at once. tests/vm.sh calls it.
set -uo pipefail
export RUST_BACKTRACE=0 TMPDIR=/tmp
ip link set lo up
# Pressure and tracing are as the kernel has them; what the tests load or bind is gone with the machine.
modprobe -a tun fuse bridge veth overlay nf_tables br_netfilter 2>/dev/null
for entry in "$@"; do
  name=${entry%%=*} program=${entry#*=}
  echo "vm: suite $name on $(uname -r), PID 1 is $(cat /proc/1/comm)"
  timeout -k 10 1200 "$program" --test-threads 2 ${FILTER:+"$FILTER"} 2>&1
  status=$?
  case $status in
    0 | 101) ;;
    124 | 137) echo "vm: suite $name did not end" ;;
    *) echo "vm: suite $name died: status $status" ;;
  esac
  echo "vm: suite $name ended"
done
