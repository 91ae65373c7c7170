// y = f(x), f an activation function; y may be x's memory. Bytes: one element read and one written. FLOPs: about 12,
// and two of the slow kind (exponential, reciprocal).
#ifndef DURE_CUDA_KERNELS_ACTIVATION_CUH_
#define DURE_CUDA_KERNELS_ACTIVATION_CUH_

#include "cuda/activation.cuh"
#include "cuda/kernels/elements.cuh"

template <typename T>
struct activation_elements {
  const T *x;
  T *y;
  dure_activation kind;

  template <int N>
  struct kept {
    packed<T, N> x;
  };
  template <int N>
  __device__ void load(uint64_t i, kept<N> &k) const {
    k.x = load_packed<N>(x + i);
  }
  template <int N>
  __device__ void finish(uint64_t i, const kept<N> &k) const {
    float values[N];
    value_and_slope parts[N];
    unpack(k.x, values);
    activate<sizeof(T) == 2>(kind, values, parts);
#pragma unroll
    for (int e = 0; e < N; e++) values[e] = parts[e].value;
    store_floats<N>(y + i, values);
  }
};

#endif  // DURE_CUDA_KERNELS_ACTIVATION_CUH_
