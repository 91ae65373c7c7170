// cache_append: k and v of T new tokens of each sequence go to their places in the paged cache. One VALUE of k and v an
// invocation; tokens beyond their sequence's table, or in blocks that do not exist, are dropped.
//
// 4 times the type's bytes an element of k.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = 0;
layout(push_constant) uniform Push {
  uint count;  // B * T * G * D / WIDTH
  uint T, G, D;
  uint k_t, k_h, v_t, v_h;
  uint blocks, block_size, blocks_per_sequence;
  uint k_offset, v_offset, block_table_offset, positions_offset, key_cache_offset, value_cache_offset;
};
READ_TENSOR(0, k, TYPE)
READ_TENSOR(1, v, TYPE)
layout(set = 0, binding = 2) readonly buffer BlockTable { uint block_table[]; };  // [B, blocks_per_sequence]
layout(set = 0, binding = 3) readonly buffer Positions { uint positions[]; };     // [B]
WRITE_TENSOR(4, key_cache, TYPE)                                                  // [blocks, block_size, G, D]
WRITE_TENSOR(5, value_cache, TYPE)

void main() {
  const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  if (i >= count) return;
  const uint values = D / WIDTH, d = i % values * WIDTH, g = i / values % G, row = i / (values * G), t = row % T, b = row / T;
  const uint past = positions[positions_offset + b];
  const uint capacity = block_size * blocks_per_sequence;
  if (past < capacity && t < capacity - past) {
    const uint position = past + t;
    const uint block = block_table[block_table_offset + b * blocks_per_sequence + position / block_size];
    if (block < blocks) {
      const uint at = ((block * block_size + position % block_size) * G + g) * D + d;
      store_key_cache((key_cache_offset + at) / WIDTH, load_k((k_offset + row * k_t + g * k_h + d) / WIDTH));
      store_value_cache((value_cache_offset + at) / WIDTH, load_v((v_offset + row * v_t + g * v_h + d) / WIDTH));
    }
  }
}
