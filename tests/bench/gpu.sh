#!/usr/bin/env bash
# Everything that is measured on an NVIDIA GPU, in one command of less than 9 minutes, as tables for docs/benchmarks.md.
#
#   tests/bench/gpu.sh            builds for this card, checks CUDA and Vulkan, measures both beside PyTorch
#   tests/bench/gpu.sh --dry      the same lines with tiny sizes, on whatever there is (CUDA by its emulation)
#
# Every part has a time limit. One that fails or is cut off says so, the others still run, and the status is 1 in the end.
#   DURE_PROGRAM   the program (libdure_cuda.so beside it) instead of build-gpu/dure
#   DURE_PYTHON    python3 with PyTorch
#   DURE_PEAK      dense bf16 TFLOP/s of the card where the table below does not know it
# Other shapes than those that the tables are about:
#   DURE_CUBE=8192                  of matmul          DURE_ATTENTION=4,4096,16,128    batch, context, heads, head size
#   DURE_MODELS="gpt2-124m:16:1024 24x2048x16x16x8192x50257xgpt2:8:2048"     shape (gpu_tables.py), batch, context
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
dry=false
case "${1:-}" in --dry) dry=true ;; "") ;; *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac
PATH=$PATH:/usr/local/cuda/bin
export DURE_PROGRAM=${DURE_PROGRAM:-build-gpu/dure} DURE_BENCH_WORK
DURE_BENCH_WORK=$(mktemp -d)
work=$DURE_BENCH_WORK results=$DURE_BENCH_WORK/results
mkdir "$results"
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
# What PyTorch compiles while the program is built is there when it is measured.
export TORCHINDUCTOR_CACHE_DIR=$work/inductor TORCHINDUCTOR_FX_GRAPH_CACHE=1
dure=$DURE_PROGRAM python=${DURE_PYTHON:-python3} tables=tests/bench/gpu_tables.py
most=525  # seconds
if "$dry"; then most=3000; fi
failures=()

# ---- parts -------------------------------------------------------------------------------------------------------

section() { printf '\n## %s (at %s s)\n\n' "$*" "$SECONDS"; }
fail() {  # NAME STATUS
  printf '(%s: ended with status %s%s)\n' "$1" "$2" "$([ "$2" -eq 124 ] && echo ', cut off')"
  failures+=("$1 (status $2)")
}
# part NAME SECONDS COMMAND...: runs it unless the time is up; remembers a failure.
part() {
  local name=$1 limit=$2 left=$((most - SECONDS)) status
  shift 2
  if [ "$left" -lt 5 ]; then
    printf '(%s: not run, the %s s are over)\n' "$name" "$most"
    failures+=("$name (no time left)")
    return 1
  fi
  if "$dry"; then limit=$((limit * 8)); fi
  timeout -k 5 "$((limit < left ? limit : left))" "$@" || { status=$?; fail "$name" "$status"; return "$status"; }
}
# into FILE NAME SECONDS COMMAND...: a part whose standard output is kept; what it said is shown where it fails.
into() {
  local file=$1 status
  shift
  part "$@" >"$results/$file.part" 2>"$work/said"
  status=$?
  if [ "$status" -eq 0 ]; then
    mv "$results/$file.part" "$results/$file"
  else
    tail -n 5 "$work/said"
    grep -a '^(' "$results/$file.part" | tail -n 1
  fi
  return "$status"
}
# start NAME SECONDS COMMAND...: in the background; finish NAME LINES shows the end of what it said.
declare -A started
start() {
  local name=$1 limit=$2
  shift 2
  timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1 &
  started[$name]=$!
}
finish() {
  local status
  printf '%s:\n' "$1"
  wait "${started[$1]}"
  status=$?
  tail -n "$2" "$work/$1.log"
  [ "$status" -eq 0 ] || fail "$1" "$status"
}

has_torch=true
if ! "$python" -c 'import torch' 2>/dev/null; then
  has_torch=false
  "$dry" || failures+=("PyTorch ($python has none)")
fi

# ---- sizes -------------------------------------------------------------------------------------------------------

# models: shape, batch, context, what is asked for: tokens/s over PyTorch's, utilisation
if "$dry"; then
  repeats=1 groups=2 saving_steps=12 cube=128 sizes=(64) attention=1,32,2,16 scale=256 every=60 steps=6 python_device=cpu python_steps=3 python_extra=--no-compile
  models=(tiny:2:32:1.10:0.50 tiny-wide:1:32:1.05:0.55 tiny-llama:2:32:0:0.55)
else
  repeats=5 groups=20 saving_steps=300 cube=8192 sizes=(4096 8192) attention=4,4096,16,128 scale=1 every=4 steps=30 python_device=cuda python_steps=12 python_extra=
  models=(gpt2-124m:16:1024:1.10:0.50 gpt-neo-1.3b:8:2048:1.05:0.55 llama-1b:4:4096:0:0.55)
fi
cube=${DURE_CUBE:-$cube} attention=${DURE_ATTENTION:-$attention}
if [ -n "${DURE_MODELS:-}" ]; then
  models=()
  for entry in $DURE_MODELS; do models+=("$entry:1.05:0.55"); done
fi
vulkan=vulkan:0
IFS=: read -r first first_batch first_context _ <<<"${models[0]}"
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
case "$card" in  # dense bf16, by the makers' data sheets
  *H100* | *H200*) peak=989.4 ;;
  *B200*) peak=2250 ;;
  *A100*) peak=312 ;;
  *L40S*) peak=362 ;;
  *4090*) peak=165.2 ;;
  *) peak=0 ;;
esac
peak=${DURE_PEAK:-$peak}

pytorch() {  # SHAPE BATCH CONTEXT STEPS
  "$python" tests/bench/pytorch_train.py --shape "$1" --batch "$2" --context "$3" --steps "$4" \
    --device "$python_device" ${python_extra:+"$python_extra"}
}
if "$has_torch" && ! "$dry"; then
  for entry in "${models[@]}"; do
    IFS=: read -r model batch context _ <<<"$entry"
    start "warm-$model" 240 "$python" tests/bench/pytorch_train.py --shape "$model" --batch "$batch" \
      --context "$context" --steps 2 --device "$python_device"
  done
fi

# ---- build and correctness ---------------------------------------------------------------------------------------

build() {
  local capability targets=(dure dure_cuda dure_cublaslt_rate)
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
  if [ "$capability" = 90 ]; then capability=90a; fi  # wgmma
  if "$dry"; then targets=(dure dure_cuda_emulated dure_cublaslt_emulated dure_cublaslt_rate_emulated); fi
  cmake -G Ninja -S . -B build-gpu -DCMAKE_BUILD_TYPE=Release -DDURE_TESTS="$("$dry" && echo ON || echo OFF)" -DDURE_CUDA="$("$dry" && echo OFF || echo ON)" \
    ${capability:+-DDURE_CUDA_ARCHITECTURES=$capability-real} &&
    cmake --build build-gpu --target "${targets[@]}"
}
export -f build
export dry
section Build
if [ -x "$dure" ]; then
  echo "$dure is there already"
elif part build $((most - 285)) bash -c build >"$work/build.log" 2>&1; then
  echo "built"
else
  tail -n 15 "$work/build.log"
  echo "nothing can be measured"
  exit 1
fi
if "$dry"; then export DURE_CUDA_PLUGIN=${DURE_CUDA_PLUGIN:-$(dirname "$dure")/libdure_cuda_emulated.so}; fi
section Devices
part devices 20 "$dure" devices

section "Conformance, and compute-sanitizer on a sample"
whole=()
if "$dry"; then whole=(--every "$every"); fi
start conformance-cuda-graphs 90 "$dure" selftest --device cuda "${whole[@]}"
start conformance-cuda-streams 90 env DURE_CUDA_GRAPHS=0 "$dure" selftest --device cuda --every "$every"
start conformance-vulkan 90 "$dure" selftest --device "$vulkan" --every "$every"
tools=()
if command -v compute-sanitizer >/dev/null; then
  tools=(memcheck racecheck synccheck)
  for tool in "${tools[@]}"; do
    start "$tool" 90 compute-sanitizer --tool "$tool" --error-exitcode 1 "$dure" selftest --device cuda --every 100
  done
fi
echo "recordings as CUDA graphs: all cases; as plain streams, and on Vulkan: one case in $every"
for name in conformance-cuda-graphs conformance-cuda-streams conformance-vulkan; do finish "$name" 2; done
if [ ${#tools[@]} -gt 0 ]; then
  for tool in "${tools[@]}"; do finish "$tool" 2; done
elif "$dry"; then
  echo "SKIPPED: no compute-sanitizer"
else
  echo "no compute-sanitizer in PATH or /usr/local/cuda/bin"
  failures+=("compute-sanitizer (not found)")
fi
for entry in "${models[@]}"; do
  model=${entry%%:*}
  # A warm-up that fails shows again where it is measured.
  if [ -n "${started[warm-$model]:-}" ]; then wait "${started[warm-$model]}"; fi
done

# ---- operations --------------------------------------------------------------------------------------------------

ops() {  # FILE NAME SECONDS ARGUMENTS of dure bench ops...
  into "$1" "$2" "$3" "$dure" bench ops --json --repeats "$repeats" "${@:4}" && "$python" "$tables" ops "$results/$1"
}
section "Matmul on CUDA: the op, and cuBLASLt called directly"
direct=$(dirname "$dure")/dure_cublaslt_rate$("$dry" && echo _emulated)
with_blas=()
if "$dry"; then with_blas=(env DURE_CUBLASLT="$(dirname "$dure")/libdure_cublaslt_emulated.so"); fi
into cublaslt.json "cuBLASLt called directly" 45 "${with_blas[@]}" "$direct" "$cube" "$groups" &&
  "$python" "$tables" ops "$results/cublaslt.json"
blas_ops() {  # FILE NAME SWITCH...
  into "$1" "$2" 30 "${with_blas[@]}" env "${@:3}" "$dure" bench ops --json --repeats "$repeats" --large --op matmul --size "$cube" \
    --dtype bf16 --device cuda && "$python" "$tables" ops "$results/$1"
}
blas_ops cuda-matmul.json "matmul on CUDA" DURE_CUDA_CUBLASLT=1
section "Matmul on CUDA with factors rounded to fp8 (e4m3; opt-in)"
blas_ops cuda-fp8.json "fp8 matmul on CUDA" DURE_CUDA_MATMUL=fp8
section "Attention on CUDA, bf16, causal"
ops cuda-attention.json "attention on CUDA" 30 --large --attention "$attention" --dtype bf16 --device cuda
section "Operations on CUDA, bf16"
ops cuda-ops.json "operations on CUDA" 100 --large --dtype bf16 --device cuda
section "AdamW on CUDA, f32"
ops cuda-adamw.json "AdamW on CUDA" 30 --large --op adamw --device cuda
section "PyTorch: cuBLASLt through torch.mm, attention by each backend of SDPA"
if "$has_torch"; then
  into pytorch-ops.json "PyTorch's operations" 60 "$python" tests/bench/pytorch_ops.py --device "$python_device" \
    --matmul "$cube" --attention "$attention" --scale "$scale" && "$python" "$tables" ops "$results/pytorch-ops.json"
else
  echo "SKIPPED: no PyTorch"
fi

# ---- training ----------------------------------------------------------------------------------------------------

# train SHAPE BATCH CONTEXT STEPS DEVICE: the run's metrics are in $work/run/metrics.jsonl.
train() {
  "$python" "$tables" config "$1" "$3" >"$work/$1.json" || return 1
  local vocabulary
  vocabulary=$(sed -n 's/.*"vocab_size": \([0-9]*\).*/\1/p' "$work/$1.json")
  DURE_BENCH_CONFIG=$work/$1.json tests/bench/train_speed.sh 0 0 0 "$vocabulary" "$2" "$3" "$4" "$5" --dtype bf16 >"$work/row"
}
export -f train
export python tables work
row() {  # SHAPE CONTEXT WHO FILE
  "$python" "$tables" train "$1" "$2" "$peak" "$3" "$results/$4"
}
ours() {  # SHAPE BATCH CONTEXT STEPS DEVICE SECONDS
  DURE_BENCH_UNSAVED=1 part "training $1 on $5" "$6" bash -c 'train "$@"' train "${@:1:5}" || return
  cp "$work/run/metrics.jsonl" "$results/$1.${5%%:*}.jsonl" && row "$1" "$3" "Dure, $5" "$1.${5%%:*}.jsonl"
}
section Training
echo "Utilisation = FLOPs of a token x tokens/s / peak; FLOPs of a token = 6 x weights of products"
echo "+ 6 x layers x width x context (causal attention), recomputation not counted;"
printf 'peak %s TFLOP/s (dense bf16; %s).\n\n' "$peak" "${card:-no NVIDIA card}"
printf '| model | run by | tokens/s | quartiles | TFLOP/s | utilisation |\n| --- | --- | --- | --- | --- | --- |\n'
export -f pytorch
export python_device python_extra
for entry in "${models[@]}"; do
  IFS=: read -r model batch context _ <<<"$entry"
  ours "$model" "$batch" "$context" "$steps" cuda 45
  if ! "$has_torch"; then
    echo "| $model | PyTorch, compiled | SKIPPED: no PyTorch | | | |"
  elif into "$model.pytorch.json" "training $model in PyTorch" 70 bash -c 'pytorch "$@"' pytorch "$model" "$batch" "$context" "$python_steps"; then
    row "$model" "$context" "PyTorch, compiled" "$model.pytorch.json"
  fi
done
# ---- overlap and bits --------------------------------------------------------------------------------------------

section "GPU idle between steps: $first"
DURE_TRACE=$results/trace.json part "traced steps" 30 bash -c 'train "$@"' train "$first" "$first_batch" "$first_context" 5 cuda
[ -f "$results/$first.cuda.jsonl" ] && cp "$results/$first.cuda.jsonl" "$results/idle.jsonl"
part "idleness" 10 "$python" "$tables" idle "$results/trace.json" "$results/idle.jsonl"

section "Saving while training: $first"
compare_saving() {
  train "$1" "$2" "$3" "$4" cuda && cp "$work/run/metrics.jsonl" "$5/plain.jsonl" &&
    DURE_BENCH_SAVE_EVERY=$(($4 / 3)) train "$1" "$2" "$3" "$4" cuda && cp "$work/run/metrics.jsonl" "$5/saving.jsonl" &&
    "$python" "$tables" saving "$5/plain.jsonl" "$5/saving.jsonl"
}
export -f compare_saving
part "saving" 60 bash -c 'compare_saving "$@"' saving "$first" "$first_batch" "$first_context" "$saving_steps" "$results"

section "Two runs: $first"
twice() {
  local hash=()
  for _ in 1 2; do
    train "$@" 4 cuda || return 1
    hash+=("$(cd "$work/run/checkpoints" && find . -name '*.safetensors' -type f -print0 | sort -z | xargs -0 sha256sum)")
  done
  if [ -n "${hash[0]}" ] && [ "${hash[0]}" = "${hash[1]}" ]; then
    echo "4 steps twice: every byte of weights and optimizer is the same"
  else
    printf 'the runs differ:\n%s\n%s\n' "${hash[@]}"
    return 1
  fi
}
export -f twice
part "two runs" 45 bash -c 'twice "$@"' twice "$first" "$first_batch" "$first_context"

# ---- Vulkan, the same card ----------------------------------------------------------------------------------------

printf '| model | run by | tokens/s | quartiles | TFLOP/s | utilisation |\n| --- | --- | --- | --- | --- | --- |\n'
ours "$first" "$first_batch" "$first_context" 8 "$vulkan" 40
section "Operations on Vulkan, bf16, the same card"
ops vulkan-ops.json "operations on Vulkan" 75 --large --dtype bf16 --device "$vulkan"
for size in "${sizes[@]}"; do
  for dtype in f16 bf16; do
    ops "vulkan-$dtype-$size.json" "Vulkan $dtype $size" 20 --op matmul --size "$size" --dtype "$dtype" --device "$vulkan"
  done
done

# ---- summary -----------------------------------------------------------------------------------------------------

section Summary
wanted=()
for entry in "${models[@]}"; do
  IFS=: read -r model batch context faster used <<<"$entry"
  wanted+=("$model:$context:$faster:$used")
done
"$python" "$tables" summary "$results" "$peak" "$cube" "${wanted[@]}" || failures+=("summary")
printf '\n%s s in all\n' "$SECONDS"
if [ ${#failures[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failures[@]}"
  exit 1
fi
echo "every part passed"
