#!/usr/bin/env bash
# A Python of the tests' own with what requirements.txt names, in var/python. Made once; nothing of the system's Python is touched.
set -euo pipefail
cd "$(dirname "$0")/../.."
wanted=tests/clients/requirements.txt place=var/python
if cmp -s "$wanted" "$place/installed"; then exit 0; fi
rm -rf "$place"; mkdir -p var
/usr/bin/python3 -m venv "$place"
"$place/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
# Last: what is half made is made again.
cp "$wanted" "$place/installed"
