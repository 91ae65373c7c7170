// The rules of the rows for mixtures of experts: shapes, gradients, costs and expansion (op_rules.h).
#include <string.h>

#include "runtime/op_cut.h"

static const char *operand_name(const dure_op_call *call, uint32_t index) {
  return dure_op_get(call->op)->operands[index].name;
}

static dure_status expect_count(const dure_op_call *call, uint32_t index, uint64_t expected) {
  const dure_operand *operand = &call->operands[index];
  if (!dure_operand_is_present(operand) || dure_operand_count(operand) == expected) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "operand '%s' has %llu elements, expected %llu", operand_name(call, index),
                   (unsigned long long)dure_operand_count(operand), (unsigned long long)expected);
}

static dure_status expect_rank(const dure_op_call *call, uint32_t index, uint32_t expected) {
  const dure_operand *operand = &call->operands[index];
  if (operand->rank == expected) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "operand '%s' has %u dimensions, expected %u", operand_name(call, index),
                   operand->rank, expected);
}

static uint64_t last_dimension(const dure_operand *operand) {
  return operand->rank == 0 ? 1 : operand->shape[operand->rank - 1];
}

// ---- routing -----------------------------------------------------------------------------------------------------

static dure_status check_route(const dure_op_call *call, uint64_t experts) {
  const dure_route_attributes *a = &call->attributes.route;
  if (a->count == 0 || a->count > experts) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%u experts a row, expected 1 to %llu", a->count,
                     (unsigned long long)experts);
  }
  if (a->group_count == 0) return NULL;
  const uint64_t each = experts / a->group_count;
  if (a->group_count <= 32 && experts % a->group_count == 0 && a->group_limit >= 1 &&
      a->group_limit <= a->group_count && a->group_best >= 1 && a->group_best <= each &&
      a->count <= a->group_limit * each)
    return NULL;
  return dure_fail(
      DURE_INVALID_ARGUMENT,
      "%llu experts in %u groups, %u experts of %u of them, the best %u rank a group: these numbers do not "
      "go together (groups of equal size, at most 32)",
      (unsigned long long)experts, a->group_count, a->count, a->group_limit, a->group_best);
}

dure_status dure_shape_route(dure_op_call *call) {
  enum { LOGITS, BIAS, WEIGHTS, EXPERTS };
  const uint64_t experts = last_dimension(&call->operands[LOGITS]);
  DURE_TRY(check_route(call, experts));
  DURE_TRY(expect_count(call, BIAS, experts));
  const uint64_t shape[2] = {dure_operand_rows(&call->operands[LOGITS]), call->attributes.route.count};
  dure_operand_set_shape(&call->operands[WEIGHTS], 2, shape);
  dure_operand_set_shape(&call->operands[EXPERTS], 2, shape);
  return NULL;
}

dure_status dure_shape_route_gradient(dure_op_call *call) {
  enum { LOGITS, WEIGHTS, EXPERTS, DWEIGHTS, DLOGITS };
  const dure_operand *logits = &call->operands[LOGITS];
  DURE_TRY(check_route(call, last_dimension(logits)));
  for (uint32_t i = WEIGHTS; i <= DWEIGHTS; i++)
    DURE_TRY(expect_count(call, i, dure_operand_rows(logits) * call->attributes.route.count));
  dure_operand_set_shape(&call->operands[DLOGITS], logits->rank, logits->shape);
  return NULL;
}

dure_status dure_gradient_route(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { LOGITS, BIAS, WEIGHTS, EXPERTS };
  const dure_tensor *o = call->operands;
  if (!dure_gradient_wants(gradient, o[LOGITS])) return NULL;
  dure_tensor dweights = dure_gradient_of(gradient, o[WEIGHTS]);
  dure_gradient_slot slot = dure_gradient_open(gradient, o[LOGITS], true);
  dure_tensor operands[DURE_MAX_OPERANDS] = {o[LOGITS], o[WEIGHTS], o[EXPERTS], dweights, slot.tensor};
  dure_program_call(dure_gradient_program(gradient), DURE_OP_route_gradient, operands, &call->attributes,
                    slot.accumulate ? 1u << 4 : 0);
  dure_gradient_close(gradient, &slot);
  return NULL;
}

// ---- order -------------------------------------------------------------------------------------------------------

dure_status dure_shape_expert_order(dure_op_call *call) {
  enum { EXPERTS, OFFSETS, ROWS, PLACES };
  const dure_operand *experts = &call->operands[EXPERTS];
  const uint64_t entries = dure_operand_count(experts), ends = (uint64_t)call->attributes.expert_order.expert_count + 1;
  DURE_TRY(expect_rank(call, EXPERTS, 2));
  if (ends == 1) return dure_fail(DURE_INVALID_ARGUMENT, "attribute expert_count must say how many experts there are");
  dure_operand_set_shape(&call->operands[OFFSETS], 1, &ends);
  dure_operand_set_shape(&call->operands[ROWS], 1, &entries);
  dure_operand_set_shape(&call->operands[PLACES], 2, experts->shape);
  return NULL;
}

// ---- products ----------------------------------------------------------------------------------------------------

enum { A, OFFSETS, B, C };  // of expert_matmul
enum { X, Y = 2, Z };       // of expert_outer, offsets between them

dure_status dure_shape_expert_matmul(dure_op_call *call) {
  const dure_operand *a = &call->operands[A], *b = &call->operands[B];
  DURE_TRY(expect_rank(call, A, 2));
  DURE_TRY(expect_rank(call, B, 3));
  DURE_TRY(expect_count(call, OFFSETS, b->shape[0] + 1));
  const bool transposed = call->attributes.expert_matmul.transpose_b;
  const uint64_t k = b->shape[transposed ? 2 : 1], shape[2] = {a->shape[0], b->shape[transposed ? 1 : 2]};
  if (a->shape[1] != k) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the inner dimensions disagree: %llu in 'a', %llu in 'b'",
                     (unsigned long long)a->shape[1], (unsigned long long)k);
  }
  dure_operand_set_shape(&call->operands[C], 2, shape);
  return NULL;
}

dure_status dure_shape_expert_outer(dure_op_call *call) {
  const dure_operand *x = &call->operands[X], *y = &call->operands[Y];
  DURE_TRY(expect_rank(call, X, 2));
  DURE_TRY(expect_rank(call, Y, 2));
  if (x->shape[0] != y->shape[0]) {
    return dure_fail(DURE_INVALID_ARGUMENT, "operands 'x' and 'y' have %llu and %llu rows, expected as many",
                     (unsigned long long)x->shape[0], (unsigned long long)y->shape[0]);
  }
  if (dure_operand_count(&call->operands[OFFSETS]) < 2)
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'offsets' has no expert");
  const uint64_t shape[3] = {dure_operand_count(&call->operands[OFFSETS]) - 1, x->shape[1], y->shape[1]};
  dure_operand_set_shape(&call->operands[Z], 3, shape);
  return NULL;
}

// da = dc op(b)^T; db as outer products, which way round depends on how b is stored.
dure_status dure_gradient_expert_matmul(dure_gradient *gradient, const dure_program_call_record *call) {
  dure_program *program = dure_gradient_program(gradient);
  const dure_tensor *o = call->operands;
  const dure_tensor dc = dure_gradient_of(gradient, o[C]);
  const bool transposed = call->attributes.expert_matmul.transpose_b;
  if (dure_gradient_wants(gradient, o[A])) {
    dure_gradient_slot slot = dure_gradient_open(gradient, o[A], true);
    const dure_op_attributes attributes = {.expert_matmul = {.transpose_b = !transposed}};
    dure_tensor operands[DURE_MAX_OPERANDS] = {dc, o[OFFSETS], o[B], slot.tensor};
    dure_program_call(program, DURE_OP_expert_matmul, operands, &attributes, slot.accumulate ? 1u << C : 0);
    dure_gradient_close(gradient, &slot);
  }
  if (dure_gradient_wants(gradient, o[B])) {
    dure_gradient_slot slot = dure_gradient_open(gradient, o[B], true);
    dure_tensor operands[DURE_MAX_OPERANDS] = {transposed ? dc : o[A], o[OFFSETS], transposed ? o[A] : dc, slot.tensor};
    dure_program_call(program, DURE_OP_expert_outer, operands, NULL, slot.accumulate ? 1u << Z : 0);
    dure_gradient_close(gradient, &slot);
  }
  return NULL;
}

static double bytes_of(const dure_operand *operand) {
  return (double)dure_operand_count(operand) * (double)dure_dtype_size(operand->dtype);
}

static dure_cost cost_of(const dure_op_call *call, double flops) {
  double bytes = 0;
  for (uint32_t i = 0; i < 4; i++) bytes += bytes_of(&call->operands[i]);
  return (dure_cost){flops, bytes};
}

// As if every row had an expert.
dure_cost dure_cost_expert_matmul(const dure_op_call *call) {
  return cost_of(call, 2.0 * (double)dure_operand_count(&call->operands[C]) * (double)call->operands[A].shape[1]);
}

dure_cost dure_cost_expert_outer(const dure_op_call *call) {
  return cost_of(call, 2.0 * (double)dure_operand_count(&call->operands[X]) * (double)call->operands[Y].shape[1]);
}

// ---- combination -------------------------------------------------------------------------------------------------

static dure_status check_places(const dure_op_call *call, uint32_t places, uint32_t weights, uint32_t x) {
  DURE_TRY(expect_count(call, places, dure_operand_count(&call->operands[weights])));
  if (dure_operand_is_present(&call->operands[places])) return NULL;
  DURE_TRY(expect_count(call, weights, call->operands[x].shape[0]));
  if (call->operands[weights].shape[1] == 1) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "operand 'places' is missing: rows of x are combined by their places");
}

dure_status dure_shape_expert_combine(dure_op_call *call) {
  enum { VALUES, WEIGHTS, PLACES, RESIDUAL, RESULT };
  const dure_operand *x = &call->operands[VALUES], *weights = &call->operands[WEIGHTS];
  const dure_operand *residual = &call->operands[RESIDUAL];
  DURE_TRY(expect_rank(call, VALUES, 2));
  DURE_TRY(expect_rank(call, WEIGHTS, 2));
  DURE_TRY(check_places(call, PLACES, WEIGHTS, VALUES));
  const uint64_t shape[2] = {weights->shape[0], x->shape[1]};
  DURE_TRY(expect_count(call, RESIDUAL, shape[0] * shape[1]));
  if (dure_operand_is_present(residual) && (call->accumulate >> RESULT & 1) != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "a residual and adding to 'y' exclude each other");
  if (dure_operand_is_present(residual)) {
    dure_operand_set_shape(&call->operands[RESULT], residual->rank, residual->shape);
  } else {
    dure_operand_set_shape(&call->operands[RESULT], 2, shape);
  }
  return NULL;
}

dure_status dure_shape_expert_combine_gradient(dure_op_call *call) {
  enum { DY, VALUES, WEIGHTS, PLACES, DX, DWEIGHTS };
  const dure_operand *x = &call->operands[VALUES], *weights = &call->operands[WEIGHTS];
  DURE_TRY(expect_rank(call, VALUES, 2));
  DURE_TRY(expect_rank(call, WEIGHTS, 2));
  DURE_TRY(check_places(call, PLACES, WEIGHTS, VALUES));
  DURE_TRY(expect_count(call, DY, weights->shape[0] * x->shape[1]));
  dure_operand_set_shape(&call->operands[DX], 2, x->shape);
  dure_operand_set_shape(&call->operands[DWEIGHTS], 2, weights->shape);
  return NULL;
}

// Where only one of the two is wanted the other goes to a temporary.
dure_status dure_gradient_expert_combine(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { VALUES, WEIGHTS, PLACES, RESIDUAL, RESULT };
  const dure_tensor *o = call->operands;
  dure_gradient_slot slots[2] = {{{0}, false, {0}}};
  for (uint32_t i = VALUES; i <= WEIGHTS; i++) {
    if (dure_gradient_wants(gradient, o[i])) slots[i] = dure_gradient_open(gradient, o[i], false);
  }
  if (slots[VALUES].tensor.index != 0 || slots[WEIGHTS].tensor.index != 0) {
    dure_tensor operands[DURE_MAX_OPERANDS] = {dure_gradient_of(gradient, o[RESULT]),
                                               o[VALUES],
                                               o[WEIGHTS],
                                               o[PLACES],
                                               slots[VALUES].tensor,
                                               slots[WEIGHTS].tensor};
    dure_program_call(dure_gradient_program(gradient), DURE_OP_expert_combine_gradient, operands, &call->attributes, 0);
  }
  for (uint32_t i = VALUES; i <= WEIGHTS; i++) {
    if (slots[i].tensor.index != 0) dure_gradient_close(gradient, &slots[i]);
  }
  if (o[RESIDUAL].index != 0) dure_gradient_pass(gradient, o[RESULT], o[RESIDUAL]);
  return NULL;
}

// ---- expansion ----------------------------------------------------------------------------------------------------

dure_status dure_expand_route(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                              void *context) {
  return dure_cut_rows(call, limits, "r-rr", sink, context);
}
dure_status dure_expand_route_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                       void *context) {
  return dure_cut_rows(call, limits, "rrrrr", sink, context);
}

// By rows of x, of which parts add to what the one before has left, and by rows of weights. Letters as in
// dure_cut_rows.
static dure_status expand_combine(const dure_op_call *call, const dure_limits *limits, const char *roles,
                                  dure_expand_sink sink, void *context) {
  enum { X_OF_COMBINE = 0, RESIDUAL = 3, Y_OF_COMBINE = 4 };
  const bool is_sum = call->op == DURE_OP_expert_combine;
  const dure_operand *x = &call->operands[is_sum ? X_OF_COMBINE : 1];
  const uint64_t x_rows = x->shape[0],
                 x_size = dure_cut_part_size(x_rows, dure_cut_parts_for_binding(x, x_rows, limits));
  if (!dure_operand_is_present(&call->operands[is_sum ? 2 : 3]))  // row by row
    return dure_cut_rows(call, limits, is_sum ? "rr-rr" : "rrr-rr", sink, context);
  if (x_size >= x_rows) return dure_cut_rows(call, limits, roles, sink, context);
  for (uint64_t first = 0; first < x_rows; first += x_size) {
    dure_op_call part = *call;
    for (uint32_t i = 0; roles[i] != '\0'; i++) {
      if (roles[i] == '-')
        dure_cut_axis(&part.operands[i], 0, first, x_rows - first < x_size ? x_rows - first : x_size);
    }
    part.attributes.expert_combine.first_row += (uint32_t)first;
    if (is_sum && first > 0) {
      part.accumulate |= 1u << Y_OF_COMBINE;
      part.operands[RESIDUAL] = (dure_operand){.dtype = DURE_DTYPE_NONE};
    }
    DURE_TRY(dure_cut_rows(&part, limits, roles, sink, context));
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

// How a call over experts is cut: by experts, by lines of an expert's matrix and by rows of all of them.
typedef struct expert_cuts {
  uint32_t x, matrices, y;  // operands: cut by rows, by experts and lines, by rows; the offsets are operand 1
  uint32_t across;          // x or y, whose columns are the matrix's lines
  uint64_t expert_size, line_size, row_size;
  bool sums_lines, sums_rows;  // what the first part leaves there the others add to
} expert_cuts;

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static dure_status expand_over_experts(const dure_op_call *call, const expert_cuts *cuts, dure_expand_sink sink,
                                       void *context) {
  const dure_operand *matrices = &call->operands[cuts->matrices];
  const uint64_t experts = matrices->shape[0], lines = matrices->shape[1], rows = call->operands[cuts->x].shape[0];
  for (uint64_t e = 0; e < experts; e += cuts->expert_size) {
    for (uint64_t line = 0; line < lines; line += cuts->line_size) {
      for (uint64_t row = 0; row < rows; row += cuts->row_size) {
        const uint64_t expert_count = least(experts - e, cuts->expert_size);
        const uint64_t line_count = least(lines - line, cuts->line_size), row_count = least(rows - row, cuts->row_size);
        dure_op_call part = *call;
        dure_cut_axis(&part.operands[cuts->matrices], 0, e, expert_count);
        dure_cut_axis(&part.operands[1], 0, e, expert_count + 1);
        dure_cut_axis(&part.operands[cuts->matrices], 1, line, line_count);
        dure_cut_axis(&part.operands[cuts->x], 0, row, row_count);
        dure_cut_axis(&part.operands[cuts->y], 0, row, row_count);
        dure_cut_axis(&part.operands[cuts->across], 1, line, line_count);
        if (cuts->sums_lines && line > 0) part.accumulate |= 1u << cuts->y;
        if (cuts->sums_rows && row > 0) part.accumulate |= 1u << cuts->matrices;
        part.attributes.expert_matmul.first_row += (uint32_t)row;
        DURE_TRY(sink(context, &part));
      }
    }
  }
  return NULL;
}

// Experts a part, so that as many matrices fit a binding; and out_one: the first of them.
static uint64_t experts_to_bind(const dure_operand *matrices, const dure_limits *limits, dure_operand *out_one) {
  *out_one = *matrices;
  dure_cut_axis(out_one, 0, 0, 1);
  const uint64_t experts = matrices->shape[0];
  return dure_cut_max(1, dure_cut_ceil_divide(experts, dure_cut_parts_for_binding(matrices, experts, limits)));
}

// By experts where b is too large to bind, by columns of c where one expert's is, by rows where there is too much work.
// b that is not transposed is cut by its rows, whose parts of c are added up.
dure_status dure_expand_expert_matmul(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context) {
  const uint64_t lines = call->operands[B].shape[1], rows = call->operands[A].shape[0];
  const bool is_transposed = call->attributes.expert_matmul.transpose_b;
  expert_cuts cuts = {.x = A, .matrices = B, .y = C, .across = is_transposed ? C : A, .sums_lines = !is_transposed};
  dure_operand one;
  cuts.expert_size = experts_to_bind(&call->operands[B], limits, &one);
  cuts.line_size = dure_cut_part_size(lines, dure_cut_parts_for_binding(&one, lines, limits));
  uint64_t parts = dure_cut_parts_for_work(call, limits);
  parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[A], rows, limits));
  parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[C], rows, limits));
  cuts.row_size = dure_cut_max(1, dure_cut_part_size(rows, parts));
  return expand_over_experts(call, &cuts, sink, context);
}

// By experts and by rows of z where z is too large; by rows of x and y, whose parts are added up, where those are.
dure_status dure_expand_expert_outer(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                     void *context) {
  const uint64_t lines = call->operands[Z].shape[1], rows = call->operands[X].shape[0];
  expert_cuts cuts = {.x = X, .matrices = Z, .y = Y, .across = X, .sums_rows = true};
  dure_operand one;
  cuts.expert_size = experts_to_bind(&call->operands[Z], limits, &one);
  const uint64_t line_parts =
      dure_cut_max(dure_cut_parts_for_binding(&one, lines, limits), dure_cut_parts_for_work(call, limits));
  cuts.line_size = dure_cut_max(1, dure_cut_part_size(lines, least(line_parts, lines)));
  uint64_t parts = dure_cut_ceil_divide(rows, dure_cut_max(1, limits->max_loop_iterations / 4));
  parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[X], rows, limits));
  parts = dure_cut_max(parts, dure_cut_parts_for_binding(&call->operands[Y], rows, limits));
  cuts.row_size = dure_cut_max(1, dure_cut_part_size(rows, parts));
  return expand_over_experts(call, &cuts, sink, context);
}
