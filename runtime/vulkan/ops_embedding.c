// embedding, embedding_gradient.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

static dure_status record_embedding(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *table = &call->operands[0], *indices = &call->operands[1], *y = &call->operands[2];
  const bool accumulates = dure_vulkan_accumulates(call, 2);
  const uint64_t columns = dure_vulkan_last_dimension(table);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){table, y}, 2, columns);
  struct {
    uint32_t rows, columns, first_row, table_rows, row_count, table_offset, indices_offset, y_offset;
  } push = {
      .rows = (uint32_t)dure_operand_count(indices),
      .columns = (uint32_t)(columns / width),
      .first_row = call->attributes.embedding.first_row,
      .table_rows = (uint32_t)dure_operand_rows(table),
      .row_count = call->attributes.embedding.row_count,
  };
  if (push.row_count == 0) push.row_count = push.table_rows;
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.table_offset = dure_vulkan_bind(&dispatch, table, DURE_READ) / width;
  push.indices_offset = dure_vulkan_bind(&dispatch, indices, DURE_READ);
  push.y_offset = dure_vulkan_bind(&dispatch, y, accumulates ? DURE_READ_WRITE : DURE_WRITE) / width;
  const uint32_t constants[] = {dure_vulkan_group_size_over(device, 128, push.columns), accumulates};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("embedding", width).text, constants, 2, &push,
                                  sizeof(push), push.rows);
}

// ---- gradient ----------------------------------------------------------------------------------------------------

// Positions linked and summed at a time. An invocation walks at most this many links, which stays under the limit on
// loops; and the chain, of 8 bytes a position, is one binding.
enum { POSITIONS_MOST = 16384 };

static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t positions_at_a_time(const dure_device *device, const dure_op_call *call) {
  const dure_limits *limits = &device->info.limits;
  const uint64_t in_binding = (limits->max_binding_bytes - limits->offset_alignment) / 8;
  const uint64_t most = least_of(POSITIONS_MOST, least_of(in_binding, limits->max_loop_iterations / 2));
  return least_of(most, dure_operand_count(&call->operands[0]));
}

// next [positions] and continued [positions] of embedding_chain.comp.
static uint64_t embedding_gradient_workspace(dure_device *device, const dure_op_call *call) {
  return 2 * 4 * positions_at_a_time(device, call);
}

static dure_status record_chain(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                uint64_t first, uint64_t count) {
  const dure_operand *workspace = &call->workspace;
  DURE_TRY(dure_recording_fill(recording, workspace->buffer, workspace->offset + 4 * count, 4 * count, 0));
  struct {
    uint32_t rows, indices_offset, chain_offset;
  } push = {.rows = (uint32_t)count};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.indices_offset = dure_vulkan_bind_elements(&dispatch, &call->operands[0], first, count, DURE_READ);
  push.chain_offset = dure_vulkan_bind_words(&dispatch, workspace, 0, 2 * count, DURE_WRITE);
  // A load costs lavapipe as much as all these comparisons.
  const uint32_t constants[] = {dure_vulkan_group_size(device, 64), dure_vulkan_is_software(device) ? 8 : 1};
  return dure_vulkan_dispatch_run(&dispatch, "embedding_chain", constants, 2, &push, sizeof(push),
                                  dure_vulkan_ceil_divide(count, (uint64_t)constants[0] * constants[1]));
}

static dure_status record_chained_sums(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                       uint64_t first, uint64_t count) {
  const dure_operand *indices = &call->operands[0], *dy = &call->operands[1], *dtable = &call->operands[2];
  const uint64_t columns = dure_vulkan_last_dimension(dtable);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){dy, dtable}, 2, columns);
  const uint32_t constants[] = {dure_vulkan_group_size(device, 128), dure_vulkan_is_software(device) ? 8 : 1};
  struct {
    uint32_t rows, columns, column_blocks, first_row, table_rows;
    uint32_t indices_offset, chain_offset, dy_offset, dtable_offset;
  } push = {
      .rows = (uint32_t)count,
      .columns = (uint32_t)(columns / width),
      .column_blocks = (uint32_t)dure_vulkan_ceil_divide(columns / width, (uint64_t)constants[0] * constants[1]),
      .first_row = call->attributes.embedding.first_row,
      .table_rows = (uint32_t)dure_operand_rows(dtable),
  };
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.indices_offset = dure_vulkan_bind_elements(&dispatch, indices, first, count, DURE_READ);
  push.chain_offset = dure_vulkan_bind_words(&dispatch, &call->workspace, 0, 2 * count, DURE_READ);
  push.dy_offset = dure_vulkan_bind_elements(&dispatch, dy, first * columns, count * columns, DURE_READ) / width;
  push.dtable_offset = dure_vulkan_bind(&dispatch, dtable, DURE_READ_WRITE) / width;
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("embedding_gradient", width).text, constants,
                                  2, &push, sizeof(push), count * push.column_blocks);
}

static dure_status record_embedding_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *dtable = &call->operands[2];
  if (!dure_vulkan_accumulates(call, 2)) {
    DURE_TRY(dure_recording_fill(recording, dtable->buffer, dtable->offset, dure_operand_span(dtable), 0));
  }
  const uint64_t rows = dure_operand_count(&call->operands[0]);
  const uint64_t most = positions_at_a_time(device, call);
  for (uint64_t first = 0; first < rows; first += most) {
    const uint64_t count = rows - first < most ? rows - first : most;
    DURE_TRY(record_chain(device, recording, call, first, count));
    DURE_TRY(record_chained_sums(device, recording, call, first, count));
  }
  return NULL;
}

const dure_backend_op dure_vulkan_op_embedding = {.record = record_embedding};
const dure_backend_op dure_vulkan_op_embedding_gradient = {.record = record_embedding_gradient,
                                                           .workspace_bytes = embedding_gradient_workspace};
