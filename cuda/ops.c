#include "cuda/ops.h"

#include <stddef.h>

#include "cuda/cuda_device.h"
#include "runtime/ops.h"

static const dure_backend_op *const table[DURE_OP_COUNT] = {
#define DURE_CUDA_OP(name) [DURE_OP_##name] = &dure_cuda_op_##name,
#include "cuda/ops.def"
#undef DURE_CUDA_OP
};

const dure_backend_op *dure_cuda_op(dure_device *device, uint32_t op) {
  (void)device;
  return op < DURE_OP_COUNT ? table[op] : NULL;
}
