#include "runtime/stochastic.h"

#include <string.h>

#include "runtime/dtype.h"
#include "runtime/random.h"

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

uint16_t dure_bf16_round_stochastically(float value, uint32_t word) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) >= 0x7f800000u) return dure_bf16_from_float(value);
  return (uint16_t)((bits + (word >> 16)) >> 16);
}

uint16_t dure_f16_round_stochastically(float value, uint32_t word) {
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
  if (magnitude >= 0x47800000u) return dure_f16_from_float(value);  // 65536 and more, NaN
  if (magnitude >= 0x38800000u) return (uint16_t)(sign | (magnitude + (word >> 19) - 0x38000000u) >> 13);
  const float steps = float_of(magnitude) * 0x1p24f;
  const uint32_t whole = (uint32_t)steps;
  return (uint16_t)(sign | (whole + (steps - (float)whole > dure_random_to_uniform(word) ? 1 : 0)));
}
