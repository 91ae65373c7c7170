// Philox4x32-10 (Salmon et al. 2011, section 3.3): the same words as runtime/random.h.
#ifndef RANDOM_GLSL
#define RANDOM_GLSL

uvec4 philox(uvec4 counter, uvec2 key) {
  for (int round = 0; round < 10; round++) {
    uint high_0, low_0, high_1, low_1;
    umulExtended(0xD2511F53u, counter.x, high_0, low_0);
    umulExtended(0xCD9E8D57u, counter.z, high_1, low_1);
    counter = uvec4(high_1 ^ counter.y ^ key.x, low_1, high_0 ^ counter.w ^ key.y, low_0);
    key += uvec2(0x9E3779B9u, 0xBB67AE85u);
  }
  return counter;
}

// Uniform in [0, 1) with 24 bits, exact in a float.
float random_to_uniform(uint word) { return float(word >> 8) * 5.9604644775390625e-08; }

// random = {seed low, seed high, step, stream}: the first word of element `row`.
float random_uniform(uvec4 random, uint row) {
  return random_to_uniform(philox(uvec4(row, 0u, random.z, random.w), random.xy).x);
}

#endif
