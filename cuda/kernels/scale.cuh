// y = factor x, or y += factor x; y may be x's memory. Bytes: one element read and one written (adding: one of y read).
#ifndef DURE_CUDA_KERNELS_SCALE_CUH_
#define DURE_CUDA_KERNELS_SCALE_CUH_

#include "cuda/kernels/elements.cuh"

template <typename T>
struct scale_elements {
  const T *x;
  T *y;
  float factor;
  bool accumulate;

  template <int N>
  struct kept {
    packed<T, N> x;
    packed<T, N> y;
  };
  template <int N>
  __device__ void load(uint64_t i, kept<N> &k) const {
    k.x = load_packed<N>(x + i);
    if (accumulate) k.y = load_packed<N>(y + i);
  }
  template <int N>
  __device__ void finish(uint64_t i, const kept<N> &k) const {
    float values[N], before[N];
    unpack(k.x, values);
#pragma unroll
    for (int e = 0; e < N; e++) values[e] *= factor;
    if (accumulate) {
      unpack(k.y, before);
#pragma unroll
      for (int e = 0; e < N; e++) values[e] += before[e];
    }
    store_floats<N>(y + i, values);
  }
};

#endif  // DURE_CUDA_KERNELS_SCALE_CUH_
