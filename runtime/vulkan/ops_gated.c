// gated_activation, gated_activation_gradient, rotary: one element after the other, in strided tensors.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"
#include "runtime/vulkan/ops_elementwise.h"

enum { OPERANDS_MOST = 5 };

// Elements from a row to the next; rows of several leading dimensions are evenly spaced (op_shapes.c checks inputs).
static dure_status row_stride(const dure_op_call *call, uint32_t index, uint64_t columns, uint64_t *out_stride) {
  const dure_operand *operand = &call->operands[index];
  *out_stride = columns;
  if (dure_operand_is_contiguous(operand)) return NULL;  // perhaps under another shape
  *out_stride = operand->stride[operand->rank - 2];
  for (uint32_t i = 0; i + 2 < operand->rank; i++) {
    if (operand->shape[i] == 1 || operand->stride[i] == operand->shape[i + 1] * operand->stride[i + 1]) continue;
    return dure_fail(DURE_INVALID_ARGUMENT, "the rows of operand '%s' are not evenly spaced",
                     dure_op_get(call->op)->operands[index].name);
  }
  return NULL;
}

// The push constants are the count, the strides of all operands but `dense`, and all offsets.
static dure_status record_gated(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                const char *kernel, uint32_t operand_count, uint32_t dense) {
  const dure_op_row *row = dure_op_get(call->op);
  const uint64_t columns = dure_vulkan_last_dimension(&call->operands[0]);
  const dure_operand *operands[OPERANDS_MOST];
  uint64_t strides[OPERANDS_MOST];
  for (uint32_t i = 0; i < operand_count; i++) {
    operands[i] = &call->operands[i];
    DURE_TRY(row_stride(call, i, columns, &strides[i]));
  }
  uint32_t width = dure_vulkan_width(operands, operand_count, columns);
  for (uint32_t i = 0; i < operand_count; i++) width = strides[i] % 4 != 0 ? 1 : width;

  uint32_t push[1 + 2 * OPERANDS_MOST] = {(uint32_t)(dure_operand_count(operands[0]) / width)};
  uint32_t used = 1;
  for (uint32_t i = 0; i < operand_count; i++) {
    if (i != dense) push[used++] = (uint32_t)(strides[i] / width);
  }
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  for (uint32_t i = 0; i < operand_count; i++)
    push[used++] = dure_vulkan_bind(&dispatch, operands[i], row->operands[i].access) / width;
  const uint32_t constants[] = {dure_vulkan_group_size(device, 256), dure_vulkan_element_steps(device),
                                (uint32_t)(columns / width), (uint32_t)call->attributes.activation.kind,
                                dure_vulkan_type(operands[0])};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width(kernel, width).text, constants, 5, push,
                                  used * sizeof(*push),
                                  dure_vulkan_ceil_divide(push[0], (uint64_t)constants[0] * constants[1]));
}

static dure_status record_gated_activation(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  return record_gated(device, recording, call, "gated_activation", 3, 2);
}

static dure_status record_gated_activation_gradient(dure_device *device, dure_recording *recording,
                                                    const dure_op_call *call) {
  return record_gated(device, recording, call, "gated_activation_gradient", 5, 2);
}

// ---- rotary ------------------------------------------------------------------------------------------------------

// Fours must not cross from rotated elements to others, nor from one half to the other.
static uint32_t rotary_width(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *table = &call->operands[2], *y = &call->operands[3];
  const dure_rotary_attributes *attributes = &call->attributes.rotary;
  if (attributes->width % (attributes->is_interleaved ? 4 : 8) != 0) return 1;
  for (uint32_t axis = 1; axis <= 2; axis++) {
    if (x->stride[axis] % 4 != 0 || y->stride[axis] % 4 != 0) return 1;
  }
  return dure_vulkan_width((const dure_operand *const[]){x, table, y}, 3, x->shape[3]);
}

static dure_status record_rotary(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *table = &call->operands[2];
  dure_op_call shaped = *call;
  dure_operand *y = &shaped.operands[3];
  if (y->rank != 4) dure_operand_set_shape(y, 4, x->shape);
  if (y->shape[0] != 1 && y->stride[0] != y->shape[1] * y->stride[1])
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'y' must have the batch stride T times the stride of T");
  const dure_rotary_attributes *attributes = &call->attributes.rotary;
  const uint32_t width = rotary_width(&shaped);
  const uint64_t rotated = attributes->width / (attributes->is_interleaved && width == 4 ? 4 : 2 * width);
  const uint64_t items = rotated + (x->shape[3] - attributes->width) / width;
  struct {
    uint32_t count, x_row, x_head, y_row, y_head, table_rows;
    float sign_of_sine;
    uint32_t x_offset, positions_offset, table_offset, y_offset;
  } push = {
      .count = (uint32_t)(x->shape[0] * x->shape[1] * x->shape[2] * items),
      .x_row = (uint32_t)(x->stride[1] / width),
      .x_head = (uint32_t)(x->stride[2] / width),
      .y_row = (uint32_t)(y->stride[1] / width),
      .y_head = (uint32_t)(y->stride[2] / width),
      .table_rows = (uint32_t)table->shape[0],
      .sign_of_sine = attributes->is_inverse ? -1.0f : 1.0f,
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.positions_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.table_offset = dure_vulkan_bind(&dispatch, table, DURE_READ) / width;
  push.y_offset = dure_vulkan_bind(&dispatch, y, DURE_WRITE) / width;
  const uint32_t constants[] = {dure_vulkan_group_size(device, 256),
                                dure_vulkan_element_steps(device),
                                (uint32_t)x->shape[2],
                                (uint32_t)x->shape[3],
                                attributes->width,
                                attributes->is_interleaved,
                                dure_vulkan_type(x)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("rotary", width).text, constants, 7, &push,
                                  sizeof(push),
                                  dure_vulkan_ceil_divide(push.count, (uint64_t)constants[0] * constants[1]));
}

// ---- copy_heads --------------------------------------------------------------------------------------------------

static dure_status record_copy_heads(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const bool accumulates = dure_vulkan_accumulates(call, 1);
  uint32_t width = dure_vulkan_width((const dure_operand *const[]){x, y}, 2, x->shape[3]);
  for (uint32_t axis = 1; axis <= 2; axis++) width = x->stride[axis] % 4 != 0 || y->stride[axis] % 4 != 0 ? 1 : width;
  struct {
    uint32_t count, x_row, x_head, y_row, y_head, x_offset, y_offset;
  } push = {.count = (uint32_t)(dure_operand_count(y) / width),
            .x_row = (uint32_t)(x->stride[1] / width),
            .x_head = (uint32_t)(x->stride[2] / width),
            .y_row = (uint32_t)(y->stride[1] / width),
            .y_head = (uint32_t)(y->stride[2] / width)};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.y_offset = dure_vulkan_bind(&dispatch, y, accumulates ? DURE_READ_WRITE : DURE_WRITE) / width;
  const uint32_t constants[] = {dure_vulkan_group_size(device, 256),
                                dure_vulkan_element_steps(device),
                                (uint32_t)x->shape[2],
                                (uint32_t)y->shape[2],
                                (uint32_t)(x->shape[3] / width),
                                accumulates,
                                dure_vulkan_type(x)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("copy_heads", width).text, constants, 7, &push,
                                  sizeof(push),
                                  dure_vulkan_ceil_divide(push.count, (uint64_t)constants[0] * constants[1]));
}

const dure_backend_op dure_vulkan_op_copy_heads = {.record = record_copy_heads, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_gated_activation = {.record = record_gated_activation, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_gated_activation_gradient = {.record = record_gated_activation_gradient,
                                                                  .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_rotary = {.record = record_rotary, .takes_16_bit = true};
