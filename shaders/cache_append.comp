// cache_append: k and v of T new tokens of each sequence go to their places in the paged cache. One element of k and v an
// invocation; tokens beyond their sequence's table, or in blocks that do not exist, are dropped.
//
// 16 bytes an element of k.
#version 450
layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push {
  uint count;  // B * T * G * D
  uint T, G, D;
  uint k_t, k_h, v_t, v_h;
  uint blocks, block_size, blocks_per_sequence;
  uint k_offset, v_offset, block_table_offset, positions_offset, key_cache_offset, value_cache_offset;
};
layout(set = 0, binding = 0) readonly buffer K { float k[]; };
layout(set = 0, binding = 1) readonly buffer V { float v[]; };
layout(set = 0, binding = 2) readonly buffer BlockTable { uint block_table[]; };  // [B, blocks_per_sequence]
layout(set = 0, binding = 3) readonly buffer Positions { uint positions[]; };     // [B]
layout(set = 0, binding = 4) buffer KeyCache { float key_cache[]; };              // [blocks, block_size, G, D]
layout(set = 0, binding = 5) buffer ValueCache { float value_cache[]; };

void main() {
  const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  if (i >= count) return;
  const uint d = i % D, g = i / D % G, row = i / (D * G), t = row % T, b = row / T;
  const uint past = positions[positions_offset + b];
  const uint capacity = block_size * blocks_per_sequence;
  if (past < capacity && t < capacity - past) {
    const uint position = past + t;
    const uint block = block_table[block_table_offset + b * blocks_per_sequence + position / block_size];
    if (block < blocks) {
      const uint at = ((block * block_size + position % block_size) * G + g) * D + d;
      key_cache[key_cache_offset + at] = k[k_offset + row * k_t + g * k_h + d];
      value_cache[value_cache_offset + at] = v[v_offset + row * v_t + g * v_h + d];
    }
  }
}
