// y = x or y += x between heads that lie differently: head by head, one head to all, or the sum of all to one
// (runtime/ops.h). A thread an element of y. Bytes: one element read (of a sum, one of each head) and one written.
#ifndef DURE_CUDA_KERNELS_COPY_HEADS_CUH_
#define DURE_CUDA_KERNELS_COPY_HEADS_CUH_

#include "cuda/kernels/divider.cuh"
#include "cuda/record.cuh"

enum { COPY_HEADS_THREADS = 256 };

template <typename T>
struct copy_heads_arguments {
  const T *x;           // [rows, x_heads, head_size]
  T *y;                 // [rows, y_heads, head_size]
  uint64_t count;       // elements of y
  divider size, heads;  // of a head; of a row of y
  uint32_t x_heads, y_heads;
  uint64_t x_row, x_head, y_row, y_head;  // strides
  bool accumulate;
};

template <typename T>
__global__ void __launch_bounds__(COPY_HEADS_THREADS) copy_heads_kernel(copy_heads_arguments<T> a) {
  const uint64_t i = (uint64_t)blockIdx.x * COPY_HEADS_THREADS + threadIdx.x;
  if (i >= a.count) return;
  const uint64_t head = quotient(a.size, i), c = i - head * a.size.divisor;
  const uint64_t r = quotient(a.heads, head), h = head - r * a.heads.divisor;
  const T *source = a.x + r * a.x_row + (a.x_heads == a.y_heads ? h * a.x_head : 0) + c;
  T *target = a.y + r * a.y_row + h * a.y_head + c;
  float value = to_float(*source);
  if (a.y_heads == 1) {
    for (uint32_t other = 1; other < a.x_heads; other++) value += to_float(source[other * a.x_head]);
  }
  if (a.accumulate) value += to_float(*target);
  *target = from_float<T>(value);
}

#endif  // DURE_CUDA_KERNELS_COPY_HEADS_CUH_
