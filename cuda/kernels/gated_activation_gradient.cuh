// dgate = f'(gate) up dy, dup = f(gate) dy; rows of all but dy anywhere at equal distances. Either result may be the
// memory of gate, up or dy. Bytes: three elements read and two written. FLOPs: about 20.
#ifndef DURE_CUDA_KERNELS_GATED_ACTIVATION_GRADIENT_CUH_
#define DURE_CUDA_KERNELS_GATED_ACTIVATION_GRADIENT_CUH_

#include "cuda/activation.cuh"
#include "cuda/kernels/divider.cuh"
#include "cuda/kernels/elements.cuh"

template <typename T>
struct gated_activation_gradient_elements {
  const T *gate, *up, *dy;
  T *dgate, *dup;
  divider columns;
  uint64_t gate_stride, up_stride, dgate_stride, dup_stride;  // from row to row
  dure_activation kind;

  template <int N>
  struct kept {
    packed<T, N> gate, up, dy;
  };
  template <int N>
  __device__ void load(uint64_t i, kept<N> &k) const {
    const uint64_t row = quotient(columns, i), column = i - row * columns.divisor;
    k.gate = load_packed<N>(gate + row * gate_stride + column);
    k.up = load_packed<N>(up + row * up_stride + column);
    k.dy = load_packed<N>(dy + i);
  }
  template <int N>
  __device__ void finish(uint64_t i, const kept<N> &k) const {
    const uint64_t row = quotient(columns, i), column = i - row * columns.divisor;
    float gates[N], ups[N], gradients[N];
    value_and_slope parts[N];
    unpack(k.gate, gates);
    unpack(k.up, ups);
    unpack(k.dy, gradients);
    activate<sizeof(T) == 2>(kind, gates, parts);
#pragma unroll
    for (int e = 0; e < N; e++) {
      gates[e] = parts[e].slope * ups[e] * gradients[e];
      ups[e] = parts[e].value * gradients[e];
    }
    store_floats<N>(dgate + row * dgate_stride + column, gates);
    store_floats<N>(dup + row * dup_stride + column, ups);
  }
};

#endif  // DURE_CUDA_KERNELS_GATED_ACTIVATION_GRADIENT_CUH_
