#!/usr/bin/env bash
# Installs what building and testing take and what is missing here: Debian packages, the Rust target. What is there is not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

# A command (or file) that must be there, and the package that has it.
needs=(
  cc:gcc /usr/include/stdio.h:libc6-dev musl-gcc:musl-tools make:make git:git curl:curl /etc/ssl/certs/ca-certificates.crt:ca-certificates
  docker-registry:docker-registry /bin/busybox:busybox-static ip:iproute2 nft:nftables ps:procps unshare:util-linux
  /usr/lib/cni/bridge:containernetworking-plugins iptables:iptables
  protoc:protobuf-compiler strace:strace /usr/bin/python3:python3-minimal
)
missing=()
for need in "${needs[@]}"; do
  what=${need%%:*}
  case $what in
    /*) [ -e "$what" ] || missing+=("${need##*:}") ;;
    *) command -v "$what" >/dev/null || missing+=("${need##*:}") ;;
  esac
done
# Debian's Python makes virtual environments only with this package.
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing: ${missing[*]}"
  as_root=; [ "$(id -u)" = 0 ] || as_root=sudo
  $as_root apt-get update -qq
  # docker-registry is for tests: its service must not start.
  $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

export PATH=$HOME/.cargo/bin:$PATH
if ! command -v cargo >/dev/null; then
  echo "Rust is missing: install rustup first, as https://www.rust-lang.org/tools/install says" >&2
  exit 1
fi
if command -v rustup >/dev/null; then
  # The toolchain of rust-toolchain.toml with its target and components.
  rustup show active-toolchain >/dev/null 2>&1 || rustup toolchain install >/dev/null
  target=$(sed -n 's/^target = "\(.*\)"/\1/p' .cargo/config.toml)
  rustup target list --installed | grep -qx "$target" || rustup target add "$target"
fi
