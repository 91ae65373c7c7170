// y[slab, n] = the sum of x[m, n] over the slab's rows m (or y += for a single slab). One invocation a column VALUE and
// slab; with several slabs the partial sums are summed by a second dispatch of this kernel, whose x they are.
// Bytes: 4 an element of x; 1 FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool accumulate = false;
layout(set = 0, binding = 0) readonly buffer X { VALUE x[]; };  // [rows, columns]
layout(set = 0, binding = 1) buffer Y { VALUE y[]; };           // [slabs, columns]
layout(push_constant) uniform Push {
  uint rows, columns, rows_per_slab, column_blocks;
  uint x_offset, y_offset;
};

void main() {
  const uint slab = workgroup_index() / column_blocks;
  const uint n = workgroup_index() % column_blocks * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  const uint first = slab * rows_per_slab;
  if (n >= columns || first >= rows) return;
  const uint end = min(first + rows_per_slab, rows);
  VALUE even = VALUE(0.0), odd = VALUE(0.0);
  uint m = first;
  for (; m + 1 < end; m += 2) {
    even += x[x_offset + m * columns + n];
    odd += x[x_offset + (m + 1) * columns + n];
  }
  if (m < end) even += x[x_offset + m * columns + n];
  VALUE sum = even + odd;
  const uint target = y_offset + slab * columns + n;
  if (accumulate) sum += y[target];
  y[target] = sum;
}
