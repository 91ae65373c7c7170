// matmul_q8 of few rows (decoding). b is read once and little else counts: a thread takes whole blocks of four rows of
// b, 32 bytes each, so that with rows of 4096 a block of 128 threads has all of its loads on their way at once. The
// counterpart of shaders/matmul_q8_rows.comp.
//
// A block of threads makes four columns of up to ROWS rows of c; its threads take the blocks of K in turn. Of a, L1
// holds what is read for each column. 2 K FLOP and 1.125 K / rows bytes an output; the order of summation does not
// depend on the number of rows.
#ifndef DURE_CUDA_KERNELS_MATMUL_Q8_ROWS_CUH_
#define DURE_CUDA_KERNELS_MATMUL_Q8_ROWS_CUH_

#include "cuda/block.cuh"
#include "cuda/kernels/matmul_q8.cuh"

enum { MATMUL_Q8_ROWS_THREADS = 128, MATMUL_Q8_ROWS_COLUMNS = 4 };

struct matmul_q8_words {
  uint4 low, high;  // a block: 32 integers

  __device__ __forceinline__ void load(const void *integers, uint64_t block) {
    const uint4 *const lines = static_cast<const uint4 *>(integers) + block * 2;
    low = __ldg(lines);
    high = __ldg(lines + 1);
  }
  __device__ __forceinline__ float dot(const matmul_q8_words &other) const {
    int sum = MATMUL_Q8_BEGIN;
    sum = __dp4a((int)low.x, (int)other.low.x, sum);
    sum = __dp4a((int)low.y, (int)other.low.y, sum);
    sum = __dp4a((int)low.z, (int)other.low.z, sum);
    sum = __dp4a((int)low.w, (int)other.low.w, sum);
    sum = __dp4a((int)high.x, (int)other.high.x, sum);
    sum = __dp4a((int)high.y, (int)other.high.y, sum);
    sum = __dp4a((int)high.z, (int)other.high.z, sum);
    sum = __dp4a((int)high.w, (int)other.high.w, sum);
    return matmul_q8_dot(sum);
  }
};

// Sums over a warp of COUNT values a lane, COUNT a power of two up to 32: values[0] becomes the sum of value
// `lane / (32 / COUNT)`. Each step adds neighbours at half the distance and leaves each lane half of the values, so
// that 32 sums take 31 shuffles, not 160; which lanes are added when is the same for every COUNT.
template <int COUNT>
__device__ __forceinline__ void matmul_q8_warp_sums(float (&values)[COUNT]) {
  const uint32_t lane = threadIdx.x % WARP;
  int left = COUNT;
#pragma unroll
  for (int offset = WARP / 2; offset > 0; offset /= 2) {
    if (left > 1) {
      left /= 2;
      const bool keeps_upper = (lane & (uint32_t)offset) != 0;
#pragma unroll
      for (int i = 0; i < COUNT / 2; i++) {
        if (i >= left) continue;
        const float given = keeps_upper ? values[i] : values[i + left];
        const float kept = keeps_upper ? values[i + left] : values[i];
        values[i] = kept + __shfl_xor_sync(0xffffffffu, given, offset);
      }
    } else {
      values[0] += __shfl_xor_sync(0xffffffffu, values[0], offset);
    }
  }
}

// Grid: x over groups of ROWS rows, within fours of columns.
template <typename T, int ROWS>
__global__ void __launch_bounds__(MATMUL_Q8_ROWS_THREADS, ROWS == 8 ? 3 : 4)
    matmul_q8_rows_kernel(matmul_q8_arguments p) {
  enum { COLUMNS = MATMUL_Q8_ROWS_COLUMNS, COUNT = ROWS * COLUMNS, WARPS = MATMUL_Q8_ROWS_THREADS / WARP };
  __shared__ __align__(16) float shared[WARPS * COUNT];
  const matmul_arguments &o = p.o;
  const uint32_t blocks = o.K / MATMUL_Q8_BLOCK, row_groups = (o.M + ROWS - 1) / ROWS;
  const uint32_t first_row = blockIdx.x % row_groups * ROWS, column = blockIdx.x / row_groups * COLUMNS;
  uint64_t b_row[COLUMNS];  // its first block; columns outside are read as the last one
#pragma unroll
  for (uint32_t j = 0; j < COLUMNS; j++) b_row[j] = (uint64_t)min(column + j, o.N - 1) * blocks;
  float sums[COUNT] = {};
#pragma unroll 1
  for (uint32_t block = threadIdx.x; block < blocks; block += MATMUL_Q8_ROWS_THREADS) {
    matmul_q8_words b[COLUMNS];
    float b_scale[COLUMNS];
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
      b[j].load(o.b, b_row[j] + block);
      b_scale[j] = __ldg(p.b_scales + b_row[j] + block);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      const uint64_t at = (uint64_t)min(first_row + i, o.M - 1) * blocks + block;
      matmul_q8_words a;
      a.load(o.a, at);
      const float a_scale = __ldg(p.a_scales + at);
#pragma unroll
      for (int j = 0; j < COLUMNS; j++) {
        float &sum = sums[i * COLUMNS + j];
        sum = fmaf(a_scale * b_scale[j], a.dot(b[j]), sum);
      }
    }
  }
  matmul_q8_warp_sums<COUNT>(sums);
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (lane % (WARP / COUNT) == 0) shared[warp * COUNT + lane / (WARP / COUNT)] = sums[0];
  __syncthreads();
  if (threadIdx.x >= ROWS) return;
  float4 total = load_four(shared + threadIdx.x * COLUMNS);
#pragma unroll
  for (int i = 1; i < WARPS; i++) total = matmul_sum(total, load_four(shared + i * COUNT + threadIdx.x * COLUMNS));
  matmul_finish<T>(o, 0, first_row + threadIdx.x, column, total);
}

#endif  // DURE_CUDA_KERNELS_MATMUL_Q8_ROWS_CUH_
