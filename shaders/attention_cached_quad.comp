// attention_cached for software drivers whose subgroups are 4 lanes of a CPU's vector: SwiftShader. One subgroup takes OWN rows
// (a query of one head each) that read the same keys: a position's heads of one group, then the next position's.
//
//   lane 0: keys 0, 4 | 8, ..   lane 1: keys 1, 5 | ..   ...   each lane keeps each row's maximum, sum and y [HEAD]
//   at the end the lanes' parts are brought to the common maximum and added, in the same order by all
//
// A load is a gather (lib/attention_quad.glsl), so each element of a key or value is loaded once for all rows. Heads of D
// elements, a multiple of 4 up to HEAD; q and caches of any type with rows that begin at multiples of 4 elements.
// 4 HEAD FLOP and 2 HEAD / OWN gathered elements a pair of row and key. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_quad : require
#include "attention_cached.glsl"
#include "attention_quad.glsl"

READ_TENSOR(0, q, TYPE)
READ_TENSOR(1, k, CACHE_TYPE)  // [blocks, block_size, G, D]
READ_TENSOR(2, v, CACHE_TYPE)
layout(set = 0, binding = 3) readonly buffer BlockTable { uint block_table[]; };  // [B, blocks_per_sequence]
layout(set = 0, binding = 4) readonly buffer Positions { uint positions[]; };     // [B]
layout(set = 0, binding = 5) readonly buffer Slopes { float slopes[]; };          // [H]
layout(set = 0, binding = 8) buffer Y { vec4 y[]; };

float sum_of_lanes(float part) {
  const float pair = part + subgroupQuadSwapHorizontal(part);
  return pair + subgroupQuadSwapVertical(pair);
}
float maximum_of_lanes(float part) {
  const float pair = max(part, subgroupQuadSwapHorizontal(part));
  return max(pair, subgroupQuadSwapVertical(pair));
}

// Zeros where there are no columns: no branch, since each costs the compiler more than the loads.
vec4 columns(vec4 values, bool are_there) {
  return uintBitsToFloat(floatBitsToUint(values) & uvec4(are_there ? 0xffffffffu : 0));
}

// Four elements of the cache: in codes, four c of a row whose scales begin at `scale_at`.
#define DEFINE_CACHED(NAME, TENSOR, SCALES)                                                             \
  vec4 NAME(uint four, uint scale_at, uint c) {                                                         \
    vec4 values;                                                                                        \
    if (CACHE_TYPE == CODES) {                                                                          \
      values = from_codes(TENSOR##_words[four], load_##SCALES##_element(scale_at + c / 8));             \
    } else {                                                                                            \
      values = load_##TENSOR##_four(four);                                                              \
    }                                                                                                   \
    return values;                                                                                      \
  }
DEFINE_CACHED(cached_key, k, key_scales)
DEFINE_CACHED(cached_value, v, value_scales)

void main() {
  const uint lane = gl_SubgroupInvocationID, g = gl_WorkGroupID.y, b = gl_WorkGroupID.z, heads = H / G, parts = D / 4;
  const uint row0 = gl_WorkGroupID.x * OWN, last_row = min(row0 + OWN, T * heads) - 1;
  const uint past = positions[positions_offset + b];  // before the first query
  vec4 query[OWN * PARTS], result[OWN * PARTS];
  float maximum[OWN], sum[OWN], slope[OWN];
  uint position[OWN], first[OWN];  // first: key that the row sees
  UNROLL for (int n = 0; n < OWN; n++) {
    const uint row = min(row0 + n, last_row), h = g * heads + row % heads;
    position[n] = past + row / heads;
    first[n] = first_key(position[n]);
    slope[n] = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
    maximum[n] = -LARGEST_FLOAT;
    sum[n] = 0;
  }
  KEEP_LOOP for (uint i = 0; i < OWN * PARTS; i++) {
    const uint row = min(row0 + i / PARTS, last_row), t = row / heads, h = g * heads + row % heads, c = i % PARTS;
    query[i] = columns(load_q_four((q_offset + (b * T + t) * q_t + h * q_h) / 4 + min(c, parts - 1)), c < parts);
    result[i] = vec4(0);
  }

  const uint end = min(position[OWN - 1], block_size * blocks_per_sequence - 1) + 1;
  KEEP_LOOP for (uint key0 = first[0]; key0 < end; key0 += LANES) {
    const uint key = key0 + lane, near = min(key, end - 1);
    const uint block = block_table[block_table_offset + b * blocks_per_sequence + near / block_size];
    const bool is_there = key < end && block < blocks;
    const uint place = ((is_there ? block * block_size + near % block_size : 0) * G + g) * D;
    const uint k_at = (key_cache_offset + place) / 4, v_at = (value_cache_offset + place) / 4;
    const uint k_scale = key_scales_offset + place / 32, v_scale = value_scales_offset + place / 32;
    float score[OWN];
    UNROLL for (int n = 0; n < OWN; n++) score[n] = 0;
    UNROLL for (int c = 0; c < PARTS; c++) {
      const vec4 values = columns(cached_key(k_at + min(c, parts - 1), k_scale, min(c, parts - 1)), c < parts);
      UNROLL for (int n = 0; n < OWN; n++) ADD_DOT(score[n], query[n * PARTS + c], values)
    }

    float rescale[OWN], weight[OWN];
    uint mask[OWN];
    UNROLL for (int n = 0; n < OWN; n++) {
      const bool is_seen = is_there && key >= first[n] && key <= position[n];
      mask[n] = is_seen ? 0xffffffffu : 0;
      score[n] = attention_score(score[n], slope[n], float(position[n]) - float(key));
      const float highest = is_seen ? max(maximum[n], score[n]) : maximum[n];
      const vec4 powers = exponential(vec4(maximum[n], score[n], 0, 0) - highest);
      rescale[n] = powers.x;
      maximum[n] = highest;
      weight[n] = uintBitsToFloat(floatBitsToUint(powers.y) & mask[n]);
      sum[n] = sum[n] * rescale[n] + weight[n];
    }

    UNROLL for (int c = 0; c < PARTS; c++) {
      // Columns beyond D are not stored.
      const vec4 values = cached_value(v_at + min(c, parts - 1), v_scale, min(c, parts - 1));
      // Products of pairs that do not see each other are left out, rather than given weight 0: NaN must not cross.
      UNROLL for (int n = 0; n < OWN; n++)
        result[n * PARTS + c] = result[n * PARTS + c] * rescale[n] +
                                uintBitsToFloat(floatBitsToUint(values * weight[n]) & uvec4(mask[n]));
    }
  }

  UNROLL for (int n = 0; n < OWN; n++) {
    const float factor = exponential(maximum[n] - maximum_of_lanes(maximum[n]));
    const float share = factor / sum_of_lanes(sum[n] * factor);
    const uint row = row0 + n, h = g * heads + row % heads;
    const uint at = (y_offset + ((b * T + row / heads) * H + h) * y_width) / 4;
    KEEP_LOOP for (uint c = 0; c < parts; c++) {
      const vec4 part = result[n * PARTS + c] * share;
      const vec4 total = vec4(sum_of_lanes(part.x), sum_of_lanes(part.y), sum_of_lanes(part.z), sum_of_lanes(part.w));
      if (row <= last_row && c % LANES == lane) y[at + c] = total;
    }
  }
}
