// Collectives on CUDA streams by NCCL: what a device offers as dure_device_vtable.communicator
// (runtime/communicator.h).
#ifndef DURE_CUDA_COMMUNICATOR_H_
#define DURE_CUDA_COMMUNICATOR_H_

#include "cuda/internal.h"
#include "runtime/communicator.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const dure_communicator_vtable cuda_communicator_vtable;

// The shares of all ranks of 16-bit values, of which one lies elsewhere (kernels/sum_shares.cuh).
typedef struct cuda_shares {
  dure_dtype dtype;  // bf16 or f16
  uint32_t rank, size;
  const void *own;     // [count], this rank's
  const void *others;  // [size, stride]
  void *target;        // [count]; may be `own`
  uint64_t count, stride;
} cuda_shares;

// Enqueues their sum (communicator_sum.cu).
DURE_MUST_CHECK dure_status cuda_shares_sum(cuda_device *device, cudaStream_t stream, const cuda_shares *shares);

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_COMMUNICATOR_H_
