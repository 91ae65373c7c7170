// attention_gradient on tensor cores (Dao 2023, FlashAttention-2, section 3.1; here in two passes, each deterministic
// without atomics or waits between blocks): dq, a block owning queries; dk and dv, a block owning keys and going
// through the queries of every head that shares them. Heads of a multiple of 8 elements up to HEAD, rows aligned to 16
// bytes, bf16 or f16; sm_80 and later. delta comes from attention_delta.cuh. Tile picture and products:
// attention_matrix.cuh.
//
//   p = exp(score - log_sum_exp)       dp = dy . v   delta = dy . y   ds = p (dp - delta) dscore / d(q . k)
//   dq = sum over keys of ds k         dk = sum over queries of ds q          dv = sum over queries of p dy
//
// One tile of each operand of the other side is in shared memory; each is copied while a product that does not need it
// is made: dq makes dy . v, then q . k, then the sum over k; dk and dv make v . dy, k . q, the sum over dy, that over
// q. So p and ds never leave the registers, for 7 products where one pass with dq in memory has 5.
//
// What computed_here() holds back (cuda/instructions.cuh) is what ptxas would otherwise spill on one card or another:
// both passes have all of a thread's registers in use.
//
// 14 HEAD FLOP a pair (6 in the pass for dq, 8 in the other).
#ifndef DURE_CUDA_KERNELS_ATTENTION_GRADIENT_MATRIX_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_GRADIENT_MATRIX_CUH_

#include "cuda/kernels/attention_matrix.cuh"

// dq: as the forward kernel, but with two products of scores in registers: fewer keys a tile.
template <int HEAD>
struct matrix_gradient_q {
  static constexpr int row_tiles = HEAD <= 128 ? 2 : 1, rows = 16 * row_tiles * MATRIX_WARPS;
  static constexpr int keys = 32;
  static constexpr size_t shared_bytes = (size_t)(2 * rows + 2 * keys) * matrix_tile<HEAD>::stride * 2;
};

// dk, dv: two sums in registers, each of at most 128 columns; heads of more are left to two blocks, which both make the
// scores.
template <int HEAD>
struct matrix_gradient_k_v {
  static constexpr int row_tiles = HEAD <= 64 ? 2 : 1, rows = 16 * row_tiles * MATRIX_WARPS;
  static constexpr int queries = HEAD <= 64 || HEAD > 128 ? 32 : 48;
  static constexpr int parts = HEAD > 128 ? 2 : 1, columns = HEAD / parts;
  static constexpr size_t shared_bytes = (size_t)(2 * rows + 2 * queries) * matrix_tile<HEAD>::stride * 2;
};

// What the pairs of a query share; it stands in the 16 bytes that pad the query's row in shared memory.
struct matrix_query {
  float log_sum_exp, delta;  // log_sum_exp times log2(e)
};

// p and ds / scale of a pair, in place of its products q . k and dy . v. `log_sum_exp`: times log2(e).
__device__ __forceinline__ void matrix_pair_gradient(const attention_arguments &a, const matrix_scores &units,
                                                     float distance, float log_sum_exp, float delta, float *product,
                                                     float *dp) {
  float derivative = 1, score = *product;
  if (!units.is_plain) score = matrix_score(a, units.slope, score, distance, &derivative);
  const float p = exp2_approximate(fmaf(score, units.factor, -log_sum_exp));
  *product = p;
  *dp = p * (*dp - delta);
  if (!units.is_plain) *dp *= derivative;
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(MATRIX_THREADS, 2) attention_gradient_q_matrix_kernel(attention_arguments a) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using shape = matrix_gradient_q<HEAD>;
  constexpr int row_tiles = shape::row_tiles, keys = shape::keys, key_tiles = keys / 8, column_tiles = HEAD / 8;
  constexpr int stride = matrix_tile<HEAD>::stride;
  CUDA_DYNAMIC_SHARED(uint16_t, q_tile);
  uint16_t *const dy_tile = q_tile + shape::rows * stride, *const k_tile = dy_tile + shape::rows * stride;
  uint16_t *const v_tile = k_tile + keys * stride;
  const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
  const attention_place place = attention_place_of(a);
  const uint32_t b = place.b, h = place.head, g = h / (a.H / a.G);
  const uint32_t t0 = a.first_row + (a.tiles - 1 - place.tile) * shape::rows;  // the longest rows first
  const uint32_t past = min(t0 + shape::rows, a.end_row);
  const uint32_t warp_row = t0 + 16 * row_tiles * warp, row0 = warp_row + lane / 4;  // row (m, half): + 16 m + 8 half
  const matrix_scores units = matrix_scores_of(a, h);
  const uint32_t first = first_key(a, b, t0), begin_of_last = first_key(a, b, past - 1);
  uint16_t *const own_q = q_tile + 16 * row_tiles * warp * stride, *const own_dy = own_q + shape::rows * stride;

  matrix_fetch<shape::rows, HEAD>(q_tile, attention_rows_of<uint16_t>(a, a.q, a.q_t, a.q_h, b, h, t0, past), a.D);
  matrix_fetch<shape::rows, HEAD>(dy_tile, attention_rows_of<uint16_t>(a, a.dy, a.dy_t, a.dy_h, b, h, t0, past), a.D);
  matrix_fetch<keys, HEAD>(v_tile, matrix_rows_of(a, a.v, a.v_t, a.v_h, b, g, first, past), a.D);
  copy_async_commit();
  float dq[row_tiles][column_tiles][4];
  matrix_clear(dq);
  if (threadIdx.x < shape::rows) {
    const uint64_t at = ((uint64_t)b * a.H + h) * a.T + min(t0 + threadIdx.x, past - 1);
    *reinterpret_cast<matrix_query *>(q_tile + threadIdx.x * stride + HEAD) =
        matrix_query{a.log_sum_exp[at] * LOG2_E, a.delta[at]};
  }

  for (uint32_t key0 = first; key0 < past; key0 += keys) {
    const bool is_edge = key0 + keys - 1 > t0 || key0 < begin_of_last;
    // By any query of the warp, as far as the diagonal says.
    const bool is_seen = key0 <= computed_here(row0) + (16 * row_tiles - 1 - lane / 4);
    copy_async_wait<0>();
    __syncthreads();  // the values are there, and the keys' tile is free
    matrix_fetch<keys, HEAD>(k_tile, matrix_rows_of(a, a.k, a.k_t, a.k_h, b, g, key0, past), a.D);
    copy_async_commit();
    float scores[row_tiles][key_tiles][4], ds[row_tiles][key_tiles][4];
    if (is_seen) matrix_products<T, HEAD>(ds, own_dy, v_tile);
    copy_async_wait<0>();
    const bool mine = is_edge && matrix_scan<T, keys, HEAD>(k_tile, false);
    const bool found = __syncthreads_or(mine) != 0;  // the keys are there, and the values' tile is free
    if (key0 + keys < past) {
      matrix_fetch<keys, HEAD>(v_tile, matrix_rows_of(a, a.v, a.v_t, a.v_h, b, g, key0 + keys, past), a.D);
      copy_async_commit();
    }
    if (is_seen) matrix_products<T, HEAD>(scores, own_q, k_tile);
    if (found) {
      __syncthreads();  // all scores are made: what is not finite may go
      matrix_scan<T, keys, HEAD>(k_tile, true);
      __syncthreads();
    }
    if (!is_seen) continue;

    const int distance0 = (int)(row0 - key0) - lane % 4 * 2;  // from the thread's first row to its first key
#pragma unroll
    for (int m = 0; m < row_tiles; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const matrix_query query =
            *reinterpret_cast<const matrix_query *>(own_q + (16 * m + 8 * half + lane / 4) * stride + HEAD);
#pragma unroll
        for (int n = 0; n < key_tiles; n++) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; e++) {
            const float distance = (float)distance0 + (float)(16 * m + 8 * half - 8 * n - e % 2);
            matrix_pair_gradient(a, units, distance, query.log_sum_exp, query.delta, &scores[m][n][e], &ds[m][n][e]);
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
              if (8 * n + e < begin || 8 * n + e >= end) ds[m][n][2 * half + e] = 0;
            }
          }
        }
      }
    }
    matrix_add_sums<T, HEAD>(dq, ds, q_tile + computed_here(2 * shape::rows * stride));  // the tile of keys
    if (found) {
      const attention_rows<uint16_t> k = matrix_rows_of(a, a.k, a.k_t, a.k_h, b, g, key0, past);
      matrix_add_infinite<T, false, keys>(dq, a, b, k, computed_here(row0), 0);
    }
  }

  float factors[row_tiles][2];
#pragma unroll
  for (int m = 0; m < row_tiles; m++) factors[m][0] = factors[m][1] = a.scale;
  T *const out = static_cast<T *>(a.out) + ((uint64_t)b * a.T + warp_row) * a.out_t + h * a.out_h;
  matrix_store<T, HEAD>(own_q, dq, factors, out, a.out_t, warp_row < past ? past - warp_row : 0, a.D);
#endif
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(MATRIX_THREADS, 2) attention_gradient_k_v_matrix_kernel(attention_arguments a) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using shape = matrix_gradient_k_v<HEAD>;
  constexpr int row_tiles = shape::row_tiles, queries = shape::queries, query_tiles = queries / 8;
  constexpr int column_tiles = shape::columns / 8, stride = matrix_tile<HEAD>::stride;
  CUDA_DYNAMIC_SHARED(uint16_t, k_tile);
  uint16_t *const v_tile = k_tile + shape::rows * stride, *const q_tile = v_tile + shape::rows * stride;
  uint16_t *const dy_tile = q_tile + queries * stride;
  const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
  const attention_place place = attention_place_of(a);
  const uint32_t b = place.b, g = place.head, column = place.tile % shape::parts * shape::columns;
  const uint32_t key0 = a.first_row + place.tile / shape::parts * shape::rows;
  const uint32_t keys_past = min(key0 + shape::rows, a.end_row), queries_past = queries_past_of(a, keys_past);
  const uint32_t warp_row = key0 + 16 * row_tiles * warp, row0 = warp_row + lane / 4;  // row (m, half): + 16 m + 8 half
  uint16_t *const own_k = k_tile + 16 * row_tiles * warp * stride, *const own_v = own_k + shape::rows * stride;

  matrix_fetch<shape::rows, HEAD>(k_tile, attention_rows_of<uint16_t>(a, a.k, a.k_t, a.k_h, b, g, key0, keys_past),
                                  a.D);
  matrix_fetch<shape::rows, HEAD>(v_tile, attention_rows_of<uint16_t>(a, a.v, a.v_t, a.v_h, b, g, key0, keys_past),
                                  a.D);
  float dk[row_tiles][column_tiles][4], dv[row_tiles][column_tiles][4];
  matrix_clear(dk);
  matrix_clear(dv);

  for (uint32_t h = g * (a.H / a.G); h < (computed_here(g) + 1) * (a.H / a.G); h++) {
    __syncthreads();  // the tile of dy is free
    matrix_fetch<queries, HEAD>(dy_tile, matrix_rows_of(a, a.dy, a.dy_t, a.dy_h, b, h, key0, queries_past), a.D);
    copy_async_commit();
    bool is_seen = true;  // these keys by any query of the tile: by none from where a later document begins
    for (uint32_t query0 = key0; is_seen; query0 += queries) {
      const uint32_t last = min(query0 + queries, queries_past) - 1;
      const bool is_edge = query0 < keys_past || query0 + queries > queries_past || first_key(a, b, last) > key0;
      copy_async_wait<0>();
      bool mine = is_edge && matrix_scan<T, queries, HEAD>(dy_tile, false);
      __syncthreads();  // dy is there, and the tile of q is free
      matrix_fetch<queries, HEAD>(q_tile, matrix_rows_of(a, a.q, a.q_t, a.q_h, b, h, query0, queries_past), a.D);
      copy_async_commit();
      const uint32_t thread = computed_here(threadIdx.x);
      if (thread < queries) {
        const uint64_t at = ((uint64_t)b * a.H + h) * a.T + min(query0 + thread, last);
        *reinterpret_cast<matrix_query *>(q_tile + thread * stride + HEAD) =
            matrix_query{a.log_sum_exp[at] * LOG2_E, a.delta[at]};
      }
      float p[row_tiles][query_tiles][4], ds[row_tiles][query_tiles][4];
      matrix_products<T, HEAD>(ds, own_v, dy_tile);
      copy_async_wait<0>();
      if (is_edge && matrix_scan<T, queries, HEAD>(q_tile, false)) mine = true;
      const bool found = __syncthreads_or(mine) != 0;  // q is there
      matrix_products<T, HEAD>(p, own_k, q_tile);
      if (found) {
        __syncthreads();  // all scores are made: what is not finite may go
        matrix_scan<T, queries, HEAD>(q_tile, true);
        matrix_scan<T, queries, HEAD>(dy_tile, true);
        __syncthreads();
      }

      const matrix_scores units = matrix_scores_of(a, computed_here(h));
      const uint16_t *const query_row = q_tile + computed_here(threadIdx.x) % 4 * 2 * stride + HEAD;
      const int distance0 = (int)(query0 - row0) + lane % 4 * 2;  // from the thread's first key to its first query
#pragma unroll
      for (int n = 0; n < query_tiles; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const matrix_query query = *reinterpret_cast<const matrix_query *>(query_row + (8 * n + e) * stride);
#pragma unroll
          for (int i = 0; i < 2 * row_tiles; i++) {
            const float distance = (float)distance0 + (float)(8 * n + e - 8 * i);
            matrix_pair_gradient(a, units, distance, query.log_sum_exp, query.delta, &p[i / 2][n][i % 2 * 2 + e],
                                 &ds[i / 2][n][i % 2 * 2 + e]);
          }
        }
      }
      if (is_edge) {
        const uint32_t thread_query = computed_here(query0 + lane % 4 * 2);
#pragma unroll
        for (int n = 0; n < query_tiles; n++) {
#pragma unroll
          for (int e = 0; e < 2; e++) {
            const uint32_t query = thread_query + 8 * n + e;
            // The query sees keys [query - reach, query]; none if there is no such query.
            const int reach = query <= last ? (int)(query - first_key(a, b, query)) : -1;
#pragma unroll
            for (int i = 0; i < 2 * row_tiles; i++) {
              const int distance = distance0 + 8 * n + e - 8 * i;
              if (distance < 0 || distance > reach) p[i / 2][n][i % 2 * 2 + e] = ds[i / 2][n][i % 2 * 2 + e] = 0;
            }
          }
        }
      }
      matrix_add_sums<T, HEAD>(dv, p, dy_tile + column);
      if (found) {
        const attention_rows<uint16_t> dy = matrix_rows_of(a, a.dy, a.dy_t, a.dy_h, b, h, query0, queries_past);
        matrix_add_infinite<T, true, queries>(dv, a, b, dy, computed_here(row0), column);
      }
      __syncthreads();  // the tile of dy is free
      is_seen = query0 + queries < queries_past && first_key(a, b, query0 + queries) < keys_past;
      if (is_seen) {
        matrix_fetch<queries, HEAD>(dy_tile,
                                    matrix_rows_of(a, a.dy, a.dy_t, a.dy_h, b, h, query0 + queries, queries_past), a.D);
        copy_async_commit();
      }
      matrix_add_sums<T, HEAD>(dk, ds, q_tile + column);
      if (found) {
        const attention_rows<uint16_t> q = matrix_rows_of(a, a.q, a.q_t, a.q_h, b, h, query0, queries_past);
        matrix_add_infinite<T, true, queries>(dk, a, b, q, computed_here(row0), column);
      }
    }
  }

  float factors[row_tiles][2];
  const uint64_t row = (uint64_t)b * a.T + warp_row;
  const uint32_t rows = warp_row < keys_past ? keys_past - warp_row : 0, columns = a.D > column ? a.D - column : 0;
#pragma unroll
  for (int m = 0; m < row_tiles; m++) factors[m][0] = factors[m][1] = a.scale;
  matrix_store<T, HEAD>(own_k, dk, factors, static_cast<T *>(a.out) + row * a.out_t + g * a.out_h + column, a.out_t,
                        rows, columns);
#pragma unroll
  for (int m = 0; m < row_tiles; m++) factors[m][0] = factors[m][1] = 1;
  matrix_store<T, HEAD>(own_v, dv, factors, static_cast<T *>(a.second) + row * a.second_t + g * a.second_h + column,
                        a.second_t, rows, columns);
#endif
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_GRADIENT_MATRIX_CUH_
