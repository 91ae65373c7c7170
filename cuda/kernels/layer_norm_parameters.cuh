// dweight = sum over rows of dy n (n the normalised x), dbias = sum over rows of dy, or += each, in two stages
// (column_sums.cuh). Bytes: two elements, 8 a row. FLOPs: 5.
#ifndef DURE_CUDA_KERNELS_LAYER_NORM_PARAMETERS_CUH_
#define DURE_CUDA_KERNELS_LAYER_NORM_PARAMETERS_CUH_

#include "cuda/kernels/column_sums.cuh"

template <typename T>
struct layer_norm_parameters_terms {
  static const int outputs = 2;
  const T *dy, *x;                           // [rows, columns]
  const float *mean, *reciprocal_deviation;  // [rows]
  uint64_t columns;

  template <int N>
  struct loaded {
    packed<T, N> dy, x;
    float mean, reciprocal;
  };
  template <int N>
  __device__ void load(uint64_t r, uint64_t c, loaded<N> &l) const {
    l.dy = load_packed<N>(dy + r * columns + c);
    l.x = load_packed<N>(x + r * columns + c);
    l.mean = mean[r];
    l.reciprocal = reciprocal_deviation[r];
  }
  template <int N>
  __device__ void add(const loaded<N> &l, float (&sums)[outputs][N]) const {
    float gradients[N], values[N];
    unpack(l.dy, gradients);
    unpack(l.x, values);
#pragma unroll
    for (int e = 0; e < N; e++) {
      sums[0][e] += gradients[e] * ((values[e] - l.mean) * l.reciprocal);
      sums[1][e] += gradients[e];
    }
  }
};

#endif  // DURE_CUDA_KERNELS_LAYER_NORM_PARAMETERS_CUH_
