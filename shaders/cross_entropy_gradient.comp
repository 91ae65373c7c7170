// logits[r, v] becomes (e^(logits[r, v] - log_sum_exp[r]) - [v == labels[r]]) dloss; zero for ignored rows. One workgroup
// a row. Bytes: 8 a logit; about 18 FLOP. Measured on lavapipe with two cores: 10.8 GB/s ([64, 151642]).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "math.glsl"
#include "row.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool is_aligned = false;
layout(set = 0, binding = 0) readonly buffer Labels { uint labels[]; };             // [rows]
layout(set = 0, binding = 1) readonly buffer LogSumExp { float log_sum_exp[]; };    // [rows]
layout(set = 0, binding = 2) readonly buffer Dloss { float dloss[]; };              // [1]
layout(constant_id = 2) const uint storage = F32;
WRITE_TENSOR(3, logits, storage)  // [rows, vocabulary]; no element as a four and alone
#ifdef TEXEL
layout(set = 0, binding = 4) uniform textureBuffer logits_texels;          // the same as f32: for software drivers
vec4 load_four(uint i) { return texelFetch(logits_texels, int(i)); }
#else
vec4 load_four(uint i) { return load_logits_four(i); }
#endif
layout(push_constant) uniform Push {
  uint rows, vocabulary;
  uint labels_offset, log_sum_exp_offset, dloss_offset, logits_offset;
};

const uint IGNORE_LABEL = 0xffffffffu;

vec4 gradient(vec4 values, float total, vec4 label_here, float scale) {
  return (exponential(values - total) - label_here) * scale;
}

void main() {
  const uint r = workgroup_index();
  if (r >= rows) return;
  const uint lane = gl_LocalInvocationIndex, lanes = gl_WorkGroupSize.x;
  const Row row = row_split(logits_offset + r * vocabulary, vocabulary, is_aligned);
  const uint label = labels[labels_offset + r];
  const float total = log_sum_exp[log_sum_exp_offset + r];
  const float scale = dloss[dloss_offset];

  if (label == IGNORE_LABEL) {
    for (uint i = row.body_begin + lane; i < row.body_end; i += lanes) store_logits_four(i, vec4(0.0));
    for (uint j = row.begin + lane; j < row.head_end; j += lanes) store_logits_element(j, 0.0);
    for (uint j = row.tail_begin + lane; j < row.end; j += lanes) store_logits_element(j, 0.0);
    return;
  }
  const uint target = label < vocabulary ? row.begin + label : 0xffffffffu;  // the label's place in the binding
  for (uint i = row.body_begin + lane; i < row.body_end; i += lanes) {
    const vec4 here = vec4(equal(uvec4(i * 4) + uvec4(0, 1, 2, 3), uvec4(target)));
    store_logits_four(i, gradient(load_four(i), total, here, scale));
  }
  if (!is_aligned) {
    for (uint j = row.begin + lane; j < row.head_end; j += lanes) {
      store_logits_element(j, gradient(vec4(load_logits_element(j)), total, vec4(j == target), scale).x);
    }
    for (uint j = row.tail_begin + lane; j < row.end; j += lanes) {
      store_logits_element(j, gradient(vec4(load_logits_element(j)), total, vec4(j == target), scale).x);
    }
  }
}
