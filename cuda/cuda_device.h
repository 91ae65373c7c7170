// What the CUDA backend's op files may know of the device: numbers and switches (the counterpart of
// runtime/vulkan/vulkan_device.h).
//
// An op file (cuda/ops_*.cu) chooses a kernel by these numbers and records launches with cuda/record.cuh. Everything
// here is fixed when the device is opened.
#ifndef DURE_CUDA_CUDA_DEVICE_H_
#define DURE_CUDA_CUDA_DEVICE_H_

#include <stdbool.h>
#include <stdint.h>

#include "runtime/hal.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dure_cuda_caps {
  uint32_t compute_capability;  // 10 * major + minor: 75 to 120 and what comes after
  uint32_t multiprocessor_count;
  uint32_t shared_bytes;  // most that one block may ask for (the opt-in limit)
  uint64_t l2_bytes;
  bool is_emulated;             // kernels run on the host's cores (cuda/emulation)
  bool uses_matrix_units;       // DURE_CUDA_MATRIX_UNITS=0 turns the tensor cores of our own kernels off
  bool uses_wide_matrix_units;  // warpgroup products and bulk tensor copies of sm_90a; DURE_CUDA_WGMMA=0: off
  bool uses_graphs;             // recordings become CUDA graphs; DURE_CUDA_GRAPHS=0: enqueued command by command
  bool uses_nccl;               // DURE_CUDA_NCCL=0: collectives go by the host
  bool uses_cublaslt;           // DURE_CUDA_CUBLASLT=0, or the library not found: matmul by our own kernels
} dure_cuda_caps;

// Of a device of this backend.
const dure_cuda_caps *dure_cuda_device_caps(const dure_device *device);

// The backend's table of ops (cuda/ops.c): NULL where there is no kernel for the row.
const dure_backend_op *dure_cuda_op(dure_device *device, uint32_t op);

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_CUDA_DEVICE_H_
