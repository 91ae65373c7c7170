#!/usr/bin/env bash
# Registers, spills and stack frames of the CUDA kernels for compute capability 9.0, as ptxas reports them. No kernel may
# keep anything in local memory but those listed here. The products' and attention's files, with DURE_FULL=1 all of them.
#
#   tests/ci/cuda_resources.sh [ARCHITECTURE...]      90a if none is named
. "$(dirname "$0")/common.sh"
nvcc=$(sed -n 's/^set(CMAKE_CUDA_COMPILER "\(.*\)")$/\1/p' "$DURE_BUILD_DIR"/CMakeFiles/*/CMakeCUDACompiler.cmake 2>/dev/null || true)
[ -x "$nvcc" ] || skip "there is no nvcc (scripts/install.sh fetches one)"
architectures=("${@:-90a}")
files=(cuda/attention_matrix.cu cuda/ops_matmul.cu)
[ "${DURE_FULL:-0}" != 1 ] || files=(cuda/*.cu)

# KERNEL BYTES: the largest stack frame that is known and why it is left.
allowed() {
  case $1 in
    # 128 columns of both gradients fill the registers; 10 words once a tile beside 128 products of matrices.
    attention_gradient_k_v_matrix_kernel'<'*', 128>') echo 40 ;;
    attention_gradient_q_matrix_kernel'<'*', 128>') echo 16 ;;
    # Plain units at the largest head; no model trains so.
    attention_gradient_k_v_tile_kernel'<float, 256>') echo 24 ;;
    # Which of the two matrices a block works on is its index: the arguments are copied, once a block.
    matmul_fp8_largest_kernel'<'*) echo 88 ;;
    matmul_fp8_copy_kernel'<'*) echo 88 ;;
    *) echo 0 ;;
  esac
}

reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
launcher=$(command -v ccache || true)
for architecture in "${architectures[@]}"; do
  for file in "${files[@]}"; do
    printf '%s\0%s\0' "$architecture" "$file"
  done
done | xargs -0 -n 2 -P "$(nproc)" bash -c '
  name=$4-$(basename "$5" .cu)
  $1 "$2" -std=c++17 -O3 -gencode "arch=compute_$4,code=sm_$4" -I. -DDURE_VERSION=\"\" -Xptxas=-v \
    -c "$5" -o "$3/$name.o" >"$3/$name.log" 2>&1 || { cat "$3/$name.log"; exit 255; }' -- "$launcher" "$nvcc" "$reports"

failed=0 count=0
# A line a kernel: name, its frame in bytes, spilled bytes, registers.
while IFS='|' read -r kernel frame spilled registers; do
  count=$((count + 1))
  if [ "$frame" -gt 0 ]; then
    echo "$kernel: $registers registers, a stack frame of $frame bytes, $spilled bytes of spill stores"
    [ "$frame" -le "$(allowed "$kernel")" ] || failed=$((failed + 1))
  fi
done < <(cat "$reports"/*.log | c++filt | awk '
  /Compiling entry function|Function properties for/ { sub(/^.*(Function properties for|entry function) /, ""); name = $0 }
  /bytes stack frame/ { frame = $1; spilled = $5 }
  /: Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
    sub(/^void /, "", name); sub(/\(anonymous namespace\)::/, "", name); sub(/\([^()]*\)$/, "", name)
    print name "|" frame "|" spilled "|" registers
  }')
echo "$count kernels for ${architectures[*]}; $failed keep more in local memory than is known"
[ "$count" -gt 0 ] && [ "$failed" -eq 0 ]
