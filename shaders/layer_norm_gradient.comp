// dx = reciprocal_deviation * (g - mean(g) - x^ mean(g x^)) with g = dy weight and x^ the normalised x, or dx +=. One
// workgroup a row, walked twice; g and x^ stay in registers if they fit. dx may be dy's memory.
// Bytes: 12 an element of f32 (16 when accumulating), 8 a row; about 12 FLOP.
// Measured on lavapipe with two cores: 3.8 GB/s ([1024, 768]).
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
READ_TENSOR(0, dy, storage)                                                                          // [rows, columns]
READ_TENSOR(1, x, storage)                                                                           // [rows, columns]
READ_TENSOR(2, weight, storage)                                                                      // [columns]
layout(set = 0, binding = 3) readonly buffer Mean { float mean[]; };                                 // [rows]
layout(set = 0, binding = 4) readonly buffer ReciprocalDeviation { float reciprocal_deviation[]; };  // [rows]
WRITE_TENSOR(5, dx, storage)                                                                         // [rows, columns]
layout(push_constant) uniform Push {
  uint rows, columns;        // columns in VALUEs
  float reciprocal_columns;  // 1 / elements in a row
  uint dy_offset, x_offset, weight_offset, mean_offset, reciprocal_deviation_offset, dx_offset;
};

WORKGROUP_REDUCTION(vec2, workgroup_sum, workgroup_sums, subgroupAdd, COMBINE_SUM)

VALUE weighted(uint r, uint c) {
  VALUE value = load_dy(dy_offset + r * columns + c);
  if (has_weight) value *= load_weight(weight_offset + c);
  return value;
}

void main() {
  const uint r = workgroup_index();
  if (r >= rows) return;
  const float average = mean[mean_offset + r];
  const float reciprocal = reciprocal_deviation[reciprocal_deviation_offset + r];
  KEPT_ROW(gradients);
  KEPT_ROW(values);

  VALUE sum = VALUE(0.0), product_sum = VALUE(0.0);
  FOR_EACH_COLUMN(k, c) {
    const VALUE g = weighted(r, c);
    const VALUE normalised = (load_x(x_offset + r * columns + c) - average) * reciprocal;
    KEEP(gradients, k, g);
    KEEP(values, k, normalised);
    sum += g;
    product_sum += g * normalised;
  }
  const vec2 means = workgroup_sum(vec2(value_sum(sum), value_sum(product_sum))) * reciprocal_columns;

  FOR_EACH_COLUMN(k, c) {
    const VALUE normalised = KEPT(values, k, (load_x(x_offset + r * columns + c) - average) * reciprocal);
    VALUE gradient = (KEPT(gradients, k, weighted(r, c)) - means.x - normalised * means.y) * reciprocal;
    const uint target = dx_offset + r * columns + c;
    if (accumulate) gradient += load_dx(target);
    store_dx(target, gradient);
  }
}
