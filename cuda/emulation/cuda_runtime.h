// What CUDA C++ adds to C++, for kernels run on the host's cores (README.md of this folder). Names and meanings: CUDA
// C++ Programming Guide, "C++ Language Extensions"; CUDA Math API for the intrinsics. `mask` of the _sync functions
// must name lanes that have not ended.
#ifndef DURE_CUDA_EMULATION_CUDA_RUNTIME_H_
#define DURE_CUDA_EMULATION_CUDA_RUNTIME_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static  // one block runs at a time
#define __constant__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
  unsigned x, y, z;
};
struct __align__(8) int2 {
  int x, y;
};
struct __align__(16) int4 {
  int x, y, z, w;
};
struct __align__(8) uint2 {
  unsigned x, y;
};
struct __align__(16) uint4 {
  unsigned x, y, z, w;
};
struct __align__(8) float2 {
  float x, y;
};
struct __align__(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return uint2{x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return uint4{x, y, z, w}; }
inline int2 make_int2(int x, int y) { return int2{x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return int4{x, y, z, w}; }
inline float2 make_float2(float x, float y) { return float2{x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }

// Of the thread that is running.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// ---- threads.cpp ----

// Runs body(context) in every thread of every block; false (and a text) after a fault of the kernel.
bool emulation_run(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(const void *), const void *context,
                   const char **out_fault);
void *emulation_dynamic_shared();  // of the block that is running
// The running thread's kernel has done what the device would stop it for.
[[noreturn]] void emulation_fault(const char *text);
// Waits for all threads of the block that have not ended; the number of them whose `predicate` holds.
int emulation_block_wait(int predicate);
// Waits for the lanes of the mask, after leaving `size` (at most 64) bytes for them to read.
void emulation_warp_meet(unsigned mask, const void *bytes, size_t size);
// What lane `lane` left at the running thread's last meeting; valid until its next but one.
const void *emulation_warp_left(int lane);
// An asynchronous copy: happens when it is waited for. `commit` closes a group of them.
void emulation_copy_later(void *target, const void *source, size_t size);
void emulation_copy_commit();
void emulation_copy_wait(int pending);

inline int emulation_lane() {
  return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}

// ---- barriers and shuffles ----

inline void __syncthreads() { (void)emulation_block_wait(0); }
inline int __syncthreads_or(int predicate) { return emulation_block_wait(predicate != 0) != 0; }
inline int __syncthreads_count(int predicate) { return emulation_block_wait(predicate != 0); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation_warp_meet(mask, &mask, sizeof(mask)); }
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap() { emulation_fault("__trap()"); }

template <typename T>
T emulation_shuffle(unsigned mask, T value, int lane) {
  emulation_warp_meet(mask, &value, sizeof(value));
  if ((mask >> lane & 1) == 0) emulation_fault("a shuffle reads a lane that its mask leaves out");
  T result;
  std::memcpy(&result, emulation_warp_left(lane), sizeof(result));
  return result;
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return emulation_shuffle(mask, value, (emulation_lane() & ~(width - 1)) | (source & (width - 1)));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = emulation_lane(), source = lane ^ bits;
  return emulation_shuffle(mask, value, (source & ~(width - 1)) > (lane & ~(width - 1)) ? lane : source);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = emulation_lane(), source = lane + (int)delta;
  return emulation_shuffle(mask, value, (lane & (width - 1)) + (int)delta >= width ? lane : source);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = emulation_lane(), source = lane - (int)delta;
  return emulation_shuffle(mask, value, (lane & (width - 1)) - (int)delta < 0 ? lane : source);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const int holds = predicate != 0;
  emulation_warp_meet(mask, &holds, sizeof(holds));
  unsigned lanes = 0;
  for (int lane = 0; lane < 32; lane++) {
    int theirs = 0;
    if ((mask >> lane & 1) != 0) std::memcpy(&theirs, emulation_warp_left(lane), sizeof(theirs));
    if (theirs != 0) lanes |= 1u << lane;
  }
  return lanes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }
inline unsigned __activemask() = delete;  // nothing to rely on

// ---- arithmetic ----

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline int __float_as_int(float value) { return (int)__float_as_uint(value); }
inline float __int_as_float(int bits) { return __uint_as_float((unsigned)bits); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline int __float2int_rn(float x) { return (int)std::nearbyint(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++) c += (int)(int8_t)((unsigned)a >> 8 * i) * (int)(int8_t)((unsigned)b >> 8 * i);
  return c;
}
template <typename T>
T __ldg(const T *p) {
  return *p;
}
template <typename T>
T __ldcs(const T *p) {
  return *p;
}
template <typename T>
void __stcs(T *p, T value) {
  *p = value;
}
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline unsigned long min(unsigned long a, unsigned long b) { return a < b ? a : b; }
inline unsigned long max(unsigned long a, unsigned long b) { return a > b ? a : b; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }

// Integers only: sums of floats by atomics depend on the order, which this project does not allow.
template <typename T>
T atomicAdd(T *p, T value) {
  static_assert(std::is_integral<T>::value, "no atomic sums of floats");
  const T old = *p;
  *p = old + value;
  return old;
}
inline unsigned atomicOr(unsigned *p, unsigned value) {
  const unsigned old = *p;
  *p = old | value;
  return old;
}
inline unsigned atomicMax(unsigned *p, unsigned value) {
  const unsigned old = *p;
  *p = old > value ? old : value;
  return old;
}
inline unsigned atomicMin(unsigned *p, unsigned value) {
  const unsigned old = *p;
  *p = old < value ? old : value;
  return old;
}
inline unsigned atomicCAS(unsigned *p, unsigned expected, unsigned value) {
  const unsigned old = *p;
  if (old == expected) *p = value;
  return old;
}

#endif  // DURE_CUDA_EMULATION_CUDA_RUNTIME_H_
