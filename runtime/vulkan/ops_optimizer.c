// gradient_clip, adamw.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"
#include "runtime/vulkan/ops_elementwise.h"

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

static dure_status record_adamw(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_adamw_attributes *attributes = &call->attributes.adamw;
  if (dure_operand_is_present(&call->operands[5]) || call->operands[6].dtype == DURE_DTYPE_U8)
    return dure_fail(DURE_UNSUPPORTED, "adamw with a master copy or 8-bit moments is not on this device yet");
  const dure_vulkan_elementwise op = {
      .kernel = "adamw",
      .operands = {{.operand = &call->operands[0], .access = DURE_READ},
                   {.operand = &call->operands[1], .access = DURE_READ, .is_whole = true},
                   {.operand = &call->operands[2], .access = DURE_READ, .is_whole = true},
                   {.operand = &call->operands[4], .access = DURE_READ_WRITE},
                   {.operand = &call->operands[6], .access = DURE_READ_WRITE},
                   {.operand = &call->operands[7], .access = DURE_READ_WRITE}},
      .operand_count = 6,
      .parameter = {attributes->beta1, attributes->beta2, attributes->epsilon, attributes->weight_decay},
  };
  return dure_vulkan_record_elementwise(device, recording, &op, dure_operand_count(&call->operands[4]));
}

const dure_backend_op dure_vulkan_op_gradient_clip = {.record = record_gradient_clip};
const dure_backend_op dure_vulkan_op_adamw = {.record = record_adamw};
