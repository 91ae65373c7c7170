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
  cmake --build --preset release --target dure >>"$out/build.log" ||
    { tail -n 30 "$out/build.log" >&2; stop "the build failed"; }
}

# text_of SHARD: its documents, decoded, one after another.
text_of() {
  local end
  end=$(sed -n 's/.*"end_of_text": *\([0-9]*\).*/\1/p' "$out/bytes/dataset.json")
  od -An -v -t u2 -w2 "$out/bytes/$1" | awk -v end="$end" '{ if ($1 == end) print ""; else printf "%d ", $1 }' |
    "$dure" tokenizer decode --tokenizer "$out/bytes/tokenizer.json"
}

# The tokenizer must not have seen the held-out text. Which documents are held out depends on their text alone, so they
# are packed once as bytes, to tell them apart, and then with the tokenizer learned from the others.
prepare_data() {
  local ko en split=(--held-out-bytes "$held_out_bytes" --held-out-distinct)
  { read -r ko && read -r en; } < <(scripts/fetch_text.sh)
  "$dure" data clean "$ko" "$en" -o "$out/clean.jsonl"
  "$dure" data dedup "$out/clean.jsonl" -o "$out/text.jsonl"
  "$dure" tokenizer train --vocab-size 257 -o "$out/bytes.json" "$out/text.jsonl"
  "$dure" data pack "$out/text.jsonl" --tokenizer "$out/bytes.json" "${split[@]}" -o "$out/bytes" 2>/dev/null
  text_of shard-00000.bin >"$out/training.txt"
  text_of heldout-00000.bin >"$out/held-out.txt"
  "$dure" tokenizer train --vocab-size "$vocabulary" -o "$out/tokenizer.json" "$out/training.txt"
  "$dure" data pack "$out/text.jsonl" --tokenizer "$out/tokenizer.json" "${split[@]}" -o "$out/data"
}

# Steps that fit the budget at the measured rate, but no more than make sense for so little text.
choose_steps() {
  local tokens_per_step=$(($(setting batch-size) * $(setting context))) tokens
  tokens=$(sed -n 's/.*"tokens": *\([0-9]*\).*/\1/p' "$out/data/dataset.json" | sort -n | tail -n 1)
  "$dure" train --recipe "$recipe" --data "$out/data" --out "$out/measurement" --device "$device" \
    --steps 24 --warmup 0 --eval-every 0 --save-every 0 >"$out/measurement.log" 2>&1 ||
    { cat "$out/measurement.log" >&2; return 1; }
  # The first steps compile kernels; the last 16 tell the rate.
  tail -n 16 "$out/measurement/metrics.jsonl" | sed -n 's/.*"seconds": *\([0-9.e+-]*\).*/\1/p' |
    awk -v budget="$seconds_of_training" -v step="$tokens_per_step" -v tokens="$tokens" '
      { seconds += $1 / 16 }
      END {
        steps = int(budget / seconds); most = int(10 * tokens / step)
        if (steps > most) steps = most
        if (steps < 20) steps = 20
        print steps
      }'
}

train() {
  local steps
  steps=$(choose_steps)
  say "$steps steps fit into $seconds_of_training s of training (DURE_DEMO_SECONDS)."
  "$dure" train --recipe "$recipe" --data "$out/data" --out "$out/run" --device "$device" \
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
  bytes=$(wc -c <"$held_out")
  model_bits=$("$dure" eval "$out/run/checkpoints/latest" --data "$out/data" --device "$device" --json |
    sed -n 's/.*"bits_per_byte": *\([0-9.]*\).*/\1/p')
  printf '\nBits per byte of %d bytes of held-out text, near-duplicates of the training text removed:\n' "$bytes"
  awk -v model="$model_bits" -v bytes="$bytes" -v alone="$(compressed "$held_out")" \
    -v both="$(cat "$training" "$held_out" | compressed)" -v training="$(compressed "$training")" 'BEGIN {
    printf "  this model                        %.3f\n", model
    printf "  xz -9e                            %.3f\n", 8 * alone / bytes
    printf "  xz -9e, given the training text   %.3f\n", 8 * (both - training) / bytes
  }'
  printf '\nThe curve of the loss: %s\n' "$out/run/loss.svg"
  printf 'The model, a Hugging Face directory: %s\n' "$out/run/checkpoints/latest"
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
