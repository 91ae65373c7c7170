// Expansion: calls too large for one binding or one dispatch become several smaller calls on parts of their operands.
// Column `expand` of ops.def. Linear + cross-entropy: chunks of rows, whose logits are never all there.
#include "runtime/op_cut.h"

uint64_t dure_linear_cross_entropy_chunk(uint64_t rows) {
  enum { MOST_PARTS = 20 };
  uint64_t chunk = rows / MOST_PARTS / DURE_CUT_GRAIN * DURE_CUT_GRAIN;
  if (chunk < DURE_CUT_GRAIN) chunk = DURE_CUT_GRAIN;
  return chunk < rows ? chunk : rows;
}

// The operands of linear_cross_entropy and its gradient, by meaning; absent where the op has none.
typedef struct linear_loss {
  dure_operand hidden, labels, loss, log_sum_exp, dhidden;  // cut by rows
  dure_operand weight, dloss, dweight;                      // whole
  dure_operand logits;                                      // of a chunk
  dure_operand tanh_input;                                  // of a chunk: product / soft_cap; may be `logits` itself
  float soft_cap;
  bool adds_dhidden, adds_dweight;
  dure_operand workspace;
} linear_loss;

static dure_operand rows_of(const dure_operand *operand, uint64_t first, uint64_t count) {
  dure_operand cut = *operand;
  if (!dure_operand_is_present(operand)) return cut;
  dure_cut_axis(&cut, 0, first, count);
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
  call.operands[DURE_MATMUL_A] = *a;
  call.operands[DURE_MATMUL_B] = *b;
  call.operands[DURE_MATMUL_C] = *c;
  call.accumulate = adds ? 1u << DURE_MATMUL_C : 0;
  return expand_part(l, call, limits, sink, context);
}

static dure_status expand_scale(const linear_loss *l, const dure_operand *x, float factor, const dure_limits *limits,
                                dure_expand_sink sink, void *context) {
  dure_op_call call = {.op = DURE_OP_scale, .attributes.scale = {factor}, .operands = {*x, *x}};
  return expand_part(l, call, limits, sink, context);
}

// logits = hidden weight^T, soft-capped
static dure_status expand_logits(const linear_loss *l, const dure_limits *limits, dure_expand_sink sink,
                                 void *context) {
  const bool is_capped = l->soft_cap > 0;
  const dure_operand *product = is_capped ? &l->tanh_input : &l->logits;
  DURE_TRY(expand_product(l, &l->hidden, false, &l->weight, true, product, false, limits, sink, context));
  if (!is_capped) return NULL;
  DURE_TRY(expand_scale(l, product, 1 / l->soft_cap, limits, sink, context));
  dure_op_call tanh_call = {
      .op = DURE_OP_activation, .attributes.activation = {DURE_ACTIVATION_TANH}, .operands = {*product, l->logits}};
  DURE_TRY(expand_part(l, tanh_call, limits, sink, context));
  return expand_scale(l, &l->logits, l->soft_cap, limits, sink, context);
}

// The gradient of the capped logits becomes that of the product, in the same memory: the cap that multiplies tanh and
// the one that divides what it takes cancel.
static dure_status expand_cap_gradient(const linear_loss *l, const dure_limits *limits, dure_expand_sink sink,
                                       void *context) {
  if (!(l->soft_cap > 0)) return NULL;
  dure_op_call call = {.op = DURE_OP_activation_gradient,
                       .attributes.activation = {DURE_ACTIVATION_TANH},
                       .operands = {l->tanh_input, l->logits, l->logits}};
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
  l.tanh_input = rows_of(&whole->tanh_input, 0, count);
  DURE_TRY(expand_logits(&l, limits, sink, context));
  dure_op_call loss = {.op = DURE_OP_cross_entropy, .operands = {l.logits, l.labels, l.loss, l.log_sum_exp}};
  DURE_TRY(expand_part(&l, loss, limits, sink, context));
  if (!dure_operand_is_present(&l.dloss)) return NULL;
  dure_op_call dlogits = {.op = DURE_OP_cross_entropy_gradient,
                          .operands = {l.labels, l.log_sum_exp, l.dloss, l.logits}};
  DURE_TRY(expand_part(&l, dlogits, limits, sink, context));
  DURE_TRY(expand_cap_gradient(&l, limits, sink, context));
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
  l->tanh_input = l->logits;
  if (l->logits.shape[0] == 2 * chunk) l->tanh_input = rows_of(&l->logits, chunk, chunk);
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
                   .soft_cap = call->attributes.linear_loss.soft_cap,
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
                   .soft_cap = call->attributes.linear_loss.soft_cap,
                   .workspace = call->workspace};
  l.adds_dhidden = (call->accumulate >> 6 & 1u) != 0;
  l.adds_dweight = (call->accumulate >> 7 & 1u) != 0;
  return expand_linear_loss(&l, limits, sink, context);
}
