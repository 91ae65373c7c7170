// Storage types: f32, bf16 and f16 in memory, f32 in registers. One rounding to nearest even at the store.
#ifndef DURE_CUDA_NUMBERS_CUH_
#define DURE_CUDA_NUMBERS_CUH_

#include <cuda_runtime.h>

#include <cstdint>

extern "C" {
#include "runtime/dtype.h"
}

struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bfloat16 x) { return __uint_as_float((uint32_t)x.bits << 16); }
__device__ __forceinline__ float to_float(float16 x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#else
  return dure_f16_to_float(x.bits);
#endif
}

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  bfloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bfloat16{(uint16_t)(bits >> 16 | 0x40u)};  // NaN stays NaN
  return bfloat16{(uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
#endif
}
template <>
__device__ __forceinline__ float16 from_float<float16>(float x) {
#ifdef __CUDA_ARCH__
  float16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  return float16{dure_f16_from_float(x)};
#endif
}

// Two values as a register of two 16-bit ones, `low` in the lower half; and back.
template <typename T>
__device__ __forceinline__ uint32_t pack_two(float low, float high) {
  return (uint32_t)from_float<T>(low).bits | (uint32_t)from_float<T>(high).bits << 16;
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
template <>
__device__ __forceinline__ uint32_t pack_two<bfloat16>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
template <>
__device__ __forceinline__ uint32_t pack_two<float16>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
#endif
template <typename T>
__device__ __forceinline__ void unpack_two(uint32_t pair, float &low, float &high) {
  low = to_float(T{(uint16_t)pair});
  high = to_float(T{(uint16_t)(pair >> 16)});
}
template <>
__device__ __forceinline__ void unpack_two<bfloat16>(uint32_t pair, float &low, float &high) {
  low = __uint_as_float(pair << 16);
  high = __uint_as_float(pair & 0xffff0000u);
}

// Four elements at once: 16 bytes of f32, 8 of the others; the address is a multiple of that.
__device__ __forceinline__ float4 load_four(const float *p) { return *reinterpret_cast<const float4 *>(p); }
template <typename T>
__device__ __forceinline__ float4 load_four(const T *p) {
  const uint2 pairs = *reinterpret_cast<const uint2 *>(p);
  float4 x;
  unpack_two<T>(pairs.x, x.x, x.y);
  unpack_two<T>(pairs.y, x.z, x.w);
  return x;
}
__device__ __forceinline__ void store_four(float *p, float4 x) { *reinterpret_cast<float4 *>(p) = x; }
template <typename T>
__device__ __forceinline__ void store_four(T *p, float4 x) {
  uint2 pairs;
  pairs.x = pack_two<T>(x.x, x.y);
  pairs.y = pack_two<T>(x.z, x.w);
  *reinterpret_cast<uint2 *>(p) = pairs;
}

// A pointer to elements of a type known only when the kernel runs: operands marked `:any` in ops.def. The branch is the
// same for the whole grid. Null where the operand is absent.
struct any_pointer {
  void *address;
  dure_dtype dtype;
};
__device__ __forceinline__ float load_any(any_pointer p, uint64_t index) {
  switch (p.dtype) {
    case DURE_DTYPE_BF16: return to_float(static_cast<const bfloat16 *>(p.address)[index]);
    case DURE_DTYPE_F16: return to_float(static_cast<const float16 *>(p.address)[index]);
    default: return static_cast<const float *>(p.address)[index];
  }
}
__device__ __forceinline__ void store_any(any_pointer p, uint64_t index, float x) {
  switch (p.dtype) {
    case DURE_DTYPE_BF16: static_cast<bfloat16 *>(p.address)[index] = from_float<bfloat16>(x); break;
    case DURE_DTYPE_F16: static_cast<float16 *>(p.address)[index] = from_float<float16>(x); break;
    default: static_cast<float *>(p.address)[index] = x;
  }
}

#endif  // DURE_CUDA_NUMBERS_CUH_
