#!/usr/bin/env bash
# Registers, spills and stack frames of the CUDA kernels, as ptxas reports them. No kernel may keep anything in local
# memory but those listed here, nor may ptxas put the products of a warpgroup one after the other. Attention's kernels for
# 8.6 and 9.0, which have all of a thread's registers in use; with DURE_FULL=1 all kernels for all cards.
#
#   tests/ci/cuda_resources.sh [ARCHITECTURE...]      all kernels for these
. "$(dirname "$0")/common.sh"
nvcc=$(sed -n 's/^set(CMAKE_CUDA_COMPILER "\(.*\)")$/\1/p' "$DURE_BUILD_DIR"/CMakeFiles/*/CMakeCUDACompiler.cmake 2>/dev/null || true)
[ -x "$nvcc" ] || skip "there is no nvcc (scripts/install.sh fetches one)"
sources=("86 cuda/attention_matrix.cu" "90a cuda/attention_hopper.cu")
if [ $# -gt 0 ] || [ "${DURE_FULL:-0}" = 1 ]; then
  [ $# -gt 0 ] || set -- 75 80 86 89 90a 100 120
  sources=()
  for architecture in "$@"; do
    for file in cuda/*.cu; do sources+=("$architecture $file"); done
  done
fi

# KERNEL BYTES: the largest stack frame that is known and why it is left.
allowed() {
  case $1 in
    # Plain units at the largest head; no model trains so.
    attention_gradient_k_v_tile_kernel'<float, 256>') echo 40 ;;
    # The sums of a token's groups of experts, by group; once a token.
    route_kernel'<'*) echo 224 ;;
    # Which of the two matrices a block works on is its index: the arguments are copied, once a block.
    matmul_fp8_largest_kernel'<'*) echo 88 ;;
    matmul_fp8_copy_kernel'<'*) echo 88 ;;
    *) echo 0 ;;
  esac
}

reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
launcher=$(command -v ccache || true)
printf '%s\n' "${sources[@]}" | xargs -L 1 -P "$(nproc)" bash -c '
  name=$4-$(basename "$5" .cu)
  $1 "$2" -std=c++17 -O3 -gencode "arch=compute_$4,code=sm_$4" -I. -DDURE_VERSION=\"\" -Xptxas=-v \
    -c "$5" -o "$3/$name.o" >"$3/$name.log" 2>&1 || { cat "$3/$name.log"; exit 255; }' -- "$launcher" "$nvcc" "$reports"

failed=0 count=0
# A line a kernel: name, its frame in bytes, spilled bytes, registers, for which card.
while IFS='|' read -r kernel frame spilled registers architecture; do
  count=$((count + 1))
  if [ "$frame" -gt 0 ]; then
    echo "$kernel, $architecture: $registers registers, a stack frame of $frame bytes, $spilled bytes of spill stores"
    [ "$frame" -le "$(allowed "$kernel")" ] || failed=$((failed + 1))
  fi
done < <(cat "$reports"/*.log | c++filt | awk '
  /Compiling entry function/ { architecture = $0; sub(/^.* for /, "", architecture); gsub(/\047/, "", architecture) }
  /Compiling entry function|Function properties for/ { sub(/^.*(Function properties for|entry function) /, ""); name = $0 }
  /bytes stack frame/ { frame = $1; spilled = $5 }
  /: Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
    sub(/^void /, "", name); sub(/\(anonymous namespace\)::/, "", name); sub(/\([^()]*\)$/, "", name)
    print name "|" frame "|" spilled "|" registers "|" architecture
  }')
if grep -H 'wgmma.*serialized' "$reports"/*.log; then failed=$((failed + 1)); fi
echo "$count kernels of ${#sources[@]} files; $failed keep more in local memory than is known, or products apart"
[ "$count" -gt 0 ] && [ "$failed" -eq 0 ]
