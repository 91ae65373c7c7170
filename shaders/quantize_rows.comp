// quantize_rows: 8-bit integers in blocks of 32 with a scale each; the order of operations is runtime/ops.h's.
//
// An invocation takes a block: 8 loads of four (or 32 of one), 8 words and a scale out. The largest magnitude is found among
// bits, which order non-negative floats as their values, and NaN above infinity. 4 + 1.125 bytes an element of f32.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "value.glsl"
#include "elements.glsl"

layout(push_constant) uniform Push { uint count, x_offset, q_offset, scales_offset; };  // count: of blocks
layout(constant_id = 2) const uint X_TYPE = 0;
READ_TENSOR(0, x, X_TYPE)
layout(set = 0, binding = 1) writeonly buffer q_block { uint q[]; };
layout(set = 0, binding = 2) writeonly buffer scales_block { float scales[]; };

const uint NOT_FINITE = 0x7f800000u, SMALL = 0x0d800000u;  // 2^-100

void main() {
  FOR_EACH_ELEMENT(block) {
    vec4 values[8];
    uvec4 largest4 = uvec4(0);
    [[unroll]] for (uint i = 0; i < 8; i++) {
#if WIDTH == 4
      values[i] = load_x(x_offset + block * 8 + i);
#else
      [[unroll]] for (uint e = 0; e < 4; e++) values[i][e] = load_x(x_offset + block * 32 + i * 4 + e);
#endif
      largest4 = max(largest4, floatBitsToUint(values[i]) & 0x7fffffffu);
    }
    const uint largest = max(max(largest4.x, largest4.y), max(largest4.z, largest4.w));
    const bool is_zero = largest < SMALL || largest >= NOT_FINITE;
    precise const float inverse = 127.0 / uintBitsToFloat(largest);
    [[unroll]] for (uint i = 0; i < 8; i++) {
      precise const vec4 quotient = roundEven(values[i] * inverse);
      const uvec4 bytes = uvec4(ivec4(is_zero ? vec4(0) : quotient)) & 0xffu;
      q[q_offset + block * 8 + i] = bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24;
    }
    precise const float scale = uintBitsToFloat(largest) * 0.007874015718698502;  // 1 / 127
    scales[scales_offset + block] = largest >= NOT_FINITE ? uintBitsToFloat(0x7fc00000u) : is_zero ? 0.0 : scale;
  }
}
