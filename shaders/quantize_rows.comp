// quantize_rows: 8-bit integers in blocks of 32 with a scale each; the order of operations is runtime/ops.h's.
//
// An invocation takes a block: 8 loads of four (or 32 of one), 8 words and a scale out. 4 + 1.125 bytes an element of f32.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "value.glsl"
#include "elements.glsl"
#include "quantize.glsl"

layout(push_constant) uniform Push { uint count, x_offset, q_offset, scales_offset; };  // count: of blocks
layout(constant_id = 2) const uint X_TYPE = 0;
READ_TENSOR(0, x, X_TYPE)
layout(set = 0, binding = 1) writeonly buffer q_block { uint q[]; };
layout(set = 0, binding = 2) writeonly buffer scales_block { float scales[]; };

void main() {
  FOR_EACH_ELEMENT(block) {
    vec4 values[8];
    [[unroll]] for (uint i = 0; i < 8; i++) {
#if WIDTH == 4
      values[i] = load_x(x_offset + block * 8 + i);
#else
      [[unroll]] for (uint e = 0; e < 4; e++) values[i][e] = load_x(x_offset + block * 32 + i * 4 + e);
#endif
    }
    const Quantized made = quantize_block(values);
    [[unroll]] for (uint i = 0; i < 8; i++) q[q_offset + block * 8 + i] = made.words[i];
    scales[scales_offset + block] = made.scale;
  }
}
