#!/usr/bin/env bash
# A CRIU for the tests, from Debian unstable by this machine's own mirror, in var/criu; prints the path of its program. What is installed on
# the machine is used if it works here, and nothing of the machine is changed: the program brings its own libraries.
# CRIU=PROGRAM names another.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$PWD/var/criu

if [ -n "${CRIU:-}" ]; then echo "$CRIU"; exit 0; fi
if own=$(command -v criu) && "$own" check >/dev/null 2>&1; then echo "$own"; exit 0; fi
if [ -x "$place/criu" ] && "$place/criu" check >/dev/null 2>&1; then echo "$place/criu"; exit 0; fi

mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -n 1)
[ -n "$mirror" ] || { echo "apt is told of no mirror of Debian" >&2; exit 1; }
rm -rf "$place"; mkdir -p "$place"/{lists/partial,cache/archives/partial,new}
: >"$place/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror unstable main" >"$place/sources.list"
cat >"$place/apt.conf" <<END
Dir::Etc::sourcelist "$place/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$place";
Dir::State::status "$place/status";
Dir::Cache "$place/cache";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
END
export APT_CONFIG=$place/apt.conf
apt-get update -qq >&2
# Of an empty machine's point of view: the C library comes along.
mapfile -t packages < <(apt-get install --simulate criu | sed -n 's/^Inst \([^ ]*\).*/\1/p')
(cd "$place/cache" && apt-get download -qq "${packages[@]}" >&2)
for package in "$place"/cache/*.deb; do dpkg-deb --extract "$package" "$place/new"; done
libraries=$(dirname "$(find "$place/new" -name libc.so.6 -print -quit)")
loader=$(find "$place/new" -name 'ld-linux*' -type f -print -quit)
printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$loader" "$libraries" "$place/new/usr/sbin/criu" >"$place/made"
chmod 755 "$place/made"
rm -rf "$place"/cache "$place"/lists
"$place/made" check >&2
# Last: what is half made is made again.
mv "$place/made" "$place/criu"
echo "$place/criu"
