// matmul by tiles in shared memory and registers, without matrix units: any size, stride, offset and transposition; T
// f32, bf16 or f16, products and sums f32. The counterpart of shaders/matmul_simt.comp.
//
// A block of 256 threads computes TILE x TILE of c; TILE_K values of k at a time pass through shared memory as f32, k
// by k, each element read once from memory: a thread brings four of a and four of b. It owns QUADS x QUADS blocks of
// 4 x 4 sums, spread so that neighbours read neighbouring fours:
//
//               16 threads: columns 4 x .. 4 x + 3, then 4 (x + 16) ..
//            +----+----+----+----+----+----+----+----+       k:  tile_a[k] [TILE]   column of op(a)
//      16    | 0  | 1  | ..      | 0  | 1  | ..      |           tile_b[k] [TILE]   row of op(b)
//   rows     +----+----+----+----+----+----+----+----+
//   4 y ..   | 16 | 17 | ..      | 16 | 17 | ..      |       for each k a thread reads 2 QUADS fours (QUADS = 2: 64
//            +----+----+----+----+----+----+----+----+       bytes) for 16 QUADS^2 multiply-adds (64: 2 FLOP a byte)
//            | 0  | 1  | ..      | 0  | 1  | ..      |
//            ...
//
// While one half of the shared memory is multiplied, the next TILE_K values are on their way to registers, then into
// the other half: one barrier a step. 2 K FLOP an output; 2 K / TILE elements read an output (128: 32 FLOP a byte of
// f32). Rows in shared memory are 16 bytes longer than they need be: an operand that arrives along k is written four
// rows at a time, otherwise all to the same banks.
#ifndef DURE_CUDA_KERNELS_MATMUL_SIMT_CUH_
#define DURE_CUDA_KERNELS_MATMUL_SIMT_CUH_

#include "cuda/kernels/matmul.cuh"

enum { MATMUL_SIMT_THREADS = 256 };

// One operand's way into shared memory: rows of op(a), or columns of op(b), are its lines. What can be had from the
// arguments again is not kept: registers are short.
template <typename T, int TILE, int TILE_K>
struct matmul_simt_source {
  const T *next;        // the four that this thread brings next
  uint32_t lines_left;  // at most 4; those that exist from its first on

  // The first line, and value of k, of the tile that this thread brings.
  __device__ __forceinline__ static uint32_t line_of(bool along_k) {
    return along_k ? threadIdx.x / (TILE_K / 4) : threadIdx.x % (TILE / 4) * 4;
  }
  __device__ __forceinline__ static uint32_t k_of(bool along_k) {
    return along_k ? threadIdx.x % (TILE_K / 4) * 4 : threadIdx.x / (TILE / 4);
  }
  // first: element 0 of the matrix; lines: how many it has; stride: of its rows as stored.
  __device__ __forceinline__ void begin(const T *first, uint64_t stride, bool along_k, uint32_t first_line,
                                        uint32_t lines, uint32_t first_k) {
    const uint64_t x = first_line + line_of(along_k), k = first_k + k_of(along_k);
    lines_left = x < lines ? (uint32_t)(lines - x < 4 ? lines - x : 4) : 0;
    next = first + (along_k ? x * stride + k : k * stride + x);
  }
  // k_left: values of k from the tile's first on.
  __device__ __forceinline__ float4 fetch(uint64_t stride, bool along_k, bool in_fours, uint32_t k_left) {
    const uint32_t k = k_of(along_k), here = k < k_left ? k_left - k : 0;
    const uint32_t left = along_k ? (lines_left > 0 ? here : 0) : (here > 0 ? lines_left : 0);
    const float4 four = matmul_line(next, left < 4 ? (int)left : 4, in_fours);
    next += along_k ? (uint64_t)TILE_K : TILE_K * stride;
    return four;
  }
  __device__ __forceinline__ static void put(float *tile, bool along_k, float4 four) {
    enum { PITCH = TILE + 4 };
    float *const place = tile + k_of(along_k) * PITCH + line_of(along_k);
    if (along_k) {
      place[0] = four.x;
      place[PITCH] = four.y;
      place[2 * PITCH] = four.z;
      place[3 * PITCH] = four.w;
    } else {
      store_four(place, four);
    }
  }
};

template <int QUADS, int TILE_K>
__device__ __forceinline__ void matmul_simt_multiply(const float *tile_a, const float *tile_b, uint32_t x, uint32_t y,
                                                     float (&sums)[4 * QUADS][4 * QUADS]) {
  enum { PITCH = 64 * QUADS + 4 };
#pragma unroll 2
  for (int k = 0; k < TILE_K; k++) {
    float left[4 * QUADS], right[4 * QUADS];
#pragma unroll
    for (int i = 0; i < QUADS; i++) {
      const float4 l = load_four(tile_a + k * PITCH + 4 * (y + 16 * i));
      const float4 r = load_four(tile_b + k * PITCH + 4 * (x + 16 * i));
      left[4 * i] = l.x, left[4 * i + 1] = l.y, left[4 * i + 2] = l.z, left[4 * i + 3] = l.w;
      right[4 * i] = r.x, right[4 * i + 1] = r.y, right[4 * i + 2] = r.z, right[4 * i + 3] = r.w;
    }
#pragma unroll
    for (int i = 0; i < 4 * QUADS; i++) {
#pragma unroll
      for (int j = 0; j < 4 * QUADS; j++) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
    }
  }
}

// QUADS 1: tiles of 64 x 64 x 16; 2: of 128 x 128 x 8.
template <typename T, int QUADS>
__global__ void __launch_bounds__(MATMUL_SIMT_THREADS, QUADS == 1 ? 3 : 2) matmul_simt_kernel(matmul_arguments o) {
  enum { TILE = 64 * QUADS, TILE_K = 16 / QUADS, SIZE = (TILE + 4) * TILE_K };
  __shared__ __align__(16) float tiles[4 * SIZE];
  const matmul_place place = matmul_place_of(o, TILE, TILE);
  const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
  const bool a_along_k = (o.flags & MATMUL_TRANSPOSES_A) == 0, a_fours = (o.flags & MATMUL_A_IN_FOURS) != 0;
  const bool b_along_k = (o.flags & MATMUL_TRANSPOSES_B) != 0, b_fours = (o.flags & MATMUL_B_IN_FOURS) != 0;
  matmul_simt_source<T, TILE, TILE_K> a, b;
  a.begin(static_cast<const T *>(o.a) + place.batch * o.a_batch, o.a_stride, a_along_k, place.row, o.M, place.k);
  b.begin(static_cast<const T *>(o.b) + place.batch * o.b_batch, o.b_stride, b_along_k, place.column, o.N, place.k);
  float sums[4 * QUADS][4 * QUADS];
#pragma unroll
  for (int i = 0; i < 4 * QUADS; i++) {
#pragma unroll
    for (int j = 0; j < 4 * QUADS; j++) sums[i][j] = 0;
  }

  uint32_t at = 0, k_left = place.k_end - place.k;
  a.put(tiles, a_along_k, a.fetch(o.a_stride, a_along_k, a_fours, k_left));
  b.put(tiles + SIZE, b_along_k, b.fetch(o.b_stride, b_along_k, b_fours, k_left));
  __syncthreads();
  while (k_left > 0) {
    k_left = k_left > TILE_K ? k_left - TILE_K : 0;
    const float4 next_a = a.fetch(o.a_stride, a_along_k, a_fours, k_left);  // nothing after the last
    const float4 next_b = b.fetch(o.b_stride, b_along_k, b_fours, k_left);
    matmul_simt_multiply<QUADS, TILE_K>(tiles + at, tiles + at + SIZE, x, y, sums);
    at = 2 * SIZE - at;
    a.put(tiles + at, a_along_k, next_a);
    b.put(tiles + at + SIZE, b_along_k, next_b);
    __syncthreads();
  }

  // The epilogue's code stands here once: sums move up instead of being indexed.
#pragma unroll 1
  for (uint32_t i = 0; i < 4 * QUADS; i++) {
#pragma unroll
    for (int j = 0; j < QUADS; j++) {
      matmul_finish<T>(o, place.batch, place.row + 4 * (y + i / 4 * 16) + i % 4, place.column + 4 * (x + 16 * j),
                       make_float4(sums[0][4 * j], sums[0][4 * j + 1], sums[0][4 * j + 2], sums[0][4 * j + 3]));
    }
#pragma unroll
    for (int row = 0; row + 1 < 4 * QUADS; row++) {
#pragma unroll
      for (int j = 0; j < 4 * QUADS; j++) sums[row][j] = sums[row + 1][j];
    }
  }
}

#endif  // DURE_CUDA_KERNELS_MATMUL_SIMT_CUH_
