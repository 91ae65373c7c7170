#!/usr/bin/env bash
# Collectives by NCCL between the GPUs of this machine: every kind checked, then times and bus bandwidth as a table, in
# less than three minutes. Not yet run on hardware.
#
#   tests/bench/nccl.sh            a process for each GPU that nvidia-smi shows
#   tests/bench/nccl.sh --dry      two processes on the reference device, by the host: the same program and lines
#
#   DURE_COLLECTIVES  the program, instead of building one in build-gpu
#   DURE_RANKS        so many processes
set -euo pipefail
cd "$(dirname "$0")/../.."
device=cuda kind=nccl largest=$((256 << 20)) groups=20
gpus=$( (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l)
ranks=${DURE_RANKS:-$gpus}
case "${1:-}" in
  --dry) device=reference kind=host largest=$((64 << 10)) groups=2 ranks=${DURE_RANKS:-2} ;;
  "") ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
if [ "$ranks" -lt 2 ]; then
  echo "$ranks GPUs: collectives need two or more"
  exit 1
fi
program=${DURE_COLLECTIVES:-build-gpu/dure_collectives}
if [ ! -x "$program" ]; then
  cmake -G Ninja -S . -B build-gpu -DCMAKE_BUILD_TYPE=Release -DDURE_TESTS=OFF >/dev/null
  targets=(dure_collectives)
  if [ "$device" = cuda ]; then targets+=(dure_cuda); fi
  cmake --build build-gpu --target "${targets[@]}" >/dev/null
fi
export WORLD_SIZE=$ranks MASTER_ADDR=127.0.0.1 MASTER_PORT=$((20000 + RANDOM % 12000))
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
children=()
for ((rank = 0; rank < ranks; rank++)); do
  RANK=$rank timeout 170 "$program" "$device" "$kind" "$largest" "$groups" &
  children+=($!)
done
failed=0
for child in "${children[@]}"; do wait "$child" || failed=1; done
exit "$failed"
