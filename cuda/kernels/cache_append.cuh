// cache_append: k and v of T new tokens of each sequence go to their places in the paged cache. One Unit (16 bytes
// where all rows allow it, else an element) of k and v a thread; tokens beyond their sequence's table, or in blocks
// that do not exist, are dropped.
//
// 4 times the type's bytes an element of k: memory speed. The second kernel fills caches of 8-bit codes in blocks
// of 32.
#ifndef DURE_CUDA_KERNELS_CACHE_APPEND_CUH_
#define DURE_CUDA_KERNELS_CACHE_APPEND_CUH_

#include "cuda/kernels/quantize_rows.cuh"

enum { CACHE_APPEND_THREADS = 256 };

struct cache_append_arguments {
  uint64_t count;  // B * T * G * D
  uint32_t T, G, D;
  uint64_t k_t, k_h, v_t, v_h;
  uint32_t blocks, block_size, blocks_per_sequence;
  const void *k, *v;
  const uint32_t *block_table, *positions;  // [B, blocks_per_sequence], [B]
  void *key_cache, *value_cache;            // [blocks, block_size, G, D]
  float16 *key_scales, *value_scales;       // [blocks, block_size, G, D / 32], of codes
};

// The row of the cache where the token `row` of [B, T] goes; -1: nowhere.
__device__ __forceinline__ int64_t cache_append_place(const cache_append_arguments &a, uint64_t row) {
  const uint32_t t = (uint32_t)(row % a.T), b = (uint32_t)(row / a.T);
  const uint64_t position = (uint64_t)a.positions[b] + t, entry = position / a.block_size;
  if (entry >= a.blocks_per_sequence) return -1;
  const uint32_t block = a.block_table[(uint64_t)b * a.blocks_per_sequence + entry];
  return block < a.blocks ? (int64_t)((uint64_t)block * a.block_size + position % a.block_size) : -1;
}

// D, count and the strides are in Units.
template <typename Unit>
__global__ void __launch_bounds__(CACHE_APPEND_THREADS) cache_append_kernel(cache_append_arguments a) {
  const uint64_t i = (uint64_t)blockIdx.x * CACHE_APPEND_THREADS + threadIdx.x;
  if (i >= a.count) return;
  const uint32_t d = (uint32_t)(i % a.D), g = (uint32_t)(i / a.D % a.G);
  const uint64_t row = i / a.D / a.G;
  const int64_t place = cache_append_place(a, row);
  if (place < 0) return;
  const uint64_t at = ((uint64_t)place * a.G + g) * a.D + d;
  static_cast<Unit *>(a.key_cache)[at] = static_cast<const Unit *>(a.k)[row * a.k_t + g * a.k_h + d];
  static_cast<Unit *>(a.value_cache)[at] = static_cast<const Unit *>(a.v)[row * a.v_t + g * a.v_h + d];
}

template <typename T>
__device__ __forceinline__ void cache_append_block(const T *x, uint32_t *codes, float16 *scale) {
  float values[QUANTIZE_BLOCK];
  uint32_t largest = 0;
#pragma unroll
  for (int e = 0; e < QUANTIZE_BLOCK; e++) {
    values[e] = to_float(x[e]);
    largest = max(largest, __float_as_uint(values[e]) & 0x7fffffffu);
  }
  const quantize_range range = quantize_range_of(largest);
#pragma unroll
  for (int w = 0; w < QUANTIZE_BLOCK / 4; w++)
    codes[w] = range.is_zero ? 0 : quantize_four(values + 4 * w, range.inverse);
  *scale = from_float<float16>(range.scale);
}

// A block of 32 of k and v a thread; D and count are in blocks, the strides in elements.
template <typename T>
__global__ void __launch_bounds__(CACHE_APPEND_THREADS) cache_append_blocks_kernel(cache_append_arguments a) {
  const uint64_t i = (uint64_t)blockIdx.x * CACHE_APPEND_THREADS + threadIdx.x;
  if (i >= a.count) return;
  const uint64_t d = i % a.D, g = i / a.D % a.G, row = i / a.D / a.G;
  const int64_t place = cache_append_place(a, row);
  if (place < 0) return;
  const uint64_t at = ((uint64_t)place * a.G + g) * a.D + d;
  cache_append_block(static_cast<const T *>(a.k) + row * a.k_t + g * a.k_h + d * QUANTIZE_BLOCK,
                     static_cast<uint32_t *>(a.key_cache) + at * (QUANTIZE_BLOCK / 4), a.key_scales + at);
  cache_append_block(static_cast<const T *>(a.v) + row * a.v_t + g * a.v_h + d * QUANTIZE_BLOCK,
                     static_cast<uint32_t *>(a.value_cache) + at * (QUANTIZE_BLOCK / 4), a.value_scales + at);
}

#endif  // DURE_CUDA_KERNELS_CACHE_APPEND_CUH_
