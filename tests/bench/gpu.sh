#!/usr/bin/env bash
# Everything that is measured on a GPU, in one command of a few minutes, as tables for docs/benchmarks.md.
#
#   tests/bench/gpu.sh [DEVICE]        vulkan (the first Vulkan device) unless said otherwise
#
# Builds build/dure when it is missing. On a software driver it works too, with small models. The whole stays under 9
# minutes: each part has a limit of its own, and one that passes it is cut off with a line that says so.
set -euo pipefail
cd "$(dirname "$0")/../.."
device=${1:-vulkan}
dure=${DURE_PROGRAM:-build/dure}
if [ ! -x "$dure" ]; then
  cmake --preset release -DDURE_TESTS=OFF >/dev/null
  cmake --build --preset release --target dure
fi

# limited SECONDS COMMAND...
limited() {
  timeout "$@" || printf '(ended with status %s; 124: after its %s s)\n' "$?" "$1"
}
is_software() { "$dure" devices | grep -A 1 "^vulkan:0" | grep -q software; }

printf '## Device\n'
"$dure" devices
printf '\n## Conformance\n'
limited 120 "$dure" selftest --device "$device" | tail -n 3
printf '\n## Operations\n'
limited 60 "$dure" bench ops --device "$device"

# One line a variant and size: what was forced may be unable to run (types, shared memory, no trust in the matrix units);
# the plain kernel's rate then shows it. "chosen": what the tables take.
sizes="4096 8192"
variants="chosen matmul_cooperative_256 matmul_cooperative_128x64 matmul_cooperative_128 matmul_cooperative_128k16 matmul_cooperative_64 matmul_simt_128 matmul_simt_64"
if is_software; then
  sizes=512
  variants="chosen matmul_simt_64"
fi
matmuls() {
  local name=$1
  if [ "$name" = chosen ]; then name=; fi
  DURE_VULKAN_MATMUL=$name limited 30 "$dure" bench ops --op matmul --size "$3" --dtype "$2" --repeats 3 --device "$device" 2>&1 |
    awk -v variant="$1" -v type="$2" -v size="m=$3," '/^matmul/ && index($1, size) { split($1, call, "/")
      print "| " variant " | " type " | " call[2] " " call[3] " | " ($2 == "-" ? "-" : $5 / 1000) " |" }'
}
printf '\n## Matmul variants, TFLOP/s\n| variant | type | call | rate |\n| --- | --- | --- | --- |\n'
stop_at=$((SECONDS + 240))
for size in $sizes; do
  for type in f16 bf16 f32; do
    for variant in $variants; do
      if [ "$SECONDS" -gt "$stop_at" ]; then continue; fi
      case $type:$variant in f32:*cooperative*) continue ;; esac  # f32 never passes through them
      matmuls "$variant" "$type" "$size"
    done
  done
done
if [ "$SECONDS" -gt "$stop_at" ]; then echo "(cut off after 240 s)"; fi

printf '\n## Training\n| shape | median | quartiles | over | memory |\n| --- | --- | --- | --- | --- |\n'
if is_software; then
  limited 60 tests/bench/train_speed.sh 6 384 6 257 4 256 8 "$device"
else
  limited 30 tests/bench/train_speed.sh 6 384 6 257 4 256 30 "$device"
  limited 60 tests/bench/train_speed.sh 12 768 12 50257 4 1024 30 "$device"
fi
