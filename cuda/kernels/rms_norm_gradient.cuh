// dx = reciprocal_rms * (g - n mean(g n)) with g = dy (weight_offset + weight) and n = x reciprocal_rms, or dx +=. A
// group of threads a row (row.cuh); dy and x are read once and walked twice. dx may be dy's memory.
// Bytes: two elements read and one written (adding: one of dx read), 4 a row. FLOPs: 9.
#ifndef DURE_CUDA_KERNELS_RMS_NORM_GRADIENT_CUH_
#define DURE_CUDA_KERNELS_RMS_NORM_GRADIENT_CUH_

#include "cuda/kernels/row.cuh"

template <typename T>
struct rms_norm_gradient_arguments {
  const T *dy, *x;              // [rows, columns]
  const T *weight;              // [columns]; may be null
  const float *reciprocal_rms;  // [rows]
  T *dx;                        // [rows, columns]
  uint64_t rows, columns;
  uint32_t runs;
  float reciprocal_columns, weight_offset;
  bool accumulate;
};

template <typename T, int N, int K>
__global__ void __launch_bounds__(ROW_THREADS_MOST) rms_norm_gradient_kernel(rms_norm_gradient_arguments<T> a) {
  __shared__ float scratch[ROW_WARPS_MOST];
  const bool is_row = row_of_group() < a.rows;
  const uint64_t r = is_row ? row_of_group() : a.rows - 1;
  row_runs<T, N, K> dy, x;
  row_load(dy, a.dy + r * a.columns, a.runs);
  row_load(x, a.x + r * a.columns, a.runs);
  const float reciprocal = a.reciprocal_rms[r], offset = a.weight != nullptr ? a.weight_offset : 0;

  float products = 0;
  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    float gradients[N], values[N], weight[N];
    row_get(dy, k, c, gradients);
    row_get(x, k, c, values);
    row_parameter(a.weight, c, 1, weight);
#pragma unroll
    for (int e = 0; e < N; e++) products += gradients[e] * (offset + weight[e]) * (values[e] * reciprocal);
  }
  const float average = row_sum(products, scratch) * a.reciprocal_columns;
  if (!is_row) return;

  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    T *target = a.dx + r * a.columns + (uint64_t)c * N;
    float gradients[N], values[N], weight[N];
    row_get(dy, k, c, gradients);
    row_get(x, k, c, values);
    row_parameter(a.weight, c, 1, weight);
#pragma unroll
    for (int e = 0; e < N; e++)
      gradients[e] = (gradients[e] * (offset + weight[e]) - values[e] * reciprocal * average) * reciprocal;
    if (a.accumulate) {
      load_floats<N>(target, values);
#pragma unroll
      for (int e = 0; e < N; e++) gradients[e] += values[e];
    }
    store_floats<N>(target, gradients);
  }
}

#endif  // DURE_CUDA_KERNELS_RMS_NORM_GRADIENT_CUH_
