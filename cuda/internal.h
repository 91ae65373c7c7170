// The structs behind the HAL's handles for CUDA, and what the files of this folder ask of each other. C and C++.
//
//   plugin   the entry point            device   list, open, close, failures      memory   buffers
//   stream   order, staging, waits      event    counters                         recording   command lists, graphs
//   blas     cuBLASLt, opened at run time                                          ops, ops_*   the rows of ops.def
#ifndef DURE_CUDA_INTERNAL_H_
#define DURE_CUDA_INTERNAL_H_

#include <cuda_runtime_api.h>

#include "cuda/cuda_device.h"
#include "runtime/hal.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_blas;  // cuda/blas.h

typedef struct cuda_device {
  dure_device head;
  int ordinal;  // CUDA's number
  dure_cuda_caps caps;
  struct cuda_blas *blas;  // NULL where matmul runs on our own kernels; made on first use
  bool is_lost;            // a kernel has faulted: nothing on the device can be read back
} cuda_device;

typedef struct cuda_buffer {
  dure_buffer head;
  unsigned char *address;  // on the device; 256-byte aligned
} cuda_buffer;

// NULL on success, else the failure of a runtime call: what was being done, CUDA's name and text of the error and what
// to do about it. Errors that leave the context unusable mark the device as lost.
DURE_MUST_CHECK dure_status cuda_check(cuda_device *device, cudaError_t error, const char *what);

// ---- recordings ----

// A command of a recording: enqueues itself on the stream, which may be capturing a graph (so: no synchronisation, no
// allocation). `arguments` are the bytes that were given to cuda_recording_add.
typedef dure_status (*cuda_enqueue)(cuda_device *device, cudaStream_t stream, const void *arguments);

// Adds a command under the current label; its arguments are copied (aligned to 16 bytes).
DURE_MUST_CHECK dure_status cuda_recording_add(dure_recording *recording, cuda_enqueue enqueue, const void *arguments,
                                               size_t size);

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_INTERNAL_H_
