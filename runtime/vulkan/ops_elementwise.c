// fill, copy, add, activation, activation_gradient. (adamw, elementwise too, is in ops_optimizer.c.)
#include <string.h>

#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"
#include "runtime/vulkan/ops_elementwise.h"

// ---- the frame ---------------------------------------------------------------------------------------------------

enum { MOST_OPERANDS = 6, MOST_CONSTANTS = 2 };

// shaders/lib/elementwise.glsl
typedef struct elementwise_push {
  uint32_t count;
  uint32_t offset[MOST_OPERANDS];
  float parameter[4];
} elementwise_push;

// lavapipe: a workgroup costs as much as some hundred loads, so each takes 2048 floats.
static uint32_t steps_of(const dure_device *device) { return dure_vulkan_is_software(device) ? 64 : 1; }

// Elements [first, first + count) by loads of `width` floats; both are multiples of it.
static dure_status record_range(dure_device *device, dure_recording *recording, const dure_vulkan_elementwise *op,
                                uint64_t first, uint64_t count, uint32_t width) {
  elementwise_push push = {.count = (uint32_t)(count / width)};
  memcpy(push.parameter, op->parameter, sizeof(push.parameter));
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  for (uint32_t i = 0; i < op->operand_count; i++) {
    const dure_operand *operand = op->operands[i].operand;
    if (op->operands[i].is_whole) {
      push.offset[i] = dure_vulkan_bind(&dispatch, operand, op->operands[i].access);
    } else {
      push.offset[i] = dure_vulkan_bind_words(&dispatch, operand, first, count, op->operands[i].access) / width;
    }
  }
  uint32_t constants[2 + MOST_CONSTANTS] = {dure_vulkan_group_size(device, 256), steps_of(device)};
  for (uint32_t i = 0; i < op->constant_count; i++) constants[2 + i] = op->constants[i];
  const uint64_t groups = dure_vulkan_ceil_divide(push.count, (uint64_t)constants[0] * constants[1]);
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width(op->kernel, width).text, constants,
                                  2 + op->constant_count, &push, sizeof(push), groups);
}

dure_status dure_vulkan_record_elementwise(dure_device *device, dure_recording *recording,
                                           const dure_vulkan_elementwise *op, uint64_t count) {
  uint64_t wide = count / 4 * 4;
  for (uint32_t i = 0; i < op->operand_count; i++) {
    if (!op->operands[i].is_whole && op->operands[i].operand->offset % 16 != 0) wide = 0;
  }
  DURE_TRY(record_range(device, recording, op, 0, wide, 4));
  return record_range(device, recording, op, wide, count - wide, 1);
}

// ---- ops ---------------------------------------------------------------------------------------------------------

static dure_status record_fill(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *y = &call->operands[0];
  uint32_t pattern = 0;
  memcpy(&pattern, &call->attributes.fill.value, sizeof(pattern));
  return dure_recording_fill(recording, y->buffer, y->offset, dure_operand_span(y), pattern);
}

static dure_status record_copy(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  if (x->buffer == y->buffer && x->offset == y->offset) return NULL;
  return dure_recording_copy(recording, x->buffer, x->offset, y->buffer, y->offset, dure_operand_span(y));
}

static dure_status record_add(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *y = &call->operands[2];
  const dure_vulkan_elementwise op = {
      .kernel = "add",
      .operands = {{.operand = &call->operands[0], .access = DURE_READ},
                   {.operand = &call->operands[1], .access = DURE_READ},
                   {.operand = y, .access = dure_vulkan_accumulates(call, 2) ? DURE_READ_WRITE : DURE_WRITE}},
      .operand_count = 3,
      .constants = {dure_vulkan_accumulates(call, 2)},
      .constant_count = 1,
  };
  return dure_vulkan_record_elementwise(device, recording, &op, dure_operand_count(y));
}

static dure_status record_activation(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *y = &call->operands[1];
  const dure_vulkan_elementwise op = {
      .kernel = "activation",
      .operands = {{.operand = &call->operands[0], .access = DURE_READ}, {.operand = y, .access = DURE_WRITE}},
      .operand_count = 2,
      .constants = {(uint32_t)call->attributes.activation.kind},
      .constant_count = 1,
  };
  return dure_vulkan_record_elementwise(device, recording, &op, dure_operand_count(y));
}

static dure_status record_activation_gradient(dure_device *device, dure_recording *recording,
                                              const dure_op_call *call) {
  const dure_operand *dx = &call->operands[2];
  const dure_vulkan_elementwise op = {
      .kernel = "activation_gradient",
      .operands = {{.operand = &call->operands[0], .access = DURE_READ},
                   {.operand = &call->operands[1], .access = DURE_READ},
                   {.operand = dx, .access = dure_vulkan_accumulates(call, 2) ? DURE_READ_WRITE : DURE_WRITE}},
      .operand_count = 3,
      .constants = {(uint32_t)call->attributes.activation.kind, dure_vulkan_accumulates(call, 2)},
      .constant_count = 2,
  };
  return dure_vulkan_record_elementwise(device, recording, &op, dure_operand_count(dx));
}

const dure_backend_op dure_vulkan_op_fill = {.record = record_fill};
const dure_backend_op dure_vulkan_op_copy = {.record = record_copy};
const dure_backend_op dure_vulkan_op_add = {.record = record_add};
const dure_backend_op dure_vulkan_op_activation = {.record = record_activation};
const dure_backend_op dure_vulkan_op_activation_gradient = {.record = record_activation_gradient};
