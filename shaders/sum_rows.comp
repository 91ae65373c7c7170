// y[slab, n] = the sum of x[m, n] over the slab's rows m (or y += for a single slab). One invocation sums `columns_each`
// column VALUEs of a slab: one on a GPU, several on a CPU, whose caches want long runs of each row. With several slabs the
// partial sums are summed by a second dispatch of this kernel, whose x they are.
// Bytes: 4 an element of f32; 1 FLOP. Measured on lavapipe with two cores: 8.6 GB/s ([1024, 3072]).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint columns_each = 1;
layout(constant_id = 2) const bool accumulate = false;
layout(constant_id = 3) const uint x_type = F32;
layout(constant_id = 4) const uint y_type = F32;
READ_TENSOR(0, x, x_type)   // [rows, columns]
WRITE_TENSOR(1, y, y_type)  // [slabs, columns]
layout(push_constant) uniform Push {
  uint rows, columns, rows_per_slab, column_blocks;
  uint x_offset, y_offset;
};

void main() {
  const uint slab = workgroup_index() / column_blocks;
  const uint block = workgroup_index() % column_blocks;
  const uint first = block * gl_WorkGroupSize.x * columns_each + gl_LocalInvocationIndex;
  const uint begin = slab * rows_per_slab, end = min(begin + rows_per_slab, rows);
  VALUE sums[columns_each];
  for (uint k = 0; k < columns_each; k++) sums[k] = VALUE(0.0);
  for (uint m = begin; m < end; m++) {
    for (uint k = 0; k < columns_each; k++) {
      const uint n = min(first + k * gl_WorkGroupSize.x, columns - 1);  // beyond the row: read, never stored
      sums[k] += load_x(x_offset + m * columns + n);
    }
  }
  for (uint k = 0; k < columns_each; k++) {
    const uint n = first + k * gl_WorkGroupSize.x;
    if (n >= columns) continue;
    const uint target = y_offset + slab * columns + n;
    if (accumulate) sums[k] += load_y(target);
    store_y(target, sums[k]);
  }
}
