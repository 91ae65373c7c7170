// attention by tiles in shared memory on the plain f32 units (Dao et al. 2022, algorithm 1): any head size up to HEAD,
// strides, alignment and storage type. The tile picture and both products: attention_tile_products.cuh.
//
// A block owns 64 queries of one head. For each tile of keys: scores; the new maximum of each query; probabilities into
// shared memory; then the sums of values. Tiles that no query of the block sees (beyond the diagonal, the window or the
// document) are not visited; only tiles on an edge look at each pair.
//
// 4 HEAD FLOP a pair; HEAD / 16 elements of k and v a pair from L2, 0.5 HEAD bytes of shared memory a pair and product.
#ifndef DURE_CUDA_KERNELS_ATTENTION_TILE_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_TILE_CUH_

#include "cuda/instructions.cuh"
#include "cuda/kernels/attention_tile_products.cuh"

// Over the 16 lanes of a group.
__device__ __forceinline__ float tile_maximum(float x) {
#pragma unroll
  for (int offset = TILE_LANES / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}
__device__ __forceinline__ float tile_sum(float x) {
#pragma unroll
  for (int offset = TILE_LANES / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

// One block a multiprocessor is enough: for compute capability 10.0 and later ptxas aims at two, and then keeps a few
// values in local memory.
template <typename T, int HEAD>
__global__ void __launch_bounds__(TILE_THREADS, 1) attention_tile_kernel(attention_arguments a) {
  __shared__ __align__(16) float stage[TILE_STAGE];
  __shared__ __align__(16) float weights[TILE_WEIGHTS];
  const uint32_t lane = threadIdx.x % TILE_LANES, group = threadIdx.x / TILE_LANES;
  const attention_place place = attention_place_of(a);
  const uint32_t b = place.b, h = place.head, g = h / (a.H / a.G);
  const uint32_t t0 = a.first_row + (a.tiles - 1 - place.tile) * TILE_ROWS;  // the longest rows first
  const uint32_t past = min(t0 + TILE_ROWS, a.end_row), row0 = t0 + 4 * group;
  const float slope = a.slopes != nullptr ? a.slopes[h] : 0;
  const bool in_fours = a.in_fours != 0;
  float maximum[4], sum[4], result[4][HEAD / 64][4];
  tile_clear<T, HEAD>(result);
#pragma unroll
  for (int r = 0; r < 4; r++) {
    maximum[r] = -INFINITY;
    sum[r] = 0;
  }
  const uint32_t begin_of_last = first_key(a, b, past - 1);
  const attention_rows<T> q = attention_rows_of<T>(a, a.q, a.q_t, a.q_h, b, h, t0, past);
  attention_rows<T> k = attention_rows_of<T>(a, a.k, a.k_t, a.k_h, b, g, 0, past);
  attention_rows<T> v = attention_rows_of<T>(a, a.v, a.v_t, a.v_h, b, g, 0, past);

  for (uint32_t key0 = first_key(a, b, t0); key0 < past; key0 += TILE_ROWS) {
    const bool is_edge = key0 + TILE_ROWS - 1 > t0 || key0 < begin_of_last;
    k.begin = v.begin = key0;
    float w[4][4] = {};
    tile_add_products(w, q, k, a.D, in_fours, stage);
#pragma unroll
    for (int r = 0; r < 4; r++) {
      // The first key that the query sees, found anew: kept, it would cost registers that ptxas then spills.
      const uint32_t begin = first_key(a, computed_here(b), min(row0 + r, past - 1));
      float highest = maximum[r];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const uint32_t key = key0 + 4 * lane + e;
        w[r][e] = attention_score_of(a, w[r][e], slope, (float)(row0 + r) - (float)key).value;
        if (key >= begin && key <= row0 + r) highest = fmaxf(highest, w[r][e]);
      }
      highest = tile_maximum(highest);
      const float base = highest == -INFINITY ? 0 : highest;  // nothing seen yet: all exponentials 0
      const float rescale = expf(maximum[r] - base);
      maximum[r] = highest;
      sum[r] *= rescale;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const uint32_t key = key0 + 4 * lane + e;
        const bool is_seen = key >= begin && key <= row0 + r;
        w[r][e] = is_seen ? expf(w[r][e] - base) : TILE_UNSEEN;
        if (is_seen) sum[r] += w[r][e];
      }
#pragma unroll
      for (int part = 0; part < HEAD / 64; part++) {
#pragma unroll
        for (int e = 0; e < 4; e++) result[r][part][e] *= rescale;
      }
    }
    tile_put_weights(weights, w);
    tile_add_sums<T, HEAD>(result, v, weights, is_edge, a.D, in_fours, stage);
  }

#pragma unroll
  for (int r = 0; r < 4; r++) {
    const float total = tile_sum(sum[r]);
    const uint32_t t = row0 + r;
    if (t >= past) continue;
    T *const out = static_cast<T *>(a.out) + ((uint64_t)b * a.T + t) * a.out_t + h * a.out_h;
#pragma unroll
    for (int part = 0; part < HEAD / 64; part++) {
#pragma unroll
      for (int e = 0; e < 4; e++) result[r][part][e] /= total;
      tile_store(out, 64 * part + 4 * lane, a.D, in_fours, result[r][part]);
    }
    if (lane == 0) a.log_sum_exp[((uint64_t)b * a.H + h) * a.T + t] = maximum[r] + logf(total);
  }
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_TILE_CUH_
