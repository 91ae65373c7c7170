// dgate = f'(gate) up dy, dup = f(gate) dy. All but dy by rows a stride apart; dgate and dup may lie over gate, up or dy.
// Bytes: 20 an element of f32; about 30 FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "activation.glsl"
#include "elements.glsl"
#include "value.glsl"

layout(constant_id = 2) const uint columns = 1;  // VALUEs of a row
layout(constant_id = 3) const uint kind = 0;
layout(constant_id = 4) const uint storage = F32;
READ_TENSOR(0, gate, storage)
READ_TENSOR(1, up, storage)
READ_TENSOR(2, dy, storage)
WRITE_TENSOR(3, dgate, storage)
WRITE_TENSOR(4, dup, storage)
layout(push_constant) uniform Push {
  uint count;  // VALUEs
  uint gate_stride, up_stride, dgate_stride, dup_stride;
  uint gate_offset, up_offset, dy_offset, dgate_offset, dup_offset;
};

void main() {
  FOR_EACH_ELEMENT(i) {
    const uint r = i / columns, c = i % columns;
    const VALUE g = load_gate(gate_offset + r * gate_stride + c);
    const VALUE u = load_up(up_offset + r * up_stride + c);
    const VALUE gradient = load_dy(dy_offset + i);
    VALUE value, slope;
    activation_parts(kind, g, value, slope);
    precise VALUE of_gate = slope * u * gradient;
    precise VALUE of_up = value * gradient;
    store_dgate(dgate_offset + r * dgate_stride + c, of_gate);
    store_dup(dup_offset + r * dup_stride + c, of_up);
  }
}
