// The smallest kernels of the build, for the backend's own tests: y[i] = scale * x[i] + bias over `count` floats.
// Bytes: 8 an element; 2 FLOP an element. The workgroup's width is specialisation constant 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "smoke_arithmetic.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const float bias = 0.0;

#ifdef TEXEL_INPUT
layout(set = 0, binding = 0) uniform textureBuffer x;
#else
layout(set = 0, binding = 0) readonly buffer Input { float x[]; };
#endif
layout(set = 0, binding = 1) buffer Output { float y[]; };
layout(push_constant) uniform Push { uint count; float scale; };

void main() {
  const uint i = gl_GlobalInvocationID.x;
  if (i >= count) return;
#ifdef TEXEL_INPUT
  y[i] = smoke_affine(texelFetch(x, int(i / 4))[i % 4], scale, bias);
#else
  y[i] = smoke_affine(x[i], scale, bias);
#endif
}
