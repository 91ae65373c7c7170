// Mixtures of experts: route, route_gradient, expert_order, expert_matmul, expert_outer, expert_combine and its
// gradient.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

enum { TILE = 32 };  // shaders/lib/expert_tile.glsl

// ---- routing -----------------------------------------------------------------------------------------------------

static dure_status record_route(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0], *bias = &call->operands[1];
  const dure_route_attributes *a = &call->attributes.route;
  struct {
    uint32_t rows;
    float factor;
    uint32_t logits_offset, bias_offset, weights_offset, experts_offset;
  } push = {.rows = (uint32_t)dure_operand_rows(logits), .factor = a->factor};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.logits_offset = dure_vulkan_bind(&dispatch, logits, DURE_READ);
  push.bias_offset = dure_vulkan_bind(&dispatch, bias, DURE_READ);
  push.weights_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_READ_WRITE);
  push.experts_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_WRITE);
  const uint32_t constants[] = {dure_vulkan_group_size(device, 64),
                                1,
                                dure_vulkan_type(logits),
                                (uint32_t)dure_vulkan_last_dimension(logits),
                                a->count,
                                a->is_sigmoid,
                                a->is_normalised,
                                dure_operand_is_present(bias),
                                a->group_count,
                                a->group_limit,
                                a->group_best};
  return dure_vulkan_dispatch_run(&dispatch, "route", constants, 11, &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.rows, constants[0]));
}

static dure_status record_route_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0];
  const dure_route_attributes *a = &call->attributes.route;
  const bool accumulates = dure_vulkan_accumulates(call, 4);
  struct {
    uint32_t rows;
    float factor;
    uint32_t logits_offset, weights_offset, experts_offset, dweights_offset, dlogits_offset;
  } push = {.rows = (uint32_t)dure_operand_rows(logits), .factor = a->factor};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.logits_offset = dure_vulkan_bind(&dispatch, logits, DURE_READ);
  push.weights_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.experts_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_READ);
  push.dweights_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_READ);
  push.dlogits_offset = dure_vulkan_bind(&dispatch, &call->operands[4], accumulates ? DURE_READ_WRITE : DURE_WRITE);
  const uint32_t constants[] = {dure_vulkan_group_size(device, 64),
                                1,
                                dure_vulkan_type(logits),
                                (uint32_t)dure_vulkan_last_dimension(logits),
                                a->count,
                                a->is_sigmoid,
                                a->is_normalised,
                                accumulates};
  return dure_vulkan_dispatch_run(&dispatch, "route_gradient", constants, 8, &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.rows, constants[0]));
}

static dure_status record_expert_order(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *experts = &call->operands[0];
  struct {
    uint32_t entries, chosen, expert_count, experts_offset, offsets_offset, rows_offset, places_offset;
  } push = {.entries = (uint32_t)dure_operand_count(experts),
            .chosen = (uint32_t)experts->shape[1],
            .expert_count = call->attributes.expert_order.expert_count};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.experts_offset = dure_vulkan_bind(&dispatch, experts, DURE_READ);
  push.offsets_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_WRITE);
  push.rows_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_WRITE);
  push.places_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_WRITE);
  const uint32_t group_size = dure_vulkan_group_size_over(device, 128, push.entries);
  return dure_vulkan_dispatch_run(&dispatch, "expert_order", &group_size, 1, &push, sizeof(push), push.expert_count);
}

// ---- products ----------------------------------------------------------------------------------------------------

static dure_status record_expert_matmul(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *a = &call->operands[0], *b = &call->operands[2], *c = &call->operands[3];
  const bool accumulates = dure_vulkan_accumulates(call, 3);
  struct {
    uint32_t rows, inner, columns, experts, first_row, column_tiles, a_stride, b_stride, b_expert, c_stride;
    uint32_t a_offset, offsets_offset, b_offset, c_offset;
  } push = {.rows = (uint32_t)a->shape[0],
            .inner = (uint32_t)a->shape[1],
            .columns = (uint32_t)c->shape[1],
            .experts = (uint32_t)b->shape[0],
            .first_row = call->attributes.expert_matmul.first_row,
            .column_tiles = (uint32_t)dure_vulkan_ceil_divide(c->shape[1], TILE),
            .a_stride = (uint32_t)a->stride[0],
            .b_stride = (uint32_t)b->stride[1],
            .b_expert = (uint32_t)b->stride[0],
            .c_stride = (uint32_t)c->stride[0]};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.a_offset = dure_vulkan_bind(&dispatch, a, DURE_READ);
  push.offsets_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.b_offset = dure_vulkan_bind(&dispatch, b, DURE_READ);
  // Rows of no expert stay, so what is written is not all of it.
  push.c_offset = dure_vulkan_bind(&dispatch, c, DURE_READ_WRITE);
  const uint32_t constants[] = {call->attributes.expert_matmul.transpose_b, accumulates, dure_vulkan_type(a)};
  const uint64_t tiles = (uint64_t)push.rows / TILE + push.experts;
  return dure_vulkan_dispatch_run(&dispatch, "expert_matmul", constants, 3, &push, sizeof(push),
                                  tiles * push.column_tiles);
}

static dure_status record_expert_outer(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[2], *z = &call->operands[3];
  const bool accumulates = dure_vulkan_accumulates(call, 3);
  struct {
    uint32_t rows, left, right, first_row, row_tiles, column_tiles, x_stride, y_stride, z_stride, z_expert;
    uint32_t x_offset, offsets_offset, y_offset, z_offset;
  } push = {.rows = (uint32_t)x->shape[0],
            .left = (uint32_t)x->shape[1],
            .right = (uint32_t)y->shape[1],
            .first_row = call->attributes.expert_matmul.first_row,
            .row_tiles = (uint32_t)dure_vulkan_ceil_divide(x->shape[1], TILE),
            .column_tiles = (uint32_t)dure_vulkan_ceil_divide(y->shape[1], TILE),
            .x_stride = (uint32_t)x->stride[0],
            .y_stride = (uint32_t)y->stride[0],
            .z_stride = (uint32_t)z->stride[1],
            .z_expert = (uint32_t)z->stride[0]};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ);
  push.offsets_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.y_offset = dure_vulkan_bind(&dispatch, y, DURE_READ);
  push.z_offset = dure_vulkan_bind(&dispatch, z, accumulates ? DURE_READ_WRITE : DURE_WRITE);
  const uint32_t constants[] = {accumulates, dure_vulkan_type(x), dure_vulkan_type(z)};
  return dure_vulkan_dispatch_run(&dispatch, "expert_outer", constants, 3, &push, sizeof(push),
                                  z->shape[0] * push.row_tiles * push.column_tiles);
}

// ---- combination -------------------------------------------------------------------------------------------------

static dure_status record_expert_combine(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *weights = &call->operands[1], *places = &call->operands[2];
  const dure_operand *residual = &call->operands[3], *y = &call->operands[4];
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){x, residual, y}, 3, x->shape[1]);
  struct {
    uint32_t count, x_rows, first_row, x_offset, weights_offset, places_offset, residual_offset, y_offset;
  } push = {.count = (uint32_t)(dure_operand_count(y) / width),
            .x_rows = (uint32_t)x->shape[0],
            .first_row = call->attributes.expert_combine.first_row};
  const bool accumulates = dure_vulkan_accumulates(call, 4);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.weights_offset = dure_vulkan_bind(&dispatch, weights, DURE_READ);
  push.places_offset = dure_vulkan_bind(&dispatch, places, DURE_READ);
  push.residual_offset = dure_vulkan_bind(&dispatch, residual, DURE_READ) / width;
  push.y_offset = dure_vulkan_bind(&dispatch, y, accumulates ? DURE_READ_WRITE : DURE_WRITE) / width;
  const uint32_t constants[] = {dure_vulkan_group_size(device, 256),
                                dure_vulkan_is_software(device) ? 16 : 1,
                                (uint32_t)(x->shape[1] / width),
                                (uint32_t)weights->shape[1],
                                dure_operand_is_present(places),
                                dure_operand_is_present(residual),
                                accumulates,
                                dure_vulkan_type(x)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("expert_combine", width).text, constants, 8,
                                  &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.count, (uint64_t)constants[0] * constants[1]));
}

static dure_status record_expert_combine_gradient(dure_device *device, dure_recording *recording,
                                                  const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1], *weights = &call->operands[2];
  const dure_operand *places = &call->operands[3], *dx = &call->operands[4];
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){dy, x, dx}, 3, x->shape[1]);
  struct {
    uint32_t entries, columns, x_rows, first_row;
    uint32_t dy_offset, x_offset, weights_offset, places_offset, dx_offset, dweights_offset;
  } push = {.entries = (uint32_t)dure_operand_count(weights),
            .columns = (uint32_t)(x->shape[1] / width),
            .x_rows = (uint32_t)x->shape[0],
            .first_row = call->attributes.expert_combine.first_row};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.dy_offset = dure_vulkan_bind(&dispatch, dy, DURE_READ) / width;
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.weights_offset = dure_vulkan_bind(&dispatch, weights, DURE_READ);
  push.places_offset = dure_vulkan_bind(&dispatch, places, DURE_READ);
  // Parts of a call leave the other parts' elements alone.
  push.dx_offset = dure_vulkan_bind(&dispatch, dx, DURE_READ_WRITE) / width;
  push.dweights_offset = dure_vulkan_bind(&dispatch, &call->operands[5], DURE_READ_WRITE);
  const uint32_t group_size = dure_vulkan_group_size_over(device, 128, push.columns);
  const uint32_t constants[] = {group_size, dure_vulkan_is_single_subgroup(device, group_size), dure_vulkan_type(x),
                                (uint32_t)weights->shape[1], dure_operand_is_present(places)};
  return dure_vulkan_dispatch_run(&dispatch,
                                  dure_vulkan_kernel_with_reduction(device, "expert_combine_gradient", width).text,
                                  constants, 5, &push, sizeof(push), push.entries);
}

const dure_backend_op dure_vulkan_op_route = {.record = record_route, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_route_gradient = {.record = record_route_gradient, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_expert_order = {.record = record_expert_order, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_expert_matmul = {.record = record_expert_matmul, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_expert_outer = {.record = record_expert_outer, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_expert_combine = {.record = record_expert_combine, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_expert_combine_gradient = {.record = record_expert_combine_gradient,
                                                                .takes_16_bit = true};
