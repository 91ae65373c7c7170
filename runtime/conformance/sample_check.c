#include "runtime/conformance/sample_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

typedef struct sample_row {
  double *p;       // [count] probabilities, not cut
  double *sorted;  // [count] the same, the largest first
  double *pairs;   // [count, 2] deviations and probabilities of those that stay before typical_p, the smallest first
  uint64_t count;
  double temperature, top_k, top_p, min_p, typical_p, u;
  double slack;   // relative error that probabilities and sums of them may have
  double widest;  // exponent of those that count
} sample_row;

static int compare_descending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a < b) - (a > b);
}

static int compare_ascending(const void *left, const void *right) { return compare_descending(right, left); }

// The smallest probability that stays when the cuts fall as far down (or up) as rounding errors allow.
static double smallest_kept(const sample_row *row, bool lenient) {
  double k = floor(row->top_k), mass = 0, kept_mass = 0;
  uint64_t kept = k >= 1 && k < (double)row->count ? (uint64_t)k : row->count;
  double smallest = row->sorted[kept - 1];
  while (kept < row->count && row->sorted[kept] == smallest) kept++;  // ties with the last one stay
  for (uint64_t i = 0; i < kept; i++) kept_mass += row->sorted[i];
  double wanted = (row->top_p + (lenient ? row->slack : -row->slack)) * kept_mass;
  for (uint64_t i = 0; i < kept && row->top_p < 1; i++) {
    mass += row->sorted[i];
    if (mass >= wanted) {
      smallest = row->sorted[i];
      break;
    }
  }
  smallest = fmax(smallest, row->min_p * row->sorted[0]);
  return smallest * (lenient ? 1 - row->slack : 1 + row->slack);
}

static double deviation(double p, double average) { return fabs(log(p) - average); }

// Whether `token` can be the answer when what stays has at least probability `smallest`, and deviates from `average` by
// `bound` at most.
static bool reaches_within(const sample_row *row, double smallest, double average, double bound, uint64_t token) {
  double total = 0, before = 0;
  const bool is_cut = isfinite(bound);
  if (is_cut && !(deviation(row->p[token], average) <= bound)) return false;
  for (uint64_t i = 0; i < row->count; i++) {
    if (!(row->p[i] >= smallest) || (is_cut && !(deviation(row->p[i], average) <= bound))) continue;
    total += row->p[i];
    if (i < token) before += row->p[i];
  }
  double after = before + row->p[token];
  return row->p[token] >= smallest && before <= (row->u + row->slack) * total && after >= (row->u - row->slack) * total;
}

// The same when typical_p cuts what stays: every bound between the two that rounding errors allow is right.
static bool reaches(const sample_row *row, double smallest, uint64_t token) {
  if (!(row->typical_p > 0 && row->typical_p < 1)) return reaches_within(row, smallest, 0, (double)INFINITY, token);
  double total = 0, average = 0, mass = 0, lowest = -1, highest = 0;
  uint64_t kept = 0;
  for (uint64_t i = 0; i < row->count; i++) total += row->p[i] >= smallest ? row->p[i] : 0;
  for (uint64_t i = 0; i < row->count; i++)
    average += row->p[i] >= smallest && row->p[i] > 0 ? row->p[i] / total * log(row->p[i]) : 0;
  for (uint64_t i = 0; i < row->count; i++) {
    if (!(row->p[i] >= smallest)) continue;
    row->pairs[2 * kept] = deviation(row->p[i], average);
    row->pairs[2 * kept++ + 1] = row->p[i];
  }
  qsort(row->pairs, kept, 2 * sizeof(double), compare_ascending);
  for (uint64_t i = 0; i < kept && mass < (row->typical_p + row->slack) * total; i++) {
    if (lowest < 0 && mass + row->pairs[2 * i + 1] >= (row->typical_p - row->slack) * total) lowest = row->pairs[2 * i];
    highest = row->pairs[2 * i];
    mass += row->pairs[2 * i + 1];
  }
  const double slack = row->slack * (1 + row->widest);
  lowest = (lowest < 0 ? highest : lowest) - slack;
  highest += slack;
  if (reaches_within(row, smallest, average, highest, token) || reaches_within(row, smallest, average, lowest, token))
    return true;
  for (uint64_t i = 0; i < kept; i++) {
    const double bound = row->pairs[2 * i];
    if (bound >= lowest && bound <= highest && reaches_within(row, smallest, average, bound, token)) return true;
  }
  return false;
}

static bool is_right(const sample_row *row, uint64_t token) {
  if (token >= row->count) return false;
  if (!(row->temperature > 0)) {  // greedy: exactly the first of the largest
    for (uint64_t i = 0; i < row->count; i++) {
      if (row->p[i] > row->p[token] || (i < token && row->p[i] == row->p[token])) return false;
    }
    return true;
  }
  // Every cut between the two extremes is right, and each keeps a prefix of the sorted probabilities.
  double lowest = smallest_kept(row, true), highest = smallest_kept(row, false);
  if (reaches(row, lowest, token) || reaches(row, highest, token)) return true;
  for (uint64_t i = 0; i < row->count; i++) {
    if (row->sorted[i] >= lowest && row->sorted[i] <= highest && reaches(row, row->sorted[i], token)) return true;
  }
  return false;
}

static void load_settings(const dure_op_call *call, uint64_t r, sample_row *row) {
  const dure_operand *settings = &call->operands[1];
  const uint64_t first = settings->rank == 2 ? r * DURE_SAMPLE_COUNT : 0;
  row->temperature = dure_reference_get(settings, first + DURE_SAMPLE_TEMPERATURE);
  row->top_k = dure_reference_get(settings, first + DURE_SAMPLE_TOP_K);
  row->top_p = dure_reference_get(settings, first + DURE_SAMPLE_TOP_P);
  row->min_p = dure_reference_get(settings, first + DURE_SAMPLE_MIN_P);
  row->typical_p = dure_reference_get(settings, first + DURE_SAMPLE_TYPICAL_P);
  row->u = dure_reference_sample_uniform(&call->operands[2], r);
}

static void load_row(const dure_op_call *call, uint64_t r, sample_row *row) {
  uint64_t V = dure_reference_width(&call->operands[0]);
  dure_reference_load(&call->operands[0], r * V, row->count, row->p);
  if (row->temperature > 0) {
    double maximum = row->p[0], sum = 0, widest = 0;
    for (uint64_t i = 0; i < row->count; i++) maximum = fmax(maximum, row->p[i]);
    for (uint64_t i = 0; i < row->count; i++) {
      double exponent = (row->p[i] - maximum) / row->temperature;
      if (exponent > -20) widest = fmax(widest, -exponent);
      sum += row->p[i] = exp(exponent);
    }
    for (uint64_t i = 0; i < row->count; i++) row->p[i] /= sum;
    // An exponential may err by 3 + 2 |x| units in the last place (Vulkan's table of precision), the sums by 8 sqrt(n).
    row->widest = widest;
    row->slack = 0x1p-24 * (8 * sqrt((double)row->count) + 8 + 4 * widest);
  }
  for (uint64_t i = 0; i < row->count; i++) row->sorted[i] = row->p[i];
  qsort(row->sorted, row->count, sizeof(double), compare_descending);
}

dure_status dure_sample_check(const dure_case *c, const dure_case_data *initial, const dure_case_data *actual,
                              dure_comparison *comparison) {
  dure_buffer buffers[DURE_MAX_OPERANDS], actual_buffers[DURE_MAX_OPERANDS];
  dure_op_call call = dure_case_call(c, initial, buffers), after = dure_case_call(c, actual, actual_buffers);
  uint64_t V = dure_reference_width(&call.operands[0]), B = dure_operand_rows(&call.operands[0]);
  sample_row row = {.count = c->attributes.sample.candidate_count != 0 ? c->attributes.sample.candidate_count : V};
  DURE_TRY(dure_reference_scratch(4 * row.count, &row.p));
  row.sorted = row.p + row.count;
  row.pairs = row.sorted + row.count;
  for (uint64_t r = 0; r < B; r++) {
    load_settings(&call, r, &row);
    load_row(&call, r, &row);
    uint32_t token = dure_reference_get_u32(&after.operands[3], r);
    if (is_right(&row, token)) continue;
    comparison->worst = (double)INFINITY;
    if (comparison->wrong_count++ > 0) continue;
    snprintf(comparison->message, sizeof(comparison->message),
             "row %llu: token %u is not within rounding error of the one that u = %.8f chooses", (unsigned long long)r,
             token, row.u);
  }
  free(row.p);
  return NULL;
}
