// dweight[slab, c] = the sum over the slab's rows of dy x^ (x^ the normalised x), dbias[slab, c] that of dy; or += for a
// single slab. One invocation a column VALUE and slab; several slabs' partial sums are summed by sum_rows.comp.
// Bytes: 8 an element of x; 4 FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool accumulate_weight = false;
layout(constant_id = 2) const bool accumulate_bias = false;
layout(set = 0, binding = 0) readonly buffer Dy { VALUE dy[]; };                                      // [rows, columns]
layout(set = 0, binding = 1) readonly buffer X { VALUE x[]; };                                        // [rows, columns]
layout(set = 0, binding = 2) readonly buffer Mean { float mean[]; };                                  // [rows]
layout(set = 0, binding = 3) readonly buffer ReciprocalDeviation { float reciprocal_deviation[]; };   // [rows]
layout(set = 0, binding = 4) buffer Dweight { VALUE dweight[]; };                                     // [slabs, columns]
layout(set = 0, binding = 5) buffer Dbias { VALUE dbias[]; };                                         // [slabs, columns]
layout(push_constant) uniform Push {
  uint rows, columns, rows_per_slab, column_blocks;
  uint dy_offset, x_offset, mean_offset, reciprocal_deviation_offset, dweight_offset, dbias_offset;
};

void main() {
  const uint slab = workgroup_index() / column_blocks;
  const uint c = workgroup_index() % column_blocks * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  const uint first = slab * rows_per_slab;
  if (c >= columns || first >= rows) return;
  const uint end = min(first + rows_per_slab, rows);
  VALUE weight_sum = VALUE(0.0), bias_sum = VALUE(0.0);
  for (uint r = first; r < end; r++) {
    const VALUE g = dy[dy_offset + r * columns + c];
    const float reciprocal = reciprocal_deviation[reciprocal_deviation_offset + r];
    weight_sum += g * ((x[x_offset + r * columns + c] - mean[mean_offset + r]) * reciprocal);
    bias_sum += g;
  }
  const uint target = slab * columns + c;
  if (accumulate_weight) weight_sum += dweight[dweight_offset + target];
  if (accumulate_bias) bias_sum += dbias[dbias_offset + target];
  dweight[dweight_offset + target] = weight_sum;
  dbias[dbias_offset + target] = bias_sum;
}
