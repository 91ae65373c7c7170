// gradient_clip, adamw.
#include "cuda/kernels/adamw.cuh"
#include "cuda/kernels/adamw_blocks.cuh"
#include "cuda/kernels/gradient_clip.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

static dure_status record_gradient_clip(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const gradient_clip_arguments arguments = {
      cuda_address<const float>(&call->operands[0]), cuda_address<const float>(&call->operands[1]),
      cuda_address<float>(&call->operands[2]), call->attributes.gradient_clip.is_dynamic,
      call->attributes.gradient_clip.growth_interval};
  return cuda_record(recording, gradient_clip_kernel, dim3(1), dim3(1), 0, arguments);
}

// ---- adamw ------------------------------------------------------------------------------------------------------

enum { GRADIENT, STEP, STATE, RANDOM, PARAMETER, MASTER, FIRST_MOMENT, SECOND_MOMENT, FIRST_SCALES, SECOND_SCALES };

static any_pointer any_address(const dure_operand *operand) {
  return any_pointer{cuda_address<void>(operand), operand->dtype};
}

// Whether the operands consist of whole fours, each at a multiple of four of its elements.
static bool is_whole(const dure_op_call *call) {
  const dure_operand *const cut[] = {&call->operands[GRADIENT], &call->operands[PARAMETER], &call->operands[MASTER],
                                     &call->operands[FIRST_MOMENT], &call->operands[SECOND_MOMENT]};
  return cuda_takes_fours(cut, sizeof(cut) / sizeof(cut[0]), dure_operand_count(cut[0]));
}

static adamw_arguments adamw_arguments_of(const dure_op_call *call) {
  const dure_operand *operands = call->operands;
  const dure_adamw_attributes *attributes = &call->attributes.adamw;
  adamw_arguments arguments;
  arguments.count = dure_operand_count(&operands[GRADIENT]);
  arguments.gradient = any_address(&operands[GRADIENT]);
  arguments.step = cuda_address<const float>(&operands[STEP]);
  arguments.state = cuda_address<const float>(&operands[STATE]);
  arguments.random = cuda_address<const uint32_t>(&operands[RANDOM]);
  arguments.parameter = any_address(&operands[PARAMETER]);
  arguments.master = any_address(&operands[MASTER]);
  arguments.first_moment = any_address(&operands[FIRST_MOMENT]);
  arguments.second_moment = any_address(&operands[SECOND_MOMENT]);
  arguments.first_scales = cuda_address<float>(&operands[FIRST_SCALES]);
  arguments.second_scales = cuda_address<float>(&operands[SECOND_SCALES]);
  arguments.first_group = attributes->first_element / 4;
  arguments.beta1 = attributes->beta1;
  arguments.beta2 = attributes->beta2;
  arguments.epsilon = attributes->epsilon;
  arguments.weight_decay = attributes->weight_decay;
  return arguments;
}

// The kernels made for the types that training uses (model/training_plan.c chooses them).
typedef void (*adamw_launch)(adamw_arguments);
struct adamw_row {
  dure_dtype gradient, parameter, moments;
  bool has_master;
  adamw_launch kernel;
};
#define ADAMW_ROW(kernel, gradient, parameter, moments, has_master)                             \
  {                                                                                             \
    DURE_DTYPE_##gradient, DURE_DTYPE_##parameter, DURE_DTYPE_##moments, has_master,            \
        kernel<adamw_types<DURE_DTYPE_##gradient, DURE_DTYPE_##parameter, DURE_DTYPE_##moments, \
                           has_master ? ADAMW_MASTERS : ADAMW_NO_MASTERS>>                      \
  }
static const adamw_row adamw_rows[] = {
    ADAMW_ROW(adamw_kernel, F32, F32, F32, false),        ADAMW_ROW(adamw_kernel, F32, BF16, F32, true),
    ADAMW_ROW(adamw_kernel, BF16, BF16, F32, true),       ADAMW_ROW(adamw_kernel, F32, F16, F32, true),
    ADAMW_ROW(adamw_kernel, F16, F16, F32, true),         ADAMW_ROW(adamw_kernel, F32, BF16, BF16, false),
    ADAMW_ROW(adamw_kernel, BF16, BF16, BF16, false),     ADAMW_ROW(adamw_blocks_kernel, F32, F32, U8, false),
    ADAMW_ROW(adamw_blocks_kernel, F32, BF16, U8, true),  ADAMW_ROW(adamw_blocks_kernel, BF16, BF16, U8, true),
    ADAMW_ROW(adamw_blocks_kernel, F32, BF16, U8, false), ADAMW_ROW(adamw_blocks_kernel, BF16, BF16, U8, false),
};

static adamw_launch choose_kernel(const adamw_arguments &a, bool has_blocks, bool is_whole) {
  for (size_t i = 0; i < sizeof(adamw_rows) / sizeof(adamw_rows[0]) && is_whole; i++) {
    const adamw_row *row = &adamw_rows[i];
    if (a.gradient.dtype == row->gradient && a.parameter.dtype == row->parameter &&
        a.first_moment.dtype == row->moments && a.second_moment.dtype == row->moments &&
        (a.master.address != NULL) == row->has_master) {
      return row->kernel;
    }
  }
  if (has_blocks)
    return is_whole ? adamw_blocks_kernel<adamw_any_types<true>> : adamw_blocks_kernel<adamw_any_types<false>>;
  return is_whole ? adamw_kernel<adamw_any_types<true>> : adamw_kernel<adamw_any_types<false>>;
}

static dure_status record_adamw(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const adamw_arguments arguments = adamw_arguments_of(call);
  const bool has_blocks =
      arguments.first_moment.dtype == DURE_DTYPE_U8 || arguments.second_moment.dtype == DURE_DTYPE_U8;
  const uint32_t each = has_blocks ? DURE_MOMENT_BLOCK * ADAMW_BLOCKS_EACH : 4 * ADAMW_THREADS * ADAMW_FOURS;
  const uint32_t threads = has_blocks ? ADAMW_BLOCKS_THREADS : ADAMW_THREADS;
  return cuda_record(recording, choose_kernel(arguments, has_blocks, is_whole(call)), cuda_grid(arguments.count, each),
                     dim3(threads), 0, arguments);
}

const dure_backend_op dure_cuda_op_gradient_clip = {record_gradient_clip, NULL, true};
const dure_backend_op dure_cuda_op_adamw = {record_adamw, NULL, true};
