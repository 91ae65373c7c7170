// attention_cached: T queries of each sequence against its positions in the paged cache. Two stages:
//
//   1. A block owns up to QUERIES queries that read one key head (heads that share it, and neighbouring tokens) and one
//      of `splits` equal parts of the positions they see. HEAD / 8 lanes hold 8 columns each of a key, a value and the
//      queries; a block's 128 threads are so 1024 / HEAD teams, and team i takes positions i, i + teams, .. four at a
//      time, so that eight 16-byte loads are on their way. Each team has its own running maximum, sum and weighted
//      values (online softmax); in the end they are joined in the teams' order.
//   2. Where there are several parts, another kernel joins these in their order. One part: the first stage writes y.
//
// Each key and value is read once for QUERIES queries: 4 D FLOP a query and position for 2 D elements / QUERIES, memory
// speed where few queries share a key. Of caches of 8-bit codes in blocks of 32, a lane's 8 columns have one scale.
#ifndef DURE_CUDA_KERNELS_ATTENTION_CACHED_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_CACHED_CUH_

#include "cuda/kernels/attention_common.cuh"

enum { CACHED_THREADS = 128, CACHED_COLUMNS = 8, CACHED_AHEAD = 4 };

struct attention_cached_arguments {
  attention_arguments common;  // q, slopes, sizes, scale, soft_cap, window; out: y
  uint32_t blocks, block_size, blocks_per_sequence;
  uint32_t query_blocks, splits, in_eights;
  const void *key_cache, *value_cache;
  const float16 *key_scales, *value_scales;  // [blocks, block_size, G, D / 32], of codes
  const uint32_t *block_table, *positions;
  float *partial;  // [B * T * H, splits, D + 2]: weighted values, their sum of weights, their maximum; null: one split
};

template <typename T>
__device__ __forceinline__ void cached_fetch(const T *row, uint32_t d, uint32_t D, bool in_eights, float (&x)[8]) {
  if (in_eights && d < D) {
    const float4 low = load_four(row + d), high = load_four(row + d + 4);
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
    return;
  }
#pragma unroll
  for (int e = 0; e < 8; e++) x[e] = d + e < D ? to_float(row[d + e]) : 0;
}

// The same of a cache whose element `row` begins the head.
template <typename C>
__device__ __forceinline__ void cached_fetch_head(const void *cache, const float16 *scales, int64_t row, uint32_t d,
                                                  uint32_t D, bool in_eights, float (&x)[8]) {
  (void)scales;
  cached_fetch(static_cast<const C *>(cache) + row, d, D, in_eights, x);
}
template <>
__device__ __forceinline__ void cached_fetch_head<int8_t>(const void *cache, const float16 *scales, int64_t row,
                                                          uint32_t d, uint32_t D, bool in_eights, float (&x)[8]) {
  (void)in_eights;  // always: whole blocks, at multiples of 16 bytes
  if (d >= D) return;
  const uint2 words = *reinterpret_cast<const uint2 *>(static_cast<const int8_t *>(cache) + row + d);
  const float scale = to_float(scales[(row + d) / 32]);
#pragma unroll
  for (int e = 0; e < 8; e++) x[e] = (float)(int8_t)((e < 4 ? words.x : words.y) >> (8 * (e % 4))) * scale;
}

// First element of head g of a cached position; -1 where the table names no block.
__device__ __forceinline__ int64_t cached_row(const attention_cached_arguments &a, uint32_t b, uint32_t g,
                                              uint32_t position) {
  const uint32_t entry = position / a.block_size;
  const uint32_t block = a.block_table[(uint64_t)b * a.blocks_per_sequence + entry];
  if (block >= a.blocks) return -1;
  return (int64_t)((((uint64_t)block * a.block_size + position % a.block_size) * a.common.G + g) * a.common.D);
}

// The factor that brings weights under one maximum to another, not smaller one.
__device__ __forceinline__ float cached_rescale(float maximum, float new_maximum) {
  return maximum == -INFINITY ? 0 : expf(maximum - new_maximum);
}

template <typename T, typename C, int HEAD, int QUERIES>
__global__ void __launch_bounds__(CACHED_THREADS) attention_cached_kernel(attention_cached_arguments a) {
  constexpr int lanes = HEAD / CACHED_COLUMNS, teams = CACHED_THREADS / lanes;
  __shared__ float joined[QUERIES][teams][HEAD], maxima[QUERIES][teams], sums[QUERIES][teams];
  const attention_arguments &c = a.common;
  const uint32_t team = threadIdx.x / lanes, d = threadIdx.x % lanes * CACHED_COLUMNS;
  const uint32_t sharing = c.H / c.G, count = c.T * sharing;  // queries of a key head: query i is token i / sharing
  // One dimension of the grid holds all: parts within blocks of queries within key heads within sequences.
  const uint32_t split = blockIdx.x % a.splits, block = blockIdx.x / a.splits;
  const uint32_t first = block % a.query_blocks * QUERIES, head = block / a.query_blocks, g = head % c.G,
                 b = head / c.G;
  const uint64_t past_tokens = a.positions[b], capacity = (uint64_t)a.block_size * a.blocks_per_sequence;
  const uint32_t last = min(first + QUERIES, count) - 1;

  float q[QUERIES][8], result[QUERIES][8], maximum[QUERIES], sum[QUERIES], slope[QUERIES];
  uint64_t begin[QUERIES], end[QUERIES];  // positions that a query sees
#pragma unroll
  for (int i = 0; i < QUERIES; i++) {
    const uint32_t of = min(first + i, last), t = of / sharing, h = g * sharing + of % sharing;
    const uint64_t position = past_tokens + t;
    begin[i] = c.window > 0 && position + 1 > c.window ? position + 1 - c.window : 0;
    end[i] = position + 1 < capacity ? position + 1 : capacity;
    slope[i] = c.slopes != nullptr ? c.slopes[h] : 0;
    cached_fetch(static_cast<const T *>(c.q) + ((uint64_t)b * c.T + t) * c.q_t + h * c.q_h, d, c.D, a.in_eights != 0,
                 q[i]);
    maximum[i] = -INFINITY;
    sum[i] = 0;
#pragma unroll
    for (int e = 0; e < 8; e++) result[i][e] = 0;
  }
  // The part of the positions: those of all the block's queries, cut into `splits`.
  const uint64_t all_end = end[QUERIES - 1], seen = all_end > begin[0] ? all_end - begin[0] : 0;
  const uint64_t each = (seen + a.splits - 1) / a.splits,
                 part = begin[0] + min((unsigned long)(split * each), (unsigned long)seen);
  const uint64_t part_end = min((unsigned long)(part + each), (unsigned long)(begin[0] + seen));

  for (uint64_t s0 = part; s0 < part_end; s0 += teams * CACHED_AHEAD) {
    float k[CACHED_AHEAD][8], v[CACHED_AHEAD][8];
    bool is_there[CACHED_AHEAD];
#pragma unroll
    for (int n = 0; n < CACHED_AHEAD; n++) {
      const uint64_t s = s0 + n * teams + team;
      const int64_t row = s < part_end ? cached_row(a, b, g, (uint32_t)s) : -1;
      is_there[n] = row >= 0;
#pragma unroll
      for (int e = 0; e < 8; e++) k[n][e] = v[n][e] = 0;
      if (!is_there[n]) continue;
      cached_fetch_head<C>(a.key_cache, a.key_scales, row, d, c.D, a.in_eights != 0, k[n]);
      cached_fetch_head<C>(a.value_cache, a.value_scales, row, d, c.D, a.in_eights != 0, v[n]);
    }
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      float weight[CACHED_AHEAD], highest = maximum[i];
      bool sees[CACHED_AHEAD];
#pragma unroll
      for (int n = 0; n < CACHED_AHEAD; n++) {
        const uint64_t s = s0 + n * teams + team;
        float product = 0;
#pragma unroll
        for (int e = 0; e < 8; e++) product = fmaf(q[i][e], k[n][e], product);
#pragma unroll
        for (int offset = lanes / 2; offset > 0; offset /= 2) product += __shfl_xor_sync(0xffffffffu, product, offset);
        const float distance =
            (float)(end[i] - 1) - (float)s + (float)(past_tokens + min(first + i, last) / sharing + 1 - end[i]);
        weight[n] = attention_score_of(c, product, slope[i], distance).value;
        sees[n] = is_there[n] && s >= begin[i] && s < end[i];
        if (sees[n]) highest = fmaxf(highest, weight[n]);
      }
      const float base = highest == -INFINITY ? 0 : highest, rescale = cached_rescale(maximum[i], base);
      maximum[i] = highest;
      sum[i] *= rescale;
#pragma unroll
      for (int e = 0; e < 8; e++) result[i][e] *= rescale;
#pragma unroll
      for (int n = 0; n < CACHED_AHEAD; n++) {
        if (!sees[n]) continue;
        const float p = expf(weight[n] - base);
        sum[i] += p;
#pragma unroll
        for (int e = 0; e < 8; e++) result[i][e] = fmaf(p, v[n][e], result[i][e]);
      }
    }
  }

#pragma unroll
  for (int i = 0; i < QUERIES; i++) {
    if (d == 0) {
      maxima[i][team] = maximum[i];
      sums[i][team] = sum[i];
    }
#pragma unroll
    for (int e = 0; e < 8; e++) joined[i][team][d + e] = result[i][e];
  }
  __syncthreads();
  for (uint32_t at = threadIdx.x; at < QUERIES * HEAD; at += CACHED_THREADS) {
    const uint32_t i = at / HEAD, column = at % HEAD;
    if (first + i > last || column >= c.D) continue;
    float highest = -INFINITY, total = 0, value = 0;
    for (int n = 0; n < teams; n++) highest = fmaxf(highest, maxima[i][n]);
    for (int n = 0; n < teams; n++) {
      const float rescale = cached_rescale(maxima[i][n], highest);
      total = fmaf(rescale, sums[i][n], total);
      value = fmaf(rescale, joined[i][n][column], value);
    }
    const uint32_t t = (first + i) / sharing, h = g * sharing + (first + i) % sharing;
    const uint64_t row = ((uint64_t)b * c.T + t) * c.H + h;
    if (a.partial == nullptr) {
      static_cast<T *>(c.out)[row * c.D + column] = from_float<T>(total == 0 ? 0 : value / total);
      continue;
    }
    float *const out = a.partial + (row * a.splits + split) * (c.D + 2);
    out[column] = value;
    if (column == 0) {
      out[c.D] = total;
      out[c.D + 1] = highest;
    }
  }
}

// The second stage: one element of y a thread.
template <typename T>
__global__ void __launch_bounds__(CACHED_THREADS) attention_cached_join_kernel(attention_cached_arguments a) {
  const attention_arguments &c = a.common;
  const uint64_t i = (uint64_t)blockIdx.x * CACHED_THREADS + threadIdx.x;
  if (i >= (uint64_t)c.B * c.T * c.H * c.D) return;
  const uint32_t column = (uint32_t)(i % c.D);
  const float *const parts = a.partial + i / c.D * a.splits * (c.D + 2);
  float highest = -INFINITY, total = 0, value = 0;
  for (uint32_t n = 0; n < a.splits; n++) highest = fmaxf(highest, parts[(uint64_t)n * (c.D + 2) + c.D + 1]);
  for (uint32_t n = 0; n < a.splits; n++) {
    const float *const part = parts + (uint64_t)n * (c.D + 2);
    const float rescale = cached_rescale(part[c.D + 1], highest);
    total = fmaf(rescale, part[c.D], total);  // a part of NaN alone has no maximum, but 0 times its sum is NaN
    value = fmaf(rescale, part[column], value);
  }
  static_cast<T *>(c.out)[i] = from_float<T>(total == 0 ? 0 : value / total);
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_CACHED_CUH_
