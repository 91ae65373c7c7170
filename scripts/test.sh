#!/usr/bin/env bash
# Builds and checks everything; any failure gives a non-zero status. The last lines are ctest's summary.
#
#   scripts/test.sh           everything that CI runs
#   scripts/test.sh --full    the long variants too: 20 kills instead of 5, longer fuzzing
#
# Needs Debian 12 and, the first time, a network (scripts/install.sh). `ctest --test-dir build -L unit` repeats a part,
# `ctest --test-dir build -R ci/validation` one check.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian_packages.sh

case "${1:-}" in
  --full) export DURE_FULL=1 ;;
  "") ;;
  *) stop "unknown option $1; see the first lines of scripts/test.sh" ;;
esac

phase() {
  local name=$1 began=$SECONDS
  shift
  "$@" || stop "$name failed"
  printf '== %s: %d s\n' "$name" $((SECONDS - began))
}

configure() {
  local options=(-DDURE_WHOLE_TREE_CHECKS=ON)
  # Code for every card takes minutes to compile; one with all features shows most of what can be wrong.
  if [ "${DURE_FULL:-0}" = 1 ]; then
    options+=(-UDURE_CUDA_ARCHITECTURES)
  else
    options+=(-DDURE_CUDA_ARCHITECTURES=90a-real)
  fi
  if command -v ccache >/dev/null; then
    options+=(-DCMAKE_{C,CXX,CUDA}_COMPILER_LAUNCHER=ccache)
  fi
  cmake --preset release "${options[@]}"
}

phase install scripts/install.sh
if swiftshader=$(scripts/fetch_swiftshader.sh); then
  # Beside the drivers that are installed: lavapipe, and whatever the machine's own GPU has.
  export VK_ADD_DRIVER_FILES=$swiftshader
else
  say "SKIPPED: SwiftShader could not be fetched; its part of the suite is left out."
fi
phase configure configure
phase build cmake --build --preset release
exec ctest --test-dir build --output-on-failure --no-tests=error -j "$(nproc)"
