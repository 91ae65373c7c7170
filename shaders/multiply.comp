// y = a * b, or y += a * b. y may be the memory of a or b.
// Bytes: 12 an element of f32 (16 when accumulating); 1 FLOP (2).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elementwise.glsl"

layout(constant_id = 2) const bool accumulate = false;
layout(constant_id = 3) const uint storage = F32;
READ_TENSOR(0, a, storage)
READ_TENSOR(1, b, storage)
WRITE_TENSOR(2, y, storage)

void main() {
  FOR_EACH_ELEMENT(i) {
    VALUE product = load_a(offset[0] + i) * load_b(offset[1] + i);
    if (accumulate) product += load_y(offset[2] + i);
    store_y(offset[2] + i, product);
  }
}
