// y = x / sqrt(mean(x^2) + epsilon) * (weight_addend + weight) over the last dimension (Zhang and Sennrich 2019, eq. 4).
// One workgroup a row, walked twice; it stays in registers if it fits. Bytes: 8 an element of f32, 4 a row; about 5 FLOP.
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
READ_TENSOR(0, x, storage)                                                      // [rows, columns]
READ_TENSOR(1, weight, storage)                                                 // [columns]
WRITE_TENSOR(2, y, storage)                                                     // [rows, columns]
layout(set = 0, binding = 3) buffer ReciprocalRms { float reciprocal_rms[]; };  // [rows]
layout(push_constant) uniform Push {
  uint rows, columns;        // columns in VALUEs
  float reciprocal_columns;  // 1 / elements in a row
  float epsilon, weight_addend;
  uint x_offset, weight_offset, y_offset, reciprocal_rms_offset;
};

WORKGROUP_REDUCTION(float, workgroup_sum, workgroup_sums, subgroupAdd, COMBINE_SUM)

void main() {
  const uint r = workgroup_index();
  if (r >= rows) return;
  const uint source = x_offset + r * columns, target = y_offset + r * columns;
  KEPT_ROW(values);

  VALUE squares = VALUE(0.0);
  FOR_EACH_COLUMN(k, c) {
    const VALUE value = load_x(source + c);
    KEEP(values, k, value);
    squares += value * value;
  }
  const float reciprocal = 1.0 / sqrt(workgroup_sum(value_sum(squares)) * reciprocal_columns + epsilon);

  FOR_EACH_COLUMN(k, c) {
    VALUE value = KEPT(values, k, load_x(source + c)) * reciprocal;
    if (has_weight) value *= load_weight(weight_offset + c) + weight_addend;
    store_y(target + c, value);
  }
  if (gl_LocalInvocationIndex == 0) reciprocal_rms[reciprocal_rms_offset + r] = reciprocal;
}
