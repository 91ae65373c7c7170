// What the kernels of attention on tensor cores share: tiles in shared memory, the two kinds of product, masks of
// 16-bit pairs that are not finite, and stores. sm_80 and later; T is bfloat16 or float16, all sums f32.
//
// A block is 4 warps. Each owns 16 ROW_TILES rows (queries; in the pass for dk and dv, keys) of one head, all of whose
// columns lie in shared memory, and the block goes through the other side's rows tile by tile:
//
//            others (8 OTHER_TILES)                     columns of the head (8 COLUMN_TILES)
//   warp 0 [ 16 ROW_TILES x others, f32 registers ]     [ 16 ROW_TILES x columns, f32 registers ]
//   warp 1 [      scores = own . other            ] --> [        sums = weights x other        ]
//     ..     own, other: ldmatrix from shared memory      weights: the scores' registers, rounded and packed (the
//                                                         layout of a product's result is that of two left operands)
//                                                         other: ldmatrix.trans from the same tile as before
//
// Rows in shared memory are HEAD + 8 elements apart: an odd number of 16-byte chunks, so that the 8 rows of an 8 x 8
// matrix lie in different banks at any HEAD that is a multiple of 16, and the lanes' addresses differ by constants.
// Columns from D to HEAD are zeros. Two rows of 16 own rows a warp (ROW_TILES 2) halve the reads of the other side,
// which would otherwise be slower than the products; heads of more than 128 columns leave no registers for it.
#ifndef DURE_CUDA_KERNELS_ATTENTION_MATRIX_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_MATRIX_CUH_

#include "cuda/instructions.cuh"
#include "cuda/kernels/attention_common.cuh"

enum { MATRIX_WARPS = 4, MATRIX_THREADS = MATRIX_WARPS * WARP };

#define LOG2_E 1.44269504088896341f
#define LN_2 0.693147180559945309f

template <int HEAD>
struct matrix_tile {
  static constexpr int stride = HEAD + 8, chunks = HEAD / 8;  // elements; 16 bytes each
};

// The scores of a tile in units that exp2() wants: exponent of a pair = score * factor. Plain scores with a positive
// scale stay as they are; others are transformed one by one.
struct matrix_scores {
  bool is_plain;
  float factor, slope;
};
__device__ __forceinline__ matrix_scores matrix_scores_of(const attention_arguments &a, uint32_t h) {
  const bool is_plain = a.soft_cap <= 0 && a.slopes == nullptr && a.scale > 0;
  return matrix_scores{is_plain, is_plain ? a.scale * LOG2_E : 1.0f, a.slopes != nullptr ? a.slopes[h] : 0};
}
// tanh by exp2: off by 1e-7 at most, which soft_cap makes an error of the score as small as its rounding.
__device__ __forceinline__ float matrix_tanh(float x) {
  return 1 - __fdividef(2, 1 + exp2_approximate(2 * LOG2_E * x));
}
// Times log2(e); `out_derivative`: with respect to product * scale.
__device__ __forceinline__ float matrix_score(const attention_arguments &a, float slope, float product, float distance,
                                              float *out_derivative) {
  float score = product * a.scale;
  *out_derivative = 1;
  if (a.soft_cap > 0) {
    const float squashed = matrix_tanh(__fdividef(score, a.soft_cap));
    score = a.soft_cap * squashed;
    *out_derivative = (1 - squashed) * (1 + squashed);
  }
  if (a.slopes != nullptr) score -= slope * distance;
  return score * LOG2_E;
}

// ---- tiles -------------------------------------------------------------------------------------------------------

// Which 16 bytes of a tile a thread moves: chunk `chunk` of rows `row`, `row` + step, ..  Of heads whose chunks are no
// power of two some threads move nothing.
template <int HEAD>
struct matrix_part {
  static constexpr int chunks = matrix_tile<HEAD>::chunks;
  static constexpr int lanes = chunks <= 8 ? 8 : chunks <= 16 ? 16 : 32, step = MATRIX_THREADS / lanes;
  uint32_t row, chunk;
  __device__ __forceinline__ explicit matrix_part(uint32_t thread) : row(thread / lanes), chunk(thread % lanes) {}
};

// The rows of a tile, found anew wherever they are wanted: pointers that are kept would cost registers.
__device__ __forceinline__ attention_rows<uint16_t> matrix_rows_of(const attention_arguments &a, const void *base,
                                                                   uint64_t t_stride, uint64_t h_stride, uint32_t b,
                                                                   uint32_t head, uint32_t begin, uint32_t past) {
  return attention_rows_of<uint16_t>(a, base, t_stride, h_stride, computed_here(b), computed_here(head), begin, past);
}

// Starts copying ROWS rows into a tile; zeros for rows from rows.past on and for columns from D on.
template <int ROWS, int HEAD>
__device__ __forceinline__ void matrix_fetch(uint16_t *tile, const attention_rows<uint16_t> &rows, uint32_t D) {
  const matrix_part<HEAD> part(computed_here(threadIdx.x));
  if (part.chunk >= matrix_tile<HEAD>::chunks) return;
  const int left = 8 * part.chunk < D ? (int)(rows.past - rows.begin) - (int)part.row : 0;
  const uint16_t *source = rows.head + (uint64_t)(rows.begin + part.row) * rows.stride + 8 * part.chunk;
  uint16_t *const target = tile + part.row * matrix_tile<HEAD>::stride + 8 * part.chunk;
#pragma unroll
  for (int r = 0; r < ROWS; r += matrix_part<HEAD>::step) {
    copy_async(target + r * matrix_tile<HEAD>::stride, source, r < left);
    source += matrix_part<HEAD>::step * rows.stride;
  }
}

// Whether a 16-bit value is infinite or NaN.
template <typename T>
__device__ __forceinline__ bool matrix_is_infinite(uint32_t bits);
template <>
__device__ __forceinline__ bool matrix_is_infinite<bfloat16>(uint32_t bits) {
  return (bits & 0x7f80u) == 0x7f80u;
}
template <>
__device__ __forceinline__ bool matrix_is_infinite<float16>(uint32_t bits) {
  return (bits & 0x7c00u) == 0x7c00u;
}

// On tiles of an edge a weight may be 0 because two rows do not see each other, and then NaN must not cross: values
// that are not finite are taken out of the tile for the sums, and added by matrix_add_infinite().
//
// Whether the part of a tile that this thread has copied holds such values; with `clears`, sets them to 0.
template <typename T, int ROWS, int HEAD>
__device__ __forceinline__ bool matrix_scan(uint16_t *tile, bool clears) {
  const matrix_part<HEAD> part(computed_here(threadIdx.x));
  bool found = false;
  if (part.chunk >= matrix_tile<HEAD>::chunks) return false;
#pragma unroll 1
  for (uint32_t r = part.row; r < ROWS; r += matrix_part<HEAD>::step) {
    uint32_t *const words = reinterpret_cast<uint32_t *>(tile + r * matrix_tile<HEAD>::stride + part.chunk * 8);
    for (int w = 0; w < 4; w++) {
      const uint32_t word = words[w];
      const bool low = matrix_is_infinite<T>(word), high = matrix_is_infinite<T>(word >> 16);
      found = found || low || high;
      if (clears && (low || high)) words[w] = word & ((low ? 0 : 0xffffu) | (high ? 0 : 0xffff0000u));
    }
  }
  return found;
}

// ---- products ----------------------------------------------------------------------------------------------------

// products[m][n] = the warp's own rows 16 m .. times other rows 8 n .., over all columns. `own`: the warp's first row.
template <typename T, int HEAD, int ROW_TILES, int OTHER_TILES>
__device__ __forceinline__ void matrix_products(float (&products)[ROW_TILES][OTHER_TILES][4], const uint16_t *own,
                                                const uint16_t *other) {
  constexpr int stride = matrix_tile<HEAD>::stride;
  const int lane = (int)threadIdx.x % WARP;
  const uint16_t *const a_lane = own + lane % 16 * stride + lane / 16 * 8;
  const uint16_t *const b_lane = other + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8;
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int n = 0; n < OTHER_TILES; n++)
      products[m][n][0] = products[m][n][1] = products[m][n][2] = products[m][n][3] = 0;
  }
#pragma unroll
  for (int d = 0; d < HEAD; d += 16) {
    uint32_t x[ROW_TILES][4];
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) load_matrices(x[m], a_lane + 16 * m * stride + d);
#pragma unroll
    for (int n = 0; n < OTHER_TILES; n += 2) {
      uint32_t pair[4];
      load_matrices(pair, b_lane + 8 * n * stride + d);
      const uint32_t left[2] = {pair[0], pair[1]}, right[2] = {pair[2], pair[3]};
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) {
        matrix_multiply<T>(products[m][n], x[m], left);
        matrix_multiply<T>(products[m][n + 1], x[m], right);
      }
    }
  }
}

// sums[m][n] += the warp's weights of rows 16 m .. times columns 8 n .. of the others' rows. `other`: the tile's first
// row, at the first of the columns.
template <typename T, int HEAD, int ROW_TILES, int OTHER_TILES, int COLUMN_TILES>
__device__ __forceinline__ void matrix_add_sums(float (&sums)[ROW_TILES][COLUMN_TILES][4],
                                                const float (&weights)[ROW_TILES][OTHER_TILES][4],
                                                const uint16_t *other) {
  constexpr int stride = matrix_tile<HEAD>::stride;
  const int lane = (int)threadIdx.x % WARP;
  const uint16_t *const lane_row = other + (lane / 8 % 2 * 8 + lane % 8) * stride + lane / 16 * 8;
#pragma unroll
  for (int j = 0; j < OTHER_TILES; j += 2) {
    uint32_t w[ROW_TILES][4];
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) {
      w[m][0] = pack_two<T>(weights[m][j][0], weights[m][j][1]);
      w[m][1] = pack_two<T>(weights[m][j][2], weights[m][j][3]);
      w[m][2] = pack_two<T>(weights[m][j + 1][0], weights[m][j + 1][1]);
      w[m][3] = pack_two<T>(weights[m][j + 1][2], weights[m][j + 1][3]);
    }
#pragma unroll
    for (int n = 0; n < COLUMN_TILES; n += 2) {
      uint32_t pair[4];
      load_matrices_transposed(pair, lane_row + 8 * j * stride + 8 * n);
      const uint32_t left[2] = {pair[0], pair[1]}, right[2] = {pair[2], pair[3]};
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) {
        matrix_multiply<T>(sums[m][n], w[m], left);
        matrix_multiply<T>(sums[m][n + 1], w[m], right);
      }
    }
  }
}

template <int ROW_TILES, int COLUMN_TILES>
__device__ __forceinline__ void matrix_clear(float (&sums)[ROW_TILES][COLUMN_TILES][4]) {
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int n = 0; n < COLUMN_TILES; n++) sums[m][n][0] = sums[m][n][1] = sums[m][n][2] = sums[m][n][3] = 0;
  }
}

// Adds what matrix_scan() has taken out of a tile of `others` (read again from memory) to the sums of the rows that see
// it; NaN or infinite they become. The thread's row (m, half) is row0 + 16 m + 8 half. The sums are of queries, the
// others keys; or the other way round.
template <typename T, bool OF_KEYS, int ROWS, int ROW_TILES, int COLUMN_TILES>
__device__ __forceinline__ void matrix_add_infinite(float (&sums)[ROW_TILES][COLUMN_TILES][4],
                                                    const attention_arguments &a, uint32_t b,
                                                    const attention_rows<uint16_t> &others, uint32_t row0,
                                                    uint32_t column) {
  const uint32_t pair = computed_here(threadIdx.x) % 4;
#pragma unroll 1
  for (uint32_t other = others.begin; other < min(others.begin + ROWS, others.past); other++) {
    const uint16_t *const values = others.at(other - others.begin) + column;
    uint32_t sees = 0;
#pragma unroll
    for (int i = 0; i < 2 * ROW_TILES; i++) {
      const uint32_t row = row0 + 8 * i, query = OF_KEYS ? other : row, key = OF_KEYS ? row : other;
      if (query < a.T && key <= query && key >= first_key(a, b, query)) sees |= 1u << i;
    }
#pragma unroll
    for (int n = 0; n < COLUMN_TILES; n++) {
      if (column + 8 * n >= a.D) break;
      const uint32_t word = *reinterpret_cast<const uint32_t *>(values + 8 * n + 2 * pair);
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const uint32_t bits = word >> 16 * e & 0xffffu;
        if (!matrix_is_infinite<T>(bits)) continue;
#pragma unroll
        for (int i = 0; i < 2 * ROW_TILES; i++) {
          if ((sees >> i & 1) != 0) sums[i / 2][n][i % 2 * 2 + e] += to_float(T{(uint16_t)bits});
        }
      }
    }
  }
}

// ---- stores ------------------------------------------------------------------------------------------------------

// Writes the warp's rows, times a factor of each, to an output: by way of the warp's own rows of a tile, which nobody
// else reads, so that memory is written 16 bytes at a time. `out`: of the warp's first row, at the first of the
// columns.
template <typename T, int HEAD, int ROW_TILES, int COLUMN_TILES>
__device__ __forceinline__ void matrix_store(uint16_t *own, const float (&sums)[ROW_TILES][COLUMN_TILES][4],
                                             const float (&factors)[ROW_TILES][2], T *out, uint64_t out_stride,
                                             uint32_t rows, uint32_t columns) {
  constexpr int stride = matrix_tile<HEAD>::stride;
  const int lane = (int)threadIdx.x % WARP;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int n = 0; n < COLUMN_TILES; n++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float factor = factors[m][half];
        *reinterpret_cast<uint32_t *>(own + (16 * m + 8 * half + lane / 4) * stride + 8 * n + lane % 4 * 2) =
            pack_two<T>(sums[m][n][2 * half] * factor, sums[m][n][2 * half + 1] * factor);
      }
    }
  }
  __syncwarp();
#pragma unroll 4
  for (int i = lane; i < 16 * ROW_TILES * COLUMN_TILES; i += WARP) {
    const uint32_t r = i / COLUMN_TILES, d = i % COLUMN_TILES * 8;
    if (r < rows && d < columns) {
      *reinterpret_cast<uint4 *>(out + r * out_stride + d) = *reinterpret_cast<const uint4 *>(own + r * stride + d);
    }
  }
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_MATRIX_CUH_
