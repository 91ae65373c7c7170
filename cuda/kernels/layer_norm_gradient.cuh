// dx = reciprocal_deviation * (g - mean(g) - n mean(g n)) with g = dy weight and n the normalised x, or dx +=. A group
// of threads a row (row.cuh); dy and x are read once and walked twice. dx may be dy's memory.
// Bytes: two elements read and one written (adding: one of dx read), 8 a row. FLOPs: 12.
#ifndef DURE_CUDA_KERNELS_LAYER_NORM_GRADIENT_CUH_
#define DURE_CUDA_KERNELS_LAYER_NORM_GRADIENT_CUH_

#include "cuda/kernels/row.cuh"

template <typename T>
struct layer_norm_gradient_arguments {
  const T *dy, *x;                           // [rows, columns]
  const T *weight;                           // [columns]; may be null
  const float *mean, *reciprocal_deviation;  // [rows]
  T *dx;                                     // [rows, columns]
  uint64_t rows, columns;
  uint32_t runs;
  float reciprocal_columns;
  bool accumulate;
};

template <typename T, int N, int K>
__global__ void __launch_bounds__(ROW_THREADS_MOST) layer_norm_gradient_kernel(layer_norm_gradient_arguments<T> a) {
  __shared__ float scratch[2 * ROW_WARPS_MOST];
  const bool is_row = row_of_group() < a.rows;
  const uint64_t r = is_row ? row_of_group() : a.rows - 1;
  row_runs<T, N, K> dy, x;
  row_load(dy, a.dy + r * a.columns, a.runs);
  row_load(x, a.x + r * a.columns, a.runs);
  const float mean = a.mean[r], reciprocal = a.reciprocal_deviation[r];

  float sums[2] = {0, 0};  // of g, of g n
  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    float gradients[N], values[N], weight[N];
    row_get(dy, k, c, gradients);
    row_get(x, k, c, values);
    row_parameter(a.weight, c, 1, weight);
#pragma unroll
    for (int e = 0; e < N; e++) {
      const float g = gradients[e] * weight[e];
      sums[0] += g;
      sums[1] += g * ((values[e] - mean) * reciprocal);
    }
  }
  row_sums(sums, scratch);
  const float mean_g = sums[0] * a.reciprocal_columns, mean_product = sums[1] * a.reciprocal_columns;
  if (!is_row) return;

  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    T *target = a.dx + r * a.columns + (uint64_t)c * N;
    float gradients[N], values[N], weight[N];
    row_get(dy, k, c, gradients);
    row_get(x, k, c, values);
    row_parameter(a.weight, c, 1, weight);
#pragma unroll
    for (int e = 0; e < N; e++) {
      const float n = (values[e] - mean) * reciprocal;
      gradients[e] = (gradients[e] * weight[e] - mean_g - n * mean_product) * reciprocal;
    }
    if (a.accumulate) {
      load_floats<N>(target, values);
#pragma unroll
      for (int e = 0; e < N; e++) gradients[e] += values[e];
    }
    store_floats<N>(target, gradients);
  }
}

#endif  // DURE_CUDA_KERNELS_LAYER_NORM_GRADIENT_CUH_
