// How the CUDA backend runs each op: one dure_backend_op for each row of ops.def that has kernels, found by
// dure_cuda_op (cuda_device.h, ops.c). The counterpart of runtime/vulkan/ops.h.
//
// To add an op: its kernel in kernels/NAME.cuh, a recorder in the ops_*.cu file of its family, and a line in ops.def of
// this folder.
#ifndef DURE_CUDA_OPS_H_
#define DURE_CUDA_OPS_H_

#include "runtime/hal.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DURE_CUDA_OP(name) extern const dure_backend_op dure_cuda_op_##name;
#include "cuda/ops.def"
#undef DURE_CUDA_OP

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_OPS_H_
