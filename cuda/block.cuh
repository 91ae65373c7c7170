// Sums and maxima over the threads of a warp and of a block: fixed order, so the same bits every time.
#ifndef DURE_CUDA_BLOCK_CUH_
#define DURE_CUDA_BLOCK_CUH_

#include <cuda_runtime.h>

enum { WARP = 32 };

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

__device__ __forceinline__ float warp_maximum(float x) {
#pragma unroll
  for (int offset = WARP / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

// Over a block of whole warps; every thread gets the result. `scratch` is shared memory of 32 floats that nobody else
// uses until the next __syncthreads() after the call.
__device__ __forceinline__ float block_sum(float x, float *scratch) {
  const int warps = (int)blockDim.x / WARP, warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
  x = warp_sum(x);
  if (warps == 1) return x;
  __syncthreads();
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < warps; i++) sum += scratch[i];
  return sum;
}

__device__ __forceinline__ float block_maximum(float x, float *scratch) {
  const int warps = (int)blockDim.x / WARP, warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
  x = warp_maximum(x);
  if (warps == 1) return x;
  __syncthreads();
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  float largest = scratch[0];
  for (int i = 1; i < warps; i++) largest = fmaxf(largest, scratch[i]);
  return largest;
}

// Shared memory whose size is given at the launch, aligned to 128 bytes.
#ifdef DURE_CUDA_EMULATION
#define CUDA_DYNAMIC_SHARED(T, name) T *const name = reinterpret_cast<T *>(emulation_dynamic_shared())
#else
#define CUDA_DYNAMIC_SHARED(T, name)                                    \
  extern __shared__ __align__(128) unsigned char cuda_dynamic_shared[]; \
  T *const name = reinterpret_cast<T *>(cuda_dynamic_shared)
#endif

#endif  // DURE_CUDA_BLOCK_CUH_
