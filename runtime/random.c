#include "runtime/random.h"

#include <math.h>

// Multipliers and Weyl increments of Salmon et al. 2011, table 2 and section 3.3.
#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u
enum { ROUNDS = 10 };

void dure_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out_words[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < ROUNDS; round++) {
    const uint64_t product_0 = (uint64_t)MULTIPLIER_0 * c0;
    const uint64_t product_1 = (uint64_t)MULTIPLIER_1 * c2;
    c0 = (uint32_t)(product_1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)product_1;
    c2 = (uint32_t)(product_0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)product_0;
    k0 += WEYL_0;
    k1 += WEYL_1;
  }
  out_words[0] = c0;
  out_words[1] = c1;
  out_words[2] = c2;
  out_words[3] = c3;
}

void dure_random_words(uint64_t seed, uint32_t step, uint32_t stream, uint64_t index, uint32_t out_words[4]) {
  const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), step, stream};
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  dure_philox(counter, key, out_words);
}

float dure_random_to_uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

float dure_random_uniform(const uint32_t random[4], uint32_t row) {
  const uint64_t seed = random[0] | (uint64_t)random[1] << 32;
  uint32_t words[4];
  dure_random_words(seed, random[2], random[3], row, words);
  return dure_random_to_uniform(words[0]);
}

// A group's four words make two pairs of 32-bit uniforms, and each pair two normals.
double dure_random_normal(uint64_t seed, uint32_t step, uint32_t stream, uint64_t index) {
  uint32_t words[4];
  dure_random_words(seed, step, stream, index / 4, words);
  const uint32_t pair = (uint32_t)(index % 4) / 2;
  const double radius_uniform = (words[2 * pair] + 0.5) * 0x1p-32;  // in (0, 1): the logarithm is finite
  const double angle = 2.0 * 3.14159265358979323846 * (words[2 * pair + 1] * 0x1p-32);
  const double radius = sqrt(-2.0 * log(radius_uniform));
  return radius * (index % 2 == 0 ? cos(angle) : sin(angle));
}
