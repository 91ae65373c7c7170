#!/usr/bin/env bash
# Everything that is measured on an NVIDIA GPU, in one command of less than 9 minutes, as tables for docs/benchmarks.md.
#
#   tests/bench/gpu.sh            builds for this card, checks CUDA and Vulkan, measures both beside PyTorch
#   tests/bench/gpu.sh --dry      the same lines with tiny sizes, on whatever there is (CUDA by its emulation)
#
# Every part has a time limit. One that fails or is cut off says so, the others still run, and the status is 1 in the end.
#   DURE_PROGRAM   the program instead of build-gpu/dure        DURE_PYTHON   python3 with PyTorch
#   DURE_PEAK      dense bf16 TFLOP/s of the card where the table below does not know it
set -uo pipefail
cd "$(dirname "$0")/../.."
dry=false
case "${1:-}" in --dry) dry=true ;; "") ;; *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac
PATH=$PATH:/usr/local/cuda/bin
export DURE_PROGRAM=${DURE_PROGRAM:-build-gpu/dure} DURE_BENCH_WORK
DURE_BENCH_WORK=$(mktemp -d)
trap 'rm -rf "$DURE_BENCH_WORK"' EXIT
dure=$DURE_PROGRAM python=${DURE_PYTHON:-python3}
most=520  # seconds
failures=()

section() { printf '\n## %s\n\n' "$*"; }
# part NAME SECONDS COMMAND...: runs it unless the time is up; remembers a failure.
part() {
  local name=$1 limit=$2 left=$((most - SECONDS)) status
  shift 2
  if [ "$left" -lt 5 ]; then
    printf '(%s: not run, the %s s are over)\n' "$name" "$most"
    failures+=("$name (no time left)")
    return 1
  fi
  timeout "$((limit < left ? limit : left))" "$@"
  status=$?
  if [ "$status" -ne 0 ]; then
    printf '(%s: ended with status %s%s)\n' "$name" "$status" "$([ "$status" -eq 124 ] && echo ', cut off')"
    failures+=("$name (status $status)")
  fi
  return "$status"
}
quietly() { "$@" >"$DURE_BENCH_WORK/quiet" 2>&1 || { tail -n 15 "$DURE_BENCH_WORK/quiet"; return 1; }; }
last() { "$@" 2>&1 | tail -n 4; return "${PIPESTATUS[0]}"; }
export -f quietly last

# ---- build -------------------------------------------------------------------------------------------------------

build() {
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
  case "$capability" in 90 | 100) capability+=a ;; esac
  cmake -G Ninja -S . -B build-gpu -DCMAKE_BUILD_TYPE=Release -DDURE_TESTS=OFF \
    ${capability:+-DDURE_CUDA_ARCHITECTURES=$capability-real} &&
    cmake --build build-gpu
}
export -f build
section Build
if [ -x "$dure" ]; then
  echo "$dure is there already"
else
  part build 240 bash -c 'quietly build' || { echo "nothing can be measured"; exit 1; }
fi
printf 'after %s s\n' "$SECONDS"

# ---- sizes -------------------------------------------------------------------------------------------------------

vulkan=vulkan:0
if "$dry"; then
  cube=64 attention=1,32,2,16 every=60 steps=5 python_device=cpu python_steps=3 python_extra=--no-compile
  # name, layers width heads vocabulary batch context, PyTorch's shape
  shapes=("tiny gpt2|2 64 4 257 2 32|tiny" "tiny gpt2 again|1 32 2 257 2 32|tiny")
  large=--large
else
  cube=8192 attention=4,4096,16,128 every=4 steps=24 python_device=cuda python_steps=10 python_extra=
  shapes=("GPT-2 124M|12 768 12 50257 16 1024|gpt2-124m" "GPT-Neo 1.3B shape|24 2048 16 50257 8 2048|gpt-neo-1.3b")
  large=--large
fi
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
case "$card" in  # dense bf16, by the makers' data sheets
  *H100* | *H200* | *GH200*) peak=989.4 ;;
  *B200*) peak=2250 ;;
  *A100*) peak=312 ;;
  *L40S*) peak=362 ;;
  *4090*) peak=165.2 ;;
  *) peak= ;;
esac
peak=${DURE_PEAK:-$peak}

# ---- correctness -------------------------------------------------------------------------------------------------

section Devices
part devices 20 "$dure" devices
section Conformance
printf 'CUDA, recordings as graphs:\n'
part "conformance on CUDA" 90 bash -c "last $dure selftest --device cuda $("$dry" && echo --every $every)"
printf 'CUDA, recordings as plain streams, one case in %s:\n' "$every"
DURE_CUDA_GRAPHS=0 part "conformance on CUDA without graphs" 40 bash -c "last $dure selftest --device cuda --every $every"
printf 'Vulkan, one case in %s:\n' "$every"
part "conformance on Vulkan" 40 bash -c "last $dure selftest --device $vulkan --every $every"

section compute-sanitizer
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    printf '%s, one case in 100:\n' "$tool"
    part "compute-sanitizer $tool" 30 bash -c "last compute-sanitizer --tool $tool --error-exitcode 1 $dure selftest --device cuda --every 100"
  done
elif "$dry"; then
  echo "SKIPPED: no compute-sanitizer"
else
  echo "no compute-sanitizer in PATH or /usr/local/cuda/bin"
  failures+=("compute-sanitizer (not found)")
fi

# ---- operations --------------------------------------------------------------------------------------------------

section "Operations, bf16, CUDA (share: of the measured copy, or of the best matmul)"
part "operations on CUDA" 75 "$dure" bench ops $large --dtype bf16 --device cuda
section "AdamW, f32, CUDA"
part "AdamW on CUDA" 30 "$dure" bench ops $large --op adamw --device cuda
section "The same card, Vulkan"
for op in matmul attention adamw; do
  part "$op on Vulkan" 25 "$dure" bench ops --op "$op" --dtype bf16 --device "$vulkan" $("$dry" || echo $large)
done
section "PyTorch: cuBLASLt by torch.mm, attention by each backend of SDPA"
part "PyTorch's operations" 40 "$python" tests/bench/pytorch_ops.py --device "$python_device" --matmul $cube --attention $attention

# ---- training ----------------------------------------------------------------------------------------------------

section Training
printf 'Utilisation = FLOPs of a token x tokens/s / peak; FLOPs of a token = 6 x weights of products + causal attention,\n'
printf 'as `dure train` counts them; peak %s TFLOP/s (%s).\n\n' "${peak:-unknown}" "${card:-no NVIDIA card}"
printf '| model | run by | tokens/s | quartiles | TFLOP/s | utilisation |\n| --- | --- | --- | --- | --- | --- |\n'
row() {  # MODEL RUN-BY TOKENS/S QUARTILES TFLOP/S
  printf '| %s | %s | %s | %s | %s | %s |\n' "$@" \
    "$(awk -v rate="$5" -v peak="${peak:-0}" 'BEGIN { if (peak > 0) printf "%.1f %%", 100 * rate / peak; else print "-" }')"
}
ours() {  # MODEL SHAPE DEVICE STEPS SECONDS
  local line
  line=$(part "$1 on $3" "$5" tests/bench/train_speed.sh $2 "$4" "$3" --dtype bf16) || {
    printf '%s\n' "$line"
    failures+=("training $1 on $3")
    return
  }
  local cells
  IFS='|' read -ra cells <<<"$line"
  row "$1" "Dure, $3" "$(echo ${cells[2]% tokens/s*})" "$(echo ${cells[3]})" "$(echo ${cells[6]% TFLOP/s*})"
}
pytorch() {  # MODEL SHAPE-NAME BATCH CONTEXT SECONDS
  local line word
  line=$(part "$1 in PyTorch" "$5" "$python" tests/bench/pytorch_train.py --shape "$2" --batch "$3" --context "$4" \
    --steps $python_steps --device $python_device $python_extra 2>"$DURE_BENCH_WORK/pytorch.log") || {
    printf '%s\n' "$line"
    tail -n 3 "$DURE_BENCH_WORK/pytorch.log"
    failures+=("training $1 in PyTorch")
    return
  }
  read -ra word <<<"${line##*RESULT }"
  row "$1" "PyTorch, compiled" "${word[0]}" "${word[1]} to ${word[2]}" \
    "$(awk -v a="${word[0]}" -v b="${word[3]}" 'BEGIN { printf "%.4g", a * b * 1e-12 }')"
}
for entry in "${shapes[@]}"; do
  IFS='|' read -r model shape name <<<"$entry"
  read -ra number <<<"$shape"
  ours "$model" "$shape" cuda $steps 60
  pytorch "$model" "$name" "${number[4]}" "${number[5]}" 75
done
ours "${shapes[0]%%|*}" "$(cut -d'|' -f2 <<<"${shapes[0]}")" "$vulkan" 6 40

# A Llama-shaped model runs once the program knows the family.
cat >"$DURE_BENCH_WORK/llama.json" <<'JSON'
{"model_type": "llama", "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32,
 "num_key_value_heads": 8, "intermediate_size": 8192, "max_position_embeddings": 4096, "vocab_size": 32000,
 "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.02, "tie_word_embeddings": true}
JSON
data=$(find "$DURE_BENCH_WORK" -maxdepth 1 -name 'data-*' | head -n 1)
if "$dry"; then llama=(--batch-size 1 --context 32 --steps 1); else llama=(--batch-size 4 --context 4096 --steps 12); fi
answer=$(timeout 60 "$dure" train --model "$DURE_BENCH_WORK/llama.json" --data "$data" --out "$DURE_BENCH_WORK/llama" \
  --device cuda --dtype bf16 --eval-every 0 "${llama[@]}" 2>&1)
status=$?
case "$status:$answer" in
  0:*)
    rate=$(sed -n 's/.*"tokens_per_second": *\([0-9.e+]*\).*"flops_per_second": *\([0-9.e+]*\).*/\1 \2/p' \
      "$DURE_BENCH_WORK/llama/metrics.jsonl" | tail -n +3 | sort -g | awk '{ a[NR] = $1; b[NR] = $2 * 1e-12 }
      END { m = int((NR + 1) / 2); print a[m], b[m] }')
    row "Llama shape 1B" "Dure, cuda" "${rate% *}" - "${rate#* }"
    ;;
  *model_type* | *llama*) printf '| Llama shape 1B | Dure, cuda | not yet | - | - | - |\n' ;;
  *)
    printf '%s\n' "$answer" | tail -n 3
    failures+=("training the Llama shape")
    ;;
esac
if "$dry"; then pytorch "Llama shape" tiny-llama 2 32 60; else pytorch "Llama shape 1B" llama-1b 4 4096 75; fi

# ---- idleness and bits -------------------------------------------------------------------------------------------

# The device's own times of a step's operations, against the wall clock of steps that nobody traces.
section "GPU idle between steps"
idle() {
  local shape
  shape=$(cut -d'|' -f2 <<<"$FIRST_SHAPE")
  DURE_TRACE=$DURE_BENCH_WORK/trace.json tests/bench/train_speed.sh $shape 5 cuda --dtype bf16 >/dev/null || return 1
  tests/bench/train_speed.sh $shape "$STEPS" cuda --dtype bf16 >/dev/null || return 1
  "$PYTHON" - "$DURE_BENCH_WORK/trace.json" "$DURE_BENCH_WORK/run/metrics.jsonl" <<'PYTHON'
import json, statistics, sys
text = open(sys.argv[1]).read().rstrip().rstrip(",")
trace = json.loads(text if text.endswith("]") or text.endswith("}") else text + "]")
events = trace["traceEvents"] if isinstance(trace, dict) else trace
busy = sum(e.get("dur", 0) for e in events if e.get("ph") == "X") * 1e-6 / 5
seconds = [json.loads(line)["seconds"] for line in open(sys.argv[2])][2:]
wall = statistics.median(seconds)
print(f"operations {busy * 1e3:.2f} ms of a step of {wall * 1e3:.2f} ms: idle {100 * (1 - busy / wall):.2f} % "
      f"(steps between {min(seconds) * 1e3:.2f} and {max(seconds) * 1e3:.2f} ms; timed operations run one by one, "
      "so a little below zero is none)")
PYTHON
}
export -f idle
FIRST_SHAPE=${shapes[0]} STEPS=$steps PYTHON=$python part "idleness" 90 bash -c idle

section "Two runs"
twice() {
  local shape hash_one hash_two
  shape=$(cut -d'|' -f2 <<<"$FIRST_SHAPE")
  tests/bench/train_speed.sh $shape 4 cuda --dtype bf16 >/dev/null || return 1
  hash_one=$(cd "$DURE_BENCH_WORK/run/checkpoints" && find . -name '*.safetensors' -type f | sort | xargs sha256sum)
  tests/bench/train_speed.sh $shape 4 cuda --dtype bf16 >/dev/null || return 1
  hash_two=$(cd "$DURE_BENCH_WORK/run/checkpoints" && find . -name '*.safetensors' -type f | sort | xargs sha256sum)
  if [ -n "$hash_one" ] && [ "$hash_one" = "$hash_two" ]; then
    echo "4 steps twice: every byte of weights and optimizer is the same"
  else
    printf 'the runs differ:\n%s\n%s\n' "$hash_one" "$hash_two"
    return 1
  fi
}
export -f twice
FIRST_SHAPE=${shapes[0]} part "two runs" 60 bash -c twice

section "In all"
printf '%s s\n' "$SECONDS"
if [ ${#failures[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failures[@]}"
  exit 1
fi
echo "every part passed"
