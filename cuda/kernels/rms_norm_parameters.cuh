// dweight = sum over rows of dy x reciprocal_rms, or +=, in two stages (column_sums.cuh). Bytes: two elements, 4 a row.
// FLOPs: 3.
#ifndef DURE_CUDA_KERNELS_RMS_NORM_PARAMETERS_CUH_
#define DURE_CUDA_KERNELS_RMS_NORM_PARAMETERS_CUH_

#include "cuda/kernels/column_sums.cuh"

template <typename T>
struct rms_norm_parameters_terms {
  static const int outputs = 1;
  const T *dy, *x;              // [rows, columns]
  const float *reciprocal_rms;  // [rows]
  uint64_t columns;

  template <int N>
  struct loaded {
    packed<T, N> dy, x;
    float reciprocal;
  };
  template <int N>
  __device__ void load(uint64_t r, uint64_t c, loaded<N> &l) const {
    l.dy = load_packed<N>(dy + r * columns + c);
    l.x = load_packed<N>(x + r * columns + c);
    l.reciprocal = reciprocal_rms[r];
  }
  template <int N>
  __device__ void add(const loaded<N> &l, float (&sums)[outputs][N]) const {
    float gradients[N], values[N];
    unpack(l.dy, gradients);
    unpack(l.x, values);
#pragma unroll
    for (int e = 0; e < N; e++) sums[0][e] += gradients[e] * (values[e] * l.reciprocal);
  }
};

#endif  // DURE_CUDA_KERNELS_RMS_NORM_PARAMETERS_CUH_
