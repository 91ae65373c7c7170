// log_sum_exp[r] = log(sum over v of e^logits[r, v]), loss[r] = log_sum_exp[r] - logits[r, labels[r]], in one walk over
// the row by a group of threads: each keeps the largest logit that it has seen and the sum of exponentials relative to
// it (Milakov and Gimelshein 2018, section 3). Rows may begin anywhere (split_row.cuh).
// Bytes: one element, 12 a row. FLOPs: 4, one of them an exponential.
#ifndef DURE_CUDA_KERNELS_CROSS_ENTROPY_CUH_
#define DURE_CUDA_KERNELS_CROSS_ENTROPY_CUH_

#include <cfloat>

#include "cuda/activation.cuh"
#include "cuda/kernels/row.cuh"
#include "cuda/kernels/split_row.cuh"

enum { CROSS_ENTROPY_STEPS = 4 };

template <typename T>
struct cross_entropy_arguments {
  const T *logits;            // [rows, vocabulary]
  const uint32_t *labels;     // [rows]
  float *loss, *log_sum_exp;  // [rows]
  uint64_t rows;
  uint32_t vocabulary;
};

// The maximum starts at a finite number, so that logits of minus infinity count for nothing; a NaN or plus infinity
// makes the sum NaN, whatever fmaxf does with them.
struct running_sum {
  float maximum, sum;
};

template <typename T, int M>
__device__ __forceinline__ void running_sum_add(running_sum &running, const float (&x)[M]) {
  constexpr bool is_fast = sizeof(T) == 2;
  float highest = running.maximum;
#pragma unroll
  for (int e = 0; e < M; e++) highest = fmaxf(highest, x[e]);
  float terms = 0;
#pragma unroll
  for (int e = 0; e < M; e++) terms += exponential<is_fast>(x[e] - highest);
  running.sum = running.sum * exponential<is_fast>(running.maximum - highest) + terms;
  running.maximum = highest;
}

template <typename T>
__global__ void __launch_bounds__(ROW_THREADS_MOST) cross_entropy_kernel(cross_entropy_arguments<T> a) {
  constexpr int N = 16 / sizeof(T), steps = CROSS_ENTROPY_STEPS;
  __shared__ float scratch[ROW_WARPS_MOST];
  const bool is_row = row_of_group() < a.rows;
  const uint64_t r = is_row ? row_of_group() : a.rows - 1;
  const T *logits = a.logits + r * a.vocabulary;
  const split_row<const T> row = split_row_of(logits, a.vocabulary);

  running_sum running = {-FLT_MAX, 0};
  uint32_t c = threadIdx.x;
  for (; c + (steps - 1) * blockDim.x < row.runs; c += steps * blockDim.x) {
    packed<T, N> runs[steps];
    float values[steps][N];
#pragma unroll
    for (int s = 0; s < steps; s++) runs[s] = load_packed<N>(row.body + (uint64_t)(c + s * blockDim.x) * N);
#pragma unroll
    for (int s = 0; s < steps; s++) unpack(runs[s], values[s]);
    running_sum_add<T>(running, reinterpret_cast<const float(&)[steps * N]>(values));
  }
  for (; c < row.runs; c += blockDim.x) {
    float values[N];
    load_floats<N>(row.body + (uint64_t)c * N, values);
    running_sum_add<T>(running, values);
  }
  float value[1];
  for (uint32_t i = threadIdx.x; i < row.head_count; i += blockDim.x) {
    value[0] = to_float(row.head[i]);
    running_sum_add<T>(running, value);
  }
  for (uint32_t i = threadIdx.x; i < row.tail_count; i += blockDim.x) {
    value[0] = to_float(row.tail[i]);
    running_sum_add<T>(running, value);
  }

  const float maximum = row_maximum(running.maximum, scratch);
  const float sum = row_sum(running.sum * expf(running.maximum - maximum), scratch);
  if (!is_row || threadIdx.x != 0) return;
  const float nan = __uint_as_float(0x7fc00000u);
  const float total = sum == 0 ? nan : maximum + logf(sum);  // no logit above minus infinity: no distribution
  const uint32_t label = a.labels[r];
  float loss = label == DURE_IGNORE_LABEL ? 0.0f : nan;
  if (label < a.vocabulary) loss = total - to_float(logits[label]);
  a.log_sum_exp[r] = total;
  a.loss[r] = loss;
}

#endif  // DURE_CUDA_KERNELS_CROSS_ENTROPY_CUH_
