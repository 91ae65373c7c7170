// attention for any head size up to 256, any strides and offsets, and any subgroup size (Dao et al. 2022, algorithm 1).
// CACHED: attention_cached, the same against a paged cache.
//
// A workgroup of 64 takes QUERIES consecutive queries of one head and goes through the keys 64 at a time:
//   scores    one key an invocation: QUERIES dot products over D; then the running maximum and sum of each query
//   values    one element of D (of every 64) an invocation: y += probability * v over the 64 keys
// Scores cross between the two by shared memory. Nothing of size T is stored.
//
// 4 D FLOP a pair of query and key; 8 D / QUERIES bytes a pair. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "math.glsl"
#ifdef CACHED
#include "attention_cached.glsl"
READ_TENSOR(0, q, TYPE)
READ_TENSOR(1, k, CACHE_TYPE)                                                     // [blocks, block_size, G, D]
READ_TENSOR(2, v, CACHE_TYPE)
#define ELEMENT(NAME, i) load_##NAME(i)
// Element `at` of the cache, whose binding begins with element -offset.
#define DEFINE_CACHED(NAME, TENSOR, OFFSET, SCALES)                                                     \
  float NAME(uint at) {                                                                                 \
    float value;                                                                                        \
    if (CACHE_TYPE == CODES) {                                                                          \
      const float scale = load_##SCALES##_element(SCALES##_offset + at / 32);                           \
      value = from_codes(TENSOR##_words[(OFFSET + at) / 4], scale)[(OFFSET + at) % 4];                  \
    } else {                                                                                            \
      value = load_##TENSOR(OFFSET + at);                                                               \
    }                                                                                                   \
    return value;                                                                                       \
  }
DEFINE_CACHED(key_element, k, key_cache_offset, key_scales)
DEFINE_CACHED(value_element, v, value_cache_offset, value_scales)
layout(set = 0, binding = 3) readonly buffer BlockTable { uint block_table[]; };  // [B, blocks_per_sequence]
layout(set = 0, binding = 4) readonly buffer Positions { uint positions[]; };     // [B]
layout(set = 0, binding = 5) readonly buffer Slopes { float slopes[]; };          // [H]
layout(set = 0, binding = 8) buffer Y { float y[]; };
#else
#include "attention.glsl"
#define ELEMENT(values, i) values[i]
#define key_element(at) k[at]
#define value_element(at) v[at]
layout(set = 0, binding = 0) readonly buffer Q { float q[]; };
layout(set = 0, binding = 1) readonly buffer K { float k[]; };
layout(set = 0, binding = 2) readonly buffer V { float v[]; };
layout(set = 0, binding = 3) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 4) readonly buffer Slopes { float slopes[]; };
layout(set = 0, binding = 5) buffer Y { float y[]; };
layout(set = 0, binding = 6) buffer LogSumExp { float log_sum_exp[]; };
#endif

#define WIDTH 64
#define MOST_D 256
layout(local_size_x = WIDTH) in;
shared float queries[QUERIES][MOST_D];
shared float scores[QUERIES][WIDTH];  // then probabilities, relative to the running maximum; -1: not seen
shared uint places[WIDTH];            // row of each key, times the heads

const uint NOWHERE = 0xffffffffu;
const float NOT_SEEN = -1.0;

void main() {
  const uint lane = gl_LocalInvocationIndex, h = gl_WorkGroupID.y, b = gl_WorkGroupID.z;
  const uint g = h / (H / G);
#ifdef CACHED
  const uint t0 = gl_WorkGroupID.x * QUERIES, position0 = positions[positions_offset + b] + t0;
  const uint capacity = block_size * blocks_per_sequence, count = min(QUERIES, T - t0);
#else
  const uint t0 = first_row + gl_WorkGroupID.x * QUERIES, position0 = t0, capacity = T, count = min(QUERIES, end_row - t0);
#endif
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  uint first[QUERIES];  // key that each query sees
  UNROLL for (int i = 0; i < QUERIES; i++)
    for (uint d = lane; d < D; d += WIDTH)
      queries[i][d] = ELEMENT(q, q_offset + (b * T + t0 + min(i, count - 1)) * q_t + h * q_h + d);

  float maximum[QUERIES], sum[QUERIES], result[QUERIES][MOST_D / WIDTH];
  UNROLL for (int i = 0; i < QUERIES; i++) {
#ifdef CACHED
    first[i] = first_key(position0 + i);
#else
    first[i] = first_key(t0 + i, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + min(t0 + i, T - 1)] : 0);
#endif
    maximum[i] = -LARGEST_FLOAT;
    sum[i] = 0;
    UNROLL for (int j = 0; j < MOST_D / WIDTH; j++) result[i][j] = 0;
  }

  const uint end = min(position0 + count - 1, capacity - 1) + 1;
  for (uint key0 = first[0]; key0 < end; key0 += WIDTH) {
    barrier();
    const uint key = key0 + lane;
#ifdef CACHED
    uint place = NOWHERE;
    if (key < end) {
      const uint block = block_table[block_table_offset + b * blocks_per_sequence + key / block_size];
      if (block < blocks) place = block * block_size + key % block_size;
    }
    const uint k_at = (place * G + g) * D;
    places[lane] = place == NOWHERE ? NOWHERE : k_at;
#else
    const uint place = key < end ? key : NOWHERE;
    const uint k_at = k_offset + (b * T + key) * k_t + g * k_h;
    places[lane] = place == NOWHERE ? NOWHERE : v_offset + (b * T + key) * v_t + g * v_h;
#endif
    float score[QUERIES];
    UNROLL for (int i = 0; i < QUERIES; i++) score[i] = 0;
    if (place != NOWHERE) {
      for (uint d = 0; d < D; d++) {
        const float value = key_element(k_at + d);
        UNROLL for (int i = 0; i < QUERIES; i++) score[i] = fma(queries[i][d], value, score[i]);
      }
    }
    UNROLL for (int i = 0; i < QUERIES; i++)
      scores[i][lane] = place != NOWHERE && key >= first[i] && key <= position0 + i
                            ? attention_score(score[i], slope, float(position0 + i) - float(key))
                            : minus_infinity();
    barrier();

    // Each invocation goes through all 64 scores of each query: cheaper than a reduction on a CPU, and the same sum everywhere.
    float rescale[QUERIES];
    UNROLL for (int i = 0; i < QUERIES; i++) {
      float highest = maximum[i];
      for (int j = 0; j < WIDTH; j++) highest = max(highest, scores[i][j]);
      rescale[i] = exponential(maximum[i] - highest);
      maximum[i] = highest;
    }
    barrier();
    UNROLL for (int i = 0; i < QUERIES; i++) {
      const bool is_seen = place != NOWHERE && key >= first[i] && key <= position0 + i;
      scores[i][lane] = is_seen ? exponential(scores[i][lane] - maximum[i]) : NOT_SEEN;
    }
    barrier();
    UNROLL for (int i = 0; i < QUERIES; i++) {
      sum[i] *= rescale[i];
      for (int j = 0; j < WIDTH; j++) sum[i] += scores[i][j] == NOT_SEEN ? 0.0 : scores[i][j];
      UNROLL for (int j = 0; j < MOST_D / WIDTH; j++) result[i][j] *= rescale[i];
    }
    UNROLL for (int e = 0; e < MOST_D / WIDTH; e++) {
      const uint d = e * WIDTH + lane;
      if (d < D) {
        for (int j = 0; j < WIDTH; j++) {
          if (places[j] == NOWHERE) continue;
          const float value = value_element(places[j] + d);
          UNROLL for (int i = 0; i < QUERIES; i++) {
            const float p = scores[i][j];
            // Not p * value with p = 0: a value that is not finite must not reach queries that do not see it.
            result[i][e] = p == NOT_SEEN ? result[i][e] : fma(p, value, result[i][e]);
          }
        }
      }
    }
  }

  UNROLL for (int i = 0; i < QUERIES; i++) {
    if (i < count) {
#ifdef CACHED
      const uint row = y_offset + ((b * T + t0 + i) * H + h) * y_width;
#else
      const uint row = out_offset + (b * T + t0 + i) * out_t + h * out_h;
#endif
      UNROLL for (int e = 0; e < MOST_D / WIDTH; e++)
        if (e * WIDTH + lane < D) y[row + e * WIDTH + lane] = result[i][e] / sum[i];
#ifndef CACHED
      if (lane == 0) log_sum_exp[log_sum_exp_offset + (b * H + h) * T + t0 + i] = maximum[i] + logarithm(sum[i]);
#endif
    }
  }
}
