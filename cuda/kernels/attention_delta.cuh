// delta[b, h, t] = sum over d of dy[b, t, h, d] y[b, t, h, d], for positions [first_row, rows_past): what the passes of
// attention_gradient need of y. 8 lanes a row, in fours where rows allow it.
//
// 2 D elements read a row, 2 D FLOP: memory speed.
#ifndef DURE_CUDA_KERNELS_ATTENTION_DELTA_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_DELTA_CUH_

#include "cuda/block.cuh"
#include "cuda/numbers.cuh"

enum { DELTA_LANES = 8, DELTA_THREADS = 256, DELTA_ROWS = DELTA_THREADS / DELTA_LANES };

struct attention_delta_arguments {
  const void *y, *dy;  // [B, T, H, D]
  float *delta;        // [B, H, T]
  uint64_t count;      // B * rows * H
  uint32_t T, H, D, first_row, rows, in_fours;
};

template <typename T>
__global__ void __launch_bounds__(DELTA_THREADS) attention_delta_kernel(attention_delta_arguments a) {
  const uint64_t i = (uint64_t)blockIdx.x * DELTA_ROWS + threadIdx.x / DELTA_LANES;
  const uint64_t row = i < a.count ? i : a.count - 1;
  const uint32_t lane = threadIdx.x % DELTA_LANES, h = (uint32_t)(row % a.H);
  const uint32_t t = a.first_row + (uint32_t)(row / a.H % a.rows), b = (uint32_t)(row / a.H / a.rows);
  const uint64_t at = (((uint64_t)b * a.T + t) * a.H + h) * a.D;
  const T *const y = static_cast<const T *>(a.y) + at, *const dy = static_cast<const T *>(a.dy) + at;
  float sum = 0;
  if (a.in_fours != 0) {
#pragma unroll 4
    for (uint32_t d = 4 * lane; d < a.D; d += 4 * DELTA_LANES) {
      const float4 p = load_four(y + d), q = load_four(dy + d);
      sum += p.x * q.x + p.y * q.y + p.z * q.z + p.w * q.w;
    }
  } else {
    for (uint32_t d = lane; d < a.D; d += DELTA_LANES) sum = fmaf(to_float(y[d]), to_float(dy[d]), sum);
  }
#pragma unroll
  for (int offset = DELTA_LANES / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (lane == 0 && i < a.count) a.delta[((uint64_t)b * a.H + h) * a.T + t] = sum;
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_DELTA_CUH_
