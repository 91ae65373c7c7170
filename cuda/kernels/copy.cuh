// y = x, or y += x, from one storage type to another. Bytes: one element read and one written (adding: one of y read).
#ifndef DURE_CUDA_KERNELS_COPY_CUH_
#define DURE_CUDA_KERNELS_COPY_CUH_

#include "cuda/kernels/elements.cuh"

template <typename T, typename U>
struct copy_elements {
  const T *x;
  U *y;
  bool accumulate;

  template <int N>
  struct kept {
    packed<T, N> x;
    packed<U, N> y;
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
    if (accumulate) {
      unpack(k.y, before);
#pragma unroll
      for (int e = 0; e < N; e++) values[e] += before[e];
    }
    store_floats<N>(y + i, values);
  }
};

#endif  // DURE_CUDA_KERNELS_COPY_CUH_
