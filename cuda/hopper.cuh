// What sm_90a has beyond instructions.cuh: products of a warpgroup (four warps, the first one's number divisible by
// four), bulk tensor copies, the barriers in shared memory that these complete on, and registers moved between
// warpgroups. One function each, as the PTX ISA describes them; emulation/hopper.h has the same ones.
//
// Result of a product of a warpgroup D[64, N] += A[64, 16] B[16, N] ("Register Fragments for wgmma"): warp w of the
// warpgroup has rows 16 w + .., and in them d[n] is laid out as the result of a warp's product of columns 8 n ..
// (instructions.cuh); so is A where it comes from registers. Operands in shared memory are named by descriptors, and
// lie in tiles of 128-byte rows as a bulk tensor copy with CU_TENSOR_MAP_SWIZZLE_128B leaves them: in each 1024 bytes,
// the 16-byte chunk c of row r lies where chunk c ^ r would.
#ifndef DURE_CUDA_HOPPER_CUH_
#define DURE_CUDA_HOPPER_CUH_

#include "cuda/instructions.cuh"

// Kernels for sm_90a are empty in the code for other cards.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CUDA_HAS_HOPPER 1
#else
#define CUDA_HAS_HOPPER 0
#endif

enum { WARPGROUP = 128 };

// CUtensorMap: made by the driver (tensor_map.h), passed to kernels in their arguments, never looked into.
struct __align__(64) tensor_map {
  uint64_t words[16];
};

#ifdef DURE_CUDA_EMULATION
#include "cuda/emulation/hopper.h"
#else

// A pointer into shared memory as the numbers that these instructions take.
__device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

// ---- barriers in shared memory -----------------------------------------------------------------------------------
// `arrivals` and the bytes expected complete a phase; phases are numbered 0, 1, 0, ..

__device__ __forceinline__ void phase_barrier_init(uint64_t *barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// By the thread that has made them, before the __syncthreads() after which others use them.
__device__ __forceinline__ void phase_barriers_made() {
  asm volatile("fence.mbarrier_init.release.cluster;\n\tfence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void phase_barrier_arrive(uint64_t *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and lets the phase wait for so many bytes more.
__device__ __forceinline__ void phase_barrier_expect(uint64_t *barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
// Whether the phase of that parity is complete (so it is where the other one has not begun); waits a little for it.
__device__ __forceinline__ bool phase_barrier_is_complete(uint64_t *barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n\t.reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\tselp.u32 %0, 1, 0, p;\n\t}"
      : "=r"(done)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}
// Until it is; where `patience` is not 0, for at most so many cycles: a kernel that is being tested ends in any case.
__device__ __forceinline__ void phase_barrier_wait(uint64_t *barrier, uint32_t parity, uint32_t patience) {
  if (phase_barrier_is_complete(barrier, parity)) return;
  const uint32_t begin = (uint32_t)clock();
#pragma unroll 1
  while (!phase_barrier_is_complete(barrier, parity)) {
    if (patience > 0 && (uint32_t)clock() - begin > patience) return;
  }
}

// ---- bulk tensor copies ------------------------------------------------------------------------------------------

__device__ __forceinline__ void tensor_map_prefetch(const tensor_map *map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// Starts copying the map's box at element (x, y, z, w) of a tensor of four dimensions to shared memory (aligned to 1024
// bytes); zeros for what lies outside of the tensor. All bytes of the box count for the barrier.
__device__ __forceinline__ void tensor_copy(void *shared, const tensor_map *map, uint64_t *barrier, uint32_t x,
                                            uint32_t y, uint32_t z, uint32_t w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}
// Ordinary stores to shared memory become visible to the products and copies that follow (after a barrier, to those of
// other threads).
__device__ __forceinline__ void shared_stores_visible() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- parts of a block --------------------------------------------------------------------------------------------

// Barriers 1 to 15 of the block, which `threads` of it pass together: `arrive` does not wait for the others.
__device__ __forceinline__ void part_barrier_sync(uint32_t barrier, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void part_barrier_arrive(uint32_t barrier, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
// Whether any of them says so.
__device__ __forceinline__ bool part_barrier_or(uint32_t barrier, uint32_t threads, bool mine) {
  int any;
  asm volatile(
      "{\n\t.reg .pred p, q;\n\tsetp.ne.s32 p, %3, 0;\n\tbar.red.or.pred q, %1, %2, p;\n\tselp.s32 %0, 1, 0, q;\n\t}"
      : "=r"(any)
      : "r"(barrier), "r"(threads), "r"((int)mine)
      : "memory");
  return any != 0;
}

// The warpgroup's registers a thread from here on: fewer, for others to take; or more.
template <int Registers>
__device__ __forceinline__ void registers_give() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ __forceinline__ void registers_take() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

// ---- products of a warpgroup -------------------------------------------------------------------------------------

// Before the first product after registers that products use have been written.
__device__ __forceinline__ void warpgroup_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Closes the group of the products so far; waits until at most `Pending` groups are unfinished.
__device__ __forceinline__ void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
__device__ __forceinline__ void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
// Keeps the compiler from moving what is done with results to before the wait, or after the product.
template <int TILES>
__device__ __forceinline__ void warpgroup_settle(float (&d)[TILES][4]) {
#pragma unroll
  for (int n = 0; n < TILES; n++) {
    asm volatile("" : "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])::"memory");
  }
}

#define HOPPER_FOUR(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define HOPPER_RESULT_64                                                                                          \
  HOPPER_FOUR(0), HOPPER_FOUR(1), HOPPER_FOUR(2), HOPPER_FOUR(3), HOPPER_FOUR(4), HOPPER_FOUR(5), HOPPER_FOUR(6), \
      HOPPER_FOUR(7)
#define HOPPER_RESULT_80 HOPPER_RESULT_64, HOPPER_FOUR(8), HOPPER_FOUR(9)
#define HOPPER_RESULT_96 HOPPER_RESULT_80, HOPPER_FOUR(10), HOPPER_FOUR(11)
#define HOPPER_RESULT_128 HOPPER_RESULT_96, HOPPER_FOUR(12), HOPPER_FOUR(13), HOPPER_FOUR(14), HOPPER_FOUR(15)
#define HOPPER_RESULT_256                                                                                   \
  HOPPER_RESULT_128, HOPPER_FOUR(16), HOPPER_FOUR(17), HOPPER_FOUR(18), HOPPER_FOUR(19), HOPPER_FOUR(20),   \
      HOPPER_FOUR(21), HOPPER_FOUR(22), HOPPER_FOUR(23), HOPPER_FOUR(24), HOPPER_FOUR(25), HOPPER_FOUR(26), \
      HOPPER_FOUR(27), HOPPER_FOUR(28), HOPPER_FOUR(29), HOPPER_FOUR(30), HOPPER_FOUR(31)
#define HOPPER_NAMES_64                                                                                      \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22" \
  ", %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HOPPER_NAMES_80 HOPPER_NAMES_64 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define HOPPER_NAMES_96 HOPPER_NAMES_80 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define HOPPER_NAMES_128 \
  HOPPER_NAMES_96        \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define HOPPER_NAMES_256                                                                                         \
  HOPPER_NAMES_128                                                                                               \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84"    \
  ", %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104"    \
  ", %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122" \
  ", %123, %124, %125, %126, %127"

// Both operands from shared memory, rows of both along the depth. `adds`: to d; else d is overwritten.
#define HOPPER_MULTIPLY_SHARED(T, TYPE, N, A, B, ADDS)                                                               \
  template <>                                                                                                        \
  __device__ __forceinline__ void warpgroup_multiply<T, N>(float(&d)[N / 8][4], uint64_t a, uint64_t b, bool adds) { \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %" #ADDS ", 0;\n\twgmma.mma_async.sync.aligned.m64n" #N       \
                 "k16.f32." TYPE "." TYPE " " HOPPER_NAMES_##N "}, %" #A ", %" #B ", p, 1, 1, 0, 0;\n\t}"            \
                 : HOPPER_RESULT_##N                                                                                 \
                 : "l"(a), "l"(b), "r"((int)adds));                                                                  \
  }
template <typename T, int N>
__device__ __forceinline__ void warpgroup_multiply(float (&d)[N / 8][4], uint64_t a, uint64_t b, bool adds);
HOPPER_MULTIPLY_SHARED(bfloat16, "bf16", 64, 32, 33, 34)
HOPPER_MULTIPLY_SHARED(float16, "f16", 64, 32, 33, 34)
HOPPER_MULTIPLY_SHARED(bfloat16, "bf16", 128, 64, 65, 66)
HOPPER_MULTIPLY_SHARED(float16, "f16", 128, 64, 65, 66)

// d += a b: the left operand from registers, rows of the right one across the depth.
#define HOPPER_MULTIPLY_REGISTERS(T, TYPE, N, A0, A1, A2, A3, B)                                                      \
  template <>                                                                                                         \
  __device__ __forceinline__ void warpgroup_multiply_across<T, N>(float(&d)[N / 8][4], const uint32_t(&a)[4],         \
                                                                  uint64_t b) {                                       \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.eq.b32 p, 0, 0;\n\twgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE \
                 "." TYPE " " HOPPER_NAMES_##N "}, {%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B                    \
                                               ", p, 1, 1, 1;\n\t}"                                                   \
                 : HOPPER_RESULT_##N                                                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                               \
  }
template <typename T, int N>
__device__ __forceinline__ void warpgroup_multiply_across(float (&d)[N / 8][4], const uint32_t (&a)[4], uint64_t b);
HOPPER_MULTIPLY_REGISTERS(bfloat16, "bf16", 64, 32, 33, 34, 35, 36)
HOPPER_MULTIPLY_REGISTERS(float16, "f16", 64, 32, 33, 34, 35, 36)
HOPPER_MULTIPLY_REGISTERS(bfloat16, "bf16", 80, 40, 41, 42, 43, 44)
HOPPER_MULTIPLY_REGISTERS(float16, "f16", 80, 40, 41, 42, 43, 44)
HOPPER_MULTIPLY_REGISTERS(bfloat16, "bf16", 96, 48, 49, 50, 51, 52)
HOPPER_MULTIPLY_REGISTERS(float16, "f16", 96, 48, 49, 50, 51, 52)
HOPPER_MULTIPLY_REGISTERS(bfloat16, "bf16", 128, 64, 65, 66, 67, 68)
HOPPER_MULTIPLY_REGISTERS(float16, "f16", 128, 64, 65, 66, 67, 68)
HOPPER_MULTIPLY_REGISTERS(bfloat16, "bf16", 256, 128, 129, 130, 131, 132)
HOPPER_MULTIPLY_REGISTERS(float16, "f16", 256, 128, 129, 130, 131, 132)

#endif  // DURE_CUDA_EMULATION

// The descriptor ("Matrix Descriptor Format") of a matrix at `shared` in tiles of 128-byte rows, swizzled as above.
// Groups of 8 rows are `stride` bytes apart. Where rows run across the depth, they hold 64 columns, and the next 64
// columns are `leading` bytes away; where they run along it, `leading` is not looked at, and 16 elements further along
// the depth means 32 bytes more.
__device__ __forceinline__ uint64_t matrix_descriptor(const void *shared, uint32_t leading, uint32_t stride) {
  return (uint64_t)((shared_address(shared) & 0x3ffffu) >> 4) | (uint64_t)(leading >> 4) << 16 |
         (uint64_t)(stride >> 4) << 32 | (uint64_t)1 << 62;
}
// Of a matrix so many bytes further on.
__device__ __forceinline__ uint64_t matrix_descriptor_at(uint64_t descriptor, uint32_t bytes) {
  return descriptor + (bytes >> 4);
}

#endif  // DURE_CUDA_HOPPER_CUH_
