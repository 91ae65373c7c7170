// matmul_blocks: c = a b^T + bias + residual, b packed. A block of threads makes two columns of up to ROWS rows of c;
// its threads take the blocks of K in turn, so that the codes are read once, 16 bytes a thread side by side. The order
// of summation does not depend on the number of rows. The counterpart of shaders/matmul_blocks_rows.comp.
//
// 2 K FLOP and 1.125 K / rows bytes (4 bits: 0.625) an output.
#ifndef DURE_CUDA_KERNELS_MATMUL_BLOCKS_CUH_
#define DURE_CUDA_KERNELS_MATMUL_BLOCKS_CUH_

#include "cuda/block.cuh"
#include "cuda/kernels/blocks.cuh"
#include "cuda/kernels/packed.cuh"

enum { MATMUL_BLOCKS_THREADS = 64, MATMUL_BLOCKS_COLUMNS = 2, MATMUL_BLOCKS_ROWS = 8 };

template <typename T>
struct matmul_blocks_arguments {
  const T *a;  // [M, K]
  packed_weight weight;
  const T *bias, *residual;  // NULL: none
  T *c;
  uint32_t M, N;
  uint64_t residual_stride, c_stride;
};

// Sixteen elements, by 16 bytes at a time where they lie at a multiple of that.
template <typename T>
__device__ __forceinline__ void matmul_blocks_left(const T *left, bool is_aligned, float (&values)[16]) {
  constexpr int run = 16 / sizeof(T);
#pragma unroll
  for (int first = 0; first < 16; first += run) {
    float part[run];
    if (is_aligned) {
      load_floats<run>(left + first, part);
    } else {
#pragma unroll
      for (int e = 0; e < run; e++) part[e] = to_float(left[first + e]);
    }
#pragma unroll
    for (int e = 0; e < run; e++) values[first + e] = part[e];
  }
}

// Grid: pairs of columns within groups of ROWS rows.
template <typename T, int ROWS>
__global__ void __launch_bounds__(MATMUL_BLOCKS_THREADS, ROWS >= 8 ? 4 : 8)
    matmul_blocks_kernel(matmul_blocks_arguments<T> p) {
  enum { COLUMNS = MATMUL_BLOCKS_COLUMNS };
  __shared__ float scratch[32];
  const uint32_t pairs = (p.N + COLUMNS - 1) / COLUMNS, blocks = p.weight.blocks;
  const uint32_t column0 = blockIdx.x % pairs * COLUMNS, row0 = blockIdx.x / pairs * ROWS;
  const bool is_aligned = reinterpret_cast<uintptr_t>(p.a) % 16 == 0;  // then so is each half of a block
  float sums[ROWS][COLUMNS] = {};
  for (uint32_t block = threadIdx.x; block < blocks; block += blockDim.x) {
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
      float right[COLUMNS][16];
#pragma unroll
      for (uint32_t j = 0; j < COLUMNS; j++) {
        const uint64_t place = (uint64_t)min(column0 + j, p.N - 1) * blocks + block;
        packed_half(p.weight, packed_line(p.weight, place, h), place, h, right[j]);
      }
#pragma unroll
      for (uint32_t i = 0; i < ROWS; i++) {
        float left[16];
        matmul_blocks_left(p.a + ((uint64_t)min(row0 + i, p.M - 1) * blocks + block) * 32 + h * 16, is_aligned, left);
#pragma unroll
        for (uint32_t e = 0; e < 16; e++) {
#pragma unroll
          for (uint32_t j = 0; j < COLUMNS; j++) sums[i][j] = fmaf(left[e], right[j][e], sums[i][j]);
        }
      }
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < ROWS; i++) {
#pragma unroll
    for (uint32_t j = 0; j < COLUMNS; j++) {
      __syncthreads();
      float total = block_sum(sums[i][j], scratch);
      const uint32_t row = row0 + i, column = column0 + j;
      if (threadIdx.x != 0 || row >= p.M || column >= p.N) continue;
      if (p.bias != nullptr) total += to_float(p.bias[column]);
      if (p.residual != nullptr) total += to_float(p.residual[row * p.residual_stride + column]);
      p.c[row * p.c_stride + column] = from_float<T>(total);
    }
  }
}

#endif  // DURE_CUDA_KERNELS_MATMUL_BLOCKS_CUH_
