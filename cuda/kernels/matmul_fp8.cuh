// Operands of a product in fp8: each matrix gets one scale, so that its largest magnitude becomes 448, the largest of
// e4m3 (Micikevicius et al. 2022, "FP8 Formats for Deep Learning": 4 bits of exponent, 3 of mantissa), and is copied as
// e4m3 with k contiguous, as matrix units of 8-bit floats want both factors.
//
//   x  as stored: [lines, k], or [k, lines] where it must be transposed      lines: rows of op(a), columns of op(b)
//   q  [lines, padded_k] e4m3, zeros beyond k        scales [2]: of a and b; x = scale * q, but for rounding
//
// Three kernels, each for both operands (grid y): the largest magnitudes of PARTS parts of a matrix, found among bits,
// which order non-negative floats as their values and NaN above infinity; the scales; the copies. A matrix of nothing
// but zeros (or below 2^-100) has the scale 0, one with NaN or an infinity in it the scale NaN: then so is the whole
// product, and the finite check finds it.
// Twice an element's bytes read and one byte written an element: as fast as memory.
#ifndef DURE_CUDA_KERNELS_MATMUL_FP8_CUH_
#define DURE_CUDA_KERNELS_MATMUL_FP8_CUH_

#include "cuda/block.cuh"
#include "cuda/instructions.cuh"
#include "cuda/kernels/matmul.cuh"

enum { MATMUL_FP8_THREADS = 256, MATMUL_FP8_PARTS = 512, MATMUL_FP8_TILE = 64 };

struct matmul_fp8_operand {
  const void *x;
  uint64_t stride;  // of x's rows as stored
  uint32_t lines;
  bool is_along_k, in_fours;  // in_fours: rows of x begin at multiples of 4 elements
  uint8_t *q;
};

struct matmul_fp8_arguments {
  matmul_fp8_operand operands[2];
  uint32_t k, padded_k;  // padded_k: a multiple of 16
  uint32_t *largest;     // [2][PARTS] bits
  float *scales;         // [4]: of a, of b; what a's and b's elements are multiplied with
};

__device__ __forceinline__ uint32_t matmul_fp8_magnitude(float4 x) {
  const uint32_t a = max(__float_as_uint(x.x) & 0x7fffffffu, __float_as_uint(x.y) & 0x7fffffffu);
  const uint32_t b = max(__float_as_uint(x.z) & 0x7fffffffu, __float_as_uint(x.w) & 0x7fffffffu);
  return max(a, b);
}

// Of the block; the result is thread 0's.
__device__ __forceinline__ uint32_t matmul_fp8_block_largest(uint32_t largest, uint32_t *shared) {
#pragma unroll
  for (int offset = WARP / 2; offset > 0; offset /= 2)
    largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
  if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = largest;
  __syncthreads();
  for (int i = 0; i < MATMUL_FP8_THREADS / WARP; i++) largest = max(largest, shared[i]);
  return largest;
}

// Grid: PARTS x 2. A block takes every PARTS-th row.
template <typename T>
__global__ void __launch_bounds__(MATMUL_FP8_THREADS) matmul_fp8_largest_kernel(matmul_fp8_arguments o) {
  __shared__ uint32_t shared[MATMUL_FP8_THREADS / WARP];
  const matmul_fp8_operand &operand = o.operands[blockIdx.y];
  const uint32_t rows = operand.is_along_k ? operand.lines : o.k, width = operand.is_along_k ? o.k : operand.lines;
  uint32_t largest = 0;
  for (uint32_t row = blockIdx.x; row < rows; row += MATMUL_FP8_PARTS) {
    const T *const line = static_cast<const T *>(operand.x) + row * operand.stride;
#pragma unroll 4
    for (uint32_t i = threadIdx.x * 4; i < width; i += MATMUL_FP8_THREADS * 4)
      largest = max(largest, matmul_fp8_magnitude(matmul_line(line + i, (int)(width - i), operand.in_fours)));
  }
  largest = matmul_fp8_block_largest(largest, shared);
  if (threadIdx.x == 0) o.largest[blockIdx.y * MATMUL_FP8_PARTS + blockIdx.x] = largest;
}

// Grid: 1 x 2.
__global__ void __launch_bounds__(MATMUL_FP8_THREADS) matmul_fp8_scales_kernel(matmul_fp8_arguments o) {
  const uint32_t NOT_FINITE = 0x7f800000u, SMALL = 0x0d800000u;  // 2^-100
  __shared__ uint32_t shared[MATMUL_FP8_THREADS / WARP];
  uint32_t largest = 0;
#pragma unroll
  for (uint32_t i = threadIdx.x; i < MATMUL_FP8_PARTS; i += MATMUL_FP8_THREADS)
    largest = max(largest, o.largest[blockIdx.y * MATMUL_FP8_PARTS + i]);
  largest = matmul_fp8_block_largest(largest, shared);
  if (threadIdx.x != 0) return;
  const bool is_zero = largest < SMALL || largest >= NOT_FINITE;
  const float scale = is_zero ? 0.0f : __fdiv_rn(__uint_as_float(largest), 448.0f);
  o.scales[blockIdx.y] = largest >= NOT_FINITE ? __uint_as_float(0x7fc00000u) : scale;
  o.scales[2 + blockIdx.y] = is_zero ? 0.0f : __fdiv_rn(448.0f, __uint_as_float(largest));
}

__device__ __forceinline__ uint32_t matmul_fp8_pack(float4 x, float inverse) {
  return pack_four_e4m3(make_float4(x.x * inverse, x.y * inverse, x.z * inverse, x.w * inverse));
}

// A thread's 16 values of k of one line of the tile.
template <typename T>
__device__ __forceinline__ uint4 matmul_fp8_along_k(const matmul_fp8_operand &operand, uint32_t line, uint32_t k,
                                                    uint32_t k_end, float inverse) {
  const T *const x = static_cast<const T *>(operand.x) + line * operand.stride + k;
  uint32_t words[4];
#pragma unroll
  for (int w = 0; w < 4; w++) {
    const int left = line < operand.lines ? (int)(k_end - k) - 4 * w : 0;
    words[w] = matmul_fp8_pack(matmul_line(x + 4 * w, left, operand.in_fours), inverse);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// The same by way of shared memory, [TILE lines][TILE / 4 + 1] words: a thread first brings 4 lines of 4 values of k.
template <typename T>
__device__ __forceinline__ uint4 matmul_fp8_across_k(const matmul_fp8_operand &operand, uint32_t first_line,
                                                     uint32_t first_k, uint32_t k_end, float inverse,
                                                     uint32_t *shared) {
  enum { TILE = MATMUL_FP8_TILE, PITCH = TILE / 4 + 1 };
  const uint32_t line = threadIdx.x % 16 * 4, quarter = threadIdx.x / 16, k = first_k + quarter * 4;
  const T *const x = static_cast<const T *>(operand.x) + k * operand.stride + first_line + line;
  const int left = (int)((int64_t)operand.lines - (int64_t)(first_line + line));
  float4 rows[4];
#pragma unroll
  for (uint32_t i = 0; i < 4; i++)
    rows[i] = matmul_line(x + i * operand.stride, k + i < k_end ? left : 0, operand.in_fours);
  uint32_t *const at = shared + line * PITCH + quarter;
  at[0] = matmul_fp8_pack(make_float4(rows[0].x, rows[1].x, rows[2].x, rows[3].x), inverse);
  at[PITCH] = matmul_fp8_pack(make_float4(rows[0].y, rows[1].y, rows[2].y, rows[3].y), inverse);
  at[2 * PITCH] = matmul_fp8_pack(make_float4(rows[0].z, rows[1].z, rows[2].z, rows[3].z), inverse);
  at[3 * PITCH] = matmul_fp8_pack(make_float4(rows[0].w, rows[1].w, rows[2].w, rows[3].w), inverse);
  __syncthreads();
  const uint32_t *const mine = shared + threadIdx.x / 4 * PITCH + threadIdx.x % 4 * 4;
  return make_uint4(mine[0], mine[1], mine[2], mine[3]);
}

// Grid: x over tiles of TILE lines x TILE values of k, within lines, of the operand that has more of them; 2.
template <typename T>
__global__ void __launch_bounds__(MATMUL_FP8_THREADS) matmul_fp8_copy_kernel(matmul_fp8_arguments o) {
  enum { TILE = MATMUL_FP8_TILE };
  __shared__ uint32_t shared[TILE * (TILE / 4 + 1)];
  const matmul_fp8_operand &operand = o.operands[blockIdx.y];
  const uint32_t tiles = (o.padded_k + TILE - 1) / TILE, first_line = blockIdx.x / tiles * TILE;
  const uint32_t first_k = blockIdx.x % tiles * TILE;
  if (first_line >= operand.lines) return;
  const float inverse = o.scales[2 + blockIdx.y];
  const uint32_t line = first_line + threadIdx.x / 4, k = first_k + threadIdx.x % 4 * 16;
  const uint4 line_of_q = operand.is_along_k
                              ? matmul_fp8_along_k<T>(operand, line, k, o.k, inverse)
                              : matmul_fp8_across_k<T>(operand, first_line, first_k, o.k, inverse, shared);
  if (line >= operand.lines || k >= o.padded_k) return;
  *reinterpret_cast<uint4 *>(operand.q + (uint64_t)line * o.padded_k + k) = line_of_q;
}

#endif  // DURE_CUDA_KERNELS_MATMUL_FP8_CUH_
