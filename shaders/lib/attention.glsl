// What the attention kernels share: the arguments of runtime/vulkan/ops_attention.c, who sees whom, and scores. B, T, H, G,
// D as in runtime/ops.h.
//
// Element (b, t, h, d) of a strided operand x lies x_offset + (b * T + t) * x_t + h * x_h + d elements into its binding, modulo
// 2^32 (a binding may begin at a later row); dy is contiguous; log_sum_exp and delta are [B, H, T]. The outputs are those of
// the pass: y; or dq; or dk and, second, dv.
layout(constant_id = 0) const bool HAS_DOCUMENTS = false;
layout(constant_id = 1) const bool HAS_SLOPES = false;
layout(constant_id = 2) const bool HAS_SOFT_CAP = false;
layout(push_constant) uniform Push {
  uint T, H, G, D;
  uint window;  // 0: all earlier positions
  float scale, soft_cap;
  uint first_row, end_row;  // of T: what is computed
  uint q_t, q_h, k_t, k_h, v_t, v_h;
  uint out_t, out_h, second_t, second_h;
  uint q_offset, k_offset, v_offset, document_starts_offset, slopes_offset, log_sum_exp_offset;
  uint dy_offset, delta_offset, out_offset, second_offset;
};

#include "attention_score.glsl"

// The first key that the query at `position` sees, its document beginning at `start`; it sees all from there to itself.
uint first_key(uint position, uint start) {
  const uint begin = window > 0 && position + 1 > window ? position + 1 - window : 0;
  return HAS_DOCUMENTS ? max(begin, min(start, position)) : begin;
}
