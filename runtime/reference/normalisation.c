// Layer normalisation (Ba et al. 2016, section 3), that by the root mean square (Zhang and Sennrich 2019, eq. 4), and
// their gradients.
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

static void load_or_fill(const dure_operand *operand, uint64_t C, double otherwise, double *out_values) {
  for (uint64_t c = 0; c < C; c++) out_values[c] = otherwise;
  if (dure_operand_is_present(operand)) dure_reference_load(operand, 0, C, out_values);
}

// y = (x - mean) * reciprocal_deviation * weight + bias
dure_status dure_reference_layer_norm(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[3];
  const dure_operand *means = &call->operands[4], *reciprocal_deviations = &call->operands[5];
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * C, &scratch));
  double *weight = scratch, *bias = scratch + C, *values = scratch + 2 * C;
  load_or_fill(&call->operands[1], C, 1.0, weight);
  load_or_fill(&call->operands[2], C, 0.0, bias);
  for (uint64_t r = 0; r < R; r++) {
    dure_reference_load(x, r * C, C, values);
    double mean = 0, variance = 0;
    for (uint64_t c = 0; c < C; c++) mean += values[c];
    mean /= (double)C;
    for (uint64_t c = 0; c < C; c++) variance += (values[c] - mean) * (values[c] - mean);
    variance /= (double)C;
    double reciprocal_deviation = 1 / sqrt(variance + (double)call->attributes.layer_norm.epsilon);
    for (uint64_t c = 0; c < C; c++) values[c] = (values[c] - mean) * reciprocal_deviation * weight[c] + bias[c];
    dure_reference_store(y, r * C, C, values, false);
    dure_reference_put(means, r, mean, false);
    dure_reference_put(reciprocal_deviations, r, reciprocal_deviation, false);
  }
  free(scratch);
  return NULL;
}

// With n = (x - mean) * reciprocal_deviation and g = dy * weight:
//   dx = reciprocal_deviation * (g - average(g) - n * average(g * n))
dure_status dure_reference_layer_norm_gradient(const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1];
  const dure_operand *means = &call->operands[3], *reciprocal_deviations = &call->operands[4], *dx = &call->operands[5];
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * C, &scratch));
  double *weight = scratch, *n = scratch + C, *g = scratch + 2 * C;
  load_or_fill(&call->operands[2], C, 1.0, weight);
  for (uint64_t r = 0; r < R; r++) {
    double mean = dure_reference_get(means, r), reciprocal_deviation = dure_reference_get(reciprocal_deviations, r);
    dure_reference_load(x, r * C, C, n);
    dure_reference_load(dy, r * C, C, g);
    double average_g = 0, average_gn = 0;
    for (uint64_t c = 0; c < C; c++) {
      n[c] = (n[c] - mean) * reciprocal_deviation;
      g[c] *= weight[c];
      average_g += g[c] / (double)C;
      average_gn += g[c] * n[c] / (double)C;
    }
    for (uint64_t c = 0; c < C; c++) g[c] = reciprocal_deviation * (g[c] - average_g - n[c] * average_gn);
    dure_reference_store(dx, r * C, C, g, dure_reference_accumulates(call, 5));
  }
  free(scratch);
  return NULL;
}

// dweight = sum over rows of dy * n, dbias = sum over rows of dy
dure_status dure_reference_layer_norm_parameters(const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1];
  const dure_operand *means = &call->operands[2], *reciprocal_deviations = &call->operands[3];
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(4 * C, &scratch));
  double *dweight = scratch, *dbias = scratch + C, *values = scratch + 2 * C, *gradients = scratch + 3 * C;
  for (uint64_t c = 0; c < C; c++) dweight[c] = dbias[c] = 0;
  for (uint64_t r = 0; r < R; r++) {
    double mean = dure_reference_get(means, r), reciprocal_deviation = dure_reference_get(reciprocal_deviations, r);
    dure_reference_load(x, r * C, C, values);
    dure_reference_load(dy, r * C, C, gradients);
    for (uint64_t c = 0; c < C; c++) {
      dweight[c] += gradients[c] * ((values[c] - mean) * reciprocal_deviation);
      dbias[c] += gradients[c];
    }
  }
  dure_reference_store(&call->operands[4], 0, C, dweight, dure_reference_accumulates(call, 4));
  dure_reference_store(&call->operands[5], 0, C, dbias, dure_reference_accumulates(call, 5));
  free(scratch);
  return NULL;
}

// ---- root mean square -------------------------------------------------------------------------------------------

// What x * reciprocal_rms is multiplied by.
static void load_factor(const dure_op_call *call, const dure_operand *weight, uint64_t C, double *out_factor) {
  double offset = (double)call->attributes.rms_norm.weight_offset;
  load_or_fill(weight, C, 1 - offset, out_factor);
  for (uint64_t c = 0; c < C; c++) out_factor[c] += offset;
}

// y = x * reciprocal_rms * (weight_offset + weight)
dure_status dure_reference_rms_norm(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[2];
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(2 * C, &scratch));
  double *factor = scratch, *values = scratch + C;
  load_factor(call, &call->operands[1], C, factor);
  for (uint64_t r = 0; r < R; r++) {
    dure_reference_load(x, r * C, C, values);
    double mean_square = 0;
    for (uint64_t c = 0; c < C; c++) mean_square += values[c] * values[c];
    double reciprocal_rms = 1 / sqrt(mean_square / (double)C + (double)call->attributes.rms_norm.epsilon);
    for (uint64_t c = 0; c < C; c++) values[c] = values[c] * reciprocal_rms * factor[c];
    dure_reference_store(y, r * C, C, values, false);
    dure_reference_put(&call->operands[3], r, reciprocal_rms, false);
  }
  free(scratch);
  return NULL;
}

// With n = x * reciprocal_rms and g = dy * (weight_offset + weight): dx = reciprocal_rms * (g - n * average(g * n))
dure_status dure_reference_rms_norm_gradient(const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1], *dx = &call->operands[4];
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * C, &scratch));
  double *factor = scratch, *n = scratch + C, *g = scratch + 2 * C;
  load_factor(call, &call->operands[2], C, factor);
  for (uint64_t r = 0; r < R; r++) {
    double reciprocal_rms = dure_reference_get(&call->operands[3], r), average = 0;
    dure_reference_load(x, r * C, C, n);
    dure_reference_load(dy, r * C, C, g);
    for (uint64_t c = 0; c < C; c++) {
      n[c] *= reciprocal_rms;
      g[c] *= factor[c];
      average += g[c] * n[c] / (double)C;
    }
    for (uint64_t c = 0; c < C; c++) g[c] = reciprocal_rms * (g[c] - n[c] * average);
    dure_reference_store(dx, r * C, C, g, dure_reference_accumulates(call, 4));
  }
  free(scratch);
  return NULL;
}

// dweight = sum over rows of dy * x * reciprocal_rms
dure_status dure_reference_rms_norm_parameters(const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1];
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * C, &scratch));
  double *dweight = scratch, *values = scratch + C, *gradients = scratch + 2 * C;
  for (uint64_t c = 0; c < C; c++) dweight[c] = 0;
  for (uint64_t r = 0; r < R; r++) {
    double reciprocal_rms = dure_reference_get(&call->operands[2], r);
    dure_reference_load(x, r * C, C, values);
    dure_reference_load(dy, r * C, C, gradients);
    for (uint64_t c = 0; c < C; c++) dweight[c] += gradients[c] * (values[c] * reciprocal_rms);
  }
  dure_reference_store(&call->operands[3], 0, C, dweight, dure_reference_accumulates(call, 3));
  free(scratch);
  return NULL;
}
