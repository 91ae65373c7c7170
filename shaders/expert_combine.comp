// y[r, :] = (or +=) residual[r, :] + sum over k of weights[r, k] x[places[r, k], :] (runtime/ops.h).
// Bytes: 4 K + 8 an element of f32; 2 K FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elements.glsl"
#include "value.glsl"

layout(constant_id = 2) const uint columns = 1;  // VALUEs of a row
layout(constant_id = 3) const uint chosen = 1;
layout(constant_id = 4) const bool has_places = true;
layout(constant_id = 5) const bool has_residual = true;
layout(constant_id = 6) const bool accumulate = false;
layout(constant_id = 7) const uint storage = F32;
READ_TENSOR(0, x, storage)                                                  // [x_rows, columns]
layout(set = 0, binding = 1) readonly buffer Weights { float weights[]; };  // [rows, chosen]
layout(set = 0, binding = 2) readonly buffer Places { uint places[]; };     // [rows, chosen]
READ_TENSOR(3, residual, storage)                                           // [rows, columns]
WRITE_TENSOR(4, y, storage)                                                 // [rows, columns]
layout(push_constant) uniform Push {
  uint count;  // VALUEs of y
  uint x_rows, first_row, x_offset, weights_offset, places_offset, residual_offset, y_offset;
};

void main() {
  FOR_EACH_ELEMENT(i) {
    const uint r = i / columns, c = i % columns;
    VALUE sum = VALUE(0.0);
    if (has_residual) sum = load_residual(residual_offset + i);
    for (uint k = 0; k < chosen; k++) {
      const uint place = has_places ? places[places_offset + r * chosen + k] - first_row : r;
      if (place < x_rows) sum += weights[weights_offset + r * chosen + k] * load_x(x_offset + place * columns + c);
    }
    if (accumulate) sum += load_y(y_offset + i);
    store_y(y_offset + i, sum);
  }
}
