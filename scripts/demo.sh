#!/usr/bin/env bash
# From real text to a trained model: installs what is missing, builds, gets Korean and English text, trains a small
# GPT-2 on this machine's best device, and lets it write. About ten minutes, whatever the device: the number of steps
# is chosen from a short measurement so that training fits its budget.
#
#   scripts/demo.sh
#
#   DURE_DEMO_SECONDS   seconds of training (360)
#   DURE_DEMO_OUT       where everything is written (out/demo)
#   DURE_DEVICE         auto, vulkan[:N], cuda[:N] or reference (auto)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian_packages.sh

seconds_of_training=${DURE_DEMO_SECONDS:-360}
out=${DURE_DEMO_OUT:-out/demo}
device=${DURE_DEVICE:-auto}
recipe=examples/demo-ko-en.yaml
model=examples/demo-ko-en.json
vocabulary=$(sed -n 's/.*"vocab_size": *\([0-9]*\).*/\1/p' "$model")
held_out_bytes=100000
dure=build/dure

phase() { say "
== $* ($((SECONDS / 60)) min $((SECONDS % 60)) s)"; }

# setting KEY: a number from the recipe.
setting() { sed -n "s/^$1: *\([0-9]*\).*/\1/p" "$recipe"; }

build() {
  if [ ! -e build/CMakeCache.txt ]; then cmake --preset release -DDURE_TESTS=OFF >"$out/build.log"; fi
  cmake --build --preset release --target dure >>"$out/build.log" || { tail -n 30 "$out/build.log" >&2; stop "the build failed"; }
}

prepare_data() {
  local ko en
  { read -r ko && read -r en; } < <(scripts/fetch_text.sh)
  "$dure" data clean "$ko" "$en" -o "$out/clean.jsonl"
  "$dure" data dedup "$out/clean.jsonl" -o "$out/text.jsonl"
  "$dure" tokenizer train --vocab-size "$vocabulary" -o "$out/tokenizer.json" "$out/text.jsonl"
  "$dure" data pack "$out/text.jsonl" -o "$out/data" --tokenizer "$out/tokenizer.json" \
    --held-out-bytes "$held_out_bytes" --held-out-distinct
}

# text_of SHARD: the documents of a shard, as the tokenizer decodes them, one after another.
text_of() {
  local end
  end=$(sed -n 's/.*"end_of_text": *\([0-9]*\).*/\1/p' "$out/data/dataset.json")
  od -An -v -t u2 -w2 "$out/data/$1" | awk -v end="$end" '{ if ($1 == end) print ""; else printf "%d ", $1 }' |
    "$dure" tokenizer decode --tokenizer "$out/tokenizer.json"
}

# Steps that fit the budget at the measured rate, but no more than make sense for so little text.
choose_steps() {
  local tokens_per_step rate tokens
  tokens_per_step=$(($(setting batch-size) * $(setting context)))
  "$dure" train --recipe "$recipe" --model "$model" --data "$out/data" --out "$out/measurement" --device "$device" \
    --steps 8 --warmup 0 --eval-every 0 --save-every 0 >/dev/null
  rate=$(tail -n 4 "$out/measurement/metrics.jsonl" |
    sed -n 's/.*"tokens_per_second": *\([0-9.e+]*\).*/\1/p' | sort -g | sed -n 2p)
  tokens=$(sed -n 's/.*"tokens": *\([0-9]*\).*/\1/p' "$out/data/dataset.json" | sort -n | tail -n 1)
  awk -v rate="$rate" -v budget="$seconds_of_training" -v step="$tokens_per_step" -v tokens="$tokens" 'BEGIN {
    steps = int(rate * budget / step); most = int(12 * tokens / step)
    if (steps > most) steps = most
    if (steps < 20) steps = 20
    print steps
  }'
}

train() {
  local steps
  steps=$(choose_steps)
  say "Training $steps steps of $(($(setting batch-size) * $(setting context))) tokens, to take about $seconds_of_training s or less"
  "$dure" train --recipe "$recipe" --model "$model" --data "$out/data" --out "$out/run" --device "$device" \
    --steps "$steps" --warmup $((steps / 20 + 1)) --eval-every $((steps / 4 + 1)) --save-every $((steps / 2 + 1))
}

sample() {
  printf '\n--- %s\n%s' "$1" "$2"
  "$dure" generate "$out/run/checkpoints/latest" --prompt "$2" --max-tokens 80 --temperature 0.7 --top-k 40 --seed 7 \
    --device "$device"
  printf '\n'
}

compressed() { xz -9e -c "$@" | wc -c; }

report() {
  local held_out=$out/held-out.txt training=$out/training.txt bytes model_bits
  text_of heldout-00000.bin >"$held_out"
  text_of shard-00000.bin >"$training"
  bytes=$(wc -c <"$held_out")
  model_bits=$("$dure" eval "$out/run/checkpoints/latest" --data "$out/data" --device "$device" --json |
    sed -n 's/.*"bits_per_byte": *\([0-9.]*\).*/\1/p')
  printf '\nValidation loss on %d bytes of held-out text (near-duplicates of the training text removed), in bits per byte:\n' "$bytes"
  awk -v model="$model_bits" -v bytes="$bytes" -v alone="$(compressed "$held_out")" \
    -v both="$(cat "$training" "$held_out" | compressed)" -v training="$(compressed "$training")" 'BEGIN {
    printf "  this model                        %.3f\n", model
    printf "  xz -9e                            %.3f\n", 8 * alone / bytes
    printf "  xz -9e, given the training text   %.3f\n", 8 * (both - training) / bytes
  }'
  printf '\nThe curve of the loss: %s\nThe model (a Hugging Face directory): %s\n' "$out/run/loss.svg" "$out/run/checkpoints/latest"
}

rm -rf "$out"
mkdir -p "$out"
phase "Installing what is missing"
scripts/install.sh --build
phase "Building"
build
"$dure" devices
phase "Getting and preparing text"
prepare_data
phase "Training"
train
phase "Writing"
sample "Korean" "데비안을 설치하려면"
sample "English" "To install Debian"
phase "Measuring"
report
say "
Done in $((SECONDS / 60)) min $((SECONDS % 60)) s (downloads included)."
