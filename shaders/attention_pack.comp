// Between a tensor [B, T, heads, D] of any type and strides and its f32 copy [B, T, heads, padded], contiguous, that the
// attention kernels of aligned rows work on. The pass to the copy (UNPACK off) fills up its rows with zeros: elements of a
// head that change no product. One quad of the copy an invocation; WIDTH 4 where the tensor's rows allow it.
//
// A memory pass: 4 bytes an element of the copy and the tensor's own. Beside 2 T FLOP an element it is small on a CPU.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = 0;
layout(push_constant) uniform Push {
  uint count;  // quads of the copy, of rows of `quads`; `padded` is their room in it
  uint heads, D, quads, padded;
  uint t, h, offset, copy_offset;  // strides and places, elements
};
#ifdef UNPACK
layout(set = 0, binding = 0) readonly buffer Copy { vec4 copy[]; };
WRITE_TENSOR(1, tensor, TYPE)
#else
READ_TENSOR(0, tensor, TYPE)
layout(set = 0, binding = 1) buffer Copy { vec4 copy[]; };
#endif

void main() {
  const uint i = workgroup_index() * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  if (i >= count) return;
  const uint row = i / quads, d = i % quads * 4;
  const uint at = offset + row / heads * t + row % heads * h + d, copy_at = (copy_offset + row * padded + d) / 4;
#ifdef UNPACK
  const vec4 values = copy[copy_at];
#if WIDTH == 4
  store_tensor(at / 4, values);
#else
  for (uint e = 0; e < 4 && d + e < D; e++) store_tensor(at + e, values[e]);
#endif
#else
  vec4 values = vec4(0);
#if WIDTH == 4
  if (d < D) values = load_tensor(at / 4);
#else
  for (uint e = 0; e < 4 && d + e < D; e++) values[e] = load_tensor(at + e);
#endif
  copy[copy_at] = values;
#endif
}
