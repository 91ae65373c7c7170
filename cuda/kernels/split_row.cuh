// Rows that begin anywhere: up to N - 1 elements before the first 16-byte boundary, runs of 16 bytes, and what is left.
// For wide rows of odd lengths, such as logits of a vocabulary of 50257.
#ifndef DURE_CUDA_KERNELS_SPLIT_ROW_CUH_
#define DURE_CUDA_KERNELS_SPLIT_ROW_CUH_

#include <cstdint>

template <typename T>
struct split_row {
  T *head, *body, *tail;
  uint32_t head_count, runs, tail_count;  // elements, runs of 16 bytes, elements
};

template <typename T>
__device__ __forceinline__ split_row<T> split_row_of(T *row, uint32_t count) {
  constexpr uint32_t N = 16 / sizeof(T);
  const uint32_t beyond = (uint32_t)(reinterpret_cast<uintptr_t>(row) / sizeof(T)) % N;  // elements past a boundary
  split_row<T> s;
  s.head_count = beyond == 0 ? 0 : N - beyond;
  if (s.head_count > count) s.head_count = count;
  s.runs = (count - s.head_count) / N;
  s.tail_count = (count - s.head_count) % N;
  s.head = row;
  s.body = row + s.head_count;
  s.tail = s.body + (uint64_t)s.runs * N;
  return s;
}

#endif  // DURE_CUDA_KERNELS_SPLIT_ROW_CUH_
