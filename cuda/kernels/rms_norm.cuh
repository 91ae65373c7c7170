// y = x * reciprocal_rms * (weight_offset + weight) with reciprocal_rms = 1 / sqrt(mean of x^2 + epsilon) over the last
// dimension (Zhang and Sennrich 2019, eq. 4). A group of threads a row (row.cuh), which is read once and walked twice.
// Bytes: one element read and one written, 4 a row. FLOPs: 4.
#ifndef DURE_CUDA_KERNELS_RMS_NORM_CUH_
#define DURE_CUDA_KERNELS_RMS_NORM_CUH_

#include "cuda/kernels/row.cuh"

template <typename T>
struct rms_norm_arguments {
  const T *x;             // [rows, columns]
  const T *weight;        // [columns]; may be null
  T *y;                   // [rows, columns]
  float *reciprocal_rms;  // [rows]
  uint64_t rows, columns;
  uint32_t runs;
  float reciprocal_columns, epsilon, weight_offset;
};

template <typename T, int N, int K>
__global__ void __launch_bounds__(ROW_THREADS_MOST) rms_norm_kernel(rms_norm_arguments<T> a) {
  __shared__ float scratch[ROW_WARPS_MOST];
  const bool is_row = row_of_group() < a.rows;
  const uint64_t r = is_row ? row_of_group() : a.rows - 1;
  row_runs<T, N, K> x;
  row_load(x, a.x + r * a.columns, a.runs);

  float squares = 0;
  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    float values[N];
    row_get(x, k, c, values);
#pragma unroll
    for (int e = 0; e < N; e++) squares += values[e] * values[e];
  }
  const float reciprocal = 1.0f / sqrtf(row_sum(squares, scratch) * a.reciprocal_columns + a.epsilon);
  if (!is_row) return;

  const float offset = a.weight != nullptr ? a.weight_offset : 0;
  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    float values[N], weight[N];
    row_get(x, k, c, values);
    row_parameter(a.weight, c, 1, weight);
#pragma unroll
    for (int e = 0; e < N; e++) values[e] = values[e] * reciprocal * (offset + weight[e]);
    store_floats<N>(a.y + r * a.columns + (uint64_t)c * N, values);
  }
  if (threadIdx.x == 0) a.reciprocal_rms[r] = reciprocal;
}

#endif  // DURE_CUDA_KERNELS_RMS_NORM_CUH_
