#include "runtime/moment_code.h"

// The code of a ratio in [0, 1]: its bits with noise below the cut. Below the smallest code's value the ratio to that
// value is rounded to 0 or 1 by the same noise.
static uint32_t encode_magnitude(float ratio, uint32_t noise, uint32_t base) {
  uint32_t bits;
  memcpy(&bits, &ratio, sizeof(bits));
  if (bits > 0x3f800000u) bits = 0x3f800000u;
  if (bits >= (base + 1) << 20) return ((bits + (noise << 4)) >> 20) - base;
  return ratio > dure_moment_magnitude(1, base) * ((float)noise * 0x1p-16f) ? 1 : 0;
}

uint8_t dure_first_moment_encode(float ratio, uint32_t noise) {
  const uint32_t code = encode_magnitude(ratio < 0 ? -ratio : ratio, noise, DURE_MOMENT_FIRST_BASE);
  return (uint8_t)(ratio < 0 && code > 0 ? code | 0x80u : code);
}

uint8_t dure_second_moment_encode(float ratio, uint32_t noise) {
  const uint32_t code = encode_magnitude(ratio, noise, DURE_MOMENT_SECOND_BASE);
  return (uint8_t)(code == 0 && ratio > 0 ? 1 : code);
}
