// Expansion: calls too large for one binding or one dispatch become several smaller calls on parts of their operands.
// Column `expand` of ops.def. Products: by batch, rows, columns and depth; also of 8-bit integers in blocks.
#include <string.h>

#include "runtime/op_cut.h"

// a of rank 3 against one b: one tall matrix.
static void flatten_rows(dure_operand *operand) {
  if (operand->rank != 3) return;
  operand->shape[0] *= operand->shape[1];
  operand->stride[0] = operand->stride[1];
  operand->shape[1] = operand->shape[2];
  operand->stride[1] = operand->stride[2];
  operand->rank = 2;
}

// As dure_cut_parts_for_binding, for an operand of which a kernel may work on a copy in f32.
static uint64_t parts_for_copy(const dure_operand *operand, uint64_t units, const dure_limits *limits) {
  dure_operand copy = *operand;
  if (dure_operand_is_present(operand) && dure_dtype_size(operand->dtype) < dure_dtype_size(DURE_DTYPE_F32))
    copy.dtype = DURE_DTYPE_F32;
  return dure_cut_parts_for_binding(&copy, units, limits);
}

static dure_status expand_matmul_batch(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                       void *context) {
  uint64_t batch = call->operands[DURE_MATMUL_A].shape[0], parts = dure_cut_parts_for_work(call, limits);
  dure_op_call whole = *call;
  for (uint32_t i = DURE_MATMUL_A; i <= DURE_MATMUL_SAVED; i++) {
    dure_operand *operand = &whole.operands[i];
    if (!dure_operand_is_present(operand) || i == DURE_MATMUL_BIAS) continue;
    if (operand->rank != 3) {  // given under another shape: [batch, ...] all the same
      uint64_t shape[3] = {batch, 1, dure_operand_count(operand) / batch};
      dure_operand_set_shape(operand, 3, shape);
    }
    parts = dure_cut_max(parts, parts_for_copy(operand, batch, limits));
  }
  uint64_t size = dure_cut_max(1, batch / parts);
  for (uint64_t first = 0; first < batch; first += size) {
    dure_op_call part = whole;
    uint64_t count = batch - first < size ? batch - first : size;
    for (uint32_t i = DURE_MATMUL_A; i <= DURE_MATMUL_SAVED; i++) {
      if (dure_operand_is_present(&part.operands[i]) && i != DURE_MATMUL_BIAS)
        dure_cut_axis(&part.operands[i], 0, first, count);
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}

typedef struct matmul_cuts {
  uint64_t m, n, k, m_size, n_size, k_size;
} matmul_cuts;

static matmul_cuts choose_matmul_cuts(const dure_op_call *call, const dure_limits *limits) {
  const dure_operand *a = &call->operands[DURE_MATMUL_A], *b = &call->operands[DURE_MATMUL_B],
                     *c = &call->operands[DURE_MATMUL_C];
  bool transpose_a = call->attributes.matmul.transpose_a, transpose_b = call->attributes.matmul.transpose_b;
  matmul_cuts cuts = {.m = c->shape[0], .n = c->shape[1], .k = transpose_b ? b->shape[1] : b->shape[0]};
  uint64_t m_parts = 1, n_parts = 1;
  for (uint32_t i = DURE_MATMUL_RESIDUAL; i <= DURE_MATMUL_SAVED; i++) {
    m_parts = dure_cut_max(m_parts, dure_cut_parts_for_binding(&call->operands[i], cuts.m, limits));
  }
  // Kernels unroll the inner loop by at least 4.
  uint64_t k_parts = dure_cut_max(
      1, dure_cut_ceil_divide(
             cuts.k, limits->max_loop_iterations >= UINT64_MAX / 4 ? cuts.k : limits->max_loop_iterations * 4));
  *(transpose_a ? &k_parts : &m_parts) =
      dure_cut_max(transpose_a ? k_parts : m_parts, parts_for_copy(a, a->shape[0], limits));
  *(transpose_b ? &n_parts : &k_parts) =
      dure_cut_max(transpose_b ? n_parts : k_parts, parts_for_copy(b, b->shape[0], limits));
  cuts.k_size = dure_cut_max(1, dure_cut_part_size(cuts.k, k_parts));

  uint64_t work_parts =
      dure_cut_ceil_divide(dure_cut_parts_for_work(call, limits), dure_cut_ceil_divide(cuts.k, cuts.k_size));
  uint64_t m_most = dure_cut_max(1, cuts.m / DURE_CUT_GRAIN);
  m_parts = dure_cut_max(m_parts, work_parts < m_most ? work_parts : m_most);
  cuts.m_size = dure_cut_max(1, dure_cut_part_size(cuts.m, m_parts));
  uint64_t m_made = dure_cut_ceil_divide(cuts.m, cuts.m_size), n_most = dure_cut_max(1, cuts.n / DURE_CUT_GRAIN);
  uint64_t n_wanted = dure_cut_ceil_divide(work_parts, m_made);
  n_parts = dure_cut_max(n_parts, n_wanted < n_most ? n_wanted : n_most);
  cuts.n_size = dure_cut_max(1, dure_cut_part_size(cuts.n, n_parts));
  return cuts;
}

static void remove_operand(dure_op_call *call, uint32_t index) {
  memset(&call->operands[index], 0, sizeof(call->operands[index]));
}

// Whether c is free for sums of parts until the last part: it holds nothing that the call still needs.
static bool is_c_free(const dure_op_call *call) {
  const dure_operand *residual = &call->operands[DURE_MATMUL_RESIDUAL], *c = &call->operands[DURE_MATMUL_C];
  const bool is_residual = c->buffer != NULL && residual->buffer == c->buffer && residual->offset == c->offset;
  return !is_residual && (call->accumulate >> DURE_MATMUL_C & 1) == 0;
}

// Where the sums of all parts of K but the last one go: whichever of c and saved is free and rounds less.
static dure_continuation choose_continuation(const dure_op_call *call) {
  const dure_operand *saved = &call->operands[DURE_MATMUL_SAVED], *c = &call->operands[DURE_MATMUL_C];
  if (!dure_operand_is_present(saved)) return is_c_free(call) ? DURE_CONTINUES_C : DURE_CONTINUES_NOTHING;
  if (is_c_free(call) && dure_dtype_size(c->dtype) >= dure_dtype_size(saved->dtype)) return DURE_CONTINUES_C;
  return DURE_CONTINUES_SAVED;
}

// An epilogue that is linear in t, which is not saved: each part goes through it and is added to c.
static bool is_linear(const dure_op_call *call) {
  return !dure_operand_is_present(&call->operands[DURE_MATMUL_SAVED]) &&
         call->attributes.matmul.epilogue != DURE_EPILOGUE_ACTIVATION;
}

// What of the whole call's bias and epilogue a part of K has.
static void share_epilogue(dure_op_call *part, bool is_first, bool is_last) {
  dure_matmul_attributes *attributes = &part->attributes.matmul;
  if (is_first && is_last) return;
  if (!is_first) remove_operand(part, DURE_MATMUL_BIAS);
  if (is_linear(part)) {
    if (is_first) return;
    remove_operand(part, DURE_MATMUL_RESIDUAL);
    part->accumulate |= 1u << DURE_MATMUL_C;
    return;
  }
  const dure_continuation through = choose_continuation(part);
  if (is_last) {
    attributes->continues = through;
    return;
  }
  if (through == DURE_CONTINUES_SAVED) part->operands[DURE_MATMUL_C] = part->operands[DURE_MATMUL_SAVED];
  attributes->epilogue = DURE_EPILOGUE_NONE;
  remove_operand(part, DURE_MATMUL_RESIDUAL);
  remove_operand(part, DURE_MATMUL_PREACTIVATION);
  remove_operand(part, DURE_MATMUL_SAVED);
  part->accumulate = is_first ? 0 : 1u << DURE_MATMUL_C;
}

static dure_op_call cut_matmul(const dure_op_call *call, const matmul_cuts *cuts, uint64_t m, uint64_t n, uint64_t k) {
  dure_op_call part = *call;
  bool transpose_a = call->attributes.matmul.transpose_a, transpose_b = call->attributes.matmul.transpose_b;
  uint64_t m_count = cuts->m - m < cuts->m_size ? cuts->m - m : cuts->m_size;
  uint64_t n_count = cuts->n - n < cuts->n_size ? cuts->n - n : cuts->n_size;
  uint64_t k_count = cuts->k - k < cuts->k_size ? cuts->k - k : cuts->k_size;
  dure_cut_axis(&part.operands[DURE_MATMUL_A], transpose_a ? 1 : 0, m, m_count);
  dure_cut_axis(&part.operands[DURE_MATMUL_A], transpose_a ? 0 : 1, k, k_count);
  dure_cut_axis(&part.operands[DURE_MATMUL_B], transpose_b ? 0 : 1, n, n_count);
  dure_cut_axis(&part.operands[DURE_MATMUL_B], transpose_b ? 1 : 0, k, k_count);
  for (uint32_t i = DURE_MATMUL_RESIDUAL; i <= DURE_MATMUL_SAVED; i++) {
    if (!dure_operand_is_present(&part.operands[i])) continue;
    dure_cut_axis(&part.operands[i], 0, m, m_count);
    dure_cut_axis(&part.operands[i], 1, n, n_count);
  }
  dure_operand *bias = &part.operands[DURE_MATMUL_BIAS];
  if (dure_operand_is_present(bias)) {
    dure_operand_set_shape(bias, 1, &cuts->n);
    dure_cut_axis(bias, 0, n, n_count);
  }
  share_epilogue(&part, k == 0, k + k_count == cuts->k);
  return part;
}

dure_status dure_expand_matmul(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                               void *context) {
  if (call->operands[DURE_MATMUL_B].rank == 3) return expand_matmul_batch(call, limits, sink, context);
  dure_op_call flat = *call;
  const dure_operand *a = &flat.operands[DURE_MATMUL_A], *b = &flat.operands[DURE_MATMUL_B];
  flatten_rows(&flat.operands[DURE_MATMUL_A]);
  const uint64_t shape[2] = {a->shape[call->attributes.matmul.transpose_a ? 1 : 0],
                             b->shape[call->attributes.matmul.transpose_b ? 0 : 1]};
  for (uint32_t i = DURE_MATMUL_RESIDUAL; i <= DURE_MATMUL_SAVED; i++) {
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
  return dure_cut_rows(call, limits, "rrr", sink, context);
}

// How the operands of c [M, N] = a b^T take part, one letter each: a and its companions have rows M, b and its
// companions rows N, v is [N], c has both.
static dure_status expand_product_rows(const dure_op_call *call, const dure_limits *limits, const char *roles,
                                       uint64_t m, uint64_t n, dure_expand_sink sink, void *context) {
  const uint64_t m_most = dure_cut_max(1, m / DURE_CUT_GRAIN), n_most = dure_cut_max(1, n / DURE_CUT_GRAIN);
  uint64_t m_parts = 1, n_parts = 1;
  for (uint32_t i = 0; roles[i] != '\0'; i++) {
    const dure_operand *operand = &call->operands[i];
    if (roles[i] == 'a' || roles[i] == 'c')
      m_parts = dure_cut_max(m_parts, dure_cut_parts_for_binding(operand, m, limits));
    if (roles[i] == 'b' || roles[i] == 'v')
      n_parts = dure_cut_max(n_parts, dure_cut_parts_for_binding(operand, n, limits));
  }
  uint64_t work_parts = dure_cut_parts_for_work(call, limits);
  m_parts = dure_cut_max(m_parts, work_parts < m_most ? work_parts : m_most);
  const uint64_t m_size = dure_cut_max(1, dure_cut_part_size(m, m_parts));
  const uint64_t wanted = dure_cut_ceil_divide(work_parts, dure_cut_ceil_divide(m, m_size));
  n_parts = dure_cut_max(n_parts, wanted < n_most ? wanted : n_most);
  const uint64_t n_size = dure_cut_max(1, dure_cut_part_size(n, n_parts));
  dure_op_call flat = *call;
  for (uint32_t i = 0; roles[i] != '\0'; i++) {
    dure_operand *operand = &flat.operands[i];
    if (!dure_operand_is_present(operand)) continue;
    const uint64_t rows = roles[i] == 'b' || roles[i] == 'v' ? n : m;
    const uint64_t shape[2] = {rows, dure_operand_count(operand) / rows};
    dure_operand_set_shape(operand, roles[i] == 'v' ? 1 : 2, shape);
  }
  for (uint64_t i = 0; i < m; i += m_size) {
    for (uint64_t j = 0; j < n; j += n_size) {
      const uint64_t rows = m - i < m_size ? m - i : m_size, columns = n - j < n_size ? n - j : n_size;
      dure_op_call part = flat;
      for (uint32_t o = 0; roles[o] != '\0'; o++) {
        if (!dure_operand_is_present(&part.operands[o])) continue;
        if (roles[o] == 'a' || roles[o] == 'c') dure_cut_axis(&part.operands[o], 0, i, rows);
        if (roles[o] == 'b' || roles[o] == 'v') dure_cut_axis(&part.operands[o], 0, j, columns);
        if (roles[o] == 'c') dure_cut_axis(&part.operands[o], 1, j, columns);
      }
      DURE_TRY(sink(context, &part));
    }
  }
  return NULL;
}

// Cut by rows of a and by rows of b, which are columns of c; K stays whole.
dure_status dure_expand_matmul_q8(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                  void *context) {
  enum { A, A_SCALES, B };
  return expand_product_rows(call, limits, "aabbvc", dure_operand_rows(&call->operands[A]), call->operands[B].shape[0],
                             sink, context);
}

dure_status dure_expand_matmul_blocks(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context) {
  enum { A, CODES };
  return expand_product_rows(call, limits, "abbbvcc", dure_operand_rows(&call->operands[A]),
                             call->operands[CODES].shape[0], sink, context);
}
