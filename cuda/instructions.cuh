// The GPU's own instructions that CUDA C++ has no words for, one function each, as the PTX ISA describes them. The
// emulation has the same functions in plain C++ (emulation/instructions.h), so that kernels written with them are
// tested without a GPU.
//
// Fragments of a warp's product D[16, 8] += A[16, 16] B[16, 8] (PTX ISA, "Matrix Fragments for mma.m16n8k16"), with
// group = lane / 4 and pair = lane % 4; each 32-bit register holds two 16-bit values, the lower index in the lower
// half:
//   a[0]: row group,     columns 2 pair + {0, 1}        b[0]: rows 2 pair + {0, 1},     column group
//   a[1]: row group + 8, columns 2 pair + {0, 1}        b[1]: rows 2 pair + {0, 1} + 8, column group
//   a[2]: row group,     columns 2 pair + {0, 1} + 8    d[0], d[1]: row group,     columns 2 pair + {0, 1}
//   a[3]: row group + 8, columns 2 pair + {0, 1} + 8    d[2], d[3]: row group + 8, columns 2 pair + {0, 1}
// Of 8-bit integers the depth is 32 and a register holds four, the first in the lowest byte: the same picture with 4
// pair + {0 .. 3} in the place of 2 pair + {0, 1}, and 16 in that of 8, along k.
#ifndef DURE_CUDA_INSTRUCTIONS_CUH_
#define DURE_CUDA_INSTRUCTIONS_CUH_

#include "cuda/numbers.cuh"

#ifdef DURE_CUDA_EMULATION
#include "cuda/emulation/instructions.h"
#else

// d += a b in f32, T bfloat16 (sm_80 and later) or float16 (sm_75: as two products of depth 8).
template <typename T>
__device__ __forceinline__ void matrix_multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
__device__ __forceinline__ void matrix_multiply<bfloat16>(float (&d)[4], const uint32_t (&a)[4],
                                                          const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();  // sm_75 has none; nothing chooses such a kernel there
#endif
}

template <>
__device__ __forceinline__ void matrix_multiply<float16>(float (&d)[4], const uint32_t (&a)[4],
                                                         const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
  for (int half = 0; half < 2; half++) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
  }
#endif
}

// d = begin + a b of signed 8-bit integers, exact (sm_75: as four products of 8 x 8 x 16).
__device__ __forceinline__ void matrix_multiply_integers(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                                         int begin) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, "
      "%10};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(begin));
#else
  d[0] = d[1] = d[2] = d[3] = begin;
#pragma unroll
  for (int part = 0; part < 4; part++) {  // rows group and group + 8, k below 16 and above
    const int rows = part % 2;
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(d[2 * rows]), "+r"(d[2 * rows + 1])
                 : "r"(a[part]), "r"(b[part / 2]));
  }
#endif
}

// Four 8 x 8 matrices of 16-bit values from shared memory: lane i gives the address of row i % 8 of matrix i / 8 (16
// bytes, aligned). r[m]: row lane / 4, columns 2 (lane % 4) + {0, 1} of matrix m.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void *row) {
  const uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// The same, each matrix transposed: r[m]: rows 2 (lane % 4) + {0, 1}, column lane / 4 of matrix m as stored.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void *row) {
  const uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// 16 bytes from global to shared memory (both aligned to 16), behind the thread's back; zeros where !is_valid (the
// global address is then not touched). sm_75 copies at once.
__device__ __forceinline__ void copy_async(void *shared, const void *global, bool is_valid) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(shared)),
               "l"(global), "r"(is_valid ? 16 : 0)
               : "memory");
#else
  *static_cast<uint4 *>(shared) = is_valid ? *static_cast<const uint4 *>(global) : make_uint4(0, 0, 0, 0);
#endif
}
// The same of 4 bytes, aligned to that.
__device__ __forceinline__ void copy_async_word(float *shared, const float *global, bool is_valid) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(shared)),
               "l"(global), "r"(is_valid ? 4 : 0)
               : "memory");
#else
  *shared = is_valid ? *global : 0.0f;
#endif
}
// Closes the group of the copies so far; waits until at most `Pending` of this thread's groups are unfinished.
__device__ __forceinline__ void copy_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int Pending>
__device__ __forceinline__ void copy_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}

// Four floats as e4m3, the first in the lowest byte: to nearest even, what is beyond 448 becomes 448 (sm_89 and later).
__device__ __forceinline__ uint32_t pack_four_e4m3(float4 x) {
#if __CUDA_ARCH__ >= 890
  uint16_t low, high;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(x.y), "f"(x.x));
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(x.w), "f"(x.z));
  return (uint32_t)low | (uint32_t)high << 16;
#else
  (void)x;
  __trap();  // nothing chooses such a kernel there
  return 0;
#endif
}

// 2^x to 2 units in the last place; 0 for -infinity and where the result would be subnormal.
__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Ordinary stores to global memory of 16 or 8 bytes, aligned to that, which the compiler does not take apart.
__device__ __forceinline__ void store_whole(uint4 *p, uint4 x) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)), "r"(x.x), "r"(x.y),
               "r"(x.z), "r"(x.w)
               : "memory");
}
__device__ __forceinline__ void store_whole(float4 *p, float4 x) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)), "f"(x.x), "f"(x.y),
               "f"(x.z), "f"(x.w)
               : "memory");
}
__device__ __forceinline__ void store_whole(uint2 *p, uint2 x) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(p)), "r"(x.x), "r"(x.y) : "memory");
}
// Loads of the same kind, plain: the compiler keeps them whole where the type is known to be aligned.
template <typename T>
__device__ __forceinline__ T load_whole(const T *p) {
  return *p;
}

#endif  // DURE_CUDA_EMULATION

// x, of which the compiler knows nothing: what is made of it in a loop stays there, instead of being made ahead of the
// loop and kept in registers (or, where there are none left, in memory).
__device__ __forceinline__ uint32_t computed_here(uint32_t x) {
  asm volatile("" : "+r"(x));
  return x;
}

#endif  // DURE_CUDA_INSTRUCTIONS_CUH_
