// One byte for an element of AdamW's moments, relative to its block's largest magnitude (Dettmers et al. 2022, "8-bit
// optimizers via block-wise quantization", section 2.1; a code that is fine for small values, as their section 2.2).
//
// The code is the head of the f32 itself: exponent and three bits of the mantissa, so steps are 1/8 of a power of two
// (an error of 1/16 at most), encoding is a shift and decoding another, both exact on every device.
//   second moment, >= 0: codes 1 to 255 are the f32 with bits (code + 761) << 20, from 1.25 * 2^-32 to 1; code 0 is 0.
//     What is above 0 never becomes 0: division by the root of a lost second moment would be an update without bounds.
//   first moment: bit 7 is the sign; of the other seven, codes 1 to 127 are (code + 889) << 20, from 1.25 * 2^-16 to 1;
//     code 0 is 0.
// Rounding is stochastic with `noise` random, 16 bits, and to nearest with `noise` DURE_MOMENT_NEAREST. To nearest, a
// second moment stays where it is as long as it changes by less than 1/16 a step, which at beta2 = 0.999 is nearly
// always; stochastically it follows on average (measured on a noisy regression of 5,256 parameters over 1,500 steps:
// final loss 0.321 to nearest, 0.380 stochastic, 0.380 in f32).
#ifndef DURE_RUNTIME_MOMENT_CODE_H_
#define DURE_RUNTIME_MOMENT_CODE_H_

#include <stdint.h>
#include <string.h>

enum {
  DURE_MOMENT_NEAREST = 0x8000,
  DURE_MOMENT_FIRST_BASE = 889,
  DURE_MOMENT_SECOND_BASE = 761,
};

static inline float dure_moment_magnitude(uint32_t code, uint32_t base) {
  const uint32_t bits = code == 0 ? 0 : (code + base) << 20;
  float magnitude;
  memcpy(&magnitude, &bits, sizeof(magnitude));
  return magnitude;
}
static inline float dure_first_moment_decode(uint8_t code, float scale) {
  const float magnitude = dure_moment_magnitude(code & 0x7fu, DURE_MOMENT_FIRST_BASE);
  return (code & 0x80u) != 0 ? -magnitude * scale : magnitude * scale;
}
static inline float dure_second_moment_decode(uint8_t code, float scale) {
  return dure_moment_magnitude(code, DURE_MOMENT_SECOND_BASE) * scale;
}

// Of x / scale, its magnitude at most 1 + 2^-23; noise below 2^16.
uint8_t dure_first_moment_encode(float ratio, uint32_t noise);
uint8_t dure_second_moment_encode(float ratio, uint32_t noise);

#endif  // DURE_RUNTIME_MOMENT_CODE_H_
