#!/usr/bin/env bash
# The checks of .clang-tidy over every C file that the build compiles; a file that passed is not looked at again until
# it, a header or the checks change.
. "$(dirname "$0")/common.sh"
require clang-tidy
[ -e build-clang/compile_commands.json ] || build_preset clang
passed=build-clang/clang-tidy-passed
mkdir -p "$passed"
base=$({ cat .clang-tidy; git ls-files -- '*.h' '*.def' | sort | xargs cat; } | sha256sum | cut -c1-16)
export base passed

check_file() {
  local mark
  mark=$passed/$base-$(sha256sum "$1" | cut -c1-32)
  if [ ! -e "$mark" ]; then
    clang-tidy -p build-clang --quiet "$1" 2>/dev/null && touch "$mark"
  fi
}
export -f check_file

git ls-files -- '*.c' | while read -r file; do
  if grep -qF "/$file\"" build-clang/compile_commands.json; then printf '%s\0' "$file"; fi
done | xargs -0 -r -n 1 -P "$(nproc)" bash -c 'check_file "$1"' check
