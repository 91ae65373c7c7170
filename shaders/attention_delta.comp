// delta [B, H, T] = dy . y, of queries and heads, before attention_gradient's passes (Dao et al. 2022, appendix B.2). y and dy
// [B, T, H, D], contiguous; WIDTH 4 needs D and both offsets to be multiples of 4. One row an invocation: the queries
// [first_row, first_row + rows) of each sequence.
//
// 2 D FLOP and 2 D elements a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = 0;
layout(push_constant) uniform Push {
  uint count, T, H, D;  // count: B * rows * H
  uint first_row, rows;
  uint y_offset, dy_offset, delta_offset;
};
READ_TENSOR(0, y, TYPE)
READ_TENSOR(1, dy, TYPE)
layout(set = 0, binding = 2) buffer Delta { float delta[]; };

void main() {
  const uint i = workgroup_index() * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  if (i >= count) return;
  const uint h = i % H, t = first_row + i / H % rows, b = i / (H * rows), row = ((b * T + t) * H + h) * D;
  const uint of_y = (y_offset + row) / WIDTH, of_dy = (dy_offset + row) / WIDTH;
  VALUE products = VALUE(0);
  for (uint d = 0; d < D / WIDTH; d++) products = fma(load_y(of_y + d), load_dy(of_dy + d), products);
  delta[delta_offset + (b * H + h) * T + t] = value_sum(products);
}
