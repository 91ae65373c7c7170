// fill, copy, add, multiply, activation, activation_gradient. (adamw, elementwise too, is in ops_optimizer.c.)
#include <string.h>

#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"
#include "runtime/vulkan/ops_elementwise.h"

// ---- the frame ---------------------------------------------------------------------------------------------------

enum { MOST_OPERANDS = 6 };

// shaders/lib/elementwise.glsl
typedef struct elementwise_push {
  uint32_t count;
  uint32_t offset[MOST_OPERANDS];
  float parameter[4];
} elementwise_push;

// lavapipe: a workgroup costs as much as some hundred loads, so each takes 2048 floats.
uint32_t dure_vulkan_element_steps(const dure_device *device) { return dure_vulkan_is_software(device) ? 64 : 1; }

// Elements [first, first + count) by loads of `width` elements; both are multiples of it.
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
      push.offset[i] = dure_vulkan_bind_elements(&dispatch, operand, first, count, op->operands[i].access) / width;
    }
  }
  uint32_t constants[2 + DURE_VULKAN_ELEMENTWISE_CONSTANTS] = {dure_vulkan_group_size(device, 256),
                                                               dure_vulkan_element_steps(device)};
  for (uint32_t i = 0; i < op->constant_count; i++) constants[2 + i] = op->constants[i];
  const uint64_t groups = dure_vulkan_ceil_divide(push.count, (uint64_t)constants[0] * constants[1]);
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width(op->kernel, width).text, constants,
                                  2 + op->constant_count, &push, sizeof(push), groups);
}

dure_status dure_vulkan_record_elementwise(dure_device *device, dure_recording *recording,
                                           const dure_vulkan_elementwise *op, uint64_t count) {
  uint64_t wide = count / 4 * 4;
  for (uint32_t i = 0; i < op->operand_count; i++) {
    if (!op->operands[i].is_whole && !dure_vulkan_is_aligned(op->operands[i].operand)) wide = 0;
  }
  DURE_TRY(record_range(device, recording, op, 0, wide, 4));
  return record_range(device, recording, op, wide, count - wide, 1);
}

// ---- ops ---------------------------------------------------------------------------------------------------------

// A fill's bits, of a 16-bit type twice.
static uint32_t fill_pattern(dure_dtype dtype, float value) {
  uint32_t pattern = 0;
  if (dure_dtype_size(dtype) == 4) {
    memcpy(&pattern, &value, sizeof(pattern));
    return pattern;
  }
  uint16_t bits = 0;
  dure_dtype_store(dtype, &bits, 0, (double)value);
  return (uint32_t)bits << 16 | bits;
}

// Whole words by the recording's own fill; a 16-bit element that shares its word with another tensor by a kernel.
static dure_status record_fill(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *y = &call->operands[0];
  const uint64_t begin = y->offset, end = begin + dure_operand_span(y);
  const uint64_t words_begin = (begin + 3) / 4 * 4, words_end = end / 4 * 4;
  const uint64_t ends[2] = {begin, end - 2};
  for (int i = 0; i < 2; i++) {
    const bool is_shared = i == 0 ? begin < words_begin : words_end < end;
    if (!is_shared) continue;
    dure_operand element = *y;
    element.offset = ends[i];
    dure_operand_set_shape(&element, 0, NULL);
    const dure_vulkan_elementwise op = {
        .kernel = "fill",
        .operands = {{.operand = &element, .access = DURE_WRITE}},
        .operand_count = 1,
        .constants = {dure_vulkan_type(y)},
        .constant_count = 1,
        .parameter = {call->attributes.fill.value},
    };
    DURE_TRY(dure_vulkan_record_elementwise(device, recording, &op, 1));
  }
  if (words_begin >= words_end) return NULL;
  return dure_recording_fill(recording, y->buffer, words_begin, words_end - words_begin,
                             fill_pattern(y->dtype, call->attributes.fill.value));
}

static dure_status record_copy(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const bool accumulates = dure_vulkan_accumulates(call, 1);
  if (x->dtype == y->dtype && !accumulates) {
    if (x->buffer == y->buffer && x->offset == y->offset) return NULL;
    return dure_recording_copy(recording, x->buffer, x->offset, y->buffer, y->offset, dure_operand_span(y));
  }
  const dure_vulkan_elementwise op = {
      .kernel = "copy",
      .operands = {{.operand = x, .access = DURE_READ},
                   {.operand = y, .access = accumulates ? DURE_READ_WRITE : DURE_WRITE}},
      .operand_count = 2,
      .constants = {accumulates, dure_vulkan_type(x), dure_vulkan_type(y)},
      .constant_count = 3,
  };
  return dure_vulkan_record_elementwise(device, recording, &op, dure_operand_count(y));
}

static dure_status record_scale(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const bool accumulates = dure_vulkan_accumulates(call, 1);
  const dure_vulkan_elementwise op = {
      .kernel = "scale",
      .operands = {{.operand = x, .access = DURE_READ},
                   {.operand = y, .access = accumulates ? DURE_READ_WRITE : DURE_WRITE}},
      .operand_count = 2,
      .constants = {accumulates, dure_vulkan_type(x)},
      .constant_count = 2,
      .parameter = {call->attributes.scale.factor},
  };
  return dure_vulkan_record_elementwise(device, recording, &op, dure_operand_count(y));
}

// y = a + b, a * b
static dure_status record_binary(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                 const char *kernel) {
  const dure_operand *a = &call->operands[0], *y = &call->operands[2];
  const dure_vulkan_elementwise op = {
      .kernel = kernel,
      .operands = {{.operand = a, .access = DURE_READ},
                   {.operand = &call->operands[1], .access = DURE_READ},
                   {.operand = y, .access = dure_vulkan_accumulates(call, 2) ? DURE_READ_WRITE : DURE_WRITE}},
      .operand_count = 3,
      .constants = {dure_vulkan_accumulates(call, 2), dure_vulkan_type(a), dure_vulkan_type(y)},
      .constant_count = 3,
  };
  return dure_vulkan_record_elementwise(device, recording, &op, dure_operand_count(y));
}

static dure_status record_add(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  return record_binary(device, recording, call, "add");
}

static dure_status record_multiply(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  return record_binary(device, recording, call, "multiply");
}

static dure_status record_activation(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *y = &call->operands[1];
  const dure_vulkan_elementwise op = {
      .kernel = "activation",
      .operands = {{.operand = &call->operands[0], .access = DURE_READ}, {.operand = y, .access = DURE_WRITE}},
      .operand_count = 2,
      .constants = {(uint32_t)call->attributes.activation.kind, dure_vulkan_type(y)},
      .constant_count = 2,
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
      .constants = {(uint32_t)call->attributes.activation.kind, dure_vulkan_accumulates(call, 2), dure_vulkan_type(dx)},
      .constant_count = 3,
  };
  return dure_vulkan_record_elementwise(device, recording, &op, dure_operand_count(dx));
}

const dure_backend_op dure_vulkan_op_fill = {.record = record_fill, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_copy = {.record = record_copy, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_scale = {.record = record_scale, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_add = {.record = record_add, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_multiply = {.record = record_multiply, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_activation = {.record = record_activation, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_activation_gradient = {.record = record_activation_gradient, .takes_16_bit = true};
