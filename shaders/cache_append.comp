// cache_append: k and v of T new tokens of each sequence go to their places in the paged cache. One VALUE of k and v an
// invocation; tokens beyond their sequence's table, or in blocks that do not exist, are dropped. BLOCKS: the cache is codes in
// blocks of 32 with a scale each, and an invocation takes such a block of both, IN_FOURS where k and v are aligned so.
//
// 4 times the type's bytes an element of k; in blocks twice that and 2.125.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "value.glsl"
#ifdef BLOCKS
#extension GL_EXT_control_flow_attributes : require
#include "quantize.glsl"
#define TAKEN 32
#else
#define TAKEN WIDTH
#endif

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = 0;
layout(push_constant) uniform Push {
  uint count;  // B * T * G * D / TAKEN
  uint T, G, D;
  uint k_t, k_h, v_t, v_h;
  uint blocks, block_size, blocks_per_sequence;
  uint k_offset, v_offset, block_table_offset, positions_offset, key_cache_offset, value_cache_offset;
#ifdef BLOCKS
  uint key_scales_offset, value_scales_offset;
#endif
};
READ_TENSOR(0, k, TYPE)
READ_TENSOR(1, v, TYPE)
layout(set = 0, binding = 2) readonly buffer BlockTable { uint block_table[]; };  // [B, blocks_per_sequence]
layout(set = 0, binding = 3) readonly buffer Positions { uint positions[]; };     // [B]
#ifdef BLOCKS
layout(constant_id = 2) const bool IN_FOURS = false;
layout(set = 0, binding = 4) writeonly buffer KeyCache { uint key_cache[]; };  // [blocks, block_size, G, D / 4]
layout(set = 0, binding = 5) writeonly buffer ValueCache { uint value_cache[]; };
WRITE_TENSOR(6, key_scales, F16)  // [blocks, block_size, G, D / 32]
WRITE_TENSOR(7, value_scales, F16)

// The 32 elements from `from` on become those from `to` on.
#define PUT_BLOCK(LOAD, from, cache, cache_offset, STORE_SCALE, scales_offset, to)                              \
  {                                                                                                             \
    vec4 values[8];                                                                                             \
    [[unroll]] for (uint n = 0; n < 8; n++) {                                                                   \
      if (IN_FOURS) {                                                                                           \
        values[n] = LOAD##_four((from) / 4 + n);                                                                \
      } else {                                                                                                  \
        [[unroll]] for (uint e = 0; e < 4; e++) values[n][e] = LOAD##_element((from) + n * 4 + e);              \
      }                                                                                                         \
    }                                                                                                           \
    const Quantized made = quantize_block(values);                                                              \
    [[unroll]] for (uint n = 0; n < 8; n++) cache[(cache_offset) + (to) / 4 + n] = made.words[n];               \
    STORE_SCALE##_element((scales_offset) + (to) / 32, made.scale);                                             \
  }
#else
WRITE_TENSOR(4, key_cache, TYPE)                                                  // [blocks, block_size, G, D]
WRITE_TENSOR(5, value_cache, TYPE)
#endif

void main() {
  const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  if (i >= count) return;
  const uint values = D / TAKEN, d = i % values * TAKEN, g = i / values % G, row = i / (values * G), t = row % T, b = row / T;
  const uint past = positions[positions_offset + b];
  const uint capacity = block_size * blocks_per_sequence;
  if (past < capacity && t < capacity - past) {
    const uint position = past + t;
    const uint block = block_table[block_table_offset + b * blocks_per_sequence + position / block_size];
    if (block < blocks) {
      const uint at = ((block * block_size + position % block_size) * G + g) * D + d;
#ifdef BLOCKS
      PUT_BLOCK(load_k, k_offset + row * k_t + g * k_h + d, key_cache, key_cache_offset, store_key_scales, key_scales_offset, at)
      PUT_BLOCK(load_v, v_offset + row * v_t + g * v_h + d, value_cache, value_cache_offset, store_value_scales,
                value_scales_offset, at)
#else
      store_key_cache((key_cache_offset + at) / WIDTH, load_k((k_offset + row * k_t + g * k_h + d) / WIDTH));
      store_value_cache((value_cache_offset + at) / WIDTH, load_v((v_offset + row * v_t + g * v_h + d) / WIDTH));
#endif
    }
  }
}
