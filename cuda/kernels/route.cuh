// The experts of each row and their weights, and the gradient (runtime/ops.h). One thread a row: its experts are found
// one after the other as the largest that comes after the one before in the order (rank falling, number rising), so
// that nothing need be marked. Bytes: E elements and 8 K a row; about (K + 3) E steps of a few operations.
#ifndef DURE_CUDA_KERNELS_ROUTE_CUH_
#define DURE_CUDA_KERNELS_ROUTE_CUH_

#include "cuda/record.cuh"

enum { ROUTE_THREADS = 64 };
#define ROUTE_NONE 0xffffffffu

template <typename T>
struct route_arguments {
  const T *logits;    // [rows, experts]
  const T *bias;      // [experts]; may be null
  float *weights;     // [rows, chosen]
  uint32_t *choices;  // [rows, chosen]
  uint64_t rows;
  uint32_t experts, chosen, group_count, group_limit, group_best;
  bool is_sigmoid, is_normalised;
  float factor;
  const float *dweights;  // of the gradient: [rows, chosen]
  T *dlogits;             // [rows, experts]
  bool accumulate;
};

struct route_row {
  float largest, reciprocal;
};

template <typename T>
__device__ __forceinline__ route_row route_row_of(const route_arguments<T> &a, const T *logits) {
  route_row row = {-INFINITY, 1};
  if (a.is_sigmoid) return row;
  for (uint32_t e = 0; e < a.experts; e++) {
    const float x = to_float(logits[e]);
    row.largest = x > row.largest ? x : row.largest;
  }
  float sum = 0;
  for (uint32_t e = 0; e < a.experts; e++) sum += expf(to_float(logits[e]) - row.largest);
  row.reciprocal = 1.0f / sum;
  return row;
}

template <typename T>
__device__ __noinline__ float route_score(const route_arguments<T> &a, const T *logits, route_row row, uint32_t e) {
  const float x = to_float(logits[e]);
  if (!a.is_sigmoid) return expf(x - row.largest) * row.reciprocal;
  const float q = expf(-fabsf(x)), upper = 1.0f / (1.0f + q);
  return x < 0 ? q * upper : upper;
}

// What decides; without a bias and sums the logits do, which grow with the scores. NaN comes last.
template <typename T>
__device__ __noinline__ float route_rank(const route_arguments<T> &a, const T *logits, route_row row, uint32_t e) {
  float rank = to_float(logits[e]);
  if (a.bias != nullptr || (a.group_count > 0 && a.group_best > 1)) rank = route_score(a, logits, row, e);
  if (a.bias != nullptr) rank += to_float(a.bias[e]);
  return rank == rank ? rank : -INFINITY;
}

// The next of experts [first, first + size) after *last (at first: infinity and NONE), of groups in `open_groups`.
template <typename T>
__device__ __forceinline__ void route_next(const route_arguments<T> &a, const T *logits, route_row row, uint32_t first,
                                           uint32_t size, uint32_t open_groups, float *last_rank, uint32_t *last) {
  const uint32_t each = a.group_count > 0 ? a.experts / a.group_count : a.experts;
  float best_rank = -INFINITY;
  uint32_t best = ROUTE_NONE;
  for (uint32_t e = first; e < first + size; e++) {
    float rank = route_rank(a, logits, row, e);
    if (a.group_count > 0 && (open_groups >> (e / each) & 1u) == 0) rank = -INFINITY;
    const bool is_after = rank < *last_rank || (rank == *last_rank && (*last == ROUTE_NONE || e > *last));
    if (is_after && (best == ROUTE_NONE || rank > best_rank)) {
      best_rank = rank;
      best = e;
    }
  }
  *last_rank = best_rank;
  *last = best;
}

template <typename T>
__device__ __forceinline__ uint32_t route_open_groups(const route_arguments<T> &a, const T *logits, route_row row) {
  float sums[32];
  const uint32_t each = a.experts / a.group_count;
  for (uint32_t g = 0; g < a.group_count; g++) {
    float rank = INFINITY;
    uint32_t last = ROUTE_NONE;
    sums[g] = 0;
    for (uint32_t k = 0; k < a.group_best; k++) {
      route_next(a, logits, row, g * each, each, ROUTE_NONE, &rank, &last);
      sums[g] += rank;
    }
  }
  uint32_t open_groups = 0;
  for (uint32_t k = 0; k < a.group_limit; k++) {
    uint32_t best = ROUTE_NONE;
    for (uint32_t g = 0; g < a.group_count; g++) {
      if ((open_groups >> g & 1u) == 0 && (best == ROUTE_NONE || sums[g] > sums[best])) best = g;
    }
    open_groups |= 1u << best;
  }
  return open_groups;
}

template <typename T>
__global__ void __launch_bounds__(ROUTE_THREADS) route_kernel(route_arguments<T> a) {
  const uint64_t r = (uint64_t)blockIdx.x * ROUTE_THREADS + threadIdx.x;
  if (r >= a.rows) return;
  const T *logits = a.logits + r * a.experts;
  const route_row row = route_row_of(a, logits);
  const uint32_t open_groups = a.group_count > 0 ? route_open_groups(a, logits, row) : ROUTE_NONE;
  float rank = INFINITY, sum = 0;
  uint32_t last = ROUTE_NONE;
  for (uint32_t k = 0; k < a.chosen; k++) {
    route_next(a, logits, row, 0, a.experts, open_groups, &rank, &last);
    const float score = route_score(a, logits, row, last);
    a.choices[r * a.chosen + k] = last;
    a.weights[r * a.chosen + k] = score * a.factor;
    sum += score;
  }
  if (!a.is_normalised) return;
  for (uint32_t k = 0; k < a.chosen; k++) a.weights[r * a.chosen + k] /= sum;
}

template <typename T>
__global__ void __launch_bounds__(ROUTE_THREADS) route_gradient_kernel(route_arguments<T> a) {
  const uint64_t r = (uint64_t)blockIdx.x * ROUTE_THREADS + threadIdx.x;
  if (r >= a.rows) return;
  const T *logits = a.logits + r * a.experts;
  const float *weights = a.weights + r * a.chosen, *dweights = a.dweights + r * a.chosen;
  const uint32_t *choices = a.choices + r * a.chosen;
  const route_row row = route_row_of(a, logits);
  float dot = 0;
  for (uint32_t k = 0; k < a.chosen; k++) dot += dweights[k] * weights[k];
  const float mean = a.is_normalised ? dot / a.factor : 0;
  for (uint32_t e = 0; e < a.experts; e++) {
    float slope = a.is_sigmoid || a.is_normalised ? 0 : -route_score(a, logits, row, e) * dot;
    for (uint32_t k = 0; k < a.chosen; k++) {
      if (choices[k] != e) continue;
      const float part = weights[k] * (dweights[k] - mean);
      slope += a.is_sigmoid ? part * (1.0f - route_score(a, logits, row, e)) : part;
    }
    T *target = a.dlogits + r * a.experts + e;
    if (a.accumulate) slope += to_float(*target);
    *target = from_float<T>(slope);
  }
}

#endif  // DURE_CUDA_KERNELS_ROUTE_CUH_
