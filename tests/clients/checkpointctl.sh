#!/usr/bin/env bash
# checkpointctl, which shows what is in an archive of a checkpoint, built from its Go module into var/go; prints the path of its program.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$PWD/var/go/checkpointctl
[ -x "$program" ] || GOBIN=$PWD/var/go go install github.com/checkpoint-restore/checkpointctl@v1.4.0 >&2
echo "$program"
