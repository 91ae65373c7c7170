// Expansion: calls too large for one binding or one dispatch become several smaller calls on parts of their operands.
// Column `expand` of ops.def. The cuts depend on shapes and the device's fixed limits only, so results are repeatable.
#include <string.h>

#include "runtime/op_rules.h"

// Rows of a cut are multiples of this, so that aligned operands stay aligned.
enum { CUT_GRAIN = 64 };

static uint64_t ceil_divide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
static uint64_t max_of(uint64_t a, uint64_t b) { return a > b ? a : b; }

// A binding starts at an aligned byte before its operand: that much of the limit may be lost.
static uint64_t usable_binding(const dure_limits *limits) {
  return limits->max_binding_bytes > 2 * limits->offset_alignment ? limits->max_binding_bytes - limits->offset_alignment
                                                                  : 1;
}

// How many parts an operand of `units` rows (or batches) must be cut into, as far as its size goes. Counted in whole
// units to a binding, so that a part of ceil(units / parts) fits one too.
static uint64_t parts_for_binding(const dure_operand *operand, uint64_t units, const dure_limits *limits) {
  if (dure_operand_span(operand) <= usable_binding(limits)) return 1;
  uint64_t unit_bytes = ceil_divide(dure_operand_span(operand), units);
  return ceil_divide(units, max_of(1, usable_binding(limits) / unit_bytes));
}

static uint64_t parts_for_work(const dure_op_call *call, const dure_limits *limits) {
  double flops = dure_op_get(call->op)->cost(call).flops;
  if (!(flops > limits->max_dispatch_flops)) return 1;
  double parts = flops / limits->max_dispatch_flops;
  return parts > 1e9 ? 1000000000u : (uint64_t)parts + 1;
}

// Units a part, a multiple of the grain unless that would be everything.
static uint64_t part_size(uint64_t units, uint64_t parts) {
  if (parts <= 1) return units;
  uint64_t size = ceil_divide(units, parts);
  return size >= CUT_GRAIN ? size / CUT_GRAIN * CUT_GRAIN : size;
}

// Restricts one axis of an operand to [first, first + count).
static void cut_axis(dure_operand *operand, uint32_t axis, uint64_t first, uint64_t count) {
  operand->offset += first * operand->stride[axis] * dure_dtype_size(operand->dtype);
  operand->shape[axis] = count;
}

// ---- calls cut along one dimension of rows ---------------------------------------------------------------------

// How each operand takes part when a call over R rows is cut into ranges of rows, one letter an operand:
//   r  [.., C]: cut by rows           v  [R]: cut by elements
//   s  a sum over rows: whole, overwritten by the first part and added to by the others      -  whole
static dure_status expand_rows(const dure_op_call *call, const dure_limits *limits, const char *roles,
                               dure_expand_sink sink, void *context) {
  uint64_t rows = 0, parts = parts_for_work(call, limits);
  for (uint32_t i = 0; roles[i] != '\0'; i++) {
    const dure_operand *operand = &call->operands[i];
    if (!dure_operand_is_present(operand) || (roles[i] != 'r' && roles[i] != 'v')) continue;
    rows = roles[i] == 'r' ? dure_operand_rows(operand) : dure_operand_count(operand);
    parts = max_of(parts, parts_for_binding(operand, rows, limits));
  }
  if (parts <= 1 || rows <= 1) return sink(context, call);
  uint64_t size = max_of(1, part_size(rows, parts));

  for (uint64_t first = 0; first < rows; first += size) {
    uint64_t count = rows - first < size ? rows - first : size;
    dure_op_call part = *call;
    for (uint32_t i = 0; roles[i] != '\0'; i++) {
      dure_operand *operand = &part.operands[i];
      if (!dure_operand_is_present(operand)) continue;
      if (roles[i] == 'r') {
        uint64_t flat[2] = {rows, operand->rank == 0 ? 1 : operand->shape[operand->rank - 1]};
        dure_operand_set_shape(operand, 2, flat);
        cut_axis(operand, 0, first, count);
      } else if (roles[i] == 'v') {
        dure_operand_set_shape(operand, 1, &rows);
        cut_axis(operand, 0, first, count);
      } else if (roles[i] == 's' && first > 0) {
        part.accumulate |= 1u << i;
      }
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

dure_status dure_expand_sum_rows(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                 void *context) {
  return expand_rows(call, limits, "rs", sink, context);
}
dure_status dure_expand_sum(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink, void *context) {
  return expand_rows(call, limits, "vs", sink, context);
}
dure_status dure_expand_layer_norm(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                   void *context) {
  return expand_rows(call, limits, "r--rvv", sink, context);
}
dure_status dure_expand_layer_norm_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                            void *context) {
  return expand_rows(call, limits, "rr-vvr", sink, context);
}
dure_status dure_expand_layer_norm_parameters(const dure_op_call *call, const dure_limits *limits,
                                              dure_expand_sink sink, void *context) {
  return expand_rows(call, limits, "rrvvss", sink, context);
}
dure_status dure_expand_rms_norm(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                 void *context) {
  return expand_rows(call, limits, "r-rv", sink, context);
}
dure_status dure_expand_rms_norm_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                          void *context) {
  return expand_rows(call, limits, "rr-vr", sink, context);
}
dure_status dure_expand_rms_norm_parameters(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                            void *context) {
  return expand_rows(call, limits, "rrvs", sink, context);
}
dure_status dure_expand_cross_entropy(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context) {
  return expand_rows(call, limits, "rvvv", sink, context);
}
dure_status dure_expand_cross_entropy_gradient(const dure_op_call *call, const dure_limits *limits,
                                               dure_expand_sink sink, void *context) {
  return expand_rows(call, limits, "vv-r", sink, context);
}

// Cut where blocks of 8-bit moments begin; parts say which elements of the whole they are.
dure_status dure_expand_adamw(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                              void *context) {
  enum { STEP = 1, STATE, RANDOM, PARAMETER, FIRST_SCALES = 8 };
  const uint64_t count = dure_operand_count(&call->operands[PARAMETER]);
  const uint64_t blocks = ceil_divide(count, DURE_MOMENT_BLOCK);
  uint64_t parts = parts_for_work(call, limits);
  for (uint32_t i = PARAMETER; i < FIRST_SCALES; i++)
    parts = max_of(parts, parts_for_binding(&call->operands[i], blocks, limits));
  parts = max_of(parts, parts_for_binding(&call->operands[0], blocks, limits));
  if (parts <= 1 || blocks <= 1) return sink(context, call);
  const uint64_t size = max_of(1, part_size(blocks, parts));
  for (uint64_t first = 0; first < blocks; first += size) {
    const uint64_t begin = first * DURE_MOMENT_BLOCK, end = (first + size) * DURE_MOMENT_BLOCK;
    dure_op_call part = *call;
    part.attributes.adamw.first_element += begin;
    for (uint32_t i = 0; i < dure_op_get(call->op)->operand_count; i++) {
      dure_operand *operand = &part.operands[i];
      if (!dure_operand_is_present(operand) || (i >= STEP && i <= RANDOM)) continue;
      const bool is_scales = i >= FIRST_SCALES;
      dure_operand_set_shape(operand, 1, is_scales ? &blocks : &count);
      if (is_scales) cut_axis(operand, 0, first, (end < count ? size : blocks - first));
      if (!is_scales) cut_axis(operand, 0, begin, (end < count ? end : count) - begin);
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
  for (uint32_t i = 0; i < row->operand_count; i++) largest = max_of(largest, dure_operand_count(&call->operands[i]));
  char roles[DURE_MAX_OPERANDS + 1] = "";
  for (uint32_t i = 0; i < row->operand_count; i++)
    roles[i] = dure_operand_count(&call->operands[i]) == largest ? 'v' : '-';
  return expand_rows(call, limits, roles, sink, context);
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
  uint64_t parts = parts_for_work(call, limits);
  for (uint32_t i = 0; i < count; i++) parts = max_of(parts, parts_for_binding(&call->operands[i], rows, limits));
  if (parts <= 1 || rows <= 1) return sink(context, call);
  const uint64_t size = max_of(1, part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    dure_op_call part = *call;
    for (uint32_t i = 0; i < count; i++) {
      dure_operand *operand = &part.operands[i];
      if (dure_operand_is_contiguous(operand)) {  // perhaps under another shape
        uint64_t flat[2] = {rows, dure_operand_count(operand) / rows};
        dure_operand_set_shape(operand, 2, flat);
      }
      flatten_leading(operand, 1);
      cut_axis(operand, 0, first, rows - first < size ? rows - first : size);
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
  uint64_t parts = parts_for_work(call, limits);
  parts = max_of(parts, parts_for_binding(&call->operands[X], rows, limits));
  parts = max_of(parts, parts_for_binding(&call->operands[Y], rows, limits));
  if (parts <= 1 || rows <= 1) return sink(context, call);
  const uint64_t size = max_of(1, part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    const uint64_t count = rows - first < size ? rows - first : size;
    dure_op_call part = *call;
    dure_operand_set_shape(&part.operands[POSITIONS], 1, &rows);
    cut_axis(&part.operands[POSITIONS], 0, first, count);
    const uint32_t cut[] = {X, Y};
    for (uint32_t i = 0; i < 2; i++) {
      dure_operand *operand = &part.operands[cut[i]];
      if (operand->rank != 4) dure_operand_set_shape(operand, 4, shape);
      operand->shape[0] = 1;
      operand->shape[1] = rows;
      cut_axis(operand, 1, first, count);
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

// By positions of all sequences together.
dure_status dure_expand_copy_heads(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                   void *context) {
  const uint64_t *shape = call->operands[0].shape, rows = shape[0] * shape[1];
  uint64_t parts = parts_for_work(call, limits);
  for (uint32_t i = 0; i < 2; i++) parts = max_of(parts, parts_for_binding(&call->operands[i], rows, limits));
  if (parts <= 1 || rows <= 1) return sink(context, call);
  const uint64_t size = max_of(1, part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    dure_op_call part = *call;
    for (uint32_t i = 0; i < 2; i++) {
      part.operands[i].shape[0] = 1;
      part.operands[i].shape[1] = rows;
      cut_axis(&part.operands[i], 1, first, rows - first < size ? rows - first : size);
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
  uint64_t parts = parts_for_binding(&call->operands[table], rows, limits);
  if (parts <= 1) return sink(context, call);
  uint64_t size = max_of(1, part_size(rows, parts));
  for (uint64_t first = 0; first < rows; first += size) {
    dure_op_call part = *call;
    cut_axis(&part.operands[table], 0, first, rows - first < size ? rows - first : size);
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
  return expand_rows(call, limits, "-vr", table_sink, &next);
}

// Ranges of positions add up: the first one overwrites the table's gradient, the others add to it.
dure_status dure_expand_embedding_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                           void *context) {
  table_context next = {limits, 2, sink, context};
  return expand_rows(call, limits, "vrs", table_sink, &next);
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
  return queries * q->stride[1] * size <= usable_binding(limits) &&
         others * k->stride[1] * size <= usable_binding(limits);
}

// The most rows from first_row on that fit; multiples of the grain, so that tiles and results do not depend on the
// cuts.
static uint32_t attention_rows(const dure_op_call *call, const dure_limits *limits, uint32_t first_row) {
  const uint32_t left = (uint32_t)call->operands[0].shape[1] - first_row;
  dure_op_call part = *call;
  part.attributes.attention.first_row = first_row;
  uint32_t rows = 0;
  for (uint32_t next = CUT_GRAIN;; next += CUT_GRAIN) {
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
           parts = parts_for_work(call, limits);
  for (uint32_t i = 0; i < row->operand_count; i++) {
    if (i != SLOPES) parts = max_of(parts, parts_for_binding(&call->operands[i], batch, limits));
  }
  const bool by_rows = parts > batch || dure_operand_span(&call->operands[Q]) / batch > usable_binding(limits) ||
                       dure_operand_span(&call->operands[K]) / batch > usable_binding(limits);
  if (parts <= 1 && !by_rows) return sink(context, call);
  uint64_t size = by_rows ? 1 : ceil_divide(batch, parts);
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
      cut_axis(operand, 0, first, count);
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

// ---- matmul ----------------------------------------------------------------------------------------------------

enum { MATMUL_A, MATMUL_B, MATMUL_BIAS, MATMUL_RESIDUAL, MATMUL_PREACTIVATION, MATMUL_C, MATMUL_SAVED };

// a of rank 3 against one b: one tall matrix.
static void flatten_rows(dure_operand *operand) {
  if (operand->rank != 3) return;
  operand->shape[0] *= operand->shape[1];
  operand->stride[0] = operand->stride[1];
  operand->shape[1] = operand->shape[2];
  operand->stride[1] = operand->stride[2];
  operand->rank = 2;
}

// As parts_for_binding, for an operand of which a kernel may work on a copy in f32.
static uint64_t parts_for_copy(const dure_operand *operand, uint64_t units, const dure_limits *limits) {
  dure_operand copy = *operand;
  if (dure_operand_is_present(operand) && dure_dtype_size(operand->dtype) < dure_dtype_size(DURE_DTYPE_F32))
    copy.dtype = DURE_DTYPE_F32;
  return parts_for_binding(&copy, units, limits);
}

static dure_status expand_matmul_batch(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                       void *context) {
  uint64_t batch = call->operands[MATMUL_A].shape[0], parts = parts_for_work(call, limits);
  dure_op_call whole = *call;
  for (uint32_t i = MATMUL_A; i <= MATMUL_SAVED; i++) {
    dure_operand *operand = &whole.operands[i];
    if (!dure_operand_is_present(operand) || i == MATMUL_BIAS) continue;
    if (operand->rank != 3) {  // given under another shape: [batch, ...] all the same
      uint64_t shape[3] = {batch, 1, dure_operand_count(operand) / batch};
      dure_operand_set_shape(operand, 3, shape);
    }
    parts = max_of(parts, parts_for_copy(operand, batch, limits));
  }
  uint64_t size = max_of(1, batch / parts);
  for (uint64_t first = 0; first < batch; first += size) {
    dure_op_call part = whole;
    uint64_t count = batch - first < size ? batch - first : size;
    for (uint32_t i = MATMUL_A; i <= MATMUL_SAVED; i++) {
      if (dure_operand_is_present(&part.operands[i]) && i != MATMUL_BIAS) cut_axis(&part.operands[i], 0, first, count);
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

typedef struct matmul_cuts {
  uint64_t m, n, k, m_size, n_size, k_size;
} matmul_cuts;

static matmul_cuts choose_matmul_cuts(const dure_op_call *call, const dure_limits *limits) {
  const dure_operand *a = &call->operands[MATMUL_A], *b = &call->operands[MATMUL_B], *c = &call->operands[MATMUL_C];
  bool transpose_a = call->attributes.matmul.transpose_a, transpose_b = call->attributes.matmul.transpose_b;
  matmul_cuts cuts = {.m = c->shape[0], .n = c->shape[1], .k = transpose_b ? b->shape[1] : b->shape[0]};
  uint64_t m_parts = 1, n_parts = 1;
  for (uint32_t i = MATMUL_RESIDUAL; i <= MATMUL_SAVED; i++) {
    m_parts = max_of(m_parts, parts_for_binding(&call->operands[i], cuts.m, limits));
  }
  // Kernels unroll the inner loop by at least 4.
  uint64_t k_parts = max_of(
      1, ceil_divide(cuts.k, limits->max_loop_iterations >= UINT64_MAX / 4 ? cuts.k : limits->max_loop_iterations * 4));
  *(transpose_a ? &k_parts : &m_parts) =
      max_of(transpose_a ? k_parts : m_parts, parts_for_copy(a, a->shape[0], limits));
  *(transpose_b ? &n_parts : &k_parts) =
      max_of(transpose_b ? n_parts : k_parts, parts_for_copy(b, b->shape[0], limits));
  cuts.k_size = max_of(1, part_size(cuts.k, k_parts));

  uint64_t work_parts = ceil_divide(parts_for_work(call, limits), ceil_divide(cuts.k, cuts.k_size));
  uint64_t m_most = max_of(1, cuts.m / CUT_GRAIN);
  m_parts = max_of(m_parts, work_parts < m_most ? work_parts : m_most);
  cuts.m_size = max_of(1, part_size(cuts.m, m_parts));
  uint64_t m_made = ceil_divide(cuts.m, cuts.m_size), n_most = max_of(1, cuts.n / CUT_GRAIN);
  uint64_t n_wanted = ceil_divide(work_parts, m_made);
  n_parts = max_of(n_parts, n_wanted < n_most ? n_wanted : n_most);
  cuts.n_size = max_of(1, part_size(cuts.n, n_parts));
  return cuts;
}

static void remove_operand(dure_op_call *call, uint32_t index) {
  memset(&call->operands[index], 0, sizeof(call->operands[index]));
}

// Whether c is free for sums of parts until the last part: it holds nothing that the call still needs.
static bool is_c_free(const dure_op_call *call) {
  const dure_operand *residual = &call->operands[MATMUL_RESIDUAL], *c = &call->operands[MATMUL_C];
  const bool is_residual = c->buffer != NULL && residual->buffer == c->buffer && residual->offset == c->offset;
  return !is_residual && (call->accumulate >> MATMUL_C & 1) == 0;
}

// Where the sums of all parts of K but the last one go: whichever of c and saved is free and rounds less.
static dure_continuation choose_continuation(const dure_op_call *call) {
  const dure_operand *saved = &call->operands[MATMUL_SAVED], *c = &call->operands[MATMUL_C];
  if (!dure_operand_is_present(saved)) return is_c_free(call) ? DURE_CONTINUES_C : DURE_CONTINUES_NOTHING;
  if (is_c_free(call) && dure_dtype_size(c->dtype) >= dure_dtype_size(saved->dtype)) return DURE_CONTINUES_C;
  return DURE_CONTINUES_SAVED;
}

// An epilogue that is linear in t, which is not saved: each part goes through it and is added to c.
static bool is_linear(const dure_op_call *call) {
  return !dure_operand_is_present(&call->operands[MATMUL_SAVED]) &&
         call->attributes.matmul.epilogue != DURE_EPILOGUE_ACTIVATION;
}

// What of the whole call's bias and epilogue a part of K has.
static void share_epilogue(dure_op_call *part, bool is_first, bool is_last) {
  dure_matmul_attributes *attributes = &part->attributes.matmul;
  if (is_first && is_last) return;
  if (!is_first) remove_operand(part, MATMUL_BIAS);
  if (is_linear(part)) {
    if (is_first) return;
    remove_operand(part, MATMUL_RESIDUAL);
    part->accumulate |= 1u << MATMUL_C;
    return;
  }
  const dure_continuation through = choose_continuation(part);
  if (is_last) {
    attributes->continues = through;
    return;
  }
  if (through == DURE_CONTINUES_SAVED) part->operands[MATMUL_C] = part->operands[MATMUL_SAVED];
  attributes->epilogue = DURE_EPILOGUE_NONE;
  remove_operand(part, MATMUL_RESIDUAL);
  remove_operand(part, MATMUL_PREACTIVATION);
  remove_operand(part, MATMUL_SAVED);
  part->accumulate = is_first ? 0 : 1u << MATMUL_C;
}

static dure_op_call cut_matmul(const dure_op_call *call, const matmul_cuts *cuts, uint64_t m, uint64_t n, uint64_t k) {
  dure_op_call part = *call;
  bool transpose_a = call->attributes.matmul.transpose_a, transpose_b = call->attributes.matmul.transpose_b;
  uint64_t m_count = cuts->m - m < cuts->m_size ? cuts->m - m : cuts->m_size;
  uint64_t n_count = cuts->n - n < cuts->n_size ? cuts->n - n : cuts->n_size;
  uint64_t k_count = cuts->k - k < cuts->k_size ? cuts->k - k : cuts->k_size;
  cut_axis(&part.operands[MATMUL_A], transpose_a ? 1 : 0, m, m_count);
  cut_axis(&part.operands[MATMUL_A], transpose_a ? 0 : 1, k, k_count);
  cut_axis(&part.operands[MATMUL_B], transpose_b ? 0 : 1, n, n_count);
  cut_axis(&part.operands[MATMUL_B], transpose_b ? 1 : 0, k, k_count);
  for (uint32_t i = MATMUL_RESIDUAL; i <= MATMUL_SAVED; i++) {
    if (!dure_operand_is_present(&part.operands[i])) continue;
    cut_axis(&part.operands[i], 0, m, m_count);
    cut_axis(&part.operands[i], 1, n, n_count);
  }
  dure_operand *bias = &part.operands[MATMUL_BIAS];
  if (dure_operand_is_present(bias)) {
    dure_operand_set_shape(bias, 1, &cuts->n);
    cut_axis(bias, 0, n, n_count);
  }
  share_epilogue(&part, k == 0, k + k_count == cuts->k);
  return part;
}

dure_status dure_expand_matmul(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                               void *context) {
  if (call->operands[MATMUL_B].rank == 3) return expand_matmul_batch(call, limits, sink, context);
  dure_op_call flat = *call;
  const dure_operand *a = &flat.operands[MATMUL_A], *b = &flat.operands[MATMUL_B];
  flatten_rows(&flat.operands[MATMUL_A]);
  const uint64_t shape[2] = {a->shape[call->attributes.matmul.transpose_a ? 1 : 0],
                             b->shape[call->attributes.matmul.transpose_b ? 0 : 1]};
  for (uint32_t i = MATMUL_RESIDUAL; i <= MATMUL_SAVED; i++) {
    dure_operand *operand = &flat.operands[i];
    if (!dure_operand_is_present(operand)) continue;
    flatten_rows(operand);
    if (dure_operand_is_contiguous(operand)) dure_operand_set_shape(operand, 2, shape);
  }
  matmul_cuts cuts = choose_matmul_cuts(&flat, limits);
  if (cuts.k_size < cuts.k && !is_linear(&flat) && choose_continuation(&flat) == DURE_CONTINUES_NOTHING) {
    return dure_fail(
        DURE_UNSUPPORTED,
        "matmul: an inner dimension of %llu is summed in parts, which with an activation added to what 'c' "
        "held needs the operand 'saved'",
        (unsigned long long)cuts.k);
  }
  for (uint64_t m = 0; m < cuts.m; m += cuts.m_size) {
    for (uint64_t n = 0; n < cuts.n; n += cuts.n_size) {
      for (uint64_t k = 0; k < cuts.k; k += cuts.k_size) {
        dure_op_call part = cut_matmul(&flat, &cuts, m, n, k);
        DURE_TRY(sink(context, &part));
      }
    }
  }
  return NULL;
}

// ---- 8-bit integers in blocks ------------------------------------------------------------------------------------

dure_status dure_expand_quantize_rows(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context) {
  return expand_rows(call, limits, "rrr", sink, context);
}

// Cut by rows of a and by rows of b, which are columns of c; K stays whole.
dure_status dure_expand_matmul_q8(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                  void *context) {
  enum { A, A_SCALES, B, B_SCALES, BIAS, C };
  const uint64_t m = dure_operand_rows(&call->operands[A]), n = call->operands[B].shape[0];
  const uint64_t m_most = max_of(1, m / CUT_GRAIN), n_most = max_of(1, n / CUT_GRAIN);
  uint64_t m_parts = parts_for_binding(&call->operands[C], m, limits), n_parts = 1;
  for (uint32_t i = A; i <= A_SCALES; i++) m_parts = max_of(m_parts, parts_for_binding(&call->operands[i], m, limits));
  for (uint32_t i = B; i <= BIAS; i++) n_parts = max_of(n_parts, parts_for_binding(&call->operands[i], n, limits));
  uint64_t work_parts = parts_for_work(call, limits);
  m_parts = max_of(m_parts, work_parts < m_most ? work_parts : m_most);
  const uint64_t m_size = max_of(1, part_size(m, m_parts));
  const uint64_t wanted = ceil_divide(work_parts, ceil_divide(m, m_size));
  n_parts = max_of(n_parts, wanted < n_most ? wanted : n_most);
  const uint64_t n_size = max_of(1, part_size(n, n_parts));
  const uint64_t k = call->operands[B].shape[1], blocks = k / DURE_QUANTIZED_BLOCK;
  dure_op_call flat = *call;
  dure_operand_set_shape(&flat.operands[A], 2, (const uint64_t[]){m, k});
  dure_operand_set_shape(&flat.operands[A_SCALES], 2, (const uint64_t[]){m, blocks});
  dure_operand_set_shape(&flat.operands[B_SCALES], 2, (const uint64_t[]){n, blocks});
  if (dure_operand_is_present(&flat.operands[BIAS])) dure_operand_set_shape(&flat.operands[BIAS], 1, &n);
  dure_operand_set_shape(&flat.operands[C], 2, (const uint64_t[]){m, n});
  for (uint64_t i = 0; i < m; i += m_size) {
    for (uint64_t j = 0; j < n; j += n_size) {
      const uint64_t rows = m - i < m_size ? m - i : m_size, columns = n - j < n_size ? n - j : n_size;
      dure_op_call part = flat;
      for (uint32_t o = A; o <= A_SCALES; o++) cut_axis(&part.operands[o], 0, i, rows);
      for (uint32_t o = B; o <= B_SCALES; o++) cut_axis(&part.operands[o], 0, j, columns);
      if (dure_operand_is_present(&part.operands[BIAS])) cut_axis(&part.operands[BIAS], 0, j, columns);
      cut_axis(&part.operands[C], 0, i, rows);
      cut_axis(&part.operands[C], 1, j, columns);
      DURE_TRY(sink(context, &part));
    }
  }
  return NULL;
}

// ---- mixtures of experts -----------------------------------------------------------------------------------------

dure_status dure_expand_route(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                              void *context) {
  return expand_rows(call, limits, "r-rr", sink, context);
}
dure_status dure_expand_route_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                       void *context) {
  return expand_rows(call, limits, "rrrrr", sink, context);
}

// By rows of x, of which parts add to what the one before has left, and by rows of weights. Letters as in expand_rows.
static dure_status expand_combine(const dure_op_call *call, const dure_limits *limits, const char *roles,
                                  dure_expand_sink sink, void *context) {
  enum { X_OF_COMBINE = 0, RESIDUAL = 3, Y = 4 };
  const bool is_sum = call->op == DURE_OP_expert_combine;
  const dure_operand *x = &call->operands[is_sum ? X_OF_COMBINE : 1];
  const uint64_t x_rows = x->shape[0], x_size = part_size(x_rows, parts_for_binding(x, x_rows, limits));
  if (!dure_operand_is_present(&call->operands[is_sum ? 2 : 3]))  // row by row
    return expand_rows(call, limits, is_sum ? "rr-rr" : "rrr-rr", sink, context);
  if (x_size >= x_rows) return expand_rows(call, limits, roles, sink, context);
  for (uint64_t first = 0; first < x_rows; first += x_size) {
    dure_op_call part = *call;
    for (uint32_t i = 0; roles[i] != '\0'; i++) {
      if (roles[i] == '-') cut_axis(&part.operands[i], 0, first, x_rows - first < x_size ? x_rows - first : x_size);
    }
    part.attributes.expert_combine.first_row += (uint32_t)first;
    if (is_sum && first > 0) {
      part.accumulate |= 1u << Y;
      part.operands[RESIDUAL] = (dure_operand){.dtype = DURE_DTYPE_NONE};
    }
    DURE_TRY(expand_rows(&part, limits, roles, sink, context));
  }
  return NULL;
}
dure_status dure_expand_expert_combine(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                       void *context) {
  return expand_combine(call, limits, "-rrrr", sink, context);
}
dure_status dure_expand_expert_combine_gradient(const dure_op_call *call, const dure_limits *limits,
                                                dure_expand_sink sink, void *context) {
  return expand_combine(call, limits, "r-rr-r", sink, context);
}

// Experts [first, first + count) of a call with offsets at operand 1.
static void cut_experts(dure_op_call *call, uint32_t matrices, uint64_t first, uint64_t count) {
  cut_axis(&call->operands[matrices], 0, first, count);
  cut_axis(&call->operands[1], 0, first, count + 1);
}

// By experts where b is too large to bind, by columns of c where one expert's is, by rows where there is too much work.
// b that is not transposed is cut by its rows, whose parts of c are added up.
dure_status dure_expand_expert_matmul(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context) {
  enum { A, OFFSETS, B, C };
  const dure_operand *b = &call->operands[B];
  const uint64_t experts = b->shape[0], lines = b->shape[1], rows = call->operands[A].shape[0];
  const uint64_t expert_size = max_of(1, ceil_divide(experts, parts_for_binding(b, experts, limits)));
  dure_operand one = *b;
  cut_axis(&one, 0, 0, 1);
  const uint64_t line_size = part_size(lines, parts_for_binding(&one, lines, limits));
  uint64_t parts = max_of(parts_for_binding(&call->operands[A], rows, limits), parts_for_work(call, limits));
  parts = max_of(parts, parts_for_binding(&call->operands[C], rows, limits));
  const uint64_t row_size = max_of(1, part_size(rows, parts));
  for (uint64_t e = 0; e < experts; e += expert_size) {
    for (uint64_t line = 0; line < lines; line += line_size) {
      for (uint64_t row = 0; row < rows; row += row_size) {
        const uint64_t line_count = lines - line < line_size ? lines - line : line_size;
        const uint64_t row_count = rows - row < row_size ? rows - row : row_size;
        dure_op_call part = *call;
        cut_experts(&part, B, e, experts - e < expert_size ? experts - e : expert_size);
        cut_axis(&part.operands[B], 1, line, line_count);
        cut_axis(&part.operands[A], 0, row, row_count);
        cut_axis(&part.operands[C], 0, row, row_count);
        cut_axis(&part.operands[call->attributes.expert_matmul.transpose_b ? C : A], 1, line, line_count);
        if (line > 0 && !call->attributes.expert_matmul.transpose_b) part.accumulate |= 1u << C;
        part.attributes.expert_matmul.first_row += (uint32_t)row;
        DURE_TRY(sink(context, &part));
      }
    }
  }
  return NULL;
}

// By experts and by rows of z where z is too large; by rows of x and y, whose parts are added up, where those are.
dure_status dure_expand_expert_outer(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                     void *context) {
  enum { X, OFFSETS, Y, Z };
  const dure_operand *z = &call->operands[Z];
  const uint64_t experts = z->shape[0], lines = z->shape[1], rows = call->operands[X].shape[0];
  const uint64_t expert_size = max_of(1, ceil_divide(experts, parts_for_binding(z, experts, limits)));
  dure_operand one = *z;
  cut_axis(&one, 0, 0, 1);
  uint64_t line_parts = max_of(parts_for_binding(&one, lines, limits), parts_for_work(call, limits));
  const uint64_t line_size = max_of(1, part_size(lines, line_parts < lines ? line_parts : lines));
  const uint64_t loops = max_of(1, limits->max_loop_iterations / 4);
  uint64_t parts = max_of(parts_for_binding(&call->operands[X], rows, limits), ceil_divide(rows, loops));
  parts = max_of(parts, parts_for_binding(&call->operands[Y], rows, limits));
  const uint64_t row_size = max_of(1, part_size(rows, parts));
  for (uint64_t e = 0; e < experts; e += expert_size) {
    for (uint64_t line = 0; line < lines; line += line_size) {
      for (uint64_t row = 0; row < rows; row += row_size) {
        const uint64_t line_count = lines - line < line_size ? lines - line : line_size;
        const uint64_t row_count = rows - row < row_size ? rows - row : row_size;
        dure_op_call part = *call;
        cut_experts(&part, Z, e, experts - e < expert_size ? experts - e : expert_size);
        cut_axis(&part.operands[Z], 1, line, line_count);
        cut_axis(&part.operands[X], 0, row, row_count);
        cut_axis(&part.operands[X], 1, line, line_count);
        cut_axis(&part.operands[Y], 0, row, row_count);
        if (row > 0) part.accumulate |= 1u << Z;
        part.attributes.expert_matmul.first_row += (uint32_t)row;
        DURE_TRY(sink(context, &part));
      }
    }
  }
  return NULL;
}

// ---- linear and cross-entropy -----------------------------------------------------------------------------------

uint64_t dure_linear_cross_entropy_chunk(uint64_t rows) {
  enum { MOST_PARTS = 20 };
  uint64_t chunk = rows / MOST_PARTS / CUT_GRAIN * CUT_GRAIN;
  if (chunk < CUT_GRAIN) chunk = CUT_GRAIN;
  return chunk < rows ? chunk : rows;
}

// The operands of linear_cross_entropy and its gradient, by meaning; absent where the op has none.
typedef struct linear_loss {
  dure_operand hidden, labels, loss, log_sum_exp, dhidden;  // cut by rows
  dure_operand weight, dloss, dweight;                      // whole
  dure_operand logits;                                      // of a chunk
  bool adds_dhidden, adds_dweight;
  dure_operand workspace;
} linear_loss;

static dure_operand rows_of(const dure_operand *operand, uint64_t first, uint64_t count) {
  dure_operand cut = *operand;
  if (!dure_operand_is_present(operand)) return cut;
  cut_axis(&cut, 0, first, count);
  return cut;
}

static void flatten(dure_operand *operand, uint64_t rows, bool is_vector) {
  if (!dure_operand_is_present(operand)) return;
  uint64_t shape[2] = {rows, dure_operand_count(operand) / rows};
  dure_operand_set_shape(operand, is_vector ? 1 : 2, shape);
}

static dure_status expand_part(const linear_loss *l, dure_op_call call, const dure_limits *limits,
                               dure_expand_sink sink, void *context) {
  call.workspace = l->workspace;
  return dure_op_expand(&call, limits, sink, context);
}

static dure_status expand_product(const linear_loss *l, const dure_operand *a, bool transpose_a, const dure_operand *b,
                                  bool transpose_b, const dure_operand *c, bool adds, const dure_limits *limits,
                                  dure_expand_sink sink, void *context) {
  dure_op_call call = {.op = DURE_OP_matmul,
                       .attributes.matmul = {.transpose_a = transpose_a, .transpose_b = transpose_b}};
  call.operands[MATMUL_A] = *a;
  call.operands[MATMUL_B] = *b;
  call.operands[MATMUL_C] = *c;
  call.accumulate = adds ? 1u << MATMUL_C : 0;
  return expand_part(l, call, limits, sink, context);
}

static dure_status expand_chunk(const linear_loss *whole, uint64_t first, uint64_t count, const dure_limits *limits,
                                dure_expand_sink sink, void *context) {
  linear_loss l = *whole;
  l.hidden = rows_of(&whole->hidden, first, count);
  l.labels = rows_of(&whole->labels, first, count);
  l.loss = rows_of(&whole->loss, first, count);
  l.log_sum_exp = rows_of(&whole->log_sum_exp, first, count);
  l.dhidden = rows_of(&whole->dhidden, first, count);
  l.logits = rows_of(&whole->logits, 0, count);
  DURE_TRY(expand_product(&l, &l.hidden, false, &l.weight, true, &l.logits, false, limits, sink, context));
  dure_op_call loss = {.op = DURE_OP_cross_entropy, .operands = {l.logits, l.labels, l.loss, l.log_sum_exp}};
  DURE_TRY(expand_part(&l, loss, limits, sink, context));
  if (!dure_operand_is_present(&l.dloss)) return NULL;
  dure_op_call dlogits = {.op = DURE_OP_cross_entropy_gradient,
                          .operands = {l.labels, l.log_sum_exp, l.dloss, l.logits}};
  DURE_TRY(expand_part(&l, dlogits, limits, sink, context));
  if (dure_operand_is_present(&l.dhidden)) {
    DURE_TRY(expand_product(&l, &l.logits, false, &l.weight, false, &l.dhidden, l.adds_dhidden, limits, sink, context));
  }
  if (!dure_operand_is_present(&l.dweight)) return NULL;
  bool adds = l.adds_dweight || first > 0;
  return expand_product(&l, &l.logits, true, &l.hidden, false, &l.dweight, adds, limits, sink, context);
}

static dure_status expand_linear_loss(linear_loss *l, const dure_limits *limits, dure_expand_sink sink, void *context) {
  uint64_t rows = dure_operand_rows(&l->hidden), chunk = dure_linear_cross_entropy_chunk(rows);
  flatten(&l->hidden, rows, false);
  flatten(&l->dhidden, rows, false);
  flatten(&l->labels, rows, true);
  flatten(&l->loss, rows, true);
  flatten(&l->log_sum_exp, rows, true);
  for (uint64_t first = 0; first < rows; first += chunk) {
    DURE_TRY(expand_chunk(l, first, rows - first < chunk ? rows - first : chunk, limits, sink, context));
  }
  return NULL;
}

dure_status dure_expand_linear_cross_entropy(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                             void *context) {
  const dure_operand *o = call->operands;
  linear_loss l = {.hidden = o[0],
                   .weight = o[1],
                   .labels = o[2],
                   .loss = o[3],
                   .log_sum_exp = o[4],
                   .logits = o[5],
                   .workspace = call->workspace};
  return expand_linear_loss(&l, limits, sink, context);
}

dure_status dure_expand_linear_cross_entropy_gradient(const dure_op_call *call, const dure_limits *limits,
                                                      dure_expand_sink sink, void *context) {
  const dure_operand *o = call->operands;
  linear_loss l = {.hidden = o[0],
                   .weight = o[1],
                   .labels = o[2],
                   .dloss = o[3],
                   .loss = o[4],
                   .log_sum_exp = o[5],
                   .dhidden = o[6],
                   .dweight = o[7],
                   .logits = o[8],
                   .workspace = call->workspace};
  l.adds_dhidden = (call->accumulate >> 6 & 1u) != 0;
  l.adds_dweight = (call->accumulate >> 7 & 1u) != 0;
  return expand_linear_loss(&l, limits, sink, context);
}
