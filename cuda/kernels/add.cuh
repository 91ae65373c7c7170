// y = a + b, or y += a + b. Bytes: two elements read and one written (adding: one of y read).
#ifndef DURE_CUDA_KERNELS_ADD_CUH_
#define DURE_CUDA_KERNELS_ADD_CUH_

#include "cuda/kernels/elements.cuh"

template <typename T, typename U>
struct add_elements {
  using input = T;
  using output = U;
  const T *a, *b;
  U *y;
  bool accumulate;

  template <int N>
  struct kept {
    packed<T, N> a, b;
    packed<U, N> y;
  };
  template <int N>
  __device__ void load(uint64_t i, kept<N> &k) const {
    k.a = load_packed<N>(a + i);
    k.b = load_packed<N>(b + i);
    if (accumulate) k.y = load_packed<N>(y + i);
  }
  template <int N>
  __device__ void finish(uint64_t i, const kept<N> &k) const {
    float values[N], others[N];
    unpack(k.a, values);
    unpack(k.b, others);
#pragma unroll
    for (int e = 0; e < N; e++) values[e] += others[e];
    if (accumulate) {
      unpack(k.y, others);
#pragma unroll
      for (int e = 0; e < N; e++) values[e] += others[e];
    }
    store_floats<N>(y + i, values);
  }
};

#endif  // DURE_CUDA_KERNELS_ADD_CUH_
