// What the attention kernels share: the arguments of runtime/vulkan/ops_attention.c. B, T, H, G, D as in runtime/ops.h.
//
// Element (b, t, h, d) of a strided operand x lies x_offset + (b * T + t) * x_t + h * x_h + d elements into its binding;
// y and dy are contiguous; log_sum_exp and delta are [B, H, T].
layout(push_constant) uniform Push {
  uint T, H, G, D;
  uint window;  // 0: all earlier positions
  float scale;
  uint q_t, q_h, k_t, k_h, v_t, v_h;
  uint dq_t, dq_h, dk_t, dk_h, dv_t, dv_h;
  uint q_offset, k_offset, v_offset, y_offset, log_sum_exp_offset;
  uint dy_offset, delta_offset, dq_offset, dk_offset, dv_offset;
};

#define UNROLL [[unroll]]
#define KEEP_LOOP [[dont_unroll]]

// Whether the query at `position` sees `key`.
bool sees(uint position, uint key) { return key <= position && (window == 0 || key + window > position); }
uint first_key(uint position) { return window > 0 && position + 1 > window ? position + 1 - window : 0; }
