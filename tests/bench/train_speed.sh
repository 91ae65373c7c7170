#!/usr/bin/env bash
# Training speed of a shape: median tokens/s of the steps, with the quartiles, the first steps left out, and the rate of
# floating-point operations (as `dure train` counts them).
#
#   tests/bench/train_speed.sh LAYERS WIDTH HEADS VOCABULARY BATCH CONTEXT [STEPS] [DEVICE] [OPTIONS of dure train...]
#   tests/bench/train_speed.sh 6 384 6 257 4 256
#
# The text is this repository's own; what is in it does not matter to the speed. Needs build/dure (or DURE_PROGRAM).
#   DURE_BENCH_WORK    a folder that keeps the packed text and the last run (run/) from call to call
#   DURE_BENCH_CONFIG  a config.json instead of the GPT-2 of that shape
#   DURE_BENCH_UNSAVED=1  ends the run when the steps are done, without the last checkpoint
#   DURE_BENCH_SAVE_EVERY=N  saves every N steps, not only the last one
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ $# -lt 6 ]; then sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
layers=$1 width=$2 heads=$3 vocabulary=$4 batch=$5 context=$6 steps=${7:-12} device=${8:-auto}
shift $(($# < 8 ? $# : 8))
dure=${DURE_PROGRAM:-build/dure}
if [ -n "${DURE_BENCH_WORK:-}" ]; then
  work=$DURE_BENCH_WORK
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi

data=$work/data-$((vocabulary < 8192 ? vocabulary : 8192))
if [ ! -d "$data" ]; then
  { git ls-files '*.c' '*.h' '*.md' '*.comp' 2>/dev/null || find cli data docs model runtime shaders -type f; } |
    xargs cat >"$work/text.txt"
  "$dure" tokenizer train --vocab-size "${data##*-}" -o "$work/tokenizer.json" "$work/text.txt" 2>/dev/null
  "$dure" data pack "$work/text.txt" --tokenizer "$work/tokenizer.json" -o "$data" 2>/dev/null
fi
config=${DURE_BENCH_CONFIG:-$work/config.json}
[ -n "${DURE_BENCH_CONFIG:-}" ] || cat >"$config" <<JSON
{"model_type": "gpt2", "n_layer": $layers, "n_embd": $width, "n_head": $heads, "n_positions": $context,
 "vocab_size": $vocabulary, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "initializer_range": 0.02}
JSON

run=$work/run metrics=$work/run/metrics.jsonl
rm -rf "$run"
train=("$dure" train --model "$config" --data "$data" --out "$run" --device "$device" --batch-size "$batch"
  --context "$context" --eval-every 0 "$@")
fail() { tail -n 5 "$work/log" >&2; exit 1; }
if [ "${DURE_BENCH_UNSAVED:-0}" = 1 ]; then
  "${train[@]}" --save-every 0 --steps 1000000 >/dev/null 2>"$work/log" &
  child=$!
  trap 'kill -9 "$child" 2>/dev/null || true; [ -n "${DURE_BENCH_WORK:-}" ] || rm -rf "$work"' EXIT
  until [ -f "$metrics" ] && [ "$(wc -l <"$metrics")" -ge "$steps" ]; do
    kill -0 "$child" 2>/dev/null || fail
    sleep 0.05
  done
  { kill -9 "$child" && wait "$child"; } 2>/dev/null || true
  head -n "$steps" "$metrics" >"$metrics.part" && mv "$metrics.part" "$metrics"
else
  "${train[@]}" --save-every "${DURE_BENCH_SAVE_EVERY:-$steps}" --steps "$steps" >/dev/null 2>"$work/log" || fail
fi

sed -n 's/.*"tokens_per_second": *\([0-9.e+]*\).*"flops_per_second": *\([0-9.e+]*\).*"device_memory_bytes": *\([0-9]*\).*/\1 \2 \3/p' \
  "$metrics" |
  tail -n +3 | sort -g | awk -v shape="$layers layers, $width wide, $heads heads, vocabulary $vocabulary, $batch x $context" '
  { rate[NR] = $1; flops[NR] = $2; memory = $3 }
  END {
    if (NR == 0) exit 1
    middle = int((NR + 1) / 2)
    printf "| %s | %.0f tokens/s | %.0f to %.0f | %d steps | %.0f MiB | %.4g TFLOP/s |\n", shape, rate[middle],
      rate[int((NR + 3) / 4)], rate[int((3 * NR + 1) / 4)], NR, memory / 1048576, flops[middle] * 1e-12
  }'
