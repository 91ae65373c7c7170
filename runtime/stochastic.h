// Stochastic rounding of f32 to 16 bits (Gupta et al. 2015, "Deep learning with limited numerical precision", section
// 3; Croci et al. 2022, section 2): of the two neighbours the one farther from zero is taken with a probability equal
// to the distance from the other, as a part of the gap. On average nothing is lost, however small the updates.
//
// A pure function of the value and a 32-bit random word; the same integers in GLSL (shaders/lib/stochastic.glsl). NaN
// and infinity stay what they are; finite numbers beyond the largest may round to infinity, as to nearest even. -0
// stays -0.
#ifndef DURE_RUNTIME_STOCHASTIC_H_
#define DURE_RUNTIME_STOCHASTIC_H_

#include <stdint.h>

// The 16 bits below the cut and the word's high 16 bits are added; a carry rounds up.
uint16_t dure_bf16_round_stochastically(float value, uint32_t word);
// Likewise with 13 bits. Below 2^-14, where f16 has a fixed step of 2^-24, the value is counted in steps and its
// fraction compared with the word's high 24 bits.
uint16_t dure_f16_round_stochastically(float value, uint32_t word);

#endif  // DURE_RUNTIME_STOCHASTIC_H_
