// Bytes: 28 a parameter; about 15 FLOP. Measured on lavapipe with two cores: 14.1 GB/s (4 Mi parameters; storage buffers: 9.8).
//
// AdamW over f32 tensors for software drivers: inputs come through texel buffers, of which lavapipe reads 16 bytes a lane
// by vector loads where a storage buffer costs a loop over the lanes. Each element is read before it is written, by the
// same invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "adamw.glsl"

layout(constant_id = 1) const uint steps = 1;
layout(set = 0, binding = 0) uniform textureBuffer gradient;
layout(set = 0, binding = 4) buffer Parameter { vec4 parameters[]; };
layout(set = 0, binding = 5) buffer FirstMoment { vec4 first_moments[]; };
layout(set = 0, binding = 6) buffer SecondMoment { vec4 second_moments[]; };
layout(set = 0, binding = 7) uniform textureBuffer old_parameter;
layout(set = 0, binding = 8) uniform textureBuffer old_first;
layout(set = 0, binding = 9) uniform textureBuffer old_second;

void main() {
  if (!step_counts()) return;
  const Update u = read_update();
  const uint begin = workgroup_index() * gl_WorkGroupSize.x * steps + gl_LocalInvocationIndex;
  for (uint s = 0, i = begin; s < steps && i < count / 4; s++, i += gl_WorkGroupSize.x) {
    vec4 m = texelFetch(old_first, int(first_offset / 4 + i)), v = texelFetch(old_second, int(second_offset / 4 + i));
    moments_of(u, texelFetch(gradient, int(gradient_offset / 4 + i)), m, v);
    first_moments[first_offset / 4 + i] = m;
    second_moments[second_offset / 4 + i] = v;
    const vec4 p = texelFetch(old_parameter, int(parameter_offset / 4 + i));
    parameters[parameter_offset / 4 + i] = parameter_of(u, p, m, v);
  }
}
