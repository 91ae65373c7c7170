// y = value. Bytes: one element written.
#ifndef DURE_CUDA_KERNELS_FILL_CUH_
#define DURE_CUDA_KERNELS_FILL_CUH_

#include "cuda/kernels/elements.cuh"

template <typename T>
struct fill_elements {
  T *y;
  float value;

  template <int N>
  struct kept {};
  template <int N>
  __device__ void load(uint64_t i, kept<N> &k) const {
    (void)i, (void)k;
  }
  template <int N>
  __device__ void finish(uint64_t i, const kept<N> &k) const {
    (void)k;
    float values[N];
#pragma unroll
    for (int e = 0; e < N; e++) values[e] = value;
    store_floats<N>(y + i, values);
  }
};

#endif  // DURE_CUDA_KERNELS_FILL_CUH_
