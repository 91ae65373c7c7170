// y[group] = the sum of x, or of x * x, over the group's `count_per_group` elements (or y += for a single group). Several
// groups' sums are summed by a second dispatch of this kernel, whose x they are. Bytes: 4 an f32 element; 1 FLOP (2). Measured on lavapipe with two cores: 34 GB/s as texels (16 Mi elements), 11.8 else.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "grid.glsl"
#include "row.glsl"
#include "value.glsl"
#include "workgroup.glsl"

layout(constant_id = 2) const bool is_square = false;
layout(constant_id = 3) const bool accumulate = false;
layout(constant_id = 4) const uint x_type = F32;
READ_TENSOR(0, x, x_type)
#ifdef TEXEL
layout(set = 0, binding = 2) uniform textureBuffer x_texels;  // the same as f32: for software drivers
vec4 load_four(uint i) { return texelFetch(x_texels, int(i)); }
#else
vec4 load_four(uint i) { return load_x_four(i); }
#endif
layout(set = 0, binding = 1) buffer Y { float y[]; };
layout(push_constant) uniform Push { uint count, count_per_group, x_offset, y_offset; };

WORKGROUP_REDUCTION(float, workgroup_sum, workgroup_sums, subgroupAdd, COMBINE_SUM)

vec4 term(vec4 value) { return is_square ? value * value : value; }

void main() {
  const uint group = workgroup_index();
  const uint first = group * count_per_group;
  if (first >= count) return;
  const uint lane = gl_LocalInvocationIndex, lanes = gl_WorkGroupSize.x;
  const Row row = row_split(x_offset + first, min(count_per_group, count - first), false);

  vec4 sums[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
  uint i = row.body_begin + lane;
  for (; i + 3 * lanes < row.body_end; i += 4 * lanes) {
    for (uint k = 0; k < 4; k++) sums[k] += term(load_four(i + k * lanes));
  }
  for (; i < row.body_end; i += lanes) sums[0] += term(load_four(i));
  for (uint j = row.begin + lane; j < row.head_end; j += lanes) sums[1].x += term(vec4(load_x_element(j))).x;
  for (uint j = row.tail_begin + lane; j < row.end; j += lanes) sums[2].x += term(vec4(load_x_element(j))).x;
  const vec4 sum4 = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float sum = workgroup_sum((sum4.x + sum4.y) + (sum4.z + sum4.w));
  if (lane == 0) {
    if (accumulate) sum += y[y_offset + group];
    y[y_offset + group] = sum;
  }
}
