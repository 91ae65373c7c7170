// cache_append: k and v of T new tokens of each sequence go to their places in the paged cache. One Unit (16 bytes
// where all rows allow it, else an element) of k and v a thread; tokens beyond their sequence's table, or in blocks
// that do not exist, are dropped.
//
// 4 times the type's bytes an element of k: memory speed.
#ifndef DURE_CUDA_KERNELS_CACHE_APPEND_CUH_
#define DURE_CUDA_KERNELS_CACHE_APPEND_CUH_

#include <cuda_runtime.h>

#include <cstdint>

enum { CACHE_APPEND_THREADS = 256 };

struct cache_append_arguments {
  uint64_t count;  // B * T * G * D
  uint32_t T, G, D;
  uint64_t k_t, k_h, v_t, v_h;
  uint32_t blocks, block_size, blocks_per_sequence;
  const void *k, *v;
  const uint32_t *block_table, *positions;  // [B, blocks_per_sequence], [B]
  void *key_cache, *value_cache;            // [blocks, block_size, G, D]
};

// D, count and the strides are in Units.
template <typename Unit>
__global__ void __launch_bounds__(CACHE_APPEND_THREADS) cache_append_kernel(cache_append_arguments a) {
  const uint64_t i = (uint64_t)blockIdx.x * CACHE_APPEND_THREADS + threadIdx.x;
  if (i >= a.count) return;
  const uint32_t d = (uint32_t)(i % a.D), g = (uint32_t)(i / a.D % a.G);
  const uint64_t row = i / a.D / a.G;
  const uint32_t t = (uint32_t)(row % a.T), b = (uint32_t)(row / a.T);
  const uint64_t position = (uint64_t)a.positions[b] + t, entry = position / a.block_size;
  if (entry >= a.blocks_per_sequence) return;
  const uint32_t block = a.block_table[(uint64_t)b * a.blocks_per_sequence + entry];
  if (block >= a.blocks) return;
  const uint64_t at = (((uint64_t)block * a.block_size + position % a.block_size) * a.G + g) * a.D + d;
  static_cast<Unit *>(a.key_cache)[at] = static_cast<const Unit *>(a.k)[row * a.k_t + g * a.k_h + d];
  static_cast<Unit *>(a.value_cache)[at] = static_cast<const Unit *>(a.v)[row * a.v_t + g * a.v_h + d];
}

#endif  // DURE_CUDA_KERNELS_CACHE_APPEND_CUH_
