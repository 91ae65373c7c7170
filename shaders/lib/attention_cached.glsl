// What the kernels of attention_cached share: the arguments of runtime/vulkan/ops_attention.c.
layout(constant_id = 1) const bool HAS_SLOPES = false;
layout(constant_id = 2) const bool HAS_SOFT_CAP = false;
layout(constant_id = 3) const uint TYPE = 0;  // of q and the caches: value.glsl
layout(push_constant) uniform Push {
  uint T, H, G, D;
  uint window;  // 0: all earlier positions
  float scale, soft_cap;
  uint q_t, q_h;
  uint blocks, block_size, blocks_per_sequence;
  uint q_offset, key_cache_offset, value_cache_offset, block_table_offset, positions_offset, slopes_offset, y_offset;
  uint y_width;  // y [B, T, H, y_width] f32: D, or more of it in a workspace
};

#include "attention_score.glsl"

// The first key that the query at `position` sees.
uint first_key(uint position) { return window > 0 && position + 1 > window ? position + 1 - window : 0; }
