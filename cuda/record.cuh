// Recording kernel launches: what every op file uses.
//
//   __global__ void scale_kernel(scale_arguments a);
//   ...
//   return cuda_record(recording, scale_kernel<T>, cuda_grid(count, 256), 256, 0, arguments);
//
// The launch is kept with its arguments and enqueued whenever the recording is submitted. Kernels return at once where
// they have nothing to do, so grids may be rounded up.
#ifndef DURE_CUDA_RECORD_CUH_
#define DURE_CUDA_RECORD_CUH_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

extern "C" {
#include "runtime/ops.h"
}
#include "cuda/internal.h"

// The type of a parameter is taken from the kernel, not from the argument.
template <typename T>
struct cuda_same {
  using type = T;
};

template <typename Arguments>
struct cuda_launch_record {
  void (*kernel)(Arguments);
  dim3 grid, block;
  size_t shared_bytes;
  Arguments arguments;
};

template <typename Arguments>
dure_status cuda_enqueue_launch(cuda_device *device, cudaStream_t stream, const void *bytes) {
  const auto *launch = static_cast<const cuda_launch_record<Arguments> *>(bytes);
#ifdef DURE_CUDA_EMULATION
  const cuda_launch_record<Arguments> kept = *launch;
  return cuda_check(
      device,
      emulation_launch(stream, kept.grid, kept.block, kept.shared_bytes, [kept] { kept.kernel(kept.arguments); }),
      "launching a kernel");
#else
  void *pointers[] = {const_cast<Arguments *>(&launch->arguments)};
  return cuda_check(device,
                    cudaLaunchKernel(reinterpret_cast<const void *>(launch->kernel), launch->grid, launch->block,
                                     pointers, launch->shared_bytes, stream),
                    "launching a kernel");
#endif
}

// Records kernel<<<grid, block, shared_bytes>>>(arguments). An empty grid records nothing. Kernels take one struct by
// value, trivially copyable, at most 4 KiB.
template <typename Arguments>
dure_status cuda_record(dure_recording *recording, void (*kernel)(Arguments), dim3 grid, dim3 block,
                        size_t shared_bytes, const typename cuda_same<Arguments>::type &arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return NULL;
#ifndef DURE_CUDA_EMULATION
  if (shared_bytes > 48 * 1024) {  // beyond that a kernel must be told
    cuda_device *device = reinterpret_cast<cuda_device *>(recording->device);
    DURE_TRY(cuda_enter(device, "asking for shared memory"));  // of the device that is current on this thread
    DURE_TRY(cuda_check(device,
                        cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                             cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes),
                        "asking for shared memory"));
  }
#endif
  const cuda_launch_record<Arguments> launch = {kernel, grid, block, shared_bytes, arguments};
  return cuda_recording_add(recording, cuda_enqueue_launch<Arguments>, &launch, sizeof(launch));
}

// Blocks of `block` threads for `count` items; 0 for none. A count may pass 2^31 blocks only in theory: ops are cut
// (limits.max_dispatch_flops) long before.
static inline dim3 cuda_grid(uint64_t count, uint32_t block) { return dim3((unsigned)((count + block - 1) / block)); }

// Element 0 of a present operand, NULL of an absent one.
template <typename T>
T *cuda_address(const dure_operand *operand) {
  if (operand->dtype == DURE_DTYPE_NONE) return nullptr;
  return reinterpret_cast<T *>(reinterpret_cast<const cuda_buffer *>(operand->buffer)->address + operand->offset);
}

static inline uint64_t cuda_ceil_divide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// The length of a row; 1 for a scalar.
static inline uint64_t cuda_last_dimension(const dure_operand *operand) {
  return operand->rank > 0 ? operand->shape[operand->rank - 1] : 1;
}

// Whether the call adds to this output instead of overwriting it.
static inline bool cuda_accumulates(const dure_op_call *call, uint32_t operand) {
  return (call->accumulate >> operand & 1) != 0;
}

// Whether vectors of four elements can be moved: every present operand begins at a multiple of four of its elements
// and rows are whole fours.
static inline bool cuda_takes_fours(const dure_operand *const *operands, size_t count, uint64_t row) {
  if (row % 4 != 0) return false;
  for (size_t i = 0; i < count; i++) {
    if (dure_operand_is_present(operands[i]) && operands[i]->offset % (4 * dure_dtype_size(operands[i]->dtype)) != 0)
      return false;
  }
  return true;
}

// Runs the statement that follows with T as the storage type of `dtype` (float, bfloat16, float16): for choosing a
// kernel's template.
#define CUDA_WITH_STORAGE(dtype, T, ...)                                                                  \
  switch (dtype) {                                                                                        \
    case DURE_DTYPE_F32: {                                                                                \
      using T = float;                                                                                    \
      __VA_ARGS__;                                                                                        \
    } break;                                                                                              \
    case DURE_DTYPE_BF16: {                                                                               \
      using T = bfloat16;                                                                                 \
      __VA_ARGS__;                                                                                        \
    } break;                                                                                              \
    case DURE_DTYPE_F16: {                                                                                \
      using T = float16;                                                                                  \
      __VA_ARGS__;                                                                                        \
    } break;                                                                                              \
    default: return dure_fail(DURE_INTERNAL, "no CUDA kernel for storage in %s", dure_dtype_name(dtype)); \
  }

#include "cuda/numbers.cuh"

#endif  // DURE_CUDA_RECORD_CUH_
