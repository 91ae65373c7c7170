// y = f(x). y may be x's memory. Bytes: 8 an element of f32; about 25 FLOP (GELU).
// Measured on lavapipe with two cores: 4.3 GB/s (gelu_tanh, 1 Mi elements).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elementwise.glsl"
#include "activation.glsl"

layout(constant_id = 2) const uint kind = 0;
layout(constant_id = 3) const uint storage = F32;
READ_TENSOR(0, x, storage)
WRITE_TENSOR(1, y, storage)

void main() {
  FOR_EACH_ELEMENT(i) { store_y(offset[1] + i, activation_value(kind, load_x(offset[0] + i))); }
}
