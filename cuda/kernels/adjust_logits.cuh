// Penalties and biases before sampling: logits[b, ids[b, i]] is divided by its factor (multiplied, when it is not above
// 0), then gets its addend. One thread an entry; ids of a row differ, so nothing is written twice. Bytes: 20 an entry.
#ifndef DURE_CUDA_KERNELS_ADJUST_LOGITS_CUH_
#define DURE_CUDA_KERNELS_ADJUST_LOGITS_CUH_

#include <cuda_runtime.h>

#include <cstdint>

struct adjust_logits_arguments {
  const uint32_t *ids;   // [rows, count]
  const float *changes;  // [rows, count, 2]
  float *logits;         // [rows, vocabulary]
  uint64_t entries;      // rows count
  uint32_t count, vocabulary;
};

__global__ void __launch_bounds__(128) adjust_logits_kernel(adjust_logits_arguments a) {
  const uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.entries) return;
  const uint32_t id = a.ids[i];
  if (id >= a.vocabulary) return;
  float *place = a.logits + i / a.count * a.vocabulary + id;
  const float x = *place, factor = a.changes[2 * i];
  *place = (x > 0 ? x / factor : x * factor) + a.changes[2 * i + 1];
}

#endif  // DURE_CUDA_KERNELS_ADJUST_LOGITS_CUH_
