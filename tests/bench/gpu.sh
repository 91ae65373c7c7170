#!/usr/bin/env bash
# Everything that is measured on a GPU, in one command of a few minutes, as tables for docs/benchmarks.md.
#
#   tests/bench/gpu.sh [DEVICE]        vulkan (the first Vulkan device) unless said otherwise
#
# Builds build/dure when it is missing. On a software driver it works too, with small models.
set -euo pipefail
cd "$(dirname "$0")/../.."
device=${1:-vulkan}
dure=${DURE_PROGRAM:-build/dure}
if [ ! -x "$dure" ]; then
  cmake --preset release -DDURE_TESTS=OFF >/dev/null
  cmake --build --preset release --target dure
fi

printf '## Device\n'
"$dure" devices
printf '\n## Conformance\n'
"$dure" selftest --device "$device" | tail -n 3
printf '\n## Operations\n'
"$dure" bench ops --device "$device"

printf '\n## Training\n| shape | median | quartiles | over | memory |\n| --- | --- | --- | --- | --- |\n'
if "$dure" devices | grep -A 1 "^vulkan:0" | grep -q software; then
  tests/bench/train_speed.sh 6 384 6 257 4 256 8 "$device"
else
  tests/bench/train_speed.sh 6 384 6 257 4 256 30 "$device"
  tests/bench/train_speed.sh 12 768 12 50257 4 1024 30 "$device"
fi
