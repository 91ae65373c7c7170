// y = factor x or y += factor x; y may be x's memory. The factor is parameter[0].
// Bytes: 8 an element of f32 (12 when accumulating); 1 FLOP (2).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elementwise.glsl"

layout(constant_id = 2) const bool accumulate = false;
layout(constant_id = 3) const uint storage = F32;
READ_TENSOR(0, x, storage)
WRITE_TENSOR(1, y, storage)

void main() {
  FOR_EACH_ELEMENT(i) {
    VALUE value = parameter[0] * load_x(offset[0] + i);
    if (accumulate) value += load_y(offset[1] + i);
    store_y(offset[1] + i, value);
  }
}
