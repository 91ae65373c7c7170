// attention on tensor cores (Dao 2023, FlashAttention-2, sections 3.1 and 3.3): heads of a multiple of 8 elements up to
// HEAD, rows aligned to 16 bytes, bf16 or f16; sm_80 and later. Tile picture and products: attention_matrix.cuh.
//
// A block owns 128 queries of one head (64 where HEAD > 128) and goes through the keys 64 at a time. One tile of keys
// and one of values are in shared memory; the values are copied while the scores are made, and the next keys while the
// values are summed, so each copy has a product to hide behind, and the other blocks of the multiprocessor. The softmax
// is online, in f32 and powers of 2; probabilities are rounded once, for the second product. Tiles that no query of the
// block sees are not visited, nor by a warp those beyond its own last query; only tiles on an edge (the diagonal, a
// window's or a document's begin) look at each pair.
//
// 4 HEAD FLOP a pair. A tile: 4 HEAD x 64 x 128 FLOP for 256 HEAD bytes from L2. Shared memory: (rows + 2 x 64) (2 HEAD
// + 16) bytes. Registers: sums 16 ROW_TILES HEAD / 32 and scores 16 ROW_TILES x 2 a thread; two blocks a multiprocessor
// (three where HEAD is 64).
#ifndef DURE_CUDA_KERNELS_ATTENTION_FORWARD_MATRIX_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_FORWARD_MATRIX_CUH_

#include "cuda/kernels/attention_matrix.cuh"

template <int HEAD>
struct matrix_forward {
  static constexpr int row_tiles = HEAD <= 128 ? 2 : 1, rows = 16 * row_tiles * MATRIX_WARPS;
  static constexpr int keys = HEAD <= 64 || HEAD == 96 ? 32 : HEAD == 80 || HEAD > 128 ? 64 : 48;
  static constexpr int blocks = HEAD <= 64 ? 3 : 2;  // a multiprocessor, that the registers allow
  static constexpr size_t shared_bytes = (size_t)(rows + 2 * keys) * matrix_tile<HEAD>::stride * 2;
};

// Scores of a row (half: the upper or the lower of a tile's two) to probabilities; its maximum and sum go on. What the
// results so far must be multiplied by.
template <int KEY_TILES>
__device__ __forceinline__ float matrix_softmax(float (&scores)[KEY_TILES][4], int half, float factor, float &maximum,
                                                float &sum) {
  float highest = maximum;
#pragma unroll
  for (int n = 0; n < KEY_TILES; n++) highest = fmaxf(highest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
  highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
  highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
  const float base = highest == -INFINITY ? 0 : highest * factor;  // nothing seen yet: all exponentials 0
  const float rescale = exp2_approximate(fmaf(maximum, factor, -base));
  maximum = highest;
  float partial = sum * rescale;
#pragma unroll
  for (int n = 0; n < KEY_TILES; n++) {
#pragma unroll
    for (int e = 2 * half; e < 2 * half + 2; e++) {
      scores[n][e] = exp2_approximate(fmaf(scores[n][e], factor, -base));
      partial += scores[n][e];
    }
  }
  sum = partial;
  return rescale;
}

// Multiplies a row of results.
template <int COLUMN_TILES>
__device__ __forceinline__ void matrix_rescale(float (&result)[COLUMN_TILES][4], int half, float factor) {
#pragma unroll
  for (int n = 0; n < COLUMN_TILES; n++) {
    result[n][2 * half] *= factor;
    result[n][2 * half + 1] *= factor;
  }
}

// Writes log_sum_exp of the thread's rows row0 + 16 m + 8 half before `past`; sums become the factors of the results.
template <int ROW_TILES>
__device__ __forceinline__ void matrix_finish(const attention_arguments &a, uint32_t b, uint32_t h, uint32_t row0,
                                              uint32_t past, float factor, const float (&maximum)[ROW_TILES][2],
                                              float (&sum)[ROW_TILES][2]) {
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float total = sum[m][half];
      total += __shfl_xor_sync(0xffffffffu, total, 1);
      total += __shfl_xor_sync(0xffffffffu, total, 2);
      const uint32_t t = row0 + 16 * m + 8 * half;
      if (threadIdx.x % 4 == 0 && t < past) {
        a.log_sum_exp[((uint64_t)b * a.H + h) * a.T + t] = maximum[m][half] * factor * LN_2 + logf(total);
      }
      sum[m][half] = __fdividef(1, total);
    }
  }
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(MATRIX_THREADS, matrix_forward<HEAD>::blocks)
    attention_forward_matrix_kernel(attention_arguments a) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using shape = matrix_forward<HEAD>;
  constexpr int row_tiles = shape::row_tiles, keys = shape::keys, key_tiles = keys / 8, column_tiles = HEAD / 8;
  constexpr int stride = matrix_tile<HEAD>::stride;
  CUDA_DYNAMIC_SHARED(uint16_t, q_tile);
  uint16_t *const k_tile = q_tile + shape::rows * stride, *const v_tile = k_tile + keys * stride;
  const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
  const attention_place place = attention_place_of(a);
  const uint32_t b = place.b, h = place.head, g = h / (a.H / a.G);
  const uint32_t t0 = a.first_row + (a.tiles - 1 - place.tile) * shape::rows;  // the longest rows first
  const uint32_t past = min(t0 + shape::rows, a.end_row);
  const uint32_t warp_row = t0 + 16 * row_tiles * warp, row0 = warp_row + lane / 4;  // row (m, half): + 16 m + 8 half
  const matrix_scores units = matrix_scores_of(a, h);
  const uint32_t first = first_key(a, b, t0), begin_of_last = first_key(a, b, past - 1);
  uint16_t *const own = q_tile + 16 * row_tiles * warp * stride;

  matrix_fetch<shape::rows, HEAD>(q_tile, attention_rows_of<uint16_t>(a, a.q, a.q_t, a.q_h, b, h, t0, past), a.D);
  matrix_fetch<keys, HEAD>(k_tile, matrix_rows_of(a, a.k, a.k_t, a.k_h, b, g, first, past), a.D);
  copy_async_commit();
  float result[row_tiles][column_tiles][4], maximum[row_tiles][2], sum[row_tiles][2];
  matrix_clear(result);
#pragma unroll
  for (int m = 0; m < row_tiles; m++) {
    maximum[m][0] = maximum[m][1] = -INFINITY;
    sum[m][0] = sum[m][1] = 0;
  }

  for (uint32_t key0 = first; key0 < past; key0 += keys) {
    const bool is_edge = key0 + keys - 1 > t0 || key0 < begin_of_last;
    const bool is_seen =
        key0 <= warp_row + 16 * row_tiles - 1;  // by any query of the warp, as far as the diagonal says
    copy_async_wait<0>();
    __syncthreads();  // the keys are there, and the values' tile is free
    matrix_fetch<keys, HEAD>(v_tile, matrix_rows_of(a, a.v, a.v_t, a.v_h, b, g, key0, past), a.D);
    copy_async_commit();
    float scores[row_tiles][key_tiles][4];
    if (is_seen) matrix_products<T, HEAD>(scores, own, k_tile);
    copy_async_wait<0>();
    const bool mine = is_edge && matrix_scan<T, keys, HEAD>(v_tile, true);
    const bool found = __syncthreads_or(mine) != 0;  // the values are there, and the keys' tile is free
    if (key0 + keys < past) {
      matrix_fetch<keys, HEAD>(k_tile, matrix_rows_of(a, a.k, a.k_t, a.k_h, b, g, key0 + keys, past), a.D);
      copy_async_commit();
    }
    if (!is_seen) continue;

    const int distance0 = (int)(row0 - key0) - lane % 4 * 2;  // from the thread's first row to its first key
    if (!units.is_plain) {
#pragma unroll
      for (int m = 0; m < row_tiles; m++) {
#pragma unroll
        for (int n = 0; n < key_tiles; n++) {
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const float distance = (float)distance0 + (float)(16 * m + e / 2 * 8 - 8 * n - e % 2);
            float derivative;
            scores[m][n][e] = matrix_score(a, units.slope, scores[m][n][e], distance, &derivative);
          }
        }
      }
    }
    if (is_edge) {
#pragma unroll
      for (int m = 0; m < row_tiles; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const uint32_t row = computed_here(row0) + 16 * m + 8 * half;
          const int end = distance0 + 16 * m + 8 * half + 1;  // the row sees the tile's keys [begin, end)
          const int begin = end - (int)(row + 1 - first_key(a, b, min(row, past - 1)));
#pragma unroll
          for (int n = 0; n < key_tiles; n++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
              if (8 * n + e < begin || 8 * n + e >= end) scores[m][n][2 * half + e] = -INFINITY;
            }
          }
        }
      }
    }
#pragma unroll
    for (int m = 0; m < row_tiles; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float rescale = matrix_softmax(scores[m], half, units.factor, maximum[m][half], sum[m][half]);
        matrix_rescale(result[m], half, rescale);
      }
    }
    // Three blocks a multiprocessor: ptxas would keep the tile's address by spilling something else on some cards.
    matrix_add_sums<T, HEAD>(result, scores, HEAD <= 64 ? k_tile + computed_here(keys * stride) : v_tile);
    if (found) {
      const attention_rows<uint16_t> v = matrix_rows_of(a, a.v, a.v_t, a.v_h, b, g, key0, past);
      matrix_add_infinite<T, false, keys>(result, a, b, v, computed_here(row0), 0);
    }
  }

  matrix_finish(a, computed_here(b), computed_here(h), row0, past, units.factor, maximum, sum);
  T *const out = static_cast<T *>(a.out) + ((uint64_t)b * a.T + warp_row) * a.out_t + h * a.out_h;
  const uint32_t rows = warp_row < past ? past - warp_row : 0;
  matrix_store<T, HEAD>(own, result, sum, out, a.out_t, rows, a.D);
#endif
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_FORWARD_MATRIX_CUH_
