// What the kernels of attention by tiles in shared memory share: the split of the work and the two kinds of product.
// The counterpart of shaders/lib/attention_tile.glsl.
//
// A block owns 64 rows (queries, or keys in the pass for dk and dv) of one head and goes through the other side's rows
// 64 at a time. Its 256 threads stand in 16 groups of 16 lanes (half a warp):
//
//              others (4 a lane)                                  columns of the head (HEAD / 16 a lane, in fours)
//              lane 0   lane 1  ..  lane 15                       lane 0   lane 1  ..  lane 15
//   group 0  [ 4 rows x 4 others, in registers ]  weights,      [ 4 rows x HEAD / 16, in registers ]
//   group 1  [      scores = own . other       ]  -- shared --> [      sums = weights x other      ]
//     ..
//
// The first product stages 32 columns of both sides, transposed; the second one as many rows of the other side as fit
// there.
#ifndef DURE_CUDA_KERNELS_ATTENTION_TILE_PRODUCTS_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_TILE_PRODUCTS_CUH_

#include "cuda/kernels/attention_common.cuh"

enum {
  TILE_ROWS = 64,
  TILE_THREADS = 256,
  TILE_LANES = 16,
  TILE_EACH = 4,                // rows of a group, and others of a lane
  TILE_COLUMNS = 32,            // of the head, staged at a time for the first product
  TILE_STRIDE = TILE_ROWS + 4,  // between rows of 64 in shared memory: other banks, and still whole fours
  TILE_STAGE = 2 * TILE_COLUMNS * TILE_STRIDE,
  TILE_WEIGHTS = TILE_ROWS * TILE_STRIDE,
};

// A weight that stands for "these two do not see each other": such pairs are left out of the sums rather than given
// weight 0, since NaN must not cross. No arithmetic makes this NaN.
#define TILE_UNSEEN __uint_as_float(0x7f8badadu)
__device__ __forceinline__ bool tile_is_seen(float weight) { return __float_as_uint(weight) != 0x7f8badadu; }

// Elements d .. d + 3 of a row, zeros beyond D.
template <typename T>
__device__ __forceinline__ float4 tile_fetch(const T *row, uint32_t d, uint32_t D, bool in_fours) {
  if (d >= D) return make_float4(0, 0, 0, 0);
  if (in_fours) return load_four(row + d);
  return make_float4(to_float(row[d]), d + 1 < D ? to_float(row[d + 1]) : 0, d + 2 < D ? to_float(row[d + 2]) : 0,
                     d + 3 < D ? to_float(row[d + 3]) : 0);
}

template <typename T>
__device__ __forceinline__ void tile_store(T *row, uint32_t d, uint32_t D, bool in_fours, const float (&x)[4]) {
  if (d >= D) return;
  if (in_fours) {
    store_four(row + d, make_float4(x[0], x[1], x[2], x[3]));
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; e++) {
    if (d + e < D) row[d + e] = from_float<T>(x[e]);
  }
}

// Columns [d0, d0 + 32) of 64 rows, transposed: stage[d * TILE_STRIDE + r].
template <typename T>
__device__ __forceinline__ void tile_stage_columns(float *stage, const attention_rows<T> &rows, uint32_t d0, uint32_t D,
                                                   bool in_fours) {
  for (uint32_t i = threadIdx.x; i < TILE_ROWS * TILE_COLUMNS / 4; i += TILE_THREADS) {
    const uint32_t r = i / (TILE_COLUMNS / 4), d = i % (TILE_COLUMNS / 4) * 4;
    const float4 x = tile_fetch(rows.at(r), d0 + d, D, in_fours);
    float *const place = stage + d * TILE_STRIDE + r;
    place[0] = x.x;
    place[TILE_STRIDE] = x.y;
    place[2 * TILE_STRIDE] = x.z;
    place[3 * TILE_STRIDE] = x.w;
  }
}

// products[r][e] += sum over d of own row 4 group + r times other row 4 lane + e.
template <typename T>
__device__ __forceinline__ void tile_add_products(float (&products)[4][4], const attention_rows<T> &own,
                                                  const attention_rows<T> &other, uint32_t D, bool in_fours,
                                                  float *stage) {
  const uint32_t lane = threadIdx.x % TILE_LANES, group = threadIdx.x / TILE_LANES;
  for (uint32_t d0 = 0; d0 < D; d0 += TILE_COLUMNS) {
    __syncthreads();
    tile_stage_columns(stage, own, d0, D, in_fours);
    tile_stage_columns(stage + TILE_COLUMNS * TILE_STRIDE, other, d0, D, in_fours);
    __syncthreads();
#pragma unroll 4
    for (int d = 0; d < TILE_COLUMNS; d++) {
      const float4 mine = load_four(stage + d * TILE_STRIDE + 4 * group);
      const float4 theirs = load_four(stage + (TILE_COLUMNS + d) * TILE_STRIDE + 4 * lane);
      const float x[4] = {mine.x, mine.y, mine.z, mine.w}, y[4] = {theirs.x, theirs.y, theirs.z, theirs.w};
#pragma unroll
      for (int r = 0; r < 4; r++) {
#pragma unroll
        for (int e = 0; e < 4; e++) products[r][e] = fmaf(x[r], y[e], products[r][e]);
      }
    }
  }
}

// weights[other 4 lane + e] [own 4 group + r]
__device__ __forceinline__ void tile_put_weights(float *weights, const float (&w)[4][4]) {
  const uint32_t lane = threadIdx.x % TILE_LANES, group = threadIdx.x / TILE_LANES;
#pragma unroll
  for (int e = 0; e < 4; e++) {
    store_four(weights + (4 * lane + e) * TILE_STRIDE + 4 * group, make_float4(w[0][e], w[1][e], w[2][e], w[3][e]));
  }
}

// sums[r][part] += sum over the tile's others j of weights[j][r] times columns 64 part + 4 lane + 0 .. 3 of their rows.
template <typename T, int HEAD>
__device__ __forceinline__ void tile_add_sums(float (&sums)[4][HEAD / 64][4], const attention_rows<T> &other,
                                              const float *weights, bool is_edge, uint32_t D, bool in_fours,
                                              float *stage) {
  enum { STAGED = 4096 / HEAD };  // rows at a time
  const uint32_t lane = threadIdx.x % TILE_LANES, group = threadIdx.x / TILE_LANES;
  for (uint32_t j0 = 0; j0 < TILE_ROWS; j0 += STAGED) {
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < STAGED * HEAD / 4; i += TILE_THREADS) {
      const uint32_t d = i % (HEAD / 4) * 4;
      store_four(stage + 4 * i, tile_fetch(other.at(j0 + i / (HEAD / 4)), d, D, in_fours));
    }
    __syncthreads();
    for (uint32_t j = 0; j < STAGED; j++) {
      const float4 four = load_four(weights + (j0 + j) * TILE_STRIDE + 4 * group);
      const float w[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int part = 0; part < HEAD / 64; part++) {
        const float4 row = load_four(stage + j * HEAD + 64 * part + 4 * lane);
        const float x[4] = {row.x, row.y, row.z, row.w};
#pragma unroll
        for (int r = 0; r < 4; r++) {
          if (is_edge && !tile_is_seen(w[r])) continue;
#pragma unroll
          for (int e = 0; e < 4; e++) sums[r][part][e] = fmaf(w[r], x[e], sums[r][part][e]);
        }
      }
    }
  }
}

template <typename T, int HEAD>
__device__ __forceinline__ void tile_clear(float (&sums)[4][HEAD / 64][4]) {
#pragma unroll
  for (int r = 0; r < 4; r++) {
#pragma unroll
    for (int part = 0; part < HEAD / 64; part++)
      sums[r][part][0] = sums[r][part][1] = sums[r][part][2] = sums[r][part][3] = 0;
  }
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_TILE_PRODUCTS_CUH_
