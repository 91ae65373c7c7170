// matmul of few rows (decoding tokens): c[m, n] = sum over k of op(a)[m, k] op(b)[k, n]. b is read once and nothing
// else counts, so all is arranged for its loads: 16 bytes a thread, several on their way. The counterpart of
// shaders/matmul_vector.comp.
//
// A block of 128 threads makes ROWS rows of a few columns; op(a) passes through shared memory as f32, A_SIZE values at
// a time.
//   b transposed, [N, K]: a warp reads two rows of b, its lanes 16 bytes of each after another; sums over the lanes.
//   b [K, N]: 8 threads read 128 bytes of a row of b, 16 such groups every 16th row; sums over the groups, in order.
//
// Few columns and long sums: in chunks of k, as the other kernels. 2 ROWS FLOP an element of b: as fast as memory.
#ifndef DURE_CUDA_KERNELS_MATMUL_VECTOR_CUH_
#define DURE_CUDA_KERNELS_MATMUL_VECTOR_CUH_

#include "cuda/block.cuh"
#include "cuda/kernels/matmul.cuh"

enum { MATMUL_VECTOR_THREADS = 128, MATMUL_VECTOR_A_SIZE = 4096 };

// Columns of a block.
constexpr uint32_t matmul_vector_columns(bool transpose_b, size_t element_size) {
  return transpose_b ? 8 : 128 / (uint32_t)element_size;
}

// 16 bytes of a line, of which `left` elements exist; the others are 0. in_lines: the address is a multiple of 16.
template <typename T>
struct matmul_vector_line {
  enum { COUNT = 16 / sizeof(T) };
  float values[COUNT];

  __device__ __forceinline__ void load(const T *line, int left, bool in_lines) {
    if (left >= COUNT && in_lines) {
      set(*reinterpret_cast<const uint4 *>(line));
      return;
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++) values[i] = i < left ? to_float(line[i]) : 0.0f;
  }
  __device__ __forceinline__ void set(uint4 bits) {
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < COUNT; i++) values[i] = element(words, i, T());
  }
  __device__ __forceinline__ static float element(const uint32_t (&words)[4], int i, float) {
    return __uint_as_float(words[i]);
  }
  template <typename S>
  __device__ __forceinline__ static float element(const uint32_t (&words)[4], int i, S) {
    return to_float(S{(uint16_t)(words[i / 2] >> i % 2 * 16)});
  }
};

// op(a)[row .., k .. k + count) to shared [ROWS][count]; zeros where there are no rows.
template <typename T, int ROWS>
__device__ __forceinline__ void matmul_vector_bring(const matmul_arguments &o, const matmul_place &place, uint32_t k,
                                                    uint32_t count, float *shared) {
  const T *a = static_cast<const T *>(o.a) + place.batch * o.a_batch;
  const bool is_transposed = (o.flags & MATMUL_TRANSPOSES_A) != 0;
  const uint64_t row_step = is_transposed ? 1 : o.a_stride, k_step = is_transposed ? o.a_stride : 1;
  __syncthreads();
#pragma unroll
  for (uint32_t row = 0; row < ROWS; row++) {
    for (uint32_t i = threadIdx.x; i < count; i += MATMUL_VECTOR_THREADS) {
      const bool exists = place.row + row < o.M && k + i < place.k_end;
      shared[row * count + i] = exists ? to_float(a[(place.row + row) * row_step + (k + i) * k_step]) : 0.0f;
    }
  }
  __syncthreads();
}

// b [N, K]: this warp's two columns; every lane gets the sums.
template <typename T, int ROWS>
__device__ __forceinline__ void matmul_vector_along_k(const matmul_arguments &o, const matmul_place &place,
                                                      float *shared, float *sums) {
  enum { COUNT = matmul_vector_line<T>::COUNT, PIECE = MATMUL_VECTOR_A_SIZE / ROWS };
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, column = place.column + warp * 2;
  const T *b = static_cast<const T *>(o.b) + place.batch * o.b_batch + column * o.b_stride;
  const bool in_lines = (o.flags & MATMUL_B_IN_LINES) != 0;
  float partial[2][ROWS] = {};
  for (uint32_t k0 = place.k; k0 < place.k_end; k0 += PIECE) {
    matmul_vector_bring<T, ROWS>(o, place, k0, PIECE, shared);
    const uint32_t end = place.k_end - k0 < PIECE ? place.k_end - k0 : (uint32_t)PIECE;
#pragma unroll 4
    for (uint32_t i = lane * COUNT; i < end; i += WARP * COUNT) {
      matmul_vector_line<T> x[2];
#pragma unroll
      for (uint32_t j = 0; j < 2; j++) {
        x[j].load(b + j * o.b_stride + k0 + i, column + j < o.N ? (int)(end - i) : 0, in_lines);
      }
#pragma unroll
      for (int row = 0; row < ROWS; row++) {
#pragma unroll
        for (int e = 0; e < COUNT; e += 4) {
          const float4 a = load_four(shared + row * PIECE + i + e);
#pragma unroll
          for (int j = 0; j < 2; j++) {
            partial[j][row] = fmaf(a.x, x[j].values[e], partial[j][row]);
            partial[j][row] = fmaf(a.y, x[j].values[e + 1], partial[j][row]);
            partial[j][row] = fmaf(a.z, x[j].values[e + 2], partial[j][row]);
            partial[j][row] = fmaf(a.w, x[j].values[e + 3], partial[j][row]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int row = 0; row < ROWS; row++) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const float sum = warp_sum(partial[j][row]);
      if (lane == 0) sums[row * 8 + warp * 2 + j] = sum;
    }
  }
}

// b [K, N]: this thread's columns over its rows; sums [16 groups][ROWS][columns of the block] in shared memory.
template <typename T, int ROWS>
__device__ __forceinline__ void matmul_vector_along_n(const matmul_arguments &o, const matmul_place &place,
                                                      float *shared) {
  enum { COUNT = matmul_vector_line<T>::COUNT, PIECE = MATMUL_VECTOR_A_SIZE / ROWS, GROUPS = 16 };
  const uint32_t group = threadIdx.x / 8, column = place.column + threadIdx.x % 8 * COUNT;
  const T *b = static_cast<const T *>(o.b) + place.batch * o.b_batch + column;
  const int left = column < o.N ? (int)(o.N - column) : 0;
  const bool in_lines = (o.flags & MATMUL_B_IN_LINES) != 0;
  float sums[ROWS][COUNT] = {};
  for (uint32_t k0 = place.k; k0 < place.k_end; k0 += PIECE) {
    matmul_vector_bring<T, ROWS>(o, place, k0, PIECE, shared);
    const uint32_t end = place.k_end - k0 < PIECE ? place.k_end - k0 : (uint32_t)PIECE;
#pragma unroll 4
    for (uint32_t i = group; i < end; i += GROUPS) {
      matmul_vector_line<T> x;
      x.load(b + (k0 + i) * o.b_stride, left, in_lines);
#pragma unroll
      for (int row = 0; row < ROWS; row++) {
        const float a = shared[row * PIECE + i];
#pragma unroll
        for (int e = 0; e < COUNT; e++) sums[row][e] = fmaf(a, x.values[e], sums[row][e]);
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int row = 0; row < ROWS; row++) {
#pragma unroll
    for (int e = 0; e < COUNT; e += 4) {
      store_four(shared + (group * ROWS + row) * 8 * COUNT + threadIdx.x % 8 * COUNT + e,
                 make_float4(sums[row][e], sums[row][e + 1], sums[row][e + 2], sums[row][e + 3]));
    }
  }
}

// Grid: x over rows of c by ROWS, within columns; y over batches and chunks.
template <typename T, int ROWS, bool TRANSPOSE_B>
__global__ void __launch_bounds__(MATMUL_VECTOR_THREADS, 4) matmul_vector_kernel(matmul_arguments o) {
  enum { COLUMNS = TRANSPOSE_B ? 8 : 128 / sizeof(T), GROUPS = TRANSPOSE_B ? 1 : 16 };
  __shared__ __align__(16) float shared[MATMUL_VECTOR_A_SIZE];
  __shared__ __align__(16) float sums[ROWS * 8];
  const uint32_t row_groups = (o.M + ROWS - 1) / ROWS, chunks = (o.K + o.chunk - 1) / o.chunk;
  matmul_place place;
  place.row = blockIdx.x % row_groups * ROWS;
  place.column = blockIdx.x / row_groups * COLUMNS;
  place.batch = chunks > 1 ? blockIdx.y / chunks : blockIdx.y;
  place.k = chunks > 1 ? blockIdx.y % chunks * o.chunk : 0;
  place.k_end = o.K - place.k < o.chunk ? o.K : place.k + o.chunk;
  if (TRANSPOSE_B) {
    matmul_vector_along_k<T, ROWS>(o, place, shared, sums);
  } else {
    matmul_vector_along_n<T, ROWS>(o, place, shared);
  }
  __syncthreads();
  for (uint32_t four = threadIdx.x; four < ROWS * COLUMNS / 4; four += MATMUL_VECTOR_THREADS) {
    const float *parts = (TRANSPOSE_B ? sums : shared) + four * 4;
    float4 t = load_four(parts);
#pragma unroll
    for (int group = 1; group < GROUPS; group++) t = matmul_sum(t, load_four(parts + group * ROWS * COLUMNS));
    matmul_finish<T>(o, place.batch, place.row + four * 4 / COLUMNS, place.column + four * 4 % COLUMNS, t);
  }
}

#endif  // DURE_CUDA_KERNELS_MATMUL_VECTOR_CUH_
