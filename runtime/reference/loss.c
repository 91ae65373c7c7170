// Softmax cross-entropy with integer labels, and its gradient written over the logits.
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

// log(sum over v of exp(x[v])), with the maximum taken out so that no exponential overflows
static double log_sum_exp(const double *x, uint64_t V) {
  double maximum = x[0], sum = 0;
  for (uint64_t v = 1; v < V; v++) maximum = x[v] > maximum ? x[v] : maximum;
  for (uint64_t v = 0; v < V; v++) sum += exp(x[v] - maximum);
  return maximum + log(sum);
}

dure_status dure_reference_cross_entropy(const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0], *labels = &call->operands[1];
  const dure_operand *loss = &call->operands[2], *log_sum_exps = &call->operands[3];
  uint64_t V = dure_reference_width(logits), R = dure_operand_rows(logits);
  double *x = NULL;
  DURE_TRY(dure_reference_scratch(V, &x));
  for (uint64_t r = 0; r < R; r++) {
    uint32_t label = dure_reference_get_u32(labels, r);
    dure_reference_load(logits, r * V, V, x);
    double total = log_sum_exp(x, V);
    double row_loss = label < V ? total - x[label] : (double)NAN;
    if (label == DURE_IGNORE_LABEL) row_loss = 0;
    dure_reference_put(loss, r, row_loss, false);
    dure_reference_put(log_sum_exps, r, total, false);
  }
  free(x);
  return NULL;
}

dure_status dure_reference_cross_entropy_gradient(const dure_op_call *call) {
  const dure_operand *labels = &call->operands[0], *log_sum_exps = &call->operands[1];
  const dure_operand *dloss = &call->operands[2], *logits = &call->operands[3];
  uint64_t V = dure_reference_width(logits), R = dure_operand_rows(logits);
  double seed = dure_reference_get(dloss, 0);
  double *x = NULL;
  DURE_TRY(dure_reference_scratch(V, &x));
  for (uint64_t r = 0; r < R; r++) {
    uint32_t label = dure_reference_get_u32(labels, r);
    double total = dure_reference_get(log_sum_exps, r);
    dure_reference_load(logits, r * V, V, x);
    for (uint64_t v = 0; v < V; v++) {
      double probability = exp(x[v] - total);
      x[v] = label == DURE_IGNORE_LABEL ? 0 : (probability - (v == label ? 1.0 : 0.0)) * seed;
    }
    dure_reference_store(logits, r * V, V, x, false);
  }
  free(x);
  return NULL;
}
