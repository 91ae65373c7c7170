#!/usr/bin/env bash
# Each of the CUDA backend's ways to multiply matrices passes matmul's and matmul_q8's cases, run by the emulation: with
# each kernel of our own, and by the library in cuBLASLt's place, which must really have been asked, with and without
# graphs and with the activation made by the product's own epilogue. A part of the cases; with DURE_FULL=1 all.
. "$(dirname "$0")/common.sh"
[ -e "$DURE_BUILD_DIR/libdure_cuda_emulated.so" ] || skip "the emulation of CUDA is not built"
export DURE_CUDA_PLUGIN=$DURE_BUILD_DIR/libdure_cuda_emulated.so

# passes EVERY OP: about one case in EVERY passes.
passes() {
  local every=$1
  [ "${DURE_FULL:-0}" != 1 ] || every=1
  "$DURE_PROGRAM" selftest --device cuda --op "$2" --every "$every" 2>&1
}

for kernel in vector simt64 simt128 mma64 mma128; do
  echo "matmul by $kernel"
  DURE_CUDA_MATMUL=$kernel passes 11 matmul
done
for kernel in rows mma64 mma128; do
  echo "matmul_q8 by $kernel"
  DURE_CUDA_MATMUL_Q8=$kernel passes 5 matmul_q8
done

export DURE_CUBLASLT=$DURE_BUILD_DIR/libdure_cublaslt_emulated.so DURE_CUBLASLT_COUNT=1 DURE_CUDA_MATMUL=blas
for switch in DURE_CUDA_GRAPHS=1 DURE_CUDA_GRAPHS=0 DURE_CUDA_GELU_SAVED=1; do
  echo "matmul by cuBLASLt with $switch"
  said=$(export "${switch?}" && passes 5 matmul) || { echo "$said"; exit 1; }
  grep -E 'cublaslt emulation: [1-9][0-9]+ products' <<<"$said" || { echo "cuBLASLt was not asked: $said"; exit 1; }
done
