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
  const uint32_t constants[] = {dure_vulkan_group_size_over(device, 128, push.columns), accumulates,
                                dure_vulkan_type(table)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("embedding", width).text, constants, 3, &push,
                                  sizeof(push), push.rows);
}

// ---- gradient ----------------------------------------------------------------------------------------------------
//
// Positions are sorted by index, `most` at a time; pieces of the sorted list are summed side by side. The workspace:
//   entries [2, most] pairs of words, between which the passes of the sort go back and forth
//   partials [pieces, 2, columns] f32 (shaders/embedding_gradient.comp)

enum { POSITIONS_MOST = 16384, PIECE = 32, DIGIT_BITS = 4 };

static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

// An invocation that sorts on a software driver walks a quarter of the positions twice, well under its limit on loops.
static uint64_t positions_at_a_time(const dure_device *device, const dure_op_call *call) {
  const dure_limits *limits = &device->info.limits;
  const uint64_t columns = dure_vulkan_last_dimension(&call->operands[2]);
  const uint64_t usable = limits->max_binding_bytes - limits->offset_alignment;
  const uint64_t in_bindings = least_of(usable / 8, usable / (8 * columns) * PIECE);
  uint64_t most = least_of(POSITIONS_MOST, least_of(in_bindings, limits->max_loop_iterations));
  if (most >= PIECE) most = most / PIECE * PIECE;
  return least_of(most > 0 ? most : 1, dure_operand_count(&call->operands[0]));
}

static uint64_t partials_begin(uint64_t most) { return dure_vulkan_ceil_divide(16 * most, 256) * 256; }

static uint64_t embedding_gradient_workspace(dure_device *device, const dure_op_call *call) {
  const uint64_t most = positions_at_a_time(device, call), pieces = dure_vulkan_ceil_divide(most, PIECE);
  return partials_begin(most) + 8 * pieces * dure_vulkan_last_dimension(&call->operands[2]);
}

// Parts of the workspace as operands of words.
typedef struct gradient_parts {
  dure_operand entries[2], partials;
} gradient_parts;

static dure_operand part_of(const dure_operand *workspace, uint64_t offset, uint64_t words) {
  dure_operand part = {.dtype = DURE_DTYPE_U32, .buffer = workspace->buffer, .offset = workspace->offset + offset};
  dure_operand_set_shape(&part, 1, &words);
  return part;
}

static gradient_parts parts_of(const dure_op_call *call, uint64_t most) {
  const uint64_t columns = dure_vulkan_last_dimension(&call->operands[2]);
  const uint64_t pieces = dure_vulkan_ceil_divide(most, PIECE);
  gradient_parts parts = {
      .entries = {part_of(&call->workspace, 0, 2 * most), part_of(&call->workspace, 8 * most, 2 * most)},
      .partials = part_of(&call->workspace, partials_begin(most), 2 * pieces * columns)};
  parts.partials.dtype = DURE_DTYPE_F32;
  return parts;
}

static uint32_t bits_of(uint32_t value) {
  uint32_t bits = 0;
  for (; value > 0; value >>= 1) bits++;
  return bits;
}

// Leaves the sorted entries in parts->entries[0].
static dure_status record_sort(dure_device *device, dure_recording *recording, const dure_op_call *call, uint64_t first,
                               uint64_t count, gradient_parts *parts) {
  struct {
    uint32_t rows, row_count, shift, indices_offset, from_offset, to_offset;
  } push = {.rows = (uint32_t)count, .row_count = call->attributes.embedding.row_count};
  for (push.shift = 0; push.shift < bits_of(push.row_count); push.shift += DIGIT_BITS) {
    dure_vulkan_dispatch dispatch;
    dure_vulkan_dispatch_begin(&dispatch, device, recording);
    push.indices_offset = dure_vulkan_bind_words(&dispatch, &call->operands[0], first, count, DURE_READ);
    push.from_offset = dure_vulkan_bind_words(&dispatch, &parts->entries[0], 0, 2 * count, DURE_READ) / 2;
    push.to_offset = dure_vulkan_bind_words(&dispatch, &parts->entries[1], 0, 2 * count, DURE_WRITE) / 2;
    const uint32_t constants[] = {dure_vulkan_group_size(device, 128), push.shift == 0};
    DURE_TRY(dure_vulkan_dispatch_run(&dispatch, "embedding_sort", constants, 2, &push, sizeof(push), 1));
    const dure_operand sorted = parts->entries[1];
    parts->entries[1] = parts->entries[0];
    parts->entries[0] = sorted;
  }
  return NULL;
}

typedef struct gradient_columns {
  uint32_t width, group_size, each, blocks;
} gradient_columns;

static gradient_columns gradient_columns_of(const dure_device *device, const dure_op_call *call) {
  const dure_operand *dy = &call->operands[1], *dtable = &call->operands[2];
  const uint64_t columns = dure_vulkan_last_dimension(dtable);
  gradient_columns c = {.width = dure_vulkan_width((const dure_operand *const[]){dy, dtable}, 2, columns),
                        .group_size = dure_vulkan_group_size(device, 128),
                        .each = dure_vulkan_is_software(device) ? 8 : 1};
  c.blocks = (uint32_t)dure_vulkan_ceil_divide(columns / c.width, (uint64_t)c.group_size * c.each);
  return c;
}

static dure_status record_piece_sums(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                     uint64_t first, uint64_t count, const gradient_parts *parts) {
  const dure_operand *dy = &call->operands[1], *dtable = &call->operands[2];
  const uint64_t columns = dure_vulkan_last_dimension(dtable);
  const gradient_columns by = gradient_columns_of(device, call);
  struct {
    uint32_t rows, columns, column_blocks, first_row, table_rows;
    uint32_t sorted_offset, dy_offset, dtable_offset, partials_offset;
  } push = {.rows = (uint32_t)count,
            .columns = (uint32_t)(columns / by.width),
            .column_blocks = by.blocks,
            .first_row = call->attributes.embedding.first_row,
            .table_rows = (uint32_t)dure_operand_rows(dtable)};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.sorted_offset = dure_vulkan_bind_words(&dispatch, &parts->entries[0], 0, 2 * count, DURE_READ) / 2;
  push.dy_offset = dure_vulkan_bind_elements(&dispatch, dy, first * columns, count * columns, DURE_READ) / by.width;
  push.dtable_offset = dure_vulkan_bind(&dispatch, dtable, DURE_READ_WRITE) / by.width;
  push.partials_offset = dure_vulkan_bind(&dispatch, &parts->partials, DURE_WRITE) / by.width;
  const uint32_t constants[] = {by.group_size, by.each, dure_vulkan_type(dy), dure_vulkan_type(dtable)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("embedding_gradient", by.width).text,
                                  constants, 4, &push, sizeof(push), dure_vulkan_ceil_divide(count, PIECE) * by.blocks);
}

static dure_status record_long_sums(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                    uint64_t count, const gradient_parts *parts) {
  const dure_operand *dtable = &call->operands[2];
  const gradient_columns by = gradient_columns_of(device, call);
  struct {
    uint32_t rows, columns, column_blocks, first_row, table_rows, sorted_offset, partials_offset, dtable_offset;
  } push = {.rows = (uint32_t)count,
            .columns = (uint32_t)(dure_vulkan_last_dimension(dtable) / by.width),
            .column_blocks = by.blocks,
            .first_row = call->attributes.embedding.first_row,
            .table_rows = (uint32_t)dure_operand_rows(dtable)};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.sorted_offset = dure_vulkan_bind_words(&dispatch, &parts->entries[0], 0, 2 * count, DURE_READ) / 2;
  push.partials_offset = dure_vulkan_bind(&dispatch, &parts->partials, DURE_READ) / by.width;
  push.dtable_offset = dure_vulkan_bind(&dispatch, dtable, DURE_READ_WRITE) / by.width;
  const uint32_t constants[] = {by.group_size, by.each, dure_vulkan_type(dtable)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("embedding_gradient_pieces", by.width).text,
                                  constants, 3, &push, sizeof(push), dure_vulkan_ceil_divide(count, PIECE) * by.blocks);
}

static dure_status record_embedding_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *dtable = &call->operands[2];
  if (!dure_vulkan_accumulates(call, 2)) {
    const dure_op_call zeros = {.op = DURE_OP_fill, .operands = {*dtable}};
    DURE_TRY(dure_vulkan_op_fill.record(device, recording, &zeros));
  }
  const uint64_t rows = dure_operand_count(&call->operands[0]);
  const uint64_t most = positions_at_a_time(device, call);
  for (uint64_t first = 0; first < rows; first += most) {
    const uint64_t count = rows - first < most ? rows - first : most;
    gradient_parts parts = parts_of(call, most);
    DURE_TRY(record_sort(device, recording, call, first, count, &parts));
    DURE_TRY(record_piece_sums(device, recording, call, first, count, &parts));
    if (count > PIECE) DURE_TRY(record_long_sums(device, recording, call, count, &parts));
  }
  return NULL;
}

const dure_backend_op dure_vulkan_op_embedding = {.record = record_embedding, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_embedding_gradient = {
    .record = record_embedding_gradient, .workspace_bytes = embedding_gradient_workspace, .takes_16_bit = true};
