// layer_norm, layer_norm_gradient, layer_norm_parameters; rms_norm, rms_norm_gradient, rms_norm_parameters.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

// Wider rows get the larger of two workgroups (each is one pipeline to compile).
static uint32_t row_group_size(const dure_device *device, uint64_t columns, uint32_t width) {
  return dure_vulkan_group_size_over(device, columns <= 1024 ? 128 : 256, columns / width);
}

enum { KEPT_VALUES_MOST = 32 };

// Of the kernels that walk rows: specialisation constants 0 to 4 (shaders/lib/workgroup.glsl, kept_row.glsl).
typedef struct row_walk {
  uint32_t group_size;
  uint32_t is_single_subgroup;
  uint32_t values_each;
  uint32_t row_is_whole;
  uint32_t storage;
} row_walk;

static row_walk row_walk_of(const dure_device *device, const dure_operand *x, uint64_t columns, uint32_t width) {
  row_walk walk = {.group_size = row_group_size(device, columns, width), .storage = dure_vulkan_type(x)};
  walk.is_single_subgroup = dure_vulkan_is_single_subgroup(device, walk.group_size);
  const uint64_t values = columns / width, values_each = dure_vulkan_ceil_divide(values, walk.group_size);
  walk.values_each = values_each <= KEPT_VALUES_MOST ? (uint32_t)values_each : 0;
  walk.row_is_whole = walk.values_each == 0 || values % walk.group_size == 0;
  return walk;
}

static dure_status record_layer_norm(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *weight = &call->operands[1], *bias = &call->operands[2];
  const dure_operand *y = &call->operands[3];
  const uint64_t columns = dure_vulkan_last_dimension(x);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){x, weight, bias, y}, 4, columns);
  struct {
    uint32_t rows, columns;
    float reciprocal_columns, epsilon;
    uint32_t x_offset, weight_offset, bias_offset, y_offset, mean_offset, reciprocal_deviation_offset;
  } push = {
      .rows = (uint32_t)dure_operand_rows(x),
      .columns = (uint32_t)(columns / width),
      .reciprocal_columns = 1.0f / (float)columns,
      .epsilon = call->attributes.layer_norm.epsilon,
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.weight_offset = dure_vulkan_bind(&dispatch, weight, DURE_READ) / width;
  push.bias_offset = dure_vulkan_bind(&dispatch, bias, DURE_READ) / width;
  push.y_offset = dure_vulkan_bind(&dispatch, y, DURE_WRITE) / width;
  push.mean_offset = dure_vulkan_bind(&dispatch, &call->operands[4], DURE_WRITE);
  push.reciprocal_deviation_offset = dure_vulkan_bind(&dispatch, &call->operands[5], DURE_WRITE);
  const struct {
    row_walk walk;
    uint32_t has_weight, has_bias;
  } constants = {row_walk_of(device, x, columns, width), dure_operand_is_present(weight),
                 dure_operand_is_present(bias)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_with_reduction(device, "layer_norm", width).text,
                                  &constants.walk.group_size, sizeof(constants) / 4, &push, sizeof(push), push.rows);
}

static dure_status record_layer_norm_gradient(dure_device *device, dure_recording *recording,
                                              const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1], *weight = &call->operands[2];
  const dure_operand *dx = &call->operands[5];
  const uint64_t columns = dure_vulkan_last_dimension(x);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){dy, x, weight, dx}, 4, columns);
  struct {
    uint32_t rows, columns;
    float reciprocal_columns;
    uint32_t dy_offset, x_offset, weight_offset, mean_offset, reciprocal_deviation_offset, dx_offset;
  } push = {
      .rows = (uint32_t)dure_operand_rows(x),
      .columns = (uint32_t)(columns / width),
      .reciprocal_columns = 1.0f / (float)columns,
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.dy_offset = dure_vulkan_bind(&dispatch, dy, DURE_READ) / width;
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.weight_offset = dure_vulkan_bind(&dispatch, weight, DURE_READ) / width;
  push.mean_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_READ);
  push.reciprocal_deviation_offset = dure_vulkan_bind(&dispatch, &call->operands[4], DURE_READ);
  push.dx_offset =
      dure_vulkan_bind(&dispatch, dx, dure_vulkan_accumulates(call, 5) ? DURE_READ_WRITE : DURE_WRITE) / width;
  const struct {
    row_walk walk;
    uint32_t has_weight, accumulates;
  } constants = {row_walk_of(device, x, columns, width), dure_operand_is_present(weight),
                 dure_vulkan_accumulates(call, 5)};
  return dure_vulkan_dispatch_run(&dispatch,
                                  dure_vulkan_kernel_with_reduction(device, "layer_norm_gradient", width).text,
                                  &constants.walk.group_size, sizeof(constants) / 4, &push, sizeof(push), push.rows);
}

// ---- parameters --------------------------------------------------------------------------------------------------

static dure_vulkan_slabs parameter_slabs(const dure_device *device, const dure_op_call *call) {
  const dure_operand *x = &call->operands[1];
  return dure_vulkan_slabs_of(device, dure_operand_rows(x), dure_vulkan_last_dimension(x));
}

// The partial sums of dweight [slabs, columns], then those of dbias.
static uint64_t layer_norm_parameters_workspace(dure_device *device, const dure_op_call *call) {
  const dure_vulkan_slabs slabs = parameter_slabs(device, call);
  return slabs.count > 1 ? 2 * 4 * slabs.count * dure_vulkan_last_dimension(&call->operands[1]) : 0;
}

// A part of a workspace as an operand of floats.
static dure_operand floats_of(const dure_operand *workspace, uint64_t first, uint64_t count) {
  dure_operand part = *workspace;
  part.dtype = DURE_DTYPE_F32;
  part.offset += 4 * first;
  dure_operand_set_shape(&part, 1, &count);
  return part;
}

static dure_status record_parameter_slabs(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                          dure_vulkan_slabs slabs, const dure_operand *dweight, bool adds_weight,
                                          const dure_operand *dbias, bool adds_bias) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1];
  const uint64_t columns = dure_vulkan_last_dimension(x);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){dy, x, dweight, dbias}, 4, columns);
  const uint32_t constants[] = {
      dure_vulkan_group_size(device, 64), dure_vulkan_columns_each(device), adds_weight, adds_bias, dure_vulkan_type(x),
      dure_vulkan_type(dweight),          dure_vulkan_type(dbias)};
  struct {
    uint32_t rows, columns, rows_per_slab, column_blocks;
    uint32_t dy_offset, x_offset, mean_offset, reciprocal_deviation_offset, dweight_offset, dbias_offset;
  } push = {
      .rows = (uint32_t)dure_operand_rows(x),
      .columns = (uint32_t)(columns / width),
      .rows_per_slab = slabs.rows_each,
      .column_blocks = (uint32_t)dure_vulkan_ceil_divide(columns / width, (uint64_t)constants[0] * constants[1]),
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.dy_offset = dure_vulkan_bind(&dispatch, dy, DURE_READ) / width;
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.mean_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_READ);
  push.reciprocal_deviation_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_READ);
  push.dweight_offset = dure_vulkan_bind(&dispatch, dweight, adds_weight ? DURE_READ_WRITE : DURE_WRITE) / width;
  push.dbias_offset = dure_vulkan_bind(&dispatch, dbias, adds_bias ? DURE_READ_WRITE : DURE_WRITE) / width;
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("layer_norm_parameters", width).text,
                                  constants, 7, &push, sizeof(push), (uint64_t)push.column_blocks * slabs.count);
}

static dure_status record_layer_norm_parameters(dure_device *device, dure_recording *recording,
                                                const dure_op_call *call) {
  const dure_operand *dweight = &call->operands[4], *dbias = &call->operands[5];
  const uint64_t columns = dure_vulkan_last_dimension(&call->operands[1]);
  const dure_vulkan_slabs slabs = parameter_slabs(device, call);
  if (slabs.count <= 1) {
    return record_parameter_slabs(device, recording, call, slabs, dweight, dure_vulkan_accumulates(call, 4), dbias,
                                  dure_vulkan_accumulates(call, 5));
  }
  const uint64_t partial = slabs.count * columns;
  const dure_operand weights = floats_of(&call->workspace, 0, partial);
  const dure_operand biases = floats_of(&call->workspace, partial, partial);
  DURE_TRY(record_parameter_slabs(device, recording, call, slabs, &weights, false, &biases, false));
  const dure_vulkan_slabs whole = {.count = 1, .rows_each = slabs.count};
  DURE_TRY(dure_vulkan_record_sum_rows(device, recording, &weights, slabs.count, columns, whole, dweight,
                                       dure_vulkan_accumulates(call, 4)));
  return dure_vulkan_record_sum_rows(device, recording, &biases, slabs.count, columns, whole, dbias,
                                     dure_vulkan_accumulates(call, 5));
}

// ---- rms_norm ----------------------------------------------------------------------------------------------------

static dure_status record_rms_norm(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *weight = &call->operands[1], *y = &call->operands[2];
  const uint64_t columns = dure_vulkan_last_dimension(x);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){x, weight, y}, 3, columns);
  struct {
    uint32_t rows, columns;
    float reciprocal_columns, epsilon, weight_addend;
    uint32_t x_offset, weight_offset, y_offset, reciprocal_rms_offset;
  } push = {
      .rows = (uint32_t)dure_operand_rows(x),
      .columns = (uint32_t)(columns / width),
      .reciprocal_columns = 1.0f / (float)columns,
      .epsilon = call->attributes.rms_norm.epsilon,
      .weight_addend = call->attributes.rms_norm.weight_offset,
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.weight_offset = dure_vulkan_bind(&dispatch, weight, DURE_READ) / width;
  push.y_offset = dure_vulkan_bind(&dispatch, y, DURE_WRITE) / width;
  push.reciprocal_rms_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_WRITE);
  const struct {
    row_walk walk;
    uint32_t has_weight;
  } constants = {row_walk_of(device, x, columns, width), dure_operand_is_present(weight)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_with_reduction(device, "rms_norm", width).text,
                                  &constants.walk.group_size, sizeof(constants) / 4, &push, sizeof(push), push.rows);
}

static dure_status record_rms_norm_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1], *weight = &call->operands[2];
  const dure_operand *dx = &call->operands[4];
  const uint64_t columns = dure_vulkan_last_dimension(x);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){dy, x, weight, dx}, 4, columns);
  struct {
    uint32_t rows, columns;
    float reciprocal_columns, weight_addend;
    uint32_t dy_offset, x_offset, weight_offset, reciprocal_rms_offset, dx_offset;
  } push = {
      .rows = (uint32_t)dure_operand_rows(x),
      .columns = (uint32_t)(columns / width),
      .reciprocal_columns = 1.0f / (float)columns,
      .weight_addend = call->attributes.rms_norm.weight_offset,
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.dy_offset = dure_vulkan_bind(&dispatch, dy, DURE_READ) / width;
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.weight_offset = dure_vulkan_bind(&dispatch, weight, DURE_READ) / width;
  push.reciprocal_rms_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_READ);
  push.dx_offset =
      dure_vulkan_bind(&dispatch, dx, dure_vulkan_accumulates(call, 4) ? DURE_READ_WRITE : DURE_WRITE) / width;
  const struct {
    row_walk walk;
    uint32_t has_weight, accumulates;
  } constants = {row_walk_of(device, x, columns, width), dure_operand_is_present(weight),
                 dure_vulkan_accumulates(call, 4)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_with_reduction(device, "rms_norm_gradient", width).text,
                                  &constants.walk.group_size, sizeof(constants) / 4, &push, sizeof(push), push.rows);
}

// The partial sums of dweight [slabs, columns].
static uint64_t rms_norm_parameters_workspace(dure_device *device, const dure_op_call *call) {
  const dure_vulkan_slabs slabs = parameter_slabs(device, call);
  return slabs.count > 1 ? (uint64_t)4 * slabs.count * dure_vulkan_last_dimension(&call->operands[1]) : 0;
}

static dure_status record_rms_slabs(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                    dure_vulkan_slabs slabs, const dure_operand *dweight, bool accumulate) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1];
  const uint64_t columns = dure_vulkan_last_dimension(x);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){dy, x, dweight}, 3, columns);
  const uint32_t constants[] = {dure_vulkan_group_size(device, 64), dure_vulkan_columns_each(device), accumulate,
                                dure_vulkan_type(x), dure_vulkan_type(dweight)};
  struct {
    uint32_t rows, columns, rows_per_slab, column_blocks;
    uint32_t dy_offset, x_offset, reciprocal_rms_offset, dweight_offset;
  } push = {
      .rows = (uint32_t)dure_operand_rows(x),
      .columns = (uint32_t)(columns / width),
      .rows_per_slab = slabs.rows_each,
      .column_blocks = (uint32_t)dure_vulkan_ceil_divide(columns / width, (uint64_t)constants[0] * constants[1]),
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.dy_offset = dure_vulkan_bind(&dispatch, dy, DURE_READ) / width;
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.reciprocal_rms_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_READ);
  push.dweight_offset = dure_vulkan_bind(&dispatch, dweight, accumulate ? DURE_READ_WRITE : DURE_WRITE) / width;
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("rms_norm_parameters", width).text, constants,
                                  5, &push, sizeof(push), (uint64_t)push.column_blocks * slabs.count);
}

static dure_status record_rms_norm_parameters(dure_device *device, dure_recording *recording,
                                              const dure_op_call *call) {
  const dure_operand *dweight = &call->operands[3];
  const uint64_t columns = dure_vulkan_last_dimension(&call->operands[1]);
  const bool accumulates = dure_vulkan_accumulates(call, 3);
  const dure_vulkan_slabs slabs = parameter_slabs(device, call);
  if (slabs.count <= 1) return record_rms_slabs(device, recording, call, slabs, dweight, accumulates);
  const dure_operand partial = floats_of(&call->workspace, 0, slabs.count * columns);
  DURE_TRY(record_rms_slabs(device, recording, call, slabs, &partial, false));
  const dure_vulkan_slabs whole = {.count = 1, .rows_each = slabs.count};
  return dure_vulkan_record_sum_rows(device, recording, &partial, slabs.count, columns, whole, dweight, accumulates);
}

const dure_backend_op dure_vulkan_op_layer_norm = {.record = record_layer_norm, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_layer_norm_gradient = {.record = record_layer_norm_gradient, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_layer_norm_parameters = {
    .record = record_layer_norm_parameters, .workspace_bytes = layer_norm_parameters_workspace, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_rms_norm = {.record = record_rms_norm, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_rms_norm_gradient = {.record = record_rms_norm_gradient, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_rms_norm_parameters = {
    .record = record_rms_norm_parameters, .workspace_bytes = rms_norm_parameters_workspace, .takes_16_bit = true};
