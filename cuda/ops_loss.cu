// cross_entropy, cross_entropy_gradient.
#include "cuda/kernels/cross_entropy.cuh"
#include "cuda/kernels/cross_entropy_gradient.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

// Whole warps, so that a row of `runs` runs gives each thread `steps` of them; at most `most` threads.
static uint32_t threads_of(uint64_t runs, uint32_t steps, uint32_t most) {
  const uint64_t threads = cuda_ceil_divide(runs, (uint64_t)steps * WARP) * WARP;
  return threads == 0 ? (uint32_t)WARP : (uint32_t)(threads < most ? threads : most);
}

template <typename T>
static dure_status record_cross_entropy_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0];
  cross_entropy_arguments<T> arguments;
  arguments.logits = cuda_address<T>(logits);
  arguments.labels = cuda_address<uint32_t>(&call->operands[1]);
  arguments.loss = cuda_address<float>(&call->operands[2]);
  arguments.log_sum_exp = cuda_address<float>(&call->operands[3]);
  arguments.rows = dure_operand_rows(logits);
  arguments.vocabulary = (uint32_t)cuda_last_dimension(logits);
  const uint32_t threads =
      threads_of(arguments.vocabulary / (16 / sizeof(T)), CROSS_ENTROPY_STEPS, (uint32_t)ROW_THREADS_MOST);
  const uint32_t group = threads == WARP ? ROW_BLOCK / WARP : 1;
  return cuda_record(recording, cross_entropy_kernel<T>, cuda_grid(arguments.rows, group), dim3(threads, group), 0,
                     arguments);
}

static dure_status record_cross_entropy(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_cross_entropy_of<T>(recording, call));
  return NULL;
}

template <typename T>
static dure_status record_gradient(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *logits = &call->operands[3];
  cross_entropy_gradient_arguments<T> arguments;
  arguments.labels = cuda_address<uint32_t>(&call->operands[0]);
  arguments.log_sum_exp = cuda_address<float>(&call->operands[1]);
  arguments.dloss = cuda_address<float>(&call->operands[2]);
  arguments.logits = cuda_address<T>(logits);
  arguments.vocabulary = (uint32_t)cuda_last_dimension(logits);
  const uint32_t steps = CROSS_ENTROPY_GRADIENT_STEPS;
  const uint64_t runs = arguments.vocabulary / (16 / sizeof(T));
  const uint32_t threads = threads_of(runs, steps, CROSS_ENTROPY_GRADIENT_THREADS);
  const uint64_t parts = runs == 0 ? 1 : cuda_ceil_divide(runs, steps * threads);
  return cuda_record(recording, cross_entropy_gradient_kernel<T>,
                     dim3((uint32_t)dure_operand_rows(logits), (uint32_t)parts), threads, 0, arguments);
}

static dure_status record_cross_entropy_gradient(dure_device *device, dure_recording *recording,
                                                 const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[3].dtype, T, return record_gradient<T>(recording, call));
  return NULL;
}

const dure_backend_op dure_cuda_op_cross_entropy = {record_cross_entropy, NULL, true};
const dure_backend_op dure_cuda_op_cross_entropy_gradient = {record_cross_entropy_gradient, NULL, true};
