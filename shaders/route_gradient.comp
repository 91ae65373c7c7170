// dlogits of route, or dlogits +=: for each chosen expert w (dw - mean), mean = sum(dw w) / factor when normalised, times
// 1 - score for sigmoids; for all experts of a softmax that is not normalised over the chosen, minus score sum(dw w). One
// invocation a row. Bytes: 8 E + 12 K a row of f32.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "route.glsl"

layout(constant_id = 7) const bool accumulate = false;
layout(set = 0, binding = 1) readonly buffer Weights { float weights[]; };        // [rows, chosen]
layout(set = 0, binding = 2) readonly buffer Experts { uint experts_of_rows[]; };  // [rows, chosen]
layout(set = 0, binding = 3) readonly buffer Dweights { float dweights[]; };      // [rows, chosen]
WRITE_TENSOR(4, dlogits, storage)                                                 // [rows, experts]
layout(push_constant) uniform Push {
  uint count;  // rows
  float factor;
  uint logits_offset, weights_offset, experts_offset, dweights_offset, dlogits_offset;
};

void main() {
  FOR_EACH_ELEMENT(r) {
    const softmax_row row = softmax_of(logits_offset + r * experts);
    float dot_product = 0.0;
    for (uint k = r * chosen; k < (r + 1) * chosen; k++)
      dot_product += dweights[dweights_offset + k] * weights[weights_offset + k];
    const float mean = is_normalised ? dot_product / factor : 0.0;
    for (uint e = 0; e < experts; e++) {
      float slope = 0.0;
      if (!is_sigmoid && !is_normalised) slope = -score_of(row, e) * dot_product;
      for (uint k = r * chosen; k < (r + 1) * chosen; k++) {
        if (experts_of_rows[experts_offset + k] == e) {
          float part = weights[weights_offset + k] * (dweights[dweights_offset + k] - mean);
          if (is_sigmoid) part *= 1.0 - score_of(row, e);
          slope += part;
        }
      }
      const uint target = dlogits_offset + r * experts + e;
      if (accumulate) slope += load_dlogits_element(target);
      store_dlogits_element(target, slope);
    }
  }
}
