// sum_rows, sum, square_sum: one stage, or two with partial sums in the workspace.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

// ---- sum_rows ----------------------------------------------------------------------------------------------------

dure_status dure_vulkan_record_sum_rows(dure_device *device, dure_recording *recording, const dure_operand *x,
                                        uint64_t rows, uint64_t columns, dure_vulkan_slabs slabs, const dure_operand *y,
                                        bool accumulate) {
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){x, y}, 2, columns);
  const uint32_t constants[] = {dure_vulkan_group_size(device, 64), dure_vulkan_columns_each(device), accumulate,
                                dure_vulkan_type(x), dure_vulkan_type(y)};
  struct {
    uint32_t rows, columns, rows_per_slab, column_blocks, x_offset, y_offset;
  } push = {
      .rows = (uint32_t)rows,
      .columns = (uint32_t)(columns / width),
      .rows_per_slab = slabs.rows_each,
      .column_blocks = (uint32_t)dure_vulkan_ceil_divide(columns / width, (uint64_t)constants[0] * constants[1]),
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind_elements(&dispatch, x, 0, rows * columns, DURE_READ) / width;
  const dure_access access = accumulate ? DURE_READ_WRITE : DURE_WRITE;
  push.y_offset = dure_vulkan_bind_elements(&dispatch, y, 0, slabs.count * columns, access) / width;
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("sum_rows", width).text, constants, 5, &push,
                                  sizeof(push), (uint64_t)push.column_blocks * slabs.count);
}

static dure_vulkan_slabs sum_rows_slabs(const dure_device *device, const dure_op_call *call) {
  return dure_vulkan_slabs_of(device, dure_operand_rows(&call->operands[0]), dure_operand_count(&call->operands[1]));
}

static uint64_t sum_rows_workspace(dure_device *device, const dure_op_call *call) {
  const dure_vulkan_slabs slabs = sum_rows_slabs(device, call);
  return slabs.count > 1 ? 4 * slabs.count * dure_operand_count(&call->operands[1]) : 0;
}

static dure_status record_sum_rows(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const bool accumulates = dure_vulkan_accumulates(call, 1);
  const uint64_t rows = dure_operand_rows(x), columns = dure_operand_count(y);
  const dure_vulkan_slabs slabs = sum_rows_slabs(device, call);
  if (slabs.count <= 1) {
    return dure_vulkan_record_sum_rows(device, recording, x, rows, columns, slabs, y, accumulates);
  }
  DURE_TRY(dure_vulkan_record_sum_rows(device, recording, x, rows, columns, slabs, &call->workspace, false));
  const dure_vulkan_slabs whole = {.count = 1, .rows_each = slabs.count};
  return dure_vulkan_record_sum_rows(device, recording, &call->workspace, slabs.count, columns, whole, y, accumulates);
}

// ---- sum, square_sum ---------------------------------------------------------------------------------------------

// Floats a workgroup at least (a multiple of 4), and workgroups at most.
enum { PART_LEAST = 16384, PARTS_MOST = 1024 };

typedef struct sum_parts {
  uint64_t count, each;
} sum_parts;

static sum_parts sum_parts_of(uint64_t element_count) {
  uint64_t each = dure_vulkan_ceil_divide(element_count, PARTS_MOST);
  each = each < PART_LEAST ? PART_LEAST : dure_vulkan_ceil_divide(each, 4) * 4;
  return (sum_parts){.count = dure_vulkan_ceil_divide(element_count, each), .each = each};
}

static uint64_t sum_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  const sum_parts parts = sum_parts_of(dure_operand_count(&call->operands[0]));
  return parts.count > 1 ? 4 * parts.count : 0;
}

static dure_status record_sum_stage(dure_device *device, dure_recording *recording, const dure_operand *x,
                                    uint64_t element_count, sum_parts parts, bool is_square, const dure_operand *y,
                                    bool accumulate) {
  struct {
    uint32_t count, count_per_group, x_offset, y_offset;
  } push = {.count = (uint32_t)element_count, .count_per_group = (uint32_t)parts.each};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind_elements(&dispatch, x, 0, element_count, DURE_READ);
  push.y_offset = dure_vulkan_bind_elements(&dispatch, y, 0, parts.count, accumulate ? DURE_READ_WRITE : DURE_WRITE);
  const bool is_texel = dure_vulkan_reads_texels(device, x) && dure_vulkan_device_has_kernel(device, "sum_texel");
  const uint32_t group_size = dure_vulkan_group_size(device, 256);
  const uint32_t constants[] = {group_size, dure_vulkan_is_single_subgroup(device, group_size), is_square, accumulate,
                                dure_vulkan_type(x)};
  if (is_texel) {
    dure_vulkan_bind_elements(&dispatch, x, 0, element_count, DURE_READ);
    return dure_vulkan_dispatch_run(&dispatch, "sum_texel", constants, 5, &push, sizeof(push), parts.count);
  }
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_with_reduction(device, "sum", 1).text, constants, 5,
                                  &push, sizeof(push), parts.count);
}

static dure_status record_sum_of(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                 bool is_square) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const bool accumulates = dure_vulkan_accumulates(call, 1);
  const uint64_t count = dure_operand_count(x);
  const sum_parts parts = sum_parts_of(count);
  if (parts.count <= 1) return record_sum_stage(device, recording, x, count, parts, is_square, y, accumulates);
  DURE_TRY(record_sum_stage(device, recording, x, count, parts, is_square, &call->workspace, false));
  const sum_parts whole = {.count = 1, .each = PART_LEAST};
  return record_sum_stage(device, recording, &call->workspace, parts.count, whole, false, y, accumulates);
}

static dure_status record_sum(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  return record_sum_of(device, recording, call, false);
}

static dure_status record_square_sum(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  return record_sum_of(device, recording, call, true);
}

const dure_backend_op dure_vulkan_op_sum_rows = {
    .record = record_sum_rows, .workspace_bytes = sum_rows_workspace, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_sum = {
    .record = record_sum, .workspace_bytes = sum_workspace, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_square_sum = {
    .record = record_square_sum, .workspace_bytes = sum_workspace, .takes_16_bit = true};
