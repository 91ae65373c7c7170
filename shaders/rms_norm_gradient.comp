// dx = reciprocal_rms * (g - x^ mean(g x^)) with g = dy (weight_addend + weight) and x^ = x reciprocal_rms, or dx +=. One
// workgroup a row, walked twice; g and x^ stay in registers if they fit. dx may be dy's memory.
// Bytes: 12 an element of f32 (16 when accumulating), 4 a row; about 9 FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "grid.glsl"
#include "value.glsl"
#include "workgroup.glsl"
#include "kept_row.glsl"

layout(constant_id = 4) const uint storage = F32;
layout(constant_id = 5) const bool has_weight = true;
layout(constant_id = 6) const bool accumulate = false;
READ_TENSOR(0, dy, storage)                                                              // [rows, columns]
READ_TENSOR(1, x, storage)                                                               // [rows, columns]
READ_TENSOR(2, weight, storage)                                                          // [columns]
layout(set = 0, binding = 3) readonly buffer ReciprocalRms { float reciprocal_rms[]; };  // [rows]
WRITE_TENSOR(4, dx, storage)                                                             // [rows, columns]
layout(push_constant) uniform Push {
  uint rows, columns;        // columns in VALUEs
  float reciprocal_columns;  // 1 / elements in a row
  float weight_addend;
  uint dy_offset, x_offset, weight_offset, reciprocal_rms_offset, dx_offset;
};

WORKGROUP_REDUCTION(float, workgroup_sum, workgroup_sums, subgroupAdd, COMBINE_SUM)

VALUE weighted(uint r, uint c) {
  VALUE value = load_dy(dy_offset + r * columns + c);
  if (has_weight) value *= load_weight(weight_offset + c) + weight_addend;
  return value;
}

void main() {
  const uint r = workgroup_index();
  if (r >= rows) return;
  const float reciprocal = reciprocal_rms[reciprocal_rms_offset + r];
  KEPT_ROW(gradients);
  KEPT_ROW(values);

  VALUE products = VALUE(0.0);
  FOR_EACH_COLUMN(k, c) {
    const VALUE g = weighted(r, c);
    const VALUE normalised = load_x(x_offset + r * columns + c) * reciprocal;
    KEEP(gradients, k, g);
    KEEP(values, k, normalised);
    products += g * normalised;
  }
  const float average = workgroup_sum(value_sum(products)) * reciprocal_columns;

  FOR_EACH_COLUMN(k, c) {
    const VALUE normalised = KEPT(values, k, load_x(x_offset + r * columns + c) * reciprocal);
    VALUE gradient = (KEPT(gradients, k, weighted(r, c)) - normalised * average) * reciprocal;
    const uint target = dx_offset + r * columns + c;
    if (accumulate) gradient += load_dx(target);
    store_dx(target, gradient);
  }
}
