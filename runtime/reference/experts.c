// Mixtures of experts: routing, the order of rows by experts, their products and the combination of results.
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

// ---- routing -----------------------------------------------------------------------------------------------------

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

// logits [E] become the scores of the row.
static void score(const dure_route_attributes *a, uint64_t experts, double *values) {
  if (a->is_sigmoid) {
    for (uint64_t e = 0; e < experts; e++) values[e] = sigmoid(values[e]);
    return;
  }
  double largest = -(double)INFINITY, sum = 0;
  for (uint64_t e = 0; e < experts; e++) largest = values[e] > largest ? values[e] : largest;
  for (uint64_t e = 0; e < experts; e++) sum += values[e] = exp(values[e] - largest);
  for (uint64_t e = 0; e < experts; e++) values[e] /= sum;
}

// The number of the largest value, the lower one on ties.
static uint64_t largest_of(const double *values, uint64_t count) {
  uint64_t best = 0;
  for (uint64_t i = 1; i < count; i++) best = values[i] > values[best] ? i : best;
  return best;
}

// The largest that is not taken, the lower number on ties; it is taken then.
static uint64_t choose(const double *ranks, bool *is_taken, uint64_t count) {
  uint64_t best = count;
  for (uint64_t e = 0; e < count; e++) {
    if (!is_taken[e] && (best == count || ranks[e] > ranks[best])) best = e;
  }
  is_taken[best] = true;
  return best;
}

// Leaves the ranks of the experts of the best groups alone and takes the others' away. `taken` [E] is scratch.
static void limit_groups(const dure_route_attributes *a, uint64_t experts, double *ranks, double *taken) {
  const uint64_t each = experts / a->group_count;
  double sums[32];
  for (uint32_t g = 0; g < a->group_count; g++) {
    for (uint64_t i = 0; i < each; i++) taken[i] = ranks[g * each + i];
    sums[g] = 0;
    for (uint32_t k = 0; k < a->group_best; k++) {
      const uint64_t best = largest_of(taken, each);
      sums[g] += taken[best];
      taken[best] = -(double)INFINITY;
    }
  }
  bool is_open[32] = {false};
  for (uint32_t k = 0; k < a->group_limit; k++) {
    choose(sums, is_open, a->group_count);
  }
  for (uint64_t e = 0; e < experts; e++) ranks[e] = is_open[e / each] ? ranks[e] : -(double)INFINITY;
}

static void route_row(const dure_op_call *call, uint64_t r, double *scratch, bool *is_taken) {
  enum { LOGITS, BIAS, WEIGHTS, EXPERTS };
  const dure_route_attributes *a = &call->attributes.route;
  const uint64_t experts = dure_reference_width(&call->operands[LOGITS]);
  double *scores = scratch, *ranks = scratch + experts, sum = 0;
  dure_reference_load(&call->operands[LOGITS], r * experts, experts, scores);
  for (uint64_t e = 0; e < experts; e++) ranks[e] = scores[e];
  score(a, experts, scores);
  const bool has_bias = dure_operand_is_present(&call->operands[BIAS]);
  for (uint64_t e = 0; e < experts; e++) {
    // Scores grow with logits: without a bias these say the same, and no ties come up that they do not have. Sums of
    // several scores are of the scores themselves.
    if (has_bias) ranks[e] = scores[e] + dure_reference_get(&call->operands[BIAS], e);
    if (!has_bias && a->group_count > 0 && a->group_best > 1) ranks[e] = scores[e];
    if (isnan(ranks[e])) ranks[e] = -(double)INFINITY;
    is_taken[e] = false;
  }
  if (a->group_count > 0) limit_groups(a, experts, ranks, ranks + experts);
  for (uint32_t k = 0; k < a->count; k++) {
    const uint64_t e = choose(ranks, is_taken, experts);
    dure_reference_put_u32(&call->operands[EXPERTS], r * a->count + k, (uint32_t)e);
    sum += scores[e];
  }
  const double factor = (double)a->factor / (a->is_normalised ? sum : 1);
  for (uint32_t k = 0; k < a->count; k++) {
    const uint64_t e = dure_reference_get_u32(&call->operands[EXPERTS], r * a->count + k);
    dure_reference_put(&call->operands[WEIGHTS], r * a->count + k, factor * scores[e], false);
  }
}

dure_status dure_reference_route(const dure_op_call *call) {
  const uint64_t experts = dure_reference_width(&call->operands[0]), rows = dure_operand_rows(&call->operands[0]);
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * experts, &scratch));
  bool *is_taken = malloc(experts * sizeof(*is_taken));
  if (is_taken != NULL) {
    for (uint64_t r = 0; r < rows; r++) route_row(call, r, scratch, is_taken);
  }
  free(scratch);
  dure_status status = is_taken == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory routing") : NULL;
  free(is_taken);
  return status;
}

// dlogits of the chosen: w (dw - mean) times what the score's own slope leaves; of all: what the softmax's sum takes.
dure_status dure_reference_route_gradient(const dure_op_call *call) {
  enum { LOGITS, WEIGHTS, EXPERTS, DWEIGHTS, DLOGITS };
  const dure_route_attributes *a = &call->attributes.route;
  const dure_operand *o = call->operands;
  const uint64_t experts = dure_reference_width(&o[LOGITS]), rows = dure_operand_rows(&o[LOGITS]), K = a->count;
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(2 * experts, &scratch));
  double *scores = scratch, *slopes = scratch + experts;
  for (uint64_t r = 0; r < rows; r++) {
    dure_reference_load(&o[LOGITS], r * experts, experts, scores);
    score(a, experts, scores);
    double dot = 0;
    for (uint64_t k = r * K; k < (r + 1) * K; k++)
      dot += dure_reference_get(&o[DWEIGHTS], k) * dure_reference_get(&o[WEIGHTS], k);
    for (uint64_t e = 0; e < experts; e++) slopes[e] = a->is_sigmoid || a->is_normalised ? 0 : -scores[e] * dot;
    for (uint64_t k = r * K; k < (r + 1) * K; k++) {
      const uint64_t e = dure_reference_get_u32(&o[EXPERTS], k);
      const double mean = a->is_normalised ? dot / (double)a->factor : 0;
      if (e < experts)
        slopes[e] += dure_reference_get(&o[WEIGHTS], k) * (dure_reference_get(&o[DWEIGHTS], k) - mean) *
                     (a->is_sigmoid ? 1 - scores[e] : 1);
    }
    dure_reference_store(&o[DLOGITS], r * experts, experts, slopes, dure_reference_accumulates(call, DLOGITS));
  }
  free(scratch);
  return NULL;
}

// ---- order -------------------------------------------------------------------------------------------------------

dure_status dure_reference_expert_order(const dure_op_call *call) {
  enum { EXPERTS, OFFSETS, ROWS, PLACES };
  const dure_operand *o = call->operands;
  const uint64_t entries = dure_operand_count(&o[EXPERTS]), K = o[EXPERTS].shape[1];
  uint32_t place = 0;
  for (uint32_t e = 0; e < call->attributes.expert_order.expert_count; e++) {
    dure_reference_put_u32(&o[OFFSETS], e, place);
    for (uint64_t i = 0; i < entries; i++) {
      if (dure_reference_get_u32(&o[EXPERTS], i) != e) continue;
      dure_reference_put_u32(&o[ROWS], place, (uint32_t)(i / K));
      dure_reference_put_u32(&o[PLACES], i, place++);
    }
  }
  dure_reference_put_u32(&o[OFFSETS], call->attributes.expert_order.expert_count, place);
  return NULL;
}

// ---- products ----------------------------------------------------------------------------------------------------

// Rows [*out_begin, *out_end) of the call's matrices belong to expert e.
static void rows_of(const dure_op_call *call, uint64_t e, uint64_t rows, uint64_t *out_begin, uint64_t *out_end) {
  const uint64_t first = call->attributes.expert_matmul.first_row;
  const uint64_t begin = dure_reference_get_u32(&call->operands[1], e);
  const uint64_t end = dure_reference_get_u32(&call->operands[1], e + 1);
  *out_begin = begin > first ? begin - first : 0;
  *out_end = end > first ? end - first : 0;
  if (*out_end > rows) *out_end = rows;
}

dure_status dure_reference_expert_matmul(const dure_op_call *call) {
  enum { A, OFFSETS, B, C };
  const dure_operand *a = &call->operands[A], *b = &call->operands[B], *c = &call->operands[C];
  const uint64_t rows = a->shape[0], K = a->shape[1], N = dure_reference_width(c);
  const bool transposed = call->attributes.expert_matmul.transpose_b;
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(K + N + K * N, &scratch));
  double *row = scratch, *sums = row + K, *matrix = sums + N;
  for (uint64_t e = 0; e < b->shape[0]; e++) {
    uint64_t begin, end;
    rows_of(call, e, rows, &begin, &end);
    if (begin < end) dure_reference_load(b, e * K * N, K * N, matrix);
    for (uint64_t p = begin; p < end; p++) {
      dure_reference_load(a, p * K, K, row);
      for (uint64_t n = 0; n < N; n++) {
        sums[n] = 0;
        for (uint64_t k = 0; k < K; k++) sums[n] += row[k] * matrix[transposed ? n * K + k : k * N + n];
      }
      dure_reference_store(c, p * N, N, sums, dure_reference_accumulates(call, C));
    }
  }
  free(scratch);
  return NULL;
}

dure_status dure_reference_expert_outer(const dure_op_call *call) {
  enum { X, OFFSETS, Y, Z };
  const dure_operand *x = &call->operands[X], *y = &call->operands[Y], *z = &call->operands[Z];
  const uint64_t rows = x->shape[0], I = x->shape[1], J = y->shape[1];
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(I + J + I * J, &scratch));
  double *left = scratch, *right = left + I, *sums = right + J;
  for (uint64_t e = 0; e < z->shape[0]; e++) {
    uint64_t begin, end;
    rows_of(call, e, rows, &begin, &end);
    for (uint64_t i = 0; i < I * J; i++) sums[i] = 0;
    for (uint64_t p = begin; p < end; p++) {
      dure_reference_load(x, p * I, I, left);
      dure_reference_load(y, p * J, J, right);
      for (uint64_t i = 0; i < I; i++) {
        for (uint64_t j = 0; j < J; j++) sums[i * J + j] += left[i] * right[j];
      }
    }
    dure_reference_store(z, e * I * J, I * J, sums, dure_reference_accumulates(call, Z));
  }
  free(scratch);
  return NULL;
}

// ---- combination -------------------------------------------------------------------------------------------------

// The row of x that an entry leads to; beyond x's rows: none of them.
static uint64_t place_of(const dure_op_call *call, const dure_operand *places, uint64_t entry) {
  const uint64_t place = dure_operand_is_present(places) ? dure_reference_get_u32(places, entry) : entry;
  return place - call->attributes.expert_combine.first_row;  // wraps around below the first
}

dure_status dure_reference_expert_combine(const dure_op_call *call) {
  enum { X, WEIGHTS, PLACES, RESIDUAL, Y };
  const dure_operand *o = call->operands;
  const uint64_t R = o[WEIGHTS].shape[0], K = o[WEIGHTS].shape[1], width = o[X].shape[1];
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(2 * width, &scratch));
  double *sums = scratch, *values = scratch + width;
  for (uint64_t r = 0; r < R; r++) {
    for (uint64_t c = 0; c < width; c++) sums[c] = 0;
    if (dure_operand_is_present(&o[RESIDUAL])) dure_reference_load(&o[RESIDUAL], r * width, width, sums);
    for (uint64_t k = 0; k < K; k++) {
      const uint64_t place = place_of(call, &o[PLACES], r * K + k);
      const double weight = dure_reference_get(&o[WEIGHTS], r * K + k);
      if (place >= o[X].shape[0]) continue;
      dure_reference_load(&o[X], place * width, width, values);
      for (uint64_t c = 0; c < width; c++) sums[c] += weight * values[c];
    }
    dure_reference_store(&o[Y], r * width, width, sums, dure_reference_accumulates(call, Y));
  }
  free(scratch);
  return NULL;
}

dure_status dure_reference_expert_combine_gradient(const dure_op_call *call) {
  enum { DY, X, WEIGHTS, PLACES, DX, DWEIGHTS };
  const dure_operand *o = call->operands;
  const uint64_t R = o[WEIGHTS].shape[0], K = o[WEIGHTS].shape[1], width = o[X].shape[1];
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * width, &scratch));
  double *gradients = scratch, *values = gradients + width, *results = values + width;
  for (uint64_t entry = 0; entry < R * K; entry++) {
    const uint64_t place = place_of(call, &o[PLACES], entry);
    const double weight = dure_reference_get(&o[WEIGHTS], entry);
    double dot = 0;
    if (place >= o[X].shape[0]) continue;
    dure_reference_load(&o[DY], entry / K * width, width, gradients);
    dure_reference_load(&o[X], place * width, width, values);
    for (uint64_t c = 0; c < width; c++) {
      dot += gradients[c] * values[c];
      results[c] = weight * gradients[c];
    }
    dure_reference_store(&o[DX], place * width, width, results, false);
    dure_reference_put(&o[DWEIGHTS], entry, dot, false);
  }
  free(scratch);
  return NULL;
}
