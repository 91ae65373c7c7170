// Tokens that must not be drawn: logits[r, v] becomes -infinity where bit v % 32 of mask[r, v / 32] is 0. One thread a
// logit, so that a warp reads one word. Bytes: 1/8 a logit, and 4 for each that is forbidden.
#ifndef DURE_CUDA_KERNELS_MASK_LOGITS_CUH_
#define DURE_CUDA_KERNELS_MASK_LOGITS_CUH_

#include <cuda_runtime.h>

#include <cstdint>

struct mask_logits_arguments {
  const uint32_t *mask;  // [rows, words]
  float *logits;         // [rows, vocabulary]
  uint64_t entries;      // rows vocabulary
  uint32_t words, vocabulary;
};

__global__ void __launch_bounds__(128) mask_logits_kernel(mask_logits_arguments a) {
  const uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.entries) return;
  const uint32_t v = (uint32_t)(i % a.vocabulary);
  const uint32_t word = a.mask[i / a.vocabulary * a.words + v / 32];
  if ((word >> v % 32 & 1) == 0) a.logits[i] = __uint_as_float(0xff800000u);
}

#endif  // DURE_CUDA_KERNELS_MASK_LOGITS_CUH_
