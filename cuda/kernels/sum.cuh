// y[block] = the sum of the block's elements of x, or of their squares (or y += for a single block). Several blocks'
// sums are summed by a second launch, whose x they are. Every thread adds in a fixed order, and so do threads and
// blocks; how many blocks there are depends on the count alone. Bytes: one element. FLOPs: 1 (squares: 2).
#ifndef DURE_CUDA_KERNELS_SUM_CUH_
#define DURE_CUDA_KERNELS_SUM_CUH_

#include "cuda/block.cuh"
#include "cuda/kernels/packed.cuh"
#include "cuda/record.cuh"

enum { SUM_THREADS = 256, SUM_STEPS = 4, SUM_BLOCKS_MOST = 1024 };

template <typename T>
struct sum_arguments {
  const T *x;  // [count]
  float *y;    // [gridDim.x]
  uint64_t count;
  bool accumulate;
};

template <bool IsSquare, int N>
__device__ __forceinline__ void sum_add(const float (&x)[N], float (&sums)[N]) {
#pragma unroll
  for (int e = 0; e < N; e++) sums[e] += IsSquare ? x[e] * x[e] : x[e];
}

template <typename T, int N, bool IsSquare>
__global__ void __launch_bounds__(SUM_THREADS) sum_kernel(sum_arguments<T> a) {
  __shared__ float scratch[WARP];
  const uint64_t stride = (uint64_t)gridDim.x * SUM_THREADS * N;
  uint64_t i = ((uint64_t)blockIdx.x * SUM_THREADS + threadIdx.x) * N;
  float sums[N] = {}, values[N];
  for (; i + (SUM_STEPS - 1) * stride + N <= a.count; i += SUM_STEPS * stride) {
    packed<T, N> runs[SUM_STEPS];
#pragma unroll
    for (int s = 0; s < SUM_STEPS; s++) runs[s] = load_packed<N>(a.x + i + s * stride);
#pragma unroll
    for (int s = 0; s < SUM_STEPS; s++) {
      unpack(runs[s], values);
      sum_add<IsSquare>(values, sums);
    }
  }
  for (; i + N <= a.count; i += stride) {
    load_floats<N>(a.x + i, values);
    sum_add<IsSquare>(values, sums);
  }
  for (; i < a.count; i++) {  // of the one thread in whose run the count ends; others are beyond it
    const float value = to_float(a.x[i]);
    sums[0] += IsSquare ? value * value : value;
  }
  float sum = 0;
#pragma unroll
  for (int e = 0; e < N; e++) sum += sums[e];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) a.y[blockIdx.x] = a.accumulate ? a.y[blockIdx.x] + sum : sum;
}

#endif  // DURE_CUDA_KERNELS_SUM_CUH_
