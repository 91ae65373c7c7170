// The one random generator: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3",
// section 3.3).
//
// Counter-based: a value is a pure function of (seed, step, stream, element), so any device, rank or thread gives the
// same integers in any order. The GLSL version is shaders/lib/random.glsl, the CUDA version cuda/random.cuh.
#ifndef DURE_RUNTIME_RANDOM_H_
#define DURE_RUNTIME_RANDOM_H_

#include <stdint.h>

// Four 32-bit words for counter {c0, c1, c2, c3} and key {k0, k1}.
void dure_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out_words[4]);

// Words of element group `index` (4 each): counter {low index, high index, step, stream}, key = the seed's halves.
void dure_random_words(uint64_t seed, uint32_t step, uint32_t stream, uint64_t index, uint32_t out_words[4]);

// Uniform in [0, 1) with 24 bits: the word's high 24 bits / 2^24 (exact in f32, so the same on every device).
float dure_random_to_uniform(uint32_t word);
// For the op `sample`: random = {seed low, seed high, step, stream}; the first word of element `row`.
float dure_random_uniform(const uint32_t random[4], uint32_t row);
// Standard normal in double (Box and Muller 1958) of element `index`; host only.
double dure_random_normal(uint64_t seed, uint32_t step, uint32_t stream, uint64_t index);

#endif  // DURE_RUNTIME_RANDOM_H_
