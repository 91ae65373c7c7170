// Philox4x32-10 (Salmon et al. 2011, section 3.3): the same words as runtime/random.h and shaders/lib/random.glsl.
#ifndef DURE_CUDA_RANDOM_CUH_
#define DURE_CUDA_RANDOM_CUH_

#include <cuda_runtime.h>

#include <cstdint>

__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const uint32_t high_0 = __umulhi(0xD2511F53u, counter.x), low_0 = 0xD2511F53u * counter.x;
    const uint32_t high_1 = __umulhi(0xCD9E8D57u, counter.z), low_1 = 0xCD9E8D57u * counter.z;
    counter = make_uint4(high_1 ^ counter.y ^ key.x, low_1, high_0 ^ counter.w ^ key.y, low_0);
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

// Words of element group `group` (4 each), as dure_random_words; random = {seed low, seed high, step, stream}.
__device__ __forceinline__ uint4 random_words(uint4 random, uint64_t group) {
  return philox(make_uint4((uint32_t)group, (uint32_t)(group >> 32), random.z, random.w),
                make_uint2(random.x, random.y));
}

// Uniform in [0, 1) with 24 bits, exact in a float.
__device__ __forceinline__ float random_to_uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

// The first word of element `row`.
__device__ __forceinline__ float random_uniform(uint4 random, uint32_t row) {
  return random_to_uniform(random_words(random, row).x);
}

#endif  // DURE_CUDA_RANDOM_CUH_
