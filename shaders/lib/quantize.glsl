// A block of 32 as 8-bit integers and a scale, in the order of operations of quantize_rows (runtime/ops.h). The largest magnitude
// is found among bits, which order non-negative floats as their values, and NaN above infinity.
#ifndef QUANTIZE_GLSL
#define QUANTIZE_GLSL

const uint NOT_FINITE = 0x7f800000u, SMALL = 0x0d800000u;  // 2^-100

struct Quantized {
  uint words[8];  // four codes each
  float scale;
};

Quantized quantize_block(vec4 values[8]) {
  Quantized block;
  uvec4 largest4 = uvec4(0);
  [[unroll]] for (uint i = 0; i < 8; i++) largest4 = max(largest4, floatBitsToUint(values[i]) & 0x7fffffffu);
  const uint largest = max(max(largest4.x, largest4.y), max(largest4.z, largest4.w));
  const bool is_zero = largest < SMALL || largest >= NOT_FINITE;
  precise const float inverse = 127.0 / uintBitsToFloat(largest);
  [[unroll]] for (uint i = 0; i < 8; i++) {
    precise const vec4 quotient = roundEven(values[i] * inverse);
    const uvec4 bytes = uvec4(ivec4(is_zero ? vec4(0) : quotient)) & 0xffu;
    block.words[i] = bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24;
  }
  precise const float scale = uintBitsToFloat(largest) * 0.007874015718698502;  // 1 / 127
  block.scale = largest >= NOT_FINITE ? uintBitsToFloat(0x7fc00000u) : is_zero ? 0.0 : scale;
  return block;
}

#endif
