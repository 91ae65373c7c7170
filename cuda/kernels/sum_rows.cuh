// y[n] = sum over m of x[m, n], or y +=, in two stages (column_sums.cuh). Bytes: one element. FLOPs: 1.
#ifndef DURE_CUDA_KERNELS_SUM_ROWS_CUH_
#define DURE_CUDA_KERNELS_SUM_ROWS_CUH_

#include "cuda/kernels/column_sums.cuh"

template <typename T>
struct sum_rows_terms {
  static const int outputs = 1;
  const T *x;  // [rows, columns]
  uint64_t columns;

  template <int N>
  struct loaded {
    packed<T, N> x;
  };
  template <int N>
  __device__ void load(uint64_t r, uint64_t c, loaded<N> &l) const {
    l.x = load_packed<N>(x + r * columns + c);
  }
  template <int N>
  __device__ void add(const loaded<N> &l, float (&sums)[outputs][N]) const {
    float values[N];
    unpack(l.x, values);
#pragma unroll
    for (int e = 0; e < N; e++) sums[0][e] += values[e];
  }
};

#endif  // DURE_CUDA_KERNELS_SUM_ROWS_CUH_
