// attention_gradient by tiles in shared memory on the plain f32 units (Dao et al. 2022, appendix B.2), in two passes,
// each without atomics: dq, a block owning 64 queries; dk and dv, a block owning 64 keys and going through the queries
// of every head that shares them. delta comes from attention_delta.cuh. Tile picture: attention_tile_products.cuh.
//
//   p = exp(score - log_sum_exp)       dp = dy . v   delta = dy . y   ds = p (dp - delta) dscore / d(q . k)
//   dq = sum over keys of ds k         dk = sum over queries of ds q          dv = sum over queries of p dy
//
// Each pass makes both score products, then its sums. 14 HEAD FLOP a pair (7 products, two of them made twice).
#ifndef DURE_CUDA_KERNELS_ATTENTION_GRADIENT_TILE_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_GRADIENT_TILE_CUH_

#include "cuda/kernels/attention_tile_products.cuh"

// p and ds of a pair, in place of its products q . k and dy . v.
__device__ __forceinline__ void tile_pair_gradient(const attention_arguments &a, bool is_seen, float slope,
                                                   float distance, float log_sum_exp, float delta, float *product,
                                                   float *dp) {
  const attention_score score = attention_score_of(a, *product, slope, distance);
  const float p = expf(score.value - log_sum_exp);
  *product = is_seen ? p : TILE_UNSEEN;
  *dp = is_seen ? score.derivative * p * (*dp - delta) : TILE_UNSEEN;
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(TILE_THREADS, 1) attention_gradient_q_tile_kernel(attention_arguments a) {
  __shared__ __align__(16) float stage[TILE_STAGE];
  __shared__ __align__(16) float weights[TILE_WEIGHTS];
  const uint32_t lane = threadIdx.x % TILE_LANES, group = threadIdx.x / TILE_LANES;
  const attention_place place = attention_place_of(a);
  const uint32_t b = place.b, h = place.head, g = h / (a.H / a.G);
  const uint32_t t0 = a.first_row + (a.tiles - 1 - place.tile) * TILE_ROWS;  // the longest rows first
  const uint32_t past = min(t0 + TILE_ROWS, a.end_row), row0 = t0 + 4 * group;
  const float slope = a.slopes != nullptr ? a.slopes[h] : 0;
  const bool in_fours = a.in_fours != 0;
  uint32_t first[4];
  float log_sum_exp[4], delta[4], dq[4][HEAD / 64][4];
  tile_clear<T, HEAD>(dq);
#pragma unroll
  for (int r = 0; r < 4; r++) {
    const uint32_t t = min(row0 + r, past - 1);
    const uint64_t at = ((uint64_t)b * a.H + h) * a.T + t;
    first[r] = first_key(a, b, t);
    log_sum_exp[r] = a.log_sum_exp[at];
    delta[r] = a.delta[at];
  }
  const uint32_t begin_of_last = first_key(a, b, past - 1);
  const attention_rows<T> q = attention_rows_of<T>(a, a.q, a.q_t, a.q_h, b, h, t0, past);
  const attention_rows<T> dy = attention_rows_of<T>(a, a.dy, a.dy_t, a.dy_h, b, h, t0, past);
  attention_rows<T> k = attention_rows_of<T>(a, a.k, a.k_t, a.k_h, b, g, 0, past);
  attention_rows<T> v = attention_rows_of<T>(a, a.v, a.v_t, a.v_h, b, g, 0, past);

  for (uint32_t key0 = first_key(a, b, t0); key0 < past; key0 += TILE_ROWS) {
    const bool is_edge = key0 + TILE_ROWS - 1 > t0 || key0 < begin_of_last;
    k.begin = v.begin = key0;
    float p[4][4] = {}, ds[4][4] = {};
    tile_add_products(p, q, k, a.D, in_fours, stage);
    tile_add_products(ds, dy, v, a.D, in_fours, stage);
#pragma unroll
    for (int r = 0; r < 4; r++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const uint32_t key = key0 + 4 * lane + e;
        const bool is_seen = key >= first[r] && key <= row0 + r;
        tile_pair_gradient(a, is_seen, slope, (float)(row0 + r) - (float)key, log_sum_exp[r], delta[r], &p[r][e],
                           &ds[r][e]);
      }
    }
    tile_put_weights(weights, ds);
    tile_add_sums<T, HEAD>(dq, k, weights, is_edge, a.D, in_fours, stage);
  }

#pragma unroll
  for (int r = 0; r < 4; r++) {
    if (row0 + r >= past) continue;
    T *const out = static_cast<T *>(a.out) + ((uint64_t)b * a.T + row0 + r) * a.out_t + h * a.out_h;
#pragma unroll
    for (int part = 0; part < HEAD / 64; part++) tile_store(out, 64 * part + 4 * lane, a.D, in_fours, dq[r][part]);
  }
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(TILE_THREADS, 1) attention_gradient_k_v_tile_kernel(attention_arguments a) {
  __shared__ __align__(16) float stage[TILE_STAGE];
  __shared__ __align__(16) float weights[TILE_WEIGHTS];
  const uint32_t lane = threadIdx.x % TILE_LANES, group = threadIdx.x / TILE_LANES;
  const attention_place place = attention_place_of(a);
  const uint32_t b = place.b, g = place.head;
  const uint32_t key0 = a.first_row + place.tile * TILE_ROWS, keys_past = min(key0 + TILE_ROWS, a.end_row);
  const uint32_t key = key0 + 4 * group, queries_past = queries_past_of(a, keys_past);
  const bool in_fours = a.in_fours != 0;
  float dk[4][HEAD / 64][4], dv[4][HEAD / 64][4];
  tile_clear<T, HEAD>(dk);
  tile_clear<T, HEAD>(dv);
  const attention_rows<T> k = attention_rows_of<T>(a, a.k, a.k_t, a.k_h, b, g, key0, keys_past);
  const attention_rows<T> v = attention_rows_of<T>(a, a.v, a.v_t, a.v_h, b, g, key0, keys_past);

  for (uint32_t h = g * (a.H / a.G); h < (g + 1) * (a.H / a.G); h++) {
    const float slope = a.slopes != nullptr ? a.slopes[h] : 0;
    attention_rows<T> q = attention_rows_of<T>(a, a.q, a.q_t, a.q_h, b, h, 0, queries_past);
    attention_rows<T> dy = attention_rows_of<T>(a, a.dy, a.dy_t, a.dy_h, b, h, 0, queries_past);
    for (uint32_t query0 = key0; query0 < queries_past; query0 += TILE_ROWS) {
      if (first_key(a, b, query0) >= keys_past) break;  // a later document: no query sees these keys any more
      const uint32_t last = min(query0 + TILE_ROWS, queries_past) - 1;
      const bool is_edge = query0 < keys_past || query0 + TILE_ROWS > queries_past || first_key(a, b, last) > key0;
      q.begin = dy.begin = query0;
      float p[4][4] = {}, ds[4][4] = {};
      tile_add_products(p, k, q, a.D, in_fours, stage);
      tile_add_products(ds, v, dy, a.D, in_fours, stage);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const uint32_t query = query0 + 4 * lane + e, t = min(query, last);
        const uint64_t at = ((uint64_t)b * a.H + h) * a.T + t;
        const float log_sum_exp = a.log_sum_exp[at], delta = a.delta[at];
        const uint32_t first = query <= last ? first_key(a, b, t) : 0xffffffffu;  // beyond the last: none is seen
#pragma unroll
        for (int r = 0; r < 4; r++) {
          tile_pair_gradient(a, key + r >= first && key + r <= query, slope, (float)query - (float)(key + r),
                             log_sum_exp, delta, &p[r][e], &ds[r][e]);
        }
      }
      tile_put_weights(weights, p);
      tile_add_sums<T, HEAD>(dv, dy, weights, is_edge, a.D, in_fours, stage);
      __syncthreads();
      tile_put_weights(weights, ds);
      tile_add_sums<T, HEAD>(dk, q, weights, is_edge, a.D, in_fours, stage);
    }
  }

#pragma unroll
  for (int r = 0; r < 4; r++) {
    if (key + r >= keys_past) continue;
    const uint64_t row = (uint64_t)b * a.T + key + r;
    T *const dk_row = static_cast<T *>(a.out) + row * a.out_t + g * a.out_h;
    T *const dv_row = static_cast<T *>(a.second) + row * a.second_t + g * a.second_h;
#pragma unroll
    for (int part = 0; part < HEAD / 64; part++) {
      tile_store(dk_row, 64 * part + 4 * lane, a.D, in_fours, dk[r][part]);
      tile_store(dv_row, 64 * part + 4 * lane, a.D, in_fours, dv[r][part]);
    }
  }
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_GRADIENT_TILE_CUH_
