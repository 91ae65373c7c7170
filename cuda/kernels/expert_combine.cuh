// y[r, :] = residual[r, :] + sum over k of weights[r, k] x[places[r, k], :], or y +=, and its gradient (runtime/ops.h).
// Of the sum a thread an element; of the gradient a block an entry. Bytes: K + 2 elements a result; of the gradient 3.
#ifndef DURE_CUDA_KERNELS_EXPERT_COMBINE_CUH_
#define DURE_CUDA_KERNELS_EXPERT_COMBINE_CUH_

#include "cuda/block.cuh"
#include "cuda/kernels/divider.cuh"
#include "cuda/record.cuh"

enum { EXPERT_COMBINE_THREADS = 256 };

template <typename T>
struct expert_combine_arguments {
  const T *x;              // [x_rows, columns]
  const float *weights;    // [rows, chosen]
  const uint32_t *places;  // [rows, chosen]; null with one a row: the row itself
  const T *residual;       // [rows, columns]; may be null
  T *y;                    // [rows, columns]
  const T *dy;             // of the gradient
  T *dx;                   // [x_rows, columns]
  float *dweights;         // [rows, chosen]
  uint64_t count, columns;
  divider row;  // columns
  uint32_t x_rows, chosen, first_row;
  bool accumulate;
};

template <typename T>
__device__ __forceinline__ uint32_t expert_place(const expert_combine_arguments<T> &a, uint64_t entry) {
  return a.places != nullptr ? a.places[entry] - a.first_row : (uint32_t)entry;
}

template <typename T>
__global__ void __launch_bounds__(EXPERT_COMBINE_THREADS) expert_combine_kernel(expert_combine_arguments<T> a) {
  const uint64_t i = (uint64_t)blockIdx.x * EXPERT_COMBINE_THREADS + threadIdx.x;
  if (i >= a.count) return;
  const uint64_t r = quotient(a.row, i), c = i - r * a.columns;
  float sum = a.residual != nullptr ? to_float(a.residual[i]) : 0;
  for (uint32_t k = 0; k < a.chosen; k++) {
    const uint32_t place = expert_place(a, r * a.chosen + k);
    if (place < a.x_rows) sum += a.weights[r * a.chosen + k] * to_float(a.x[place * a.columns + c]);
  }
  if (a.accumulate) sum += to_float(a.y[i]);
  a.y[i] = from_float<T>(sum);
}

template <typename T>
__global__ void __launch_bounds__(EXPERT_COMBINE_THREADS)
    expert_combine_gradient_kernel(expert_combine_arguments<T> a) {
  __shared__ float scratch[EXPERT_COMBINE_THREADS / WARP];
  const uint64_t entry = blockIdx.x, r = entry / a.chosen;
  const uint32_t place = expert_place(a, entry);
  if (place >= a.x_rows) return;
  const float weight = a.weights[entry];
  float products = 0;
  for (uint64_t c = threadIdx.x; c < a.columns; c += EXPERT_COMBINE_THREADS) {
    const float gradient = to_float(a.dy[r * a.columns + c]);
    products += gradient * to_float(a.x[place * a.columns + c]);
    a.dx[place * a.columns + c] = from_float<T>(weight * gradient);
  }
  const float sum = block_sum(products, scratch);
  if (threadIdx.x == 0) a.dweights[entry] = sum;
}

#endif  // DURE_CUDA_KERNELS_EXPERT_COMBINE_CUH_
