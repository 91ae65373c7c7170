// y = x or y += x, from one float type to another.
// Bytes: 8 an element of f32 (12 when accumulating).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elementwise.glsl"

layout(constant_id = 2) const bool accumulate = false;
layout(constant_id = 3) const uint storage = F32;
layout(constant_id = 4) const uint y_type = F32;
READ_TENSOR(0, x, storage)
WRITE_TENSOR(1, y, y_type)

void main() {
  FOR_EACH_ELEMENT(i) {
    VALUE value = load_x(offset[0] + i);
    if (accumulate) value += load_y(offset[1] + i);
    store_y(offset[1] + i, value);
  }
}
