// Stochastic rounding to 16 bits and AdamW's 8-bit moments: the same integers as runtime/stochastic.h and
// runtime/moment_code.h, which say what they are. Words are random, one an element.
#ifndef STOCHASTIC_GLSL
#define STOCHASTIC_GLSL
#include "value.glsl"

uvec4 bf16_bits_stochastic(vec4 value, uvec4 words) {
  const uvec4 bits = floatBitsToUint(value);
  return mix((bits + (words >> 16)) >> 16, bf16_bits(value), greaterThanEqual(bits & 0x7fffffffu, uvec4(0x7f800000u)));
}

uvec4 f16_bits_stochastic(vec4 value, uvec4 words) {
  const uvec4 bits = floatBitsToUint(value), magnitude = bits & 0x7fffffffu;
  const uvec4 normal = (magnitude + (words >> 19) - 0x38000000u) >> 13;
  const vec4 steps = uintBitsToFloat(min(magnitude, uvec4(0x38800000u))) * 16777216.0;  // of 2^-24
  const vec4 whole = floor(steps);
  const uvec4 small = uvec4(whole) + uvec4(greaterThan(steps - whole, vec4(words >> 8) * 5.9604644775390625e-08));
  const uvec4 half_bits = mix(normal, small, lessThan(magnitude, uvec4(0x38800000u))) | ((bits >> 16) & 0x8000u);
  return mix(half_bits, f16_bits(value), greaterThanEqual(magnitude, uvec4(0x47800000u)));
}

// ---- 8-bit moments ----

const uint FIRST_BASE = 889, SECOND_BASE = 761;

vec4 moment_magnitude(uvec4 code, uint base) {
  return uintBitsToFloat(mix((code + base) << 20, uvec4(0), equal(code, uvec4(0))));
}

// Of |x| / scale, at most 1 + 2^-23; noise below 2^16.
uvec4 moment_code(vec4 ratio, uvec4 noise, uint base) {
  const uvec4 bits = min(floatBitsToUint(ratio), uvec4(0x3f800000u));
  const uvec4 large = ((bits + (noise << 4)) >> 20) - base;
  const vec4 threshold = uintBitsToFloat((base + 1) << 20) * (vec4(noise) * 1.52587890625e-05);
  return mix(uvec4(greaterThan(ratio, threshold)), large, greaterThanEqual(bits, uvec4((base + 1) << 20)));
}

vec4 first_moment_decode(uvec4 code, float scale) {
  const vec4 magnitude = moment_magnitude(code & 0x7fu, FIRST_BASE) * scale;
  return mix(magnitude, -magnitude, notEqual(code & 0x80u, uvec4(0)));
}
vec4 second_moment_decode(uvec4 code, float scale) { return moment_magnitude(code, SECOND_BASE) * scale; }

uvec4 first_moment_encode(vec4 ratio, uvec4 noise) {
  const uvec4 code = moment_code(abs(ratio), noise, FIRST_BASE);
  return code | mix(uvec4(0), uvec4(0x80u), bvec4(uvec4(lessThan(ratio, vec4(0.0))) * code));
}
uvec4 second_moment_encode(vec4 ratio, uvec4 noise) {
  const uvec4 code = moment_code(ratio, noise, SECOND_BASE);
  return max(code, uvec4(greaterThan(ratio, vec4(0.0))));
}

#endif
