// Expansion: calls too large for one binding or one dispatch become several smaller calls on parts of their operands.
// Column `expand` of ops.def. What is cut by rows, elements, sequences or the rows of a table; op_expand_*.c have the
// others.
#include <string.h>

#include "runtime/op_cut.h"

dure_status dure_expand_sum_rows(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                 void *context) {
  return dure_cut_rows(call, limits, "rs", sink, context);
}
dure_status dure_expand_sum(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink, void *context) {
  return dure_cut_rows(call, limits, "vs", sink, context);
}
dure_status dure_expand_layer_norm(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                   void *context) {
  return dure_cut_rows(call, limits, "r--rvv", sink, context);
}
dure_status dure_expand_layer_norm_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                            void *context) {
  return dure_cut_rows(call, limits, "rr-vvr", sink, context);
}
dure_status dure_expand_layer_norm_parameters(const dure_op_call *call, const dure_limits *limits,
                                              dure_expand_sink sink, void *context) {
  return dure_cut_rows(call, limits, "rrvvss", sink, context);
}
dure_status dure_expand_rms_norm(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                 void *context) {
  return dure_cut_rows(call, limits, "r-rv", sink, context);
}
dure_status dure_expand_rms_norm_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                          void *context) {
  return dure_cut_rows(call, limits, "rr-vr", sink, context);
}
dure_status dure_expand_rms_norm_parameters(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                            void *context) {
  return dure_cut_rows(call, limits, "rrvs", sink, context);
}
dure_status dure_expand_cross_entropy(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context) {
  return dure_cut_rows(call, limits, "rvvv", sink, context);
}
dure_status dure_expand_cross_entropy_gradient(const dure_op_call *call, const dure_limits *limits,
                                               dure_expand_sink sink, void *context) {
  return dure_cut_rows(call, limits, "vv-r", sink, context);
}

// Cut where blocks of 8-bit moments begin; parts say which elements of the whole they are.
dure_status dure_expand_adamw(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                              void *context) {
  enum { STEP = 1, STATE, RANDOM, PARAMETER, FIRST_SCALES = 8 };
  const uint64_t count = dure_operand_count(&call->operands[PARAMETER]);
  const uint64_t blocks = dure_cut_ceil_divide(count, DURE_MOMENT_BLOCK);
  uint64_t parts = dure_cut_parts_for_work(call, limits);
  for (uint32_t i = PARAMETER; i < FIRST_SCALES; i++)
    parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[i], blocks, limits));
  parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[0], blocks, limits));
  if (parts <= 1 || blocks <= 1) return sink(context, call);
  const uint64_t size = dure_cut_max(1, dure_cut_part_size(blocks, parts));
  for (uint64_t first = 0; first < blocks; first += size) {
    const uint64_t begin = first * DURE_MOMENT_BLOCK, end = (first + size) * DURE_MOMENT_BLOCK;
    dure_op_call part = *call;
    part.attributes.adamw.first_element += begin;
    for (uint32_t i = 0; i < dure_op_get(call->op)->operand_count; i++) {
      dure_operand *operand = &part.operands[i];
      if (!dure_operand_is_present(operand) || (i >= STEP && i <= RANDOM)) continue;
      const bool is_scales = i >= FIRST_SCALES;
      dure_operand_set_shape(operand, 1, is_scales ? &blocks : &count);
      if (is_scales) dure_cut_axis(operand, 0, first, (end < count ? size : blocks - first));
      if (!is_scales) dure_cut_axis(operand, 0, begin, (end < count ? end : count) - begin);
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

// Operands as large as the largest are cut, the others (step values, optimizer state) stay whole.
dure_status dure_expand_elements(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                 void *context) {
  const dure_op_row *row = dure_op_get(call->op);
  uint64_t largest = 0;
  for (uint32_t i = 0; i < row->operand_count; i++)
    largest = dure_cut_max(largest, dure_operand_count(&call->operands[i]));
  char roles[DURE_MAX_OPERANDS + 1] = "";
  for (uint32_t i = 0; i < row->operand_count; i++)
    roles[i] = dure_operand_count(&call->operands[i]) == largest ? 'v' : '-';
  return dure_cut_rows(call, limits, roles, sink, context);
}

// ---- calls over evenly spaced rows -----------------------------------------------------------------------------

// The operand's leading dimensions as one, `kept` trailing ones as they are.
static void flatten_leading(dure_operand *operand, uint32_t kept) {
  if (operand->rank <= kept) return;
  const uint32_t last = operand->rank - kept - 1;  // of the leading ones, whose stride is that of all
  uint64_t rows = 1;
  for (uint32_t i = 0; i <= last; i++) rows *= operand->shape[i];
  const uint64_t stride = operand->stride[last];
  for (uint32_t i = 0; i < kept; i++) {
    operand->shape[i + 1] = operand->shape[last + 1 + i];
    operand->stride[i + 1] = operand->stride[last + 1 + i];
  }
  operand->shape[0] = rows;
  operand->stride[0] = stride;
  operand->rank = kept + 1;
}

// gate and up, y or dy, dgate and dup: rows of all of them.
dure_status dure_expand_gated_activation(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                         void *context) {
  const uint32_t count = dure_op_get(call->op)->operand_count;
  const uint64_t rows = dure_operand_rows(&call->operands[0]);
  uint64_t parts = dure_cut_parts_for_work(call, limits);
  for (uint32_t i = 0; i < count; i++)
    parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[i], rows, limits));
  if (parts <= 1 || rows <= 1) return sink(context, call);
  const uint64_t size = dure_cut_max(1, dure_cut_part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    dure_op_call part = *call;
    for (uint32_t i = 0; i < count; i++) {
      dure_operand *operand = &part.operands[i];
      if (dure_operand_is_contiguous(operand)) {  // perhaps under another shape
        uint64_t flat[2] = {rows, dure_operand_count(operand) / rows};
        dure_operand_set_shape(operand, 2, flat);
      }
      flatten_leading(operand, 1);
      dure_cut_axis(operand, 0, first, rows - first < size ? rows - first : size);
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

// x, positions and y by positions of all sequences together; the table stays whole.
dure_status dure_expand_rotary(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                               void *context) {
  enum { X, POSITIONS, TABLE, Y };
  const uint64_t *shape = call->operands[X].shape;
  const uint64_t rows = shape[0] * shape[1];
  uint64_t parts = dure_cut_parts_for_work(call, limits);
  parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[X], rows, limits));
  parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[Y], rows, limits));
  if (parts <= 1 || rows <= 1) return sink(context, call);
  const uint64_t size = dure_cut_max(1, dure_cut_part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    const uint64_t count = rows - first < size ? rows - first : size;
    dure_op_call part = *call;
    dure_operand_set_shape(&part.operands[POSITIONS], 1, &rows);
    dure_cut_axis(&part.operands[POSITIONS], 0, first, count);
    const uint32_t cut[] = {X, Y};
    for (uint32_t i = 0; i < 2; i++) {
      dure_operand *operand = &part.operands[cut[i]];
      if (operand->rank != 4) dure_operand_set_shape(operand, 4, shape);
      operand->shape[0] = 1;
      operand->shape[1] = rows;
      dure_cut_axis(operand, 1, first, count);
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

// By positions of all sequences together.
dure_status dure_expand_copy_heads(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                   void *context) {
  const uint64_t *shape = call->operands[0].shape, rows = shape[0] * shape[1];
  uint64_t parts = dure_cut_parts_for_work(call, limits);
  for (uint32_t i = 0; i < 2; i++)
    parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[i], rows, limits));
  if (parts <= 1 || rows <= 1) return sink(context, call);
  const uint64_t size = dure_cut_max(1, dure_cut_part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    dure_op_call part = *call;
    for (uint32_t i = 0; i < 2; i++) {
      part.operands[i].shape[0] = 1;
      part.operands[i].shape[1] = rows;
      dure_cut_axis(&part.operands[i], 1, first, rows - first < size ? rows - first : size);
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

// ---- embedding -------------------------------------------------------------------------------------------------

// The table (operand `table`) is cut by its own rows; indices and rows of y stay whole in that pass.
static dure_status expand_table(const dure_op_call *call, const dure_limits *limits, uint32_t table,
                                dure_expand_sink sink, void *context) {
  uint64_t rows = call->operands[table].shape[0];
  uint64_t parts = dure_cut_parts_for_binding(&call->operands[table], rows, limits);
  if (parts <= 1) return sink(context, call);
  uint64_t size = dure_cut_max(1, dure_cut_part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    dure_op_call part = *call;
    dure_cut_axis(&part.operands[table], 0, first, rows - first < size ? rows - first : size);
    part.attributes.embedding.first_row = call->attributes.embedding.first_row + (uint32_t)first;
    if (part.attributes.embedding.row_count == 0) part.attributes.embedding.row_count = (uint32_t)rows;
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

typedef struct table_context {
  const dure_limits *limits;
  uint32_t table;
  dure_expand_sink sink;
  void *context;
} table_context;

static dure_status table_sink(void *context, const dure_op_call *call) {
  const table_context *next = context;
  return expand_table(call, next->limits, next->table, next->sink, next->context);
}

dure_status dure_expand_embedding(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                  void *context) {
  table_context next = {limits, 0, sink, context};
  return dure_cut_rows(call, limits, "-vr", table_sink, &next);
}

// Ranges of positions add up: the first one overwrites the table's gradient, the others add to it.
dure_status dure_expand_embedding_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                           void *context) {
  table_context next = {limits, 2, sink, context};
  return dure_cut_rows(call, limits, "vrs", table_sink, &next);
}

// ---- packed weights
// ---------------------------------------------------------------------------------------------------

// The packed rows are cut; indices and y stay whole in that pass, as with embedding.
static dure_status unpack_table(void *context, const dure_op_call *call) {
  enum { CODES, SCALES, MINIMA, COUNT };
  const table_context *next = context;
  const uint64_t rows = call->operands[CODES].shape[0], blocks = dure_operand_count(&call->operands[SCALES]) / rows;
  uint64_t parts = 1;
  for (uint32_t i = CODES; i < COUNT; i++)
    parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[i], rows, next->limits));
  if (parts <= 1) return next->sink(next->context, call);
  const uint64_t size = dure_cut_max(1, dure_cut_part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    dure_op_call part = *call;
    for (uint32_t i = CODES; i < COUNT; i++) {
      if (!dure_operand_is_present(&part.operands[i])) continue;
      if (i != CODES) dure_operand_set_shape(&part.operands[i], 2, (const uint64_t[]){rows, blocks});
      dure_cut_axis(&part.operands[i], 0, first, rows - first < size ? rows - first : size);
    }
    part.attributes.blocks.first_row = call->attributes.blocks.first_row + (uint32_t)first;
    if (part.attributes.blocks.row_count == 0) part.attributes.blocks.row_count = (uint32_t)rows;
    DURE_TRY(next->sink(next->context, &part));
  }
  return NULL;
}

dure_status dure_expand_unpack_blocks(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context) {
  enum { INDICES = 3 };
  if (!dure_operand_is_present(&call->operands[INDICES])) return dure_cut_rows(call, limits, "rrr-r", sink, context);
  table_context next = {limits, 0, sink, context};
  return dure_cut_rows(call, limits, "---vr", unpack_table, &next);
}

// ---- attention -------------------------------------------------------------------------------------------------

// Whether the rows of one sequence that `call` covers are within the limits. Operands are bound as far as needed: the
// rows themselves, and of the other side (keys; for the gradient queries too) those that they see or that see them.
static bool attention_rows_fit(const dure_op_call *call, const dure_limits *limits) {
  enum { Q, K };
  const dure_attention_attributes *a = &call->attributes.attention;
  if (dure_op_get(call->op)->cost(call).flops > limits->max_dispatch_flops) return false;
  const dure_operand *q = &call->operands[Q], *k = &call->operands[K];
  const uint64_t size = dure_dtype_size(q->dtype), length = q->shape[1];
  uint64_t others = a->window > 0 ? (uint64_t)a->row_count + a->window - 1 : length;
  others = others < length ? others : length;
  const uint64_t queries = call->op == DURE_OP_attention ? a->row_count : others;
  return queries * q->stride[1] * size <= dure_cut_usable_binding(limits) &&
         others * k->stride[1] * size <= dure_cut_usable_binding(limits);
}

// The most rows from first_row on that fit; multiples of the grain, so that tiles and results do not depend on the
// cuts.
static uint32_t attention_rows(const dure_op_call *call, const dure_limits *limits, uint32_t first_row) {
  const uint32_t left = (uint32_t)call->operands[0].shape[1] - first_row;
  dure_op_call part = *call;
  part.attributes.attention.first_row = first_row;
  uint32_t rows = 0;
  for (uint32_t next = DURE_CUT_GRAIN;; next += DURE_CUT_GRAIN) {
    part.attributes.attention.row_count = next < left ? next : left;
    if (rows > 0 && !attention_rows_fit(&part, limits)) return rows;
    rows = part.attributes.attention.row_count;
    if (rows == left) return rows;
  }
}

// Cut by sequences, and a sequence that is still too long by rows (attributes first_row and row_count).
dure_status dure_expand_attention(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                  void *context) {
  enum { Q, K, SLOPES = 4 };
  const dure_op_row *row = dure_op_get(call->op);
  dure_limits halved = *limits;  // 16-bit operands may be copied as f32 into a workspace, which is bound then
  halved.max_binding_bytes /= 2;
  if (dure_dtype_size(call->operands[0].dtype) == 2) limits = &halved;
  uint64_t batch = call->operands[0].shape[0], length = call->operands[0].shape[1],
           parts = dure_cut_parts_for_work(call, limits);
  for (uint32_t i = 0; i < row->operand_count; i++) {
    if (i != SLOPES) parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[i], batch, limits));
  }
  const bool by_rows = parts > batch ||
                       dure_operand_span(&call->operands[Q]) / batch > dure_cut_usable_binding(limits) ||
                       dure_operand_span(&call->operands[K]) / batch > dure_cut_usable_binding(limits);
  if (parts <= 1 && !by_rows) return sink(context, call);
  uint64_t size = by_rows ? 1 : dure_cut_ceil_divide(batch, parts);
  for (uint64_t first = 0; first < batch; first += size) {
    uint64_t count = batch - first < size ? batch - first : size;
    dure_op_call part = *call;
    for (uint32_t i = 0; i < row->operand_count; i++) {
      dure_operand *operand = &part.operands[i];
      if (i == SLOPES || !dure_operand_is_present(operand)) continue;
      if (operand->shape[0] != batch) {  // given under another shape: [B, ...] all the same
        uint64_t flat[2] = {batch, dure_operand_count(operand) / batch};
        dure_operand_set_shape(operand, 2, flat);
      }
      dure_cut_axis(operand, 0, first, count);
    }
    if (!by_rows) {
      DURE_TRY(sink(context, &part));
      continue;
    }
    for (uint32_t t = 0; t < length; t += part.attributes.attention.row_count) {
      part.attributes.attention.first_row = t;
      part.attributes.attention.row_count = attention_rows(&part, limits, t);
      DURE_TRY(sink(context, &part));
    }
  }
  return NULL;
}
