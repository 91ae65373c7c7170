// The walk of kernels that make one element from one: runs of N elements, ELEMENTS_STEPS of them a thread, all loaded
// before the first is used. Wherever the count ends in the middle of a run, that run's thread takes its elements one by
// one.
//
// `Elements` holds the kernel's arguments and says what to do:
//   template <int N> struct kept                          what was loaded for a run
//   load(uint64_t i, kept<N> &k) const                    loads the run from element i on
//   finish(uint64_t i, const kept<N> &k) const            computes and stores it
// An output may be the same memory as an input: each run is read before it is written, by one thread.
#ifndef DURE_CUDA_KERNELS_ELEMENTS_CUH_
#define DURE_CUDA_KERNELS_ELEMENTS_CUH_

#include "cuda/kernels/packed.cuh"
#include "cuda/record.cuh"

enum { ELEMENTS_THREADS = 256, ELEMENTS_STEPS = 2 };

template <typename Elements>
struct elements_arguments {
  Elements elements;
  uint64_t count;
};

template <typename Elements, int N>
__global__ void __launch_bounds__(ELEMENTS_THREADS) elements_kernel(elements_arguments<Elements> a) {
  constexpr uint32_t stride = ELEMENTS_THREADS * N;
  const uint64_t first = (uint64_t)blockIdx.x * (ELEMENTS_STEPS * stride) + threadIdx.x * N;
  typename Elements::template kept<N> kept[ELEMENTS_STEPS] = {};
#pragma unroll
  for (int s = 0; s < ELEMENTS_STEPS; s++) {
    const uint64_t i = first + s * stride;
    if (i + N <= a.count) a.elements.load(i, kept[s]);
  }
#pragma unroll
  for (int s = 0; s < ELEMENTS_STEPS; s++) {
    const uint64_t i = first + s * stride;
    if (i + N <= a.count) {
      a.elements.finish(i, kept[s]);
    } else if (N > 1) {
#pragma unroll 1
      for (uint64_t j = i; j < a.count; j++) {
        typename Elements::template kept<1> one = {};
        a.elements.load(j, one);
        a.elements.finish(j, one);
      }
    }
  }
}

// The longest run in which all present operands can be moved: 8 where all have 16 bits, 4, or 1.
static inline uint32_t elements_run(const dure_operand *const *operands, size_t count) {
  uint32_t run = 8;
  for (size_t i = 0; i < count; i++) {
    if (!dure_operand_is_present(operands[i])) continue;
    const uint64_t size = dure_dtype_size(operands[i]->dtype);
    if (size != 2 && run > 4) run = 4;
    if (operands[i]->offset % (run * size) != 0) run = operands[i]->offset % (4 * size) == 0 ? 4 : 1;
    if (run == 1) return 1;
  }
  return run;
}

// The same for rows of `columns` elements, which runs must not cross.
static inline uint32_t elements_run_of_rows(const dure_operand *const *operands, size_t count, uint64_t columns) {
  uint32_t run = elements_run(operands, count);
  while (columns % run != 0) run = run == 8 ? 4 : 1;
  return run;
}

// Records the walk over `count` elements in runs of `run`. Only where `has_eights` (all operands have 16 bits) are
// there kernels for runs of 8.
template <typename Elements, bool has_eights>
dure_status elements_record(dure_recording *recording, const Elements &elements, uint64_t count, uint32_t run) {
  const elements_arguments<Elements> arguments = {elements, count};
  const dim3 grid = cuda_grid(count, ELEMENTS_THREADS * ELEMENTS_STEPS * run);
  if constexpr (has_eights) {
    if (run == 8) return cuda_record(recording, elements_kernel<Elements, 8>, grid, ELEMENTS_THREADS, 0, arguments);
  }
  if (run >= 4) return cuda_record(recording, elements_kernel<Elements, 4>, grid, ELEMENTS_THREADS, 0, arguments);
  return cuda_record(recording, elements_kernel<Elements, 1>, grid, ELEMENTS_THREADS, 0, arguments);
}

#endif  // DURE_CUDA_KERNELS_ELEMENTS_CUH_
