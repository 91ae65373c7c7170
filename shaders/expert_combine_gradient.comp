// Of each entry (r, k): dx[place, :] = weight dy[r, :], dweight = dy[r, :] . x[place, :] (runtime/ops.h). One workgroup an
// entry. Bytes: 12 an element of f32; 3 FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "grid.glsl"
#include "value.glsl"
#include "workgroup.glsl"

layout(constant_id = 2) const uint storage = F32;
layout(constant_id = 3) const uint chosen = 1;
layout(constant_id = 4) const bool has_places = true;
READ_TENSOR(0, dy, storage)                                                 // [rows, columns]
READ_TENSOR(1, x, storage)                                                  // [x_rows, columns]
layout(set = 0, binding = 2) readonly buffer Weights { float weights[]; };  // [entries]
layout(set = 0, binding = 3) readonly buffer Places { uint places[]; };     // [entries]
WRITE_TENSOR(4, dx, storage)                                                // [x_rows, columns]
layout(set = 0, binding = 5) buffer Dweights { float dweights[]; };         // [entries]
layout(push_constant) uniform Push {
  uint entries, columns, x_rows, first_row;  // columns in VALUEs
  uint dy_offset, x_offset, weights_offset, places_offset, dx_offset, dweights_offset;
};

WORKGROUP_REDUCTION(float, workgroup_sum, workgroup_sums, subgroupAdd, COMBINE_SUM)

void main() {
  const uint entry = workgroup_index();
  if (entry >= entries) return;
  const uint place = has_places ? places[places_offset + entry] - first_row : entry, r = entry / chosen;
  if (place >= x_rows) return;
  const float weight = weights[weights_offset + entry];
  VALUE products = VALUE(0.0);
  for (uint c = gl_LocalInvocationIndex; c < columns; c += gl_WorkGroupSize.x) {
    const VALUE gradient = load_dy(dy_offset + r * columns + c);
    products += gradient * load_x(x_offset + place * columns + c);
    store_dx(dx_offset + place * columns + c, weight * gradient);
  }
  const float sum = workgroup_sum(value_sum(products));
  if (gl_LocalInvocationIndex == 0) dweights[dweights_offset + entry] = sum;
}
