#!/usr/bin/env bash
# The CUDA plugin compiles and links wherever there is an nvcc.
. "$(dirname "$0")/common.sh"
PATH=$PATH:/usr/local/cuda/bin
require nvcc
[ -n "$(git ls-files -- 'cuda/*.c' 'cuda/*.cu')" ] || skip "there is no CUDA backend yet"
cmake --build "$DURE_BUILD_DIR" --target dure_cuda
