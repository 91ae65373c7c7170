// dweight[slab, c] = the sum over the slab's rows of dy x reciprocal_rms; or += for a single slab. One invocation sums
// `columns_each` column VALUEs of a slab; several slabs' partial sums are summed by sum_rows.comp.
// Bytes: 8 an element of f32; 3 FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint columns_each = 1;
layout(constant_id = 2) const bool accumulate = false;
layout(constant_id = 3) const uint storage = F32;
layout(constant_id = 4) const uint dweight_type = F32;
READ_TENSOR(0, dy, storage)                                                              // [rows, columns]
READ_TENSOR(1, x, storage)                                                               // [rows, columns]
layout(set = 0, binding = 2) readonly buffer ReciprocalRms { float reciprocal_rms[]; };  // [rows]
WRITE_TENSOR(3, dweight, dweight_type)                                                   // [slabs, columns]
layout(push_constant) uniform Push {
  uint rows, columns, rows_per_slab, column_blocks;
  uint dy_offset, x_offset, reciprocal_rms_offset, dweight_offset;
};

void main() {
  const uint slab = workgroup_index() / column_blocks;
  const uint block = workgroup_index() % column_blocks;
  const uint first = block * gl_WorkGroupSize.x * columns_each + gl_LocalInvocationIndex;
  const uint begin = slab * rows_per_slab, end = min(begin + rows_per_slab, rows);
  VALUE sums[columns_each];
  for (uint k = 0; k < columns_each; k++) sums[k] = VALUE(0.0);
  for (uint r = begin; r < end; r++) {
    const float reciprocal = reciprocal_rms[reciprocal_rms_offset + r];
    for (uint k = 0; k < columns_each; k++) {
      const uint c = min(first + k * gl_WorkGroupSize.x, columns - 1);  // beyond the row: read, never stored
      sums[k] += load_dy(dy_offset + r * columns + c) * (load_x(x_offset + r * columns + c) * reciprocal);
    }
  }
  for (uint k = 0; k < columns_each; k++) {
    const uint c = first + k * gl_WorkGroupSize.x;
    if (c >= columns) continue;
    const uint target = dweight_offset + slab * columns + c;
    if (accumulate) sums[k] += load_dweight(target);
    store_dweight(target, sums[k]);
  }
}
