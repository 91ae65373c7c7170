// gradient_clip, adamw.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

static dure_status record_gradient_clip(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  struct {
    uint32_t square_sum_offset, step_offset, state_offset;
    uint32_t is_dynamic, growth_interval;
  } push = {.is_dynamic = call->attributes.gradient_clip.is_dynamic,
            .growth_interval = call->attributes.gradient_clip.growth_interval};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.square_sum_offset = dure_vulkan_bind(&dispatch, &call->operands[0], DURE_READ);
  push.step_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.state_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_READ_WRITE);
  return dure_vulkan_dispatch_run(&dispatch, "gradient_clip", NULL, 0, &push, sizeof(push), 1);
}

// ---- adamw ------------------------------------------------------------------------------------------------------

enum { GRADIENT, STEP, STATE, RANDOM, PARAMETER, MASTER, FIRST_MOMENT, SECOND_MOMENT, FIRST_SCALES, SECOND_SCALES };

// shaders/lib/adamw.glsl
typedef struct adamw_push {
  uint32_t count;
  uint32_t gradient_offset, step_offset, state_offset, random_offset;
  uint32_t parameter_offset, master_offset, first_offset, second_offset, first_scales_offset, second_scales_offset;
  uint32_t first_group_low, first_group_high;
  float beta1, beta2, epsilon, weight_decay;
} adamw_push;

static adamw_push adamw_push_of(const dure_op_call *call, uint64_t first, uint64_t count) {
  const dure_adamw_attributes *attributes = &call->attributes.adamw;
  const uint64_t first_group = (attributes->first_element + first) / 4;
  return (adamw_push){
      .count = (uint32_t)count,
      .first_group_low = (uint32_t)first_group,
      .first_group_high = (uint32_t)(first_group >> 32),
      .beta1 = attributes->beta1,
      .beta2 = attributes->beta2,
      .epsilon = attributes->epsilon,
      .weight_decay = attributes->weight_decay,
  };
}

static uint32_t bind_part(dure_vulkan_dispatch *dispatch, const dure_op_call *call, uint32_t index, uint64_t first,
                          uint64_t count, dure_access access) {
  const dure_operand *operand = &call->operands[index];
  if (operand->dtype == DURE_DTYPE_U8) return 4 * dure_vulkan_bind(dispatch, operand, access);  // always whole; bytes
  if (!dure_operand_is_present(operand)) return dure_vulkan_bind(dispatch, operand, access);
  return dure_vulkan_bind_elements(dispatch, operand, first, count, access);
}

// Elements [first, first + count), bound in the order of the row's operands.
static void bind_adamw(dure_vulkan_dispatch *dispatch, const dure_op_call *call, uint64_t first, uint64_t count,
                       adamw_push *push) {
  push->gradient_offset = bind_part(dispatch, call, GRADIENT, first, count, DURE_READ);
  push->step_offset = dure_vulkan_bind(dispatch, &call->operands[STEP], DURE_READ);
  push->state_offset = dure_vulkan_bind(dispatch, &call->operands[STATE], DURE_READ);
  push->random_offset = dure_vulkan_bind(dispatch, &call->operands[RANDOM], DURE_READ);
  push->parameter_offset = bind_part(dispatch, call, PARAMETER, first, count, DURE_READ_WRITE);
  push->master_offset = bind_part(dispatch, call, MASTER, first, count, DURE_READ_WRITE);
  push->first_offset = bind_part(dispatch, call, FIRST_MOMENT, first, count, DURE_READ_WRITE);
  push->second_offset = bind_part(dispatch, call, SECOND_MOMENT, first, count, DURE_READ_WRITE);
}

enum { ADAMW_CONSTANTS = 8 };  // shaders/lib/adamw.glsl; number 1 is the kernel's own

static void adamw_constants(const dure_op_call *call, uint32_t *out_constants) {
  const uint32_t typed[] = {GRADIENT, PARAMETER, FIRST_MOMENT, SECOND_MOMENT};
  for (uint32_t i = 0; i < 4; i++) {
    const dure_operand *operand = &call->operands[typed[i]];
    out_constants[2 + i] = operand->dtype == DURE_DTYPE_U8 ? 3 : dure_vulkan_type(operand);
  }
  out_constants[6] = dure_operand_is_present(&call->operands[MASTER]);
  out_constants[7] = dure_operand_is_present(&call->operands[RANDOM]);
}

static bool is_aligned(const dure_op_call *call) {
  for (uint32_t i = 0; i <= SECOND_MOMENT; i++) {
    const bool is_cut = i == GRADIENT || i >= PARAMETER;
    if (is_cut && !dure_vulkan_is_aligned(&call->operands[i])) return false;
  }
  return true;
}

// lavapipe: a workgroup costs as much as some hundred loads, so each takes 2048 elements.
static dure_status record_adamw_range(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                      uint64_t first, uint64_t count, uint32_t width) {
  adamw_push push = adamw_push_of(call, first, count);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  bind_adamw(&dispatch, call, first, count, &push);
  uint32_t constants[ADAMW_CONSTANTS] = {dure_vulkan_group_size(device, 256), dure_vulkan_is_software(device) ? 64 : 1};
  adamw_constants(call, constants);
  const uint64_t groups = dure_vulkan_ceil_divide(count / width, (uint64_t)constants[0] * constants[1]);
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("adamw", width).text, constants,
                                  ADAMW_CONSTANTS, &push, sizeof(push), groups);
}

// shaders/adamw_texel.comp: f32 throughout, in whole fours.
static bool may_use_texels(const dure_device *device, const dure_op_call *call) {
  if (!dure_vulkan_device_has_kernel(device, "adamw_texel") || dure_operand_is_present(&call->operands[MASTER]))
    return false;
  const uint32_t read[] = {GRADIENT, PARAMETER, FIRST_MOMENT, SECOND_MOMENT};
  for (uint32_t i = 0; i < 4; i++) {
    if (!dure_vulkan_reads_texels(device, &call->operands[read[i]])) return false;
  }
  return true;
}

static dure_status record_adamw_texel(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                      uint64_t count) {
  const dure_operand *operands = call->operands;
  adamw_push push = adamw_push_of(call, 0, count);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.gradient_offset = dure_vulkan_bind_elements(&dispatch, &operands[GRADIENT], 0, count, DURE_READ);
  push.step_offset = dure_vulkan_bind(&dispatch, &operands[STEP], DURE_READ);
  push.state_offset = dure_vulkan_bind(&dispatch, &operands[STATE], DURE_READ);
  push.random_offset = dure_vulkan_bind(&dispatch, &operands[STATE], DURE_READ);
  push.parameter_offset = dure_vulkan_bind_elements(&dispatch, &operands[PARAMETER], 0, count, DURE_READ_WRITE);
  push.first_offset = dure_vulkan_bind_elements(&dispatch, &operands[FIRST_MOMENT], 0, count, DURE_READ_WRITE);
  push.second_offset = dure_vulkan_bind_elements(&dispatch, &operands[SECOND_MOMENT], 0, count, DURE_READ_WRITE);
  dure_vulkan_bind_elements(&dispatch, &operands[PARAMETER], 0, count, DURE_READ);
  dure_vulkan_bind_elements(&dispatch, &operands[FIRST_MOMENT], 0, count, DURE_READ);
  dure_vulkan_bind_elements(&dispatch, &operands[SECOND_MOMENT], 0, count, DURE_READ);
  uint32_t constants[ADAMW_CONSTANTS] = {dure_vulkan_group_size(device, 256), 64};
  adamw_constants(call, constants);
  const uint64_t groups = dure_vulkan_ceil_divide(count / 4, (uint64_t)constants[0] * constants[1]);
  return dure_vulkan_dispatch_run(&dispatch, "adamw_texel", constants, ADAMW_CONSTANTS, &push, sizeof(push), groups);
}

// 8-bit moments: whole blocks a workgroup.
static dure_status record_adamw_blocks(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  for (uint32_t i = FIRST_MOMENT; i <= SECOND_MOMENT; i++) {
    const dure_operand *moment = &call->operands[i];
    if (moment->dtype != DURE_DTYPE_U8 || moment->offset % 4 == 0) continue;
    return dure_fail(DURE_UNSUPPORTED, "adamw: 8-bit moments must begin at multiples of 4 bytes, found byte %llu",
                     (unsigned long long)moment->offset);
  }
  const uint64_t count = dure_operand_count(&call->operands[GRADIENT]);
  adamw_push push = adamw_push_of(call, 0, count);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  bind_adamw(&dispatch, call, 0, count, &push);
  push.first_scales_offset = dure_vulkan_bind(&dispatch, &call->operands[FIRST_SCALES], DURE_READ_WRITE);
  push.second_scales_offset = dure_vulkan_bind(&dispatch, &call->operands[SECOND_SCALES], DURE_READ_WRITE);
  const uint32_t group_size = dure_vulkan_group_size(device, 64);
  const uint32_t blocks_each = dure_vulkan_is_software(device) ? 8 : 1;
  uint32_t constants[ADAMW_CONSTANTS + 2] = {group_size, dure_vulkan_is_single_subgroup(device, group_size)};
  adamw_constants(call, constants);
  constants[ADAMW_CONSTANTS] = blocks_each;
  constants[ADAMW_CONSTANTS + 1] = is_aligned(call);
  const uint64_t groups = dure_vulkan_ceil_divide(count, (uint64_t)DURE_MOMENT_BLOCK * blocks_each);
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_with_reduction(device, "adamw_blocks", 1).text,
                                  constants, ADAMW_CONSTANTS + 2, &push, sizeof(push), groups);
}

static dure_status record_adamw(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *operands = call->operands;
  if (operands[FIRST_MOMENT].dtype == DURE_DTYPE_U8 || operands[SECOND_MOMENT].dtype == DURE_DTYPE_U8)
    return record_adamw_blocks(device, recording, call);
  const uint64_t count = dure_operand_count(&operands[GRADIENT]), wide = is_aligned(call) ? count / 4 * 4 : 0;
  if (may_use_texels(device, call)) {
    DURE_TRY(record_adamw_texel(device, recording, call, wide));
  } else {
    DURE_TRY(record_adamw_range(device, recording, call, 0, wide, 4));
  }
  return record_adamw_range(device, recording, call, wide, count - wide, 1);
}

const dure_backend_op dure_vulkan_op_gradient_clip = {.record = record_gradient_clip};
const dure_backend_op dure_vulkan_op_adamw = {.record = record_adamw, .takes_16_bit = true};
