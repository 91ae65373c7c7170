// A matrix of any storage type, row stride and place as f32 rows that begin at multiples of four and end in zeros: what the
// matmul kernels of software drivers read fastest. Its passes cost (2 or 4) + 4 bytes an element of a and b, beside 2 M
// (2 N) FLOP each: converting while multiplying would repeat it for every tile.
//
//   x [rows, width], x_stride apart      y [rows, quads], vec4
//
// A workgroup takes STEPS * (its size) quads of one row. WIDE: x's rows begin at multiples of four elements and `width` is
// one. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "value.glsl"

#define STEPS 32
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = 0;
layout(constant_id = 2) const bool WIDE = false;
layout(push_constant) uniform Push {
  uint width, quads;
  uint x_stride, x_offset;  // elements
  uint y_offset;            // quads
};
READ_TENSOR(0, x, TYPE)
layout(set = 0, binding = 1) writeonly buffer Output { vec4 y[]; };

void main() {
  const uint x_row = x_offset + gl_WorkGroupID.y * x_stride, y_row = y_offset + gl_WorkGroupID.y * quads;
  const uint first = gl_WorkGroupID.x * (STEPS * gl_WorkGroupSize.x) + gl_LocalInvocationID.x;
  const uint end = min(quads, first + STEPS * gl_WorkGroupSize.x);
  for (uint quad = first; quad < end; quad += gl_WorkGroupSize.x) {
    const uint at = x_row + quad * 4;
    vec4 value = vec4(0);
    if (WIDE) {
      value = load_x_four(at / 4);
    } else {
      [[unroll]] for (uint e = 0; e < 4; e++) {
        if (quad * 4 + e < width) value[e] = load_x_element(at + e);
      }
    }
    y[y_row + quad] = value;
  }
}
