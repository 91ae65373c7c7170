// y = f(gate) up, with rows of gate and up anywhere at equal distances (Shazeer 2020, section 2). Bytes: two elements
// read and one written. FLOPs: about 13.
#ifndef DURE_CUDA_KERNELS_GATED_ACTIVATION_CUH_
#define DURE_CUDA_KERNELS_GATED_ACTIVATION_CUH_

#include "cuda/activation.cuh"
#include "cuda/kernels/divider.cuh"
#include "cuda/kernels/elements.cuh"

template <typename T>
struct gated_activation_elements {
  const T *gate, *up;
  T *y;
  divider columns;
  uint64_t gate_stride, up_stride;  // from row to row
  dure_activation kind;

  template <int N>
  struct kept {
    packed<T, N> gate, up;
  };
  template <int N>
  __device__ void load(uint64_t i, kept<N> &k) const {
    const uint64_t row = quotient(columns, i), column = i - row * columns.divisor;
    k.gate = load_packed<N>(gate + row * gate_stride + column);
    k.up = load_packed<N>(up + row * up_stride + column);
  }
  template <int N>
  __device__ void finish(uint64_t i, const kept<N> &k) const {
    float values[N], factors[N];
    value_and_slope parts[N];
    unpack(k.gate, values);
    unpack(k.up, factors);
    activate<sizeof(T) == 2>(kind, values, parts);
#pragma unroll
    for (int e = 0; e < N; e++) values[e] = parts[e].value * factors[e];
    store_floats<N>(y + i, values);
  }
};

#endif  // DURE_CUDA_KERNELS_GATED_ACTIVATION_CUH_
