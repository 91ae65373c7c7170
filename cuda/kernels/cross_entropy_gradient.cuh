// logits[r, v] becomes (e^(logits[r, v] - log_sum_exp[r]) - [v == labels[r]]) dloss[0], zero in rows whose label is
// ignored. A block: one row, CROSS_ENTROPY_GRADIENT_STEPS runs of 16 bytes a thread; rows may begin anywhere
// (split_row.cuh). Bytes: one element read and one written, 8 a row. FLOPs: 4, one of them an exponential.
#ifndef DURE_CUDA_KERNELS_CROSS_ENTROPY_GRADIENT_CUH_
#define DURE_CUDA_KERNELS_CROSS_ENTROPY_GRADIENT_CUH_

#include "cuda/activation.cuh"
#include "cuda/kernels/packed.cuh"
#include "cuda/kernels/split_row.cuh"
#include "cuda/record.cuh"

enum { CROSS_ENTROPY_GRADIENT_STEPS = 4, CROSS_ENTROPY_GRADIENT_THREADS = 256 };

template <typename T>
struct cross_entropy_gradient_arguments {
  const uint32_t *labels;    // [rows]
  const float *log_sum_exp;  // [rows]
  const float *dloss;        // [1]
  T *logits;                 // [rows, vocabulary]
  uint32_t vocabulary;
};

struct cross_entropy_row {
  float log_sum_exp, dloss;
  uint32_t label;
};

// M logits from column `first` on.
template <typename T, int M>
__device__ __forceinline__ void cross_entropy_slope(const cross_entropy_row &row, uint32_t first, float (&x)[M]) {
#pragma unroll
  for (int e = 0; e < M; e++) x[e] = exponential<sizeof(T) == 2>(x[e] - row.log_sum_exp);
  if (row.label - first < (uint32_t)M) {
#pragma unroll
    for (int e = 0; e < M; e++) x[e] -= row.label - first == (uint32_t)e ? 1.0f : 0.0f;
  }
#pragma unroll
  for (int e = 0; e < M; e++) x[e] = row.label == DURE_IGNORE_LABEL ? 0.0f : x[e] * row.dloss;
}

template <typename T>
__device__ __forceinline__ void cross_entropy_slope_of_one(const cross_entropy_row &row, uint32_t v, T *logit) {
  float x[1];
  load_floats<1>(logit, x);
  cross_entropy_slope<T>(row, v, x);
  store_floats<1>(logit, x);
}

// Grid: rows, parts of a row.
template <typename T>
__global__ void __launch_bounds__(CROSS_ENTROPY_GRADIENT_THREADS)
    cross_entropy_gradient_kernel(cross_entropy_gradient_arguments<T> a) {
  constexpr int N = 16 / sizeof(T), steps = CROSS_ENTROPY_GRADIENT_STEPS;
  const uint64_t r = blockIdx.x;
  const cross_entropy_row row = {a.log_sum_exp[r], a.dloss[0], a.labels[r]};
  const split_row<T> logits = split_row_of(a.logits + r * a.vocabulary, a.vocabulary);

  const uint32_t first = blockIdx.y * steps * blockDim.x + threadIdx.x;
  packed<T, N> runs[steps];
#pragma unroll
  for (int s = 0; s < steps; s++) {
    const uint32_t c = first + s * blockDim.x;
    if (c < logits.runs) runs[s] = load_packed<N>(logits.body + (uint64_t)c * N);
  }
#pragma unroll
  for (int s = 0; s < steps; s++) {
    const uint32_t c = first + s * blockDim.x;
    if (c >= logits.runs) continue;
    float x[N];
    unpack(runs[s], x);
    cross_entropy_slope<T>(row, logits.head_count + c * N, x);
    store_floats<N>(logits.body + (uint64_t)c * N, x);
  }
  if (blockIdx.y > 0) return;
  for (uint32_t i = threadIdx.x; i < logits.head_count; i += blockDim.x)
    cross_entropy_slope_of_one(row, i, logits.head + i);
  for (uint32_t i = threadIdx.x; i < logits.tail_count; i += blockDim.x)
    cross_entropy_slope_of_one(row, a.vocabulary - logits.tail_count + i, logits.tail + i);
}

#endif  // DURE_CUDA_KERNELS_CROSS_ENTROPY_GRADIENT_CUH_
