// unpack_blocks: packed weights to floats, whole or the rows that `indices` name. A thread makes half a block, 16
// elements. Bytes: those of the codes, 4 a block, and the elements that are written.
#ifndef DURE_CUDA_KERNELS_UNPACK_BLOCKS_CUH_
#define DURE_CUDA_KERNELS_UNPACK_BLOCKS_CUH_

#include "cuda/kernels/blocks.cuh"

template <typename T>
struct unpack_blocks_arguments {
  packed_weight weight;
  const uint32_t *indices;  // [rows], or NULL: every row
  T *y;                     // [rows, K]
  uint64_t halves;          // of all rows of y
  uint32_t first_row, table_rows, row_count;
};

template <typename T>
__global__ void __launch_bounds__(128) unpack_blocks_kernel(unpack_blocks_arguments<T> a) {
  const uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.halves) return;
  const uint64_t row = i / (2 * a.weight.blocks);
  const uint32_t half = (uint32_t)(i % (2 * a.weight.blocks));
  const uint64_t index = a.indices != nullptr ? a.indices[row] : row + a.first_row;
  const bool is_here = index >= a.first_row && index - a.first_row < a.table_rows;
  if (!is_here && (a.indices == nullptr || index < a.row_count)) return;
  const uint64_t block = (is_here ? index - a.first_row : 0) * a.weight.blocks + half / 2;
  float values[16];
  packed_half(a.weight, packed_line(a.weight, block, half % 2), block, half % 2, values);
#pragma unroll
  for (uint32_t e = 0; e < 16; e++) a.y[i * 16 + e] = from_float<T>(is_here ? values[e] : __uint_as_float(0x7fc00000u));
}

#endif  // DURE_CUDA_KERNELS_UNPACK_BLOCKS_CUH_
