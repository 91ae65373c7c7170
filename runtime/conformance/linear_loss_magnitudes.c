// With a[v] = sum over c of |hidden[c] * weight[v, c]|, the error of a logit is in proportion to a[v] and that of the
// log-sum-exp to the largest a. The relative error of a probability is the error of its exponent. A soft cap makes no
// logit's error larger, as its slope is at most 1; the error of the slope itself is in proportion to a[v] / soft_cap.
#include "runtime/conformance/linear_loss_magnitudes.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

typedef struct row_sizes {
  double *logits, *sizes;  // [V]
  double largest, log_sum_exp;
} row_sizes;

static void measure_row(const dure_op_call *call, uint64_t r, row_sizes *row) {
  const dure_operand *hidden = &call->operands[0], *weight = &call->operands[1];
  uint64_t C = dure_reference_width(hidden), V = weight->shape[0];
  const double soft_cap = (double)call->attributes.linear_loss.soft_cap;
  double maximum = -(double)INFINITY, sum = 0;
  row->largest = 0;
  for (uint64_t v = 0; v < V; v++) {
    row->logits[v] = row->sizes[v] = 0;
    for (uint64_t c = 0; c < C; c++) {
      double term = dure_reference_get(hidden, r * C + c) * dure_reference_get(weight, v * C + c);
      row->logits[v] += term;
      row->sizes[v] += fabs(term);
    }
    if (soft_cap > 0) row->logits[v] = soft_cap * tanh(row->logits[v] / soft_cap);
    maximum = fmax(maximum, row->logits[v]);
    row->largest = fmax(row->largest, row->sizes[v]);
  }
  for (uint64_t v = 0; v < V; v++) sum += exp(row->logits[v] - maximum);
  row->log_sum_exp = maximum + log(sum);
}

static void add_row(const dure_op_call *call, uint32_t output, uint64_t r, const row_sizes *row, double *magnitudes) {
  const dure_operand *hidden = &call->operands[0], *weight = &call->operands[1];
  uint64_t C = dure_reference_width(hidden), V = weight->shape[0];
  uint32_t label = dure_reference_get_u32(&call->operands[2], r);
  bool is_gradient = call->op == DURE_OP_linear_cross_entropy_gradient;
  uint32_t loss = is_gradient ? 4 : 3;
  if (output == loss || output == loss + 1) {
    bool is_ignored = output == loss && label == DURE_IGNORE_LABEL;
    magnitudes[r] = is_ignored ? 0 : 1 + log((double)V) + 2 * row->largest;
    return;
  }
  const double soft_cap = (double)call->attributes.linear_loss.soft_cap;
  double seed = fabs(dure_reference_get(&call->operands[3], 0));
  for (uint64_t v = 0; v < V && label != DURE_IGNORE_LABEL; v++) {
    double probability = exp(row->logits[v] - row->log_sum_exp);
    double dlogit = seed * (probability * (1 + row->sizes[v] + row->largest + fabs(row->log_sum_exp)) + (v == label));
    if (soft_cap > 0) {
      const double slope = 1 - pow(row->logits[v] / soft_cap, 2);
      dlogit = dlogit * slope + seed * (probability + (v == label)) * (1 + 2 * row->sizes[v] / soft_cap);
    }
    for (uint64_t c = 0; c < C; c++) {
      if (output == 6) magnitudes[r * C + c] += dlogit * fabs(dure_reference_get(weight, v * C + c));
      if (output == 7) magnitudes[v * C + c] += dlogit * fabs(dure_reference_get(hidden, r * C + c));
    }
  }
}

void dure_linear_loss_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  (void)c;
  uint64_t R = dure_operand_rows(&before->operands[0]), V = before->operands[1].shape[0];
  uint64_t count = dure_operand_count(&before->operands[output]);
  row_sizes row = {.logits = calloc((size_t)V, sizeof(double)), .sizes = calloc((size_t)V, sizeof(double))};
  bool adds = dure_reference_accumulates(before, output);
  for (uint64_t i = 0; i < count; i++) {
    magnitudes[i] = adds ? fabs(dure_reference_get(&before->operands[output], i)) : 0;
  }
  for (uint64_t r = 0; row.logits != NULL && row.sizes != NULL && r < R; r++) {
    measure_row(before, r, &row);
    add_row(before, output, r, &row, magnitudes);
  }
  free(row.logits);
  free(row.sizes);
}
