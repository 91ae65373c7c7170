// Products of experts (runtime/ops.h): c[p, :] = a[p, :] op(b[e]) for the rows p of each expert e, and z[e] = the sum
// of x[p, :] y[p, :]^T. The counterpart of shaders/expert_matmul.comp and expert_outer.comp.
//
// A block of 256 threads makes 64 x 64 results, 4 x 4 a thread, DEPTH terms at a time through shared memory. A tile of
// rows belongs to one expert: there are as many tiles as all rows fill and one more an expert, and a block finds its
// own by walking the offsets. 2 FLOP a term; 1 / 16 element read from memory a multiply-add.
#ifndef DURE_CUDA_KERNELS_EXPERT_MATMUL_CUH_
#define DURE_CUDA_KERNELS_EXPERT_MATMUL_CUH_

#include "cuda/record.cuh"

enum { EXPERT_TILE = 64, EXPERT_DEPTH = 16, EXPERT_THREADS = 256, EXPERT_PITCH = EXPERT_TILE + 1 };

template <typename T>
struct expert_matmul_arguments {
  const T *a, *b;           // [rows, K]; [experts, K, N] or [experts, N, K]. Of expert_outer: x [rows, M], y [rows, N]
  const uint32_t *offsets;  // [experts + 1]
  any_pointer c;            // [rows, N]; of expert_outer [experts, M, N]
  uint32_t rows, M, N, K, experts, first_row, row_tiles, column_tiles;
  uint64_t a_stride, b_stride, b_expert, c_stride, c_expert;
  bool transpose_b, accumulate;
};

struct expert_tiles {
  float left[EXPERT_DEPTH][EXPERT_PITCH], right[EXPERT_DEPTH][EXPERT_PITCH];
};

// Row `offset` of all counted from first_row, within the call's rows.
template <typename T>
__device__ __forceinline__ uint32_t expert_row(const expert_matmul_arguments<T> &o, uint32_t index) {
  const uint32_t offset = o.offsets[index], row = offset > o.first_row ? offset - o.first_row : 0;
  return row < o.rows ? row : o.rows;
}

__device__ __forceinline__ void expert_multiply(const expert_tiles &tiles, float (&sums)[4][4]) {
  const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll 4
  for (int k = 0; k < EXPERT_DEPTH; k++) {
    float left[4], right[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      left[i] = tiles.left[k][y + 16 * i];
      right[i] = tiles.right[k][x + 16 * i];
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
    }
  }
}

// Rows from `row` to `end`, columns from `column` to `columns` of the result, `base` elements from its first.
template <typename T>
__device__ __forceinline__ void expert_store(const expert_matmul_arguments<T> &o, uint64_t base, uint32_t row,
                                             uint32_t end, uint32_t column, const float (&sums)[4][4]) {
  const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const uint32_t r = row + y + 16 * i, c = column + x + 16 * j;
      if (r >= end || c >= o.N) continue;
      const uint64_t at = base + r * o.c_stride + c;
      store_any(o.c, at, o.accumulate ? sums[i][j] + load_any(o.c, at) : sums[i][j]);
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(EXPERT_THREADS) expert_matmul_kernel(expert_matmul_arguments<T> o) {
  __shared__ expert_tiles tiles;
  const uint32_t column0 = blockIdx.x % o.column_tiles * EXPERT_TILE;
  uint32_t tile = blockIdx.x / o.column_tiles, expert = 0, begin = 0, end = 0;
  for (; expert < o.experts; expert++) {
    begin = expert_row(o, expert);
    end = expert_row(o, expert + 1);
    const uint32_t count = end > begin ? (end - begin + EXPERT_TILE - 1) / EXPERT_TILE : 0;
    if (tile < count) break;
    tile -= count;
  }
  if (expert == o.experts) return;
  const uint32_t row0 = begin + tile * EXPERT_TILE;
  const T *b = o.b + expert * o.b_expert;
  float sums[4][4] = {};
  for (uint32_t k0 = 0; k0 < o.K; k0 += EXPERT_DEPTH) {
    for (uint32_t i = threadIdx.x; i < EXPERT_TILE * EXPERT_DEPTH; i += EXPERT_THREADS) {
      const uint32_t k = i % EXPERT_DEPTH, row = row0 + i / EXPERT_DEPTH;
      tiles.left[k][i / EXPERT_DEPTH] = row < end && k0 + k < o.K ? to_float(o.a[row * o.a_stride + k0 + k]) : 0;
      const uint32_t along = o.transpose_b ? k : i / EXPERT_TILE,
                     n = o.transpose_b ? i / EXPERT_DEPTH : i % EXPERT_TILE;
      const bool is_there = column0 + n < o.N && k0 + along < o.K;
      const uint64_t at =
          o.transpose_b ? (column0 + n) * o.b_stride + k0 + along : (k0 + along) * o.b_stride + column0 + n;
      tiles.right[along][n] = is_there ? to_float(b[at]) : 0;
    }
    __syncthreads();
    expert_multiply(tiles, sums);
    __syncthreads();
  }
  expert_store(o, 0, row0, end, column0, sums);
}

template <typename T>
__global__ void __launch_bounds__(EXPERT_THREADS) expert_outer_kernel(expert_matmul_arguments<T> o) {
  __shared__ expert_tiles tiles;
  const uint32_t column0 = blockIdx.x % o.column_tiles * EXPERT_TILE;
  const uint32_t row0 = blockIdx.x / o.column_tiles % o.row_tiles * EXPERT_TILE;
  const uint32_t expert = blockIdx.x / (o.column_tiles * o.row_tiles);
  const uint32_t begin = expert_row(o, expert), end = expert_row(o, expert + 1);
  float sums[4][4] = {};
  for (uint32_t p0 = begin; p0 < end; p0 += EXPERT_DEPTH) {
    for (uint32_t i = threadIdx.x; i < EXPERT_TILE * EXPERT_DEPTH; i += EXPERT_THREADS) {
      const uint32_t k = i / EXPERT_TILE, n = i % EXPERT_TILE;
      const bool is_row = p0 + k < end;
      tiles.left[k][n] = is_row && row0 + n < o.M ? to_float(o.a[(p0 + k) * o.a_stride + row0 + n]) : 0;
      tiles.right[k][n] = is_row && column0 + n < o.N ? to_float(o.b[(p0 + k) * o.b_stride + column0 + n]) : 0;
    }
    __syncthreads();
    expert_multiply(tiles, sums);
    __syncthreads();
  }
  expert_store(o, expert * o.c_expert, row0, o.M, column0, sums);
}

#endif  // DURE_CUDA_KERNELS_EXPERT_MATMUL_CUH_
