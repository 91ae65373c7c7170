// Division of indices by a number known at the launch: a multiplication (Granlund and Montgomery 1994, section 4) for
// what is below 2^31, the slow instructions beyond.
#ifndef DURE_CUDA_KERNELS_DIVIDER_CUH_
#define DURE_CUDA_KERNELS_DIVIDER_CUH_

#include <cuda_runtime.h>

#include <cstdint>

struct divider {
  uint32_t divisor, factor, shift;
  bool is_wide;  // indices reach 2^31
};

// For indices below `count`; 0 < divisor < 2^31.
static inline divider divider_make(uint64_t divisor, uint64_t count) {
  divider d = {(uint32_t)divisor, 0, 0, count > (uint64_t)1 << 31};
  if (divisor == 1) return d;
  while (((uint64_t)1 << d.shift) < divisor) d.shift++;
  d.factor = (uint32_t)((((uint64_t)1 << (31 + d.shift)) + divisor - 1) / divisor);
  d.shift--;
  return d;
}

__device__ __forceinline__ uint64_t quotient(const divider &d, uint64_t index) {
  if (d.is_wide) return index / d.divisor;
  return d.divisor == 1 ? index : __umulhi((uint32_t)index, d.factor) >> d.shift;
}

#endif  // DURE_CUDA_KERNELS_DIVIDER_CUH_
