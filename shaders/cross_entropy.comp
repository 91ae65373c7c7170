// loss[r] = log_sum_exp[r] - logits[r, labels[r]] in nats. One workgroup a row; each invocation keeps a running maximum
// and a sum relative to it over 16 logits at a time (one rescaling for 16 exponentials), so the row is read once.
// Bytes: 4 a logit; about 18 FLOP. Measured on lavapipe with two cores: 10.8 GB/s ([64, 151642]).
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "grid.glsl"
#include "math.glsl"
#include "row.glsl"
#include "value.glsl"
#include "workgroup.glsl"

layout(constant_id = 2) const bool is_aligned = false;
layout(constant_id = 3) const uint storage = F32;
READ_TENSOR(0, logits, storage)                                            // [rows, vocabulary]
layout(set = 0, binding = 1) readonly buffer Labels { uint labels[]; };    // [rows]
layout(set = 0, binding = 2) buffer Loss { float loss[]; };                // [rows]
layout(set = 0, binding = 3) buffer LogSumExp { float log_sum_exp[]; };    // [rows]
#ifdef TEXEL
layout(set = 0, binding = 4) uniform textureBuffer logits_texels;          // the same as f32: for software drivers
vec4 load_four(uint i) { return texelFetch(logits_texels, int(i)); }
#else
vec4 load_four(uint i) { return load_logits_four(i); }
#endif
layout(push_constant) uniform Push {
  uint rows, vocabulary;
  uint logits_offset, labels_offset, loss_offset, log_sum_exp_offset;
};

const uint IGNORE_LABEL = 0xffffffffu;

WORKGROUP_REDUCTION(float, workgroup_sum, workgroup_sums, subgroupAdd, COMBINE_SUM)
WORKGROUP_REDUCTION(float, workgroup_maximum, workgroup_maxima, subgroupMax, max)

// The sum over what was seen so far of e^(logit - maximum). The maximum starts at a finite number, so that logits of minus
// infinity count for nothing; a NaN or plus infinity makes the sum NaN, whatever max() does with them.
float maximum = -LARGEST_FLOAT;
vec4 sum = vec4(0.0);

void raise_maximum(vec4 values) {
  const float higher = max(max(max(values.x, values.y), max(values.z, values.w)), maximum);
  sum *= exponential(maximum - higher);
  maximum = higher;
}

void main() {
  const uint r = workgroup_index();
  if (r >= rows) return;
  const uint lane = gl_LocalInvocationIndex, lanes = gl_WorkGroupSize.x;
  const Row row = row_split(logits_offset + r * vocabulary, vocabulary, is_aligned);

  uint i = row.body_begin + lane;
  for (; i + 3 * lanes < row.body_end; i += 4 * lanes) {
    const vec4 a = load_four(i), b = load_four(i + lanes), c = load_four(i + 2 * lanes), d = load_four(i + 3 * lanes);
    raise_maximum(max(max(a, b), max(c, d)));
    sum += (exponential(a - maximum) + exponential(b - maximum)) + (exponential(c - maximum) + exponential(d - maximum));
  }
  for (; i < row.body_end; i += lanes) {
    const vec4 a = load_four(i);
    raise_maximum(a);
    sum += exponential(a - maximum);
  }
  if (!is_aligned) {
    for (uint j = row.begin + lane; j < row.head_end; j += lanes) {
      const float value = load_logits_element(j);
      raise_maximum(vec4(value));
      sum.x += exponential(value - maximum);
    }
    for (uint j = row.tail_begin + lane; j < row.end; j += lanes) {
      const float value = load_logits_element(j);
      raise_maximum(vec4(value));
      sum.x += exponential(value - maximum);
    }
  }

  const float row_maximum = workgroup_maximum(maximum);
  const float row_sum = workgroup_sum(((sum.x + sum.y) + (sum.z + sum.w)) * exponential(maximum - row_maximum));
  if (lane == 0) {
    // No logit above minus infinity: there is no distribution.
    const float total = row_sum == 0.0 ? not_a_number() : row_maximum + logarithm(row_sum);
    const uint label = labels[labels_offset + r];
    float value = 0.0;
    if (label < vocabulary) value = total - load_logits_element(row.begin + label);
    else if (label != IGNORE_LABEL) value = not_a_number();
    log_sum_exp[log_sum_exp_offset + r] = total;
    loss[loss_offset + r] = value;
  }
}
