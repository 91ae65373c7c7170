// y = (x - mean) / sqrt(variance + epsilon) * weight + bias over the last dimension (Ba et al. 2016, section 3). A
// group of threads a row (row.cuh), which is read once and walked three times (mean, variance about it, result): the
// variance is exact to rounding however large the mean. Bytes: one element read and one written, 8 a row. FLOPs: 8.
#ifndef DURE_CUDA_KERNELS_LAYER_NORM_CUH_
#define DURE_CUDA_KERNELS_LAYER_NORM_CUH_

#include "cuda/kernels/row.cuh"

template <typename T>
struct layer_norm_arguments {
  const T *x;                          // [rows, columns]
  const T *weight, *bias;              // [columns]; may be null
  T *y;                                // [rows, columns]
  float *mean, *reciprocal_deviation;  // [rows]
  uint64_t rows, columns;
  uint32_t runs;
  float reciprocal_columns, epsilon;
};

template <typename T, int N, int K>
__global__ void __launch_bounds__(ROW_THREADS_MOST) layer_norm_kernel(layer_norm_arguments<T> a) {
  __shared__ float scratch[ROW_WARPS_MOST];
  const bool is_row = row_of_group() < a.rows;
  const uint64_t r = is_row ? row_of_group() : a.rows - 1;
  row_runs<T, N, K> x;
  row_load(x, a.x + r * a.columns, a.runs);

  float sum = 0;
  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    float values[N];
    row_get(x, k, c, values);
#pragma unroll
    for (int e = 0; e < N; e++) sum += values[e];
  }
  const float mean = row_sum(sum, scratch) * a.reciprocal_columns;

  float squares = 0;
  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    float values[N];
    row_get(x, k, c, values);
#pragma unroll
    for (int e = 0; e < N; e++) squares += (values[e] - mean) * (values[e] - mean);
  }
  const float variance = row_sum(squares, scratch) * a.reciprocal_columns;
  const float reciprocal = 1.0f / sqrtf(variance + a.epsilon);
  if (!is_row) return;  // after the last exchange among threads

  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    float values[N], weight[N], bias[N];
    row_get(x, k, c, values);
    row_parameter(a.weight, c, 1, weight);
    row_parameter(a.bias, c, 0, bias);
#pragma unroll
    for (int e = 0; e < N; e++) values[e] = (values[e] - mean) * reciprocal * weight[e] + bias[e];
    store_floats<N>(a.y + r * a.columns + (uint64_t)c * N, values);
  }
  if (threadIdx.x == 0) {
    a.mean[r] = mean;
    a.reciprocal_deviation[r] = reciprocal;
  }
}

#endif  // DURE_CUDA_KERNELS_LAYER_NORM_CUH_
