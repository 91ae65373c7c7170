#!/usr/bin/env bash
# Installs what Dure needs from Debian's own packages. Idempotent; asks for root (sudo) only when something is missing.
#
#   scripts/install.sh            everything: building, testing, checking
#   scripts/install.sh --build    only what building and running needs
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian_packages.sh

build=(cmake ninja-build gcc libc6-dev pkg-config libvulkan-dev libvulkan1 mesa-vulkan-drivers glslang-tools spirv-tools
  libjansson-dev libpcre2-dev libutf8proc-dev libzstd-dev libxxhash-dev libxml2-dev libyaml-dev xz-utils)
check=(check clang clang-format clang-tidy libclang-rt-14-dev vulkan-validationlayers python3 strace ccache git)

case "${1:-}" in
  --build) install_packages "${build[@]}" ;;
  "") install_packages "${build[@]}" "${check[@]}" ;;
  *) stop "unknown option $1; see the first lines of scripts/install.sh" ;;
esac
