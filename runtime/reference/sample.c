// One token a row: greedy, or from the softmax cut by top_k, top_p, min_p and typical_p; what changes logits before.
#include <math.h>
#include <stdlib.h>

#include "runtime/random.h"
#include "runtime/reference/reference.h"

typedef struct sample_settings {
  double temperature, top_k, top_p, min_p, typical_p;
} sample_settings;

static int compare_descending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a < b) - (a > b);
}

// The largest value, the lowest index on ties; NaN is never larger.
static uint64_t largest(const double *x, uint64_t count) {
  uint64_t best = 0;
  for (uint64_t i = 1; i < count; i++) {
    if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i]))) best = i;
  }
  return best;
}

// The smallest probability that stays: of the top_k most probable, those whose mass reaches top_p of theirs together.
static double threshold(const double *probabilities, uint64_t count, sample_settings settings, double *sorted) {
  for (uint64_t i = 0; i < count; i++) sorted[i] = probabilities[i];
  qsort(sorted, count, sizeof(double), compare_descending);
  double k = floor(settings.top_k);
  uint64_t kept = k >= 1 && k < (double)count ? (uint64_t)k : count;
  double smallest = sorted[kept - 1], kept_mass = 0, mass = 0;
  if (settings.top_p >= 1) return smallest;
  for (uint64_t i = 0; i < count && sorted[i] >= smallest; i++) kept_mass += sorted[i];
  for (uint64_t i = 0; i < count && sorted[i] >= smallest; i++) {
    mass += sorted[i];
    if (mass >= settings.top_p * kept_mass) return sorted[i];
  }
  return smallest;
}

static int compare_ascending(const void *left, const void *right) { return compare_descending(right, left); }

// How far what a token tells is from what one tells on average: | -log p - H |, of those that stay.
static double deviation(double p, double average) { return fabs(log(p) - average); }

// Of those with at least probability `smallest`, the ones beyond the smallest set of the most typical whose mass
// reaches typical_p of theirs together get probability 0. `pairs` has room for [count, 2].
static void cut_to_typical(double *p, uint64_t count, double smallest, double typical_p, double *pairs) {
  double total = 0, average = 0, mass = 0, bound = 0;
  uint64_t kept = 0;
  for (uint64_t i = 0; i < count; i++) total += p[i] >= smallest ? p[i] : 0;
  for (uint64_t i = 0; i < count; i++) average += p[i] >= smallest && p[i] > 0 ? p[i] / total * log(p[i]) : 0;
  for (uint64_t i = 0; i < count; i++) {
    if (!(p[i] >= smallest)) continue;
    pairs[2 * kept] = deviation(p[i], average);
    pairs[2 * kept++ + 1] = p[i];
  }
  qsort(pairs, kept, 2 * sizeof(double), compare_ascending);
  for (uint64_t i = 0; i < kept && mass < typical_p * total; i++) {
    bound = pairs[2 * i];
    mass += pairs[2 * i + 1];
  }
  for (uint64_t i = 0; i < count; i++) {
    if (p[i] >= smallest && !(deviation(p[i], average) <= bound)) p[i] = 0;
  }
}

// The first in index order at which the running mass of what stays, scaled to 1, exceeds u.
static uint64_t draw(const double *probabilities, uint64_t count, double smallest, double u) {
  double total = 0, running = 0;
  uint64_t last = 0;
  for (uint64_t i = 0; i < count; i++) total += probabilities[i] >= smallest ? probabilities[i] : 0;
  for (uint64_t i = 0; i < count; i++) {
    if (!(probabilities[i] >= smallest)) continue;
    running += probabilities[i];
    last = i;
    if (running / total > u) return i;
  }
  return last;
}

static uint64_t sample_row(double *x, uint64_t count, sample_settings settings, double u, double *sorted) {
  uint64_t best = largest(x, count);
  if (!(settings.temperature > 0)) return best;
  double maximum = x[best], sum = 0;
  for (uint64_t i = 0; i < count; i++) sum += x[i] = exp((x[i] - maximum) / settings.temperature);
  for (uint64_t i = 0; i < count; i++) x[i] /= sum;
  const double smallest = fmax(threshold(x, count, settings, sorted), settings.min_p * x[best]);
  if (settings.typical_p > 0 && settings.typical_p < 1) cut_to_typical(x, count, smallest, settings.typical_p, sorted);
  return draw(x, count, smallest, u);
}

static sample_settings settings_of(const dure_operand *operand, uint64_t row) {
  const uint64_t first = operand->rank == 2 ? row * DURE_SAMPLE_COUNT : 0;
  return (sample_settings){dure_reference_get(operand, first + DURE_SAMPLE_TEMPERATURE),
                           dure_reference_get(operand, first + DURE_SAMPLE_TOP_K),
                           dure_reference_get(operand, first + DURE_SAMPLE_TOP_P),
                           dure_reference_get(operand, first + DURE_SAMPLE_MIN_P),
                           dure_reference_get(operand, first + DURE_SAMPLE_TYPICAL_P)};
}

double dure_reference_sample_uniform(const dure_operand *operand, uint64_t row) {
  uint32_t random[4];
  const bool has_rows = operand->rank == 2;
  for (uint32_t i = 0; i < 4; i++) random[i] = dure_reference_get_u32(operand, has_rows ? 4 * row + i : i);
  return (double)dure_random_uniform(random, has_rows ? 0 : (uint32_t)row);
}

dure_status dure_reference_adjust_logits(const dure_op_call *call) {
  const dure_operand *ids = &call->operands[0], *changes = &call->operands[1], *logits = &call->operands[2];
  const uint64_t B = ids->shape[0], N = ids->shape[1], V = logits->shape[1];
  for (uint64_t i = 0; i < B * N; i++) {
    const uint32_t id = dure_reference_get_u32(ids, i);
    if (id >= V) continue;
    const uint64_t place = i / N * V + id;
    const double x = dure_reference_get(logits, place), factor = dure_reference_get(changes, 2 * i);
    dure_reference_put(logits, place, (x > 0 ? x / factor : x * factor) + dure_reference_get(changes, 2 * i + 1),
                       false);
  }
  return NULL;
}

dure_status dure_reference_mask_logits(const dure_op_call *call) {
  const dure_operand *mask = &call->operands[0], *logits = &call->operands[1];
  const uint64_t B = logits->shape[0], V = logits->shape[1], words = mask->shape[1];
  for (uint64_t i = 0; i < B * V; i++) {
    const uint32_t word = dure_reference_get_u32(mask, i / V * words + i % V / 32);
    if ((word >> (i % V % 32) & 1) == 0) dure_reference_put(logits, i, -(double)INFINITY, false);
  }
  return NULL;
}

dure_status dure_reference_sample(const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0], *settings_operand = &call->operands[1];
  const dure_operand *random_operand = &call->operands[2], *token = &call->operands[3];
  uint64_t V = dure_reference_width(logits), B = dure_operand_rows(logits);
  uint64_t count = call->attributes.sample.candidate_count;
  if (count == 0 || count > V) count = V;
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * count, &scratch));
  for (uint64_t row = 0; row < B; row++) {
    const sample_settings settings = settings_of(settings_operand, row);
    dure_reference_load(logits, row * V, count, scratch);
    const double u = dure_reference_sample_uniform(random_operand, row);
    dure_reference_put_u32(token, row, (uint32_t)sample_row(scratch, count, settings, u, scratch + count));
  }
  free(scratch);
  return NULL;
}
