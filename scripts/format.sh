#!/usr/bin/env bash
# Formats every C, header and CUDA file by .clang-format; with --check only says which differ and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
formatter=$(command -v clang-format-14 || command -v clang-format) || {
  echo "format.sh: clang-format is missing; scripts/install.sh installs it" >&2
  exit 1
}
case "${1:-}" in
  --check) mode=(--dry-run --Werror) ;;
  "") mode=(-i) ;;
  *) echo "usage: scripts/format.sh [--check]" >&2; exit 2 ;;
esac
git ls-files -z -- '*.c' '*.h' '*.cu' '*.cuh' | xargs -0 -r "$formatter" "${mode[@]}"
