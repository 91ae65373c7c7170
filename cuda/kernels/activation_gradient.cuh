// dx = f'(x) dy, or dx += f'(x) dy; dx may be dy's memory. Bytes: two elements read and one written (adding: one of dx
// read). FLOPs: about 16.
#ifndef DURE_CUDA_KERNELS_ACTIVATION_GRADIENT_CUH_
#define DURE_CUDA_KERNELS_ACTIVATION_GRADIENT_CUH_

#include "cuda/activation.cuh"
#include "cuda/kernels/elements.cuh"

template <typename T>
struct activation_gradient_elements {
  const T *x, *dy;
  T *dx;
  dure_activation kind;
  bool accumulate;

  template <int N>
  struct kept {
    packed<T, N> x, dy, dx;
  };
  template <int N>
  __device__ void load(uint64_t i, kept<N> &k) const {
    k.x = load_packed<N>(x + i);
    k.dy = load_packed<N>(dy + i);
    if (accumulate) k.dx = load_packed<N>(dx + i);
  }
  template <int N>
  __device__ void finish(uint64_t i, const kept<N> &k) const {
    float values[N], gradients[N];
    value_and_slope parts[N];
    unpack(k.x, values);
    unpack(k.dy, gradients);
    activate<sizeof(T) == 2>(kind, values, parts);
#pragma unroll
    for (int e = 0; e < N; e++) gradients[e] *= parts[e].slope;
    if (accumulate) {
      unpack(k.dx, values);
#pragma unroll
      for (int e = 0; e < N; e++) gradients[e] += values[e];
    }
    store_floats<N>(dx + i, gradients);
  }
};

#endif  // DURE_CUDA_KERNELS_ACTIVATION_GRADIENT_CUH_
