// quantize_rows: 8-bit integers in blocks of 32 with a scale each; the order of operations is runtime/ops.h's. The
// counterpart of shaders/quantize_rows.comp.
//
//   x [count]    q [count]    scales [count / 32]
// 8 neighbours of f32 (4 of a 16-bit type) share a block, 16 bytes of x each, STEPS blocks on their way at once. The
// largest magnitude is found among bits, which order non-negative floats as their values, and NaN above infinity.
// 4 + 1.125 bytes an element of f32: as fast as memory.
#ifndef DURE_CUDA_KERNELS_QUANTIZE_ROWS_CUH_
#define DURE_CUDA_KERNELS_QUANTIZE_ROWS_CUH_

#include "cuda/kernels/packed.cuh"

enum { QUANTIZE_THREADS = 256, QUANTIZE_STEPS = 2, QUANTIZE_BLOCK = 32 };

template <typename T>
struct quantize_rows_arguments {
  const T *x;
  uint32_t *q;  // words of four integers, the first in the lowest byte
  float *scales;
  uint64_t count;
  bool is_aligned;  // x is a multiple of 16 bytes
};

// A word of four quotients, rounded to the nearest integer, halves to even.
__device__ __forceinline__ uint32_t quantize_four(const float *x, float inverse) {
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) word |= ((uint32_t)__float2int_rn(__fmul_rn(x[i], inverse)) & 0xffu) << 8 * i;
  return word;
}

// Of a block whose largest magnitude has these bits.
struct quantize_range {
  float scale, inverse;
  bool is_zero;
};
__device__ __forceinline__ quantize_range quantize_range_of(uint32_t largest) {
  const uint32_t NOT_FINITE = 0x7f800000u, SMALL = 0x0d800000u;  // 2^-100
  const bool is_zero = largest < SMALL || largest >= NOT_FINITE;
  const float scale = __fmul_rn(__uint_as_float(largest), 0.007874015718698502f);  // 1 / 127
  return {largest >= NOT_FINITE ? __uint_as_float(0x7fc00000u)
          : is_zero             ? 0.0f
                                : scale,
          __fdiv_rn(127.0f, __uint_as_float(largest)), is_zero};
}

template <typename T>
__global__ void __launch_bounds__(QUANTIZE_THREADS) quantize_rows_kernel(quantize_rows_arguments<T> o) {
  enum { RUN = 16 / sizeof(T), LANES = QUANTIZE_BLOCK / RUN, STRIDE = QUANTIZE_THREADS * RUN };
  const uint64_t first = (uint64_t)blockIdx.x * (QUANTIZE_STEPS * STRIDE) + threadIdx.x * RUN;
  float x[QUANTIZE_STEPS][RUN] = {};
#pragma unroll
  for (int s = 0; s < QUANTIZE_STEPS; s++) {
    const uint64_t i = first + s * STRIDE;
    if (i >= o.count) continue;
    if (o.is_aligned) {
      load_floats(o.x + i, x[s]);
    } else {
#pragma unroll
      for (int e = 0; e < RUN; e++) x[s][e] = to_float(o.x[i + e]);
    }
  }
#pragma unroll
  for (int s = 0; s < QUANTIZE_STEPS; s++) {
    uint32_t largest = 0;
#pragma unroll
    for (int e = 0; e < RUN; e++) largest = max(largest, __float_as_uint(x[s][e]) & 0x7fffffffu);
#pragma unroll
    for (int offset = 1; offset < LANES; offset *= 2)
      largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    const uint64_t i = first + s * STRIDE;
    if (i >= o.count) continue;
    const quantize_range range = quantize_range_of(largest);
    uint32_t words[RUN / 4];
#pragma unroll
    for (int w = 0; w < RUN / 4; w++) words[w] = range.is_zero ? 0 : quantize_four(x[s] + 4 * w, range.inverse);
    if constexpr (RUN == 8) {
      store_whole(reinterpret_cast<uint2 *>(o.q + i / 4), make_uint2(words[0], words[1]));
    } else {
      o.q[i / 4] = words[0];
    }
    if (threadIdx.x % LANES == 0) o.scales[i / QUANTIZE_BLOCK] = range.scale;
  }
}

#endif  // DURE_CUDA_KERNELS_QUANTIZE_ROWS_CUH_
