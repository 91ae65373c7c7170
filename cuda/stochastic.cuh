// Stochastic rounding to 16 bits and AdamW's 8-bit moments: the same integers as runtime/stochastic.h and
// runtime/moment_code.h, which say what they are, and shaders/lib/stochastic.glsl. Words are random, one an element.
#ifndef DURE_CUDA_STOCHASTIC_CUH_
#define DURE_CUDA_STOCHASTIC_CUH_

#include "cuda/numbers.cuh"
#include "cuda/random.cuh"

extern "C" {
#include "runtime/moment_code.h"
}

__device__ __forceinline__ uint16_t bfloat16_stochastic(float value, uint32_t word) {
  const uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) >= 0x7f800000u) return from_float<bfloat16>(value).bits;
  return (uint16_t)((bits + (word >> 16)) >> 16);
}

__device__ __forceinline__ uint16_t float16_stochastic(float value, uint32_t word) {
  const uint32_t bits = __float_as_uint(value), magnitude = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
  if (magnitude >= 0x47800000u) return from_float<float16>(value).bits;  // 65536 and more, NaN
  if (magnitude >= 0x38800000u) return (uint16_t)(sign | (magnitude + (word >> 19) - 0x38000000u) >> 13);
  const float steps = __uint_as_float(magnitude) * 0x1p24f;  // of 2^-24
  const uint32_t whole = (uint32_t)steps;
  return (uint16_t)(sign | (whole + (steps - (float)whole > random_to_uniform(word) ? 1u : 0u)));
}

// ---- 8-bit moments ----

__device__ __forceinline__ float moment_magnitude(uint32_t code, uint32_t base) {
  return __uint_as_float(code == 0 ? 0 : (code + base) << 20);
}

// Of |x| / scale, at most 1 + 2^-23; noise below 2^16.
__device__ __forceinline__ uint32_t moment_code(float ratio, uint32_t noise, uint32_t base) {
  const uint32_t bits = min(__float_as_uint(ratio), 0x3f800000u);
  if (bits >= (base + 1) << 20) return ((bits + (noise << 4)) >> 20) - base;
  return ratio > __fmul_rn(moment_magnitude(1, base), (float)noise * 0x1p-16f) ? 1 : 0;
}

__device__ __forceinline__ float first_moment_decode(uint32_t code, float scale) {
  const float magnitude = __fmul_rn(moment_magnitude(code & 0x7fu, DURE_MOMENT_FIRST_BASE), scale);
  return (code & 0x80u) != 0 ? -magnitude : magnitude;
}
__device__ __forceinline__ float second_moment_decode(uint32_t code, float scale) {
  return __fmul_rn(moment_magnitude(code, DURE_MOMENT_SECOND_BASE), scale);
}

__device__ __forceinline__ uint32_t first_moment_encode(float ratio, uint32_t noise) {
  const uint32_t code = moment_code(ratio < 0 ? -ratio : ratio, noise, DURE_MOMENT_FIRST_BASE);
  return ratio < 0 && code > 0 ? code | 0x80u : code;
}
__device__ __forceinline__ uint32_t second_moment_encode(float ratio, uint32_t noise) {
  const uint32_t code = moment_code(ratio, noise, DURE_MOMENT_SECOND_BASE);
  return code == 0 && ratio > 0 ? 1 : code;
}

#endif  // DURE_CUDA_STOCHASTIC_CUH_
