#!/usr/bin/env bash
# The CUDA plugin compiles and links without warnings wherever there is an nvcc, for the cards that the build was
# configured for (scripts/test.sh: one kind, with --full all). It exports one symbol, needs nothing of NVIDIA's to be
# there, and without a driver says so.
. "$(dirname "$0")/common.sh"
targets=$(cmake --build "$DURE_BUILD_DIR" --target help)  # whole: an early end of grep's would end cmake, and skip this
grep -q '^dure_cuda:' <<<"$targets" || skip "there is no nvcc (scripts/install.sh fetches one)"
cmake --build "$DURE_BUILD_DIR" --target dure_cuda
plugin=$DURE_BUILD_DIR/libdure_cuda.so

exported=$(nm -D --defined-only "$plugin" | awk '{print $3}')
if [ "$exported" != dure_cuda_plugin_get ]; then
  echo "$plugin exports more than its entry point:" "$exported"
  exit 1
fi
needed=$(readelf -d "$plugin" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
if grep -E 'cuda|cublas|nccl|nv' <<<"$needed"; then
  echo "$plugin cannot be opened where these are missing"
  exit 1
fi
echo "$(cmake -L -N -B "$DURE_BUILD_DIR" 2>/dev/null | grep DURE_CUDA_ARCHITECTURES), $(stat -c %s "$plugin") bytes"

unset DURE_CUDA_PLUGIN
answer=$("$DURE_PROGRAM" devices)
if ! grep -qE '^cuda:0|no CUDA: ' <<<"$answer"; then
  echo "dure devices neither lists a CUDA device nor says what is missing: $answer"
  exit 1
fi
