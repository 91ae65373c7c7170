// sample, adjust_logits, mask_logits.
#include "cuda/kernels/adjust_logits.cuh"
#include "cuda/kernels/mask_logits.cuh"
#include "cuda/kernels/sample.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

template <typename T>
static dure_status record_typed(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0];
  sample_arguments<T> arguments;
  arguments.logits = cuda_address<const T>(logits);
  arguments.settings = cuda_address<const float>(&call->operands[1]);
  arguments.random = cuda_address<const uint32_t>(&call->operands[2]);
  arguments.token = cuda_address<uint32_t>(&call->operands[3]);
  arguments.settings_stride = call->operands[1].rank == 2 ? DURE_SAMPLE_COUNT : 0;
  arguments.random_stride = call->operands[2].rank == 2 ? 4 : 0;
  arguments.vocabulary = cuda_last_dimension(logits);
  arguments.candidates = call->attributes.sample.candidate_count;
  if (arguments.candidates == 0) arguments.candidates = (uint32_t)arguments.vocabulary;
  uint32_t warps = (arguments.candidates + 2 * WARP - 1) / (2 * WARP);  // two logits a thread at least
  warps = warps < 2 ? 2 : warps > SAMPLE_WARPS ? SAMPLE_WARPS : warps;  // one could not narrow a choice
  const dim3 threads(WARP * warps);
  return cuda_record(recording, sample_kernel<T>, dim3((unsigned)dure_operand_rows(logits)), threads, 0, arguments);
}

static dure_status record_sample(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_typed<T>(recording, call));
  return NULL;
}

const dure_backend_op dure_cuda_op_sample = {record_sample, NULL, true};

static dure_status record_adjust_logits(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *ids = &call->operands[0], *logits = &call->operands[2];
  const adjust_logits_arguments arguments = {
      cuda_address<const uint32_t>(ids), cuda_address<const float>(&call->operands[1]),
      cuda_address<float>(logits),       dure_operand_count(ids),
      (uint32_t)ids->shape[1],           (uint32_t)logits->shape[1]};
  return cuda_record(recording, adjust_logits_kernel, cuda_grid(arguments.entries, 128), 128, 0, arguments);
}

const dure_backend_op dure_cuda_op_adjust_logits = {record_adjust_logits, NULL, false};

static dure_status record_mask_logits(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *mask = &call->operands[0], *logits = &call->operands[1];
  const mask_logits_arguments arguments = {cuda_address<const uint32_t>(mask), cuda_address<float>(logits),
                                           dure_operand_count(logits), (uint32_t)mask->shape[1],
                                           (uint32_t)logits->shape[1]};
  return cuda_record(recording, mask_logits_kernel, cuda_grid(arguments.entries, 128), 128, 0, arguments);
}

const dure_backend_op dure_cuda_op_mask_logits = {record_mask_logits, NULL, false};
