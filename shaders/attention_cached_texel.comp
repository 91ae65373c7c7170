// attention_cached for software drivers whose subgroups are 8 lanes of a CPU's vector: one subgroup a query of one head, each
// lane going through every eighth of its keys (and the next) by itself.
//
//   lane 0: keys 0, 8 | 16, 24 | ..   lane 1: keys 1, 9 | ..   ...   a lane keeps its own maximum, sum and y [HEAD]
//   at the end the lanes' parts are brought to the common maximum and added, in the order of the lanes
//
// Heads of D elements, a multiple of 4 up to HEAD: what lies beyond is fetched as zeros. Needs cache and q whose rows begin at
// multiples of 4 elements; of 16-bit types a texel is two fours, of codes four, whose bits pass as they are and are widened here.
// 4 HEAD FLOP and 8 (16-bit types: 4, codes: 2) HEAD bytes a key: as fast as loads. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "attention_cached.glsl"

#define LANES 8
#define KEYS 2  // of a lane in one turn
layout(local_size_x = LANES) in;
layout(set = 0, binding = 0) uniform textureBuffer q;
layout(set = 0, binding = 1) uniform textureBuffer k;                        // [blocks, block_size, G, D]
layout(set = 0, binding = 2) uniform textureBuffer v;
layout(set = 0, binding = 3) readonly buffer BlockTable { uint block_table[]; };  // [B, blocks_per_sequence]
layout(set = 0, binding = 4) readonly buffer Positions { uint positions[]; };     // [B]
layout(set = 0, binding = 5) readonly buffer Slopes { float slopes[]; };          // [H]
layout(set = 0, binding = 8) buffer Y { vec4 y[]; };

// Four elements, or zeros where four < 0.
#define FETCH_FOUR(values, four) widened(texelFetch(values, is_f32(TYPE) ? (four) : (four) >> 1), four)
vec4 widened(vec4 texel, int four) {
  vec4 value = texel;
  if (!is_f32(TYPE)) {
    const uvec4 words = floatBitsToUint(texel);
    value = widen(TYPE, four % 2 == 0 ? words.xy : words.zw);
  }
  return value;
}

// The same of a cache; four c of its row.
#define FETCH_CACHED(values, four, scale, c)                                                            \
  (CACHE_TYPE == CODES ? from_codes(floatBitsToUint(texelFetch(values, (four) >> 2))[(c) % 4], scale)   \
                       : FETCH_FOUR(values, four))

void main() {
  const uint lane = gl_SubgroupInvocationID, t = gl_WorkGroupID.x, h = gl_WorkGroupID.y, b = gl_WorkGroupID.z;
  const uint g = h / (H / G), parts = D / 4, capacity = block_size * blocks_per_sequence;
  const uint position = positions[positions_offset + b] + t;
  const uint begin = first_key(position);
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  const uint end = min(position, capacity - 1) + 1;

  vec4 query[HEAD / 4], result[HEAD / 4];
  float maximum = -LARGEST_FLOAT, sum = 0;
  UNROLL for (int c = 0; c < HEAD / 4; c++) {
    query[c] = FETCH_FOUR(q, c < parts ? int((q_offset + (b * T + t) * q_t + h * q_h) / 4 + c) : -1);
    result[c] = vec4(0);
  }

  for (uint key0 = begin; key0 < end; key0 += LANES * KEYS) {
    bool seen[KEYS];
    uint row[KEYS];
    float score[KEYS];
    float highest = maximum;
    UNROLL for (int i = 0; i < KEYS; i++) {
      const uint key = key0 + i * LANES + lane;
      const uint entry = min(key / block_size, blocks_per_sequence - 1);
      const uint block = block_table[block_table_offset + b * blocks_per_sequence + entry];
      seen[i] = key < end && block < blocks;
      row[i] = ((block * block_size + key % block_size) * G + g) * D;
      score[i] = 0;
      float scale = 0;
      UNROLL for (int c = 0; c < HEAD / 4; c++) {
        const bool is_there = seen[i] && c < parts;
        if (CACHE_TYPE == CODES && c % 8 == 0)
          scale = is_there ? load_key_scales_element(key_scales_offset + row[i] / 32 + c / 8) : 0.0;
        const vec4 values = FETCH_CACHED(k, is_there ? int((key_cache_offset + row[i]) / 4 + c) : -1, scale, c);
        UNROLL for (int e = 0; e < 4; e++) score[i] = fma(query[c][e], values[e], score[i]);
      }
      score[i] = attention_score(score[i], slope, float(position) - float(key));
      highest = seen[i] ? max(highest, score[i]) : highest;
    }
    const float rescale = exponential(maximum - highest);
    maximum = highest;
    const vec4 e = exponential(vec4(score[0], score[KEYS - 1], 0, 0) - highest);
    float p[KEYS];
    sum *= rescale;
    UNROLL for (int i = 0; i < KEYS; i++) sum += p[i] = seen[i] ? e[i] : 0.0;
    float scales[KEYS];
    UNROLL for (int c = 0; c < HEAD / 4; c++) {
      vec4 total = result[c] * rescale;
      // Keys outside fetch zeros: what lies there may not be finite.
      UNROLL for (int i = 0; i < KEYS; i++) {
        const bool is_there = seen[i] && c < parts;
        if (CACHE_TYPE == CODES && c % 8 == 0)
          scales[i] = is_there ? load_value_scales_element(value_scales_offset + row[i] / 32 + c / 8) : 0.0;
        total = fma(vec4(p[i]), FETCH_CACHED(v, is_there ? int((value_cache_offset + row[i]) / 4 + c) : -1, scales[i], c),
                    total);
      }
      result[c] = total;
    }
  }

  float highest = maximum, all = 0;
  UNROLL for (int s = 0; s < LANES; s++) highest = max(highest, subgroupShuffle(maximum, s));
  const float factor = exponential(maximum - highest), mine = sum * factor;
  UNROLL for (int s = 0; s < LANES; s++) all += subgroupShuffle(mine, s);
  UNROLL for (int c = 0; c < HEAD / 4; c++) {
    const vec4 part = result[c] * factor;
    vec4 total = vec4(0);
    UNROLL for (int s = 0; s < LANES; s++)
      UNROLL for (int e = 0; e < 4; e++) total[e] += subgroupShuffle(part[e], s);
    if (c % LANES == lane && c < parts) y[(y_offset + ((b * T + t) * H + h) * y_width) / 4 + c] = total / all;
  }
}
