// Cross-entropy of a linear layer's logits, and the gradients of its input and weight; one row at a time.
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

typedef struct linear_loss {
  const dure_operand *hidden, *weight, *labels, *dloss, *loss, *log_sum_exp, *dhidden, *dweight;
  uint64_t R, C, V;
  double soft_cap;
  double *weights, *row, *logits, *drow, *dweights;  // [V, C], [C], [V], [C], [V, C]
} linear_loss;

// logits[v] = sum over c of row[c] * weights[v, c], soft-capped; returns log(sum over v of exp(logits[v]))
static double row_logits(const linear_loss *l) {
  double maximum = -(double)INFINITY, sum = 0;
  for (uint64_t v = 0; v < l->V; v++) {
    l->logits[v] = 0;
    for (uint64_t c = 0; c < l->C; c++) l->logits[v] += l->row[c] * l->weights[v * l->C + c];
    if (l->soft_cap > 0) l->logits[v] = l->soft_cap * tanh(l->logits[v] / l->soft_cap);
    if (l->logits[v] > maximum) maximum = l->logits[v];
  }
  for (uint64_t v = 0; v < l->V; v++) sum += exp(l->logits[v] - maximum);
  return maximum + log(sum);
}

static void row_gradients(const linear_loss *l, uint64_t r, uint32_t label, double total, bool adds_dhidden) {
  double seed = dure_reference_get(l->dloss, 0);
  for (uint64_t c = 0; c < l->C; c++) l->drow[c] = 0;
  for (uint64_t v = 0; v < l->V && label != DURE_IGNORE_LABEL; v++) {
    double dlogit = (exp(l->logits[v] - total) - (v == label ? 1.0 : 0.0)) * seed;
    if (l->soft_cap > 0) dlogit *= 1 - pow(l->logits[v] / l->soft_cap, 2);  // the slope of tanh: 1 - tanh^2
    for (uint64_t c = 0; c < l->C; c++) {
      l->drow[c] += dlogit * l->weights[v * l->C + c];
      l->dweights[v * l->C + c] += dlogit * l->row[c];
    }
  }
  if (dure_operand_is_present(l->dhidden)) dure_reference_store(l->dhidden, r * l->C, l->C, l->drow, adds_dhidden);
}

static void run(const linear_loss *l, bool adds_dhidden) {
  bool has_gradient = l->dloss != NULL;
  for (uint64_t r = 0; r < l->R; r++) {
    uint32_t label = dure_reference_get_u32(l->labels, r);
    dure_reference_load(l->hidden, r * l->C, l->C, l->row);
    double total = row_logits(l);
    double row_loss = label < l->V ? total - l->logits[label] : (double)NAN;
    dure_reference_put(l->loss, r, label == DURE_IGNORE_LABEL ? 0 : row_loss, false);
    dure_reference_put(l->log_sum_exp, r, total, false);
    if (has_gradient) row_gradients(l, r, label, total, adds_dhidden);
  }
}

static dure_status prepare_and_run(linear_loss *l, bool adds_dhidden, bool adds_dweight) {
  l->R = dure_operand_rows(l->hidden);
  l->C = dure_reference_width(l->hidden);
  l->V = l->weight->shape[0];
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(2 * l->V * l->C + 2 * l->C + l->V, &scratch));
  l->weights = scratch;
  l->dweights = scratch + l->V * l->C;
  l->row = scratch + 2 * l->V * l->C;
  l->drow = l->row + l->C;
  l->logits = l->drow + l->C;
  dure_reference_load(l->weight, 0, l->V * l->C, l->weights);
  for (uint64_t i = 0; i < l->V * l->C; i++) l->dweights[i] = 0;
  run(l, adds_dhidden);
  if (l->dweight != NULL && dure_operand_is_present(l->dweight))
    dure_reference_store(l->dweight, 0, l->V * l->C, l->dweights, adds_dweight);
  free(scratch);
  return NULL;
}

dure_status dure_reference_linear_cross_entropy(const dure_op_call *call) {
  const dure_operand *o = call->operands;
  linear_loss l = {.hidden = &o[0],
                   .weight = &o[1],
                   .labels = &o[2],
                   .loss = &o[3],
                   .log_sum_exp = &o[4],
                   .soft_cap = (double)call->attributes.linear_loss.soft_cap};
  return prepare_and_run(&l, false, false);
}

dure_status dure_reference_linear_cross_entropy_gradient(const dure_op_call *call) {
  const dure_operand *o = call->operands;
  linear_loss l = {.hidden = &o[0],
                   .weight = &o[1],
                   .labels = &o[2],
                   .dloss = &o[3],
                   .loss = &o[4],
                   .log_sum_exp = &o[5],
                   .dhidden = &o[6],
                   .dweight = &o[7],
                   .soft_cap = (double)call->attributes.linear_loss.soft_cap};
  return prepare_and_run(&l, dure_reference_accumulates(call, 6), dure_reference_accumulates(call, 7));
}
