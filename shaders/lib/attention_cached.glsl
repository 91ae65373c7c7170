// What the kernels of attention_cached share: the arguments of runtime/vulkan/ops_attention.c.
layout(constant_id = 1) const bool HAS_SLOPES = false;
layout(constant_id = 2) const bool HAS_SOFT_CAP = false;
layout(constant_id = 3) const uint TYPE = 0;        // of q: value.glsl
layout(constant_id = 5) const uint CACHE_TYPE = 0;  // of the caches: TYPE, or CODES
layout(push_constant) uniform Push {
  uint T, H, G, D;
  uint window;  // 0: all earlier positions
  float scale, soft_cap;
  uint q_t, q_h;
  uint blocks, block_size, blocks_per_sequence;
  uint q_offset, key_cache_offset, value_cache_offset, block_table_offset, positions_offset, slopes_offset;
  uint key_scales_offset, value_scales_offset;
  uint y_offset, y_width;  // y [B, T, H, y_width] f32: D, or more of it in a workspace
};

#include "attention_score.glsl"
#include "value.glsl"

// Caches of 8-bit codes, with an f16 scale for 32 of them along D: offsets and places count elements as in other caches.
const uint CODES = 3;
READ_TENSOR(6, key_scales, F16)  // [blocks, block_size, G, D / 32]
READ_TENSOR(7, value_scales, F16)

// Four codes.
vec4 from_codes(uint word, float scale) {
  return vec4(ivec4(int(word << 24), int(word << 16), int(word << 8), int(word)) >> 24) * scale;
}

// The first key that the query at `position` sees.
uint first_key(uint position) { return window > 0 && position + 1 > window ? position + 1 - window : 0; }
