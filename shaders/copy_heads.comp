// y = x or y += x between heads that lie differently: head by head, one head to all, or the sum of all to one
// (runtime/ops.h). Bytes: 8 an element of f32; of a sum 4 an element of x.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elements.glsl"
#include "value.glsl"

layout(constant_id = 2) const uint x_heads = 1;
layout(constant_id = 3) const uint y_heads = 1;
layout(constant_id = 4) const uint head_size = 1;  // VALUEs
layout(constant_id = 5) const bool accumulate = false;
layout(constant_id = 6) const uint storage = F32;
READ_TENSOR(0, x, storage)   // [rows, x_heads, head_size]
WRITE_TENSOR(1, y, storage)  // [rows, y_heads, head_size]
layout(push_constant) uniform Push {
  uint count;                         // VALUEs of y
  uint x_row, x_head, y_row, y_head;  // strides in VALUEs
  uint x_offset, y_offset;
};

void main() {
  FOR_EACH_ELEMENT(i) {
    const uint c = i % head_size, h = i / head_size % y_heads, r = i / (head_size * y_heads);
    const uint source = x_offset + r * x_row + c, target = y_offset + r * y_row + h * y_head + c;
    VALUE value = load_x(source + (x_heads == y_heads ? h * x_head : 0));
    if (y_heads == 1) {
      for (uint other = 1; other < x_heads; other++) value += load_x(source + other * x_head);
    }
    if (accumulate) value += load_y(target);
    store_y(target, value);
  }
}
