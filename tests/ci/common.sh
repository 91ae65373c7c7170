# shellcheck shell=bash
# Sourced by the checks in this folder. Not a program.
set -euo pipefail
cd "${DURE_SOURCE_DIR:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${DURE_BUILD_DIR:=$DURE_SOURCE_DIR/build}"
export CK_DEFAULT_TIMEOUT=600  # Check alone would end a case after 4 s
: "${DURE_PROGRAM:=$DURE_BUILD_DIR/dure}"

skip() {
  echo "SKIPPED: $*"
  exit 77
}

require() {
  command -v "$1" >/dev/null || skip "$1 is missing (scripts/install.sh installs it)"
}

# build_preset NAME [OPTION...]: configures and builds a preset of CMakePresets.json, with the shaders that the tested build
# made.
build_preset() {
  local options=()
  if [ -e "$DURE_BUILD_DIR/build.ninja" ]; then
    cmake --build "$DURE_BUILD_DIR" --target dure_shaders >/dev/null
    options+=(-DDURE_MADE_SHADERS="$DURE_BUILD_DIR/shaders/embedded")
  fi
  if command -v ccache >/dev/null; then options+=(-DCMAKE_{C,CXX}_COMPILER_LAUNCHER=ccache); fi
  cmake --preset "$1" "${options[@]}" "${@:2}" >/dev/null
  cmake --build --preset "$1"
}
