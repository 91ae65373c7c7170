// target[i] = sum over ranks of their share[i], added in f32 from rank 0 on and rounded once: what a collective over
// 16-bit values ends with. The other ranks' shares lie in `shares`, `stride` elements apart, by rank; this rank's own
// lies in `own` (its place in `shares` is not looked at), which may be the target.
//
// Bytes: 2 an element and rank, and 2. FLOPs: 1 an element and rank. A thread a run of N elements:
// 16 bytes where all addresses allow it, else one.
#ifndef DURE_CUDA_KERNELS_SUM_SHARES_CUH_
#define DURE_CUDA_KERNELS_SUM_SHARES_CUH_

#include "cuda/kernels/packed.cuh"

struct sum_shares_arguments {
  const void *own, *shares;
  void *target;
  uint64_t stride, count;  // elements; multiples of N
  uint32_t rank, size;
};

template <typename T, int N>
__global__ void sum_shares_kernel(sum_shares_arguments a) {
  const uint64_t i = ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
  if (i >= a.count) return;
  float sums[N] = {};
  for (uint32_t r = 0; r < a.size; r++) {
    const T *const share =
        r == a.rank ? static_cast<const T *>(a.own) : static_cast<const T *>(a.shares) + r * a.stride;
    float values[N];
    load_floats<N>(share + i, values);
#pragma unroll
    for (int e = 0; e < N; e++) sums[e] = r == 0 ? values[e] : sums[e] + values[e];
  }
  store_floats<N>(static_cast<T *>(a.target) + i, sums);
}

#endif  // DURE_CUDA_KERNELS_SUM_SHARES_CUH_
