// Holds what a device computed against the oracle's results.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/conformance/case_data.h"
#include "runtime/conformance/quantized_check.h"
#include "runtime/conformance/sample_check.h"

// Rounding errors of sums grow with the square root of the number of terms with overwhelming probability (Higham and
// Mary 2019, theorem 2.4: within lambda sqrt(n) u, failing with probability below 2 exp(-lambda^2 / 2) for each
// operation).
static const double lambda = 8;
static const double unit_roundoff = 0x1p-24;  // of f32
// Intermediate results below the smallest normal number, 2^-126, may be flushed to zero; up to 65,536 times that much
// may be missing after they have been multiplied and summed.
static const double underflow = 0x1p-110;

static float as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// "[3, 17]" for element `index` of the operand.
static void format_index(const dure_case_operand *operand, uint64_t index, char *text, size_t size) {
  uint64_t coordinates[DURE_MAX_RANK] = {0};
  for (uint32_t axis = operand->rank; axis-- > 0;) {
    coordinates[axis] = index % operand->shape[axis];
    index /= operand->shape[axis];
  }
  size_t used = (size_t)snprintf(text, size, "[");
  for (uint32_t axis = 0; axis < operand->rank && used < size; axis++) {
    used += (size_t)snprintf(text + used, size - used, "%s%llu", axis == 0 ? "" : ", ",
                             (unsigned long long)coordinates[axis]);
  }
  if (used < size) snprintf(text + used, size - used, "]");
}

typedef struct element_error {
  double tolerances;  // the error in tolerances; infinite where NaN or infinity are misplaced
  double tolerance;
} element_error;

// Of 16-bit storage: half a unit in the last place, half the smallest step, and what rounds to infinity. 0 for f32, in
// which the oracle's results are held themselves.
typedef struct storage_rounding {
  double relative, absolute, overflow;
} storage_rounding;

static storage_rounding rounding_of(dure_dtype dtype) {
  if (dtype == DURE_DTYPE_BF16) return (storage_rounding){0x1p-8, 0x1p-134, 0x1.ffp127};
  if (dtype == DURE_DTYPE_F16) return (storage_rounding){0x1p-11, 0x1p-25, 65520};
  return (storage_rounding){0, 0, (double)INFINITY};
}

// Of values that are rounded on the way: each to half a unit in the last place or half the smallest step.
static double rounding_on_the_way(const dure_case *c, double rounded) {
  const storage_rounding storage = rounding_of(c->storage);
  return rounded == 0 ? 0 : c->storage_roundings * (storage.relative * rounded + storage.absolute * c->reduction);
}

// An exact result, as its type holds it.
static float as_stored(dure_dtype dtype, float value) {
  uint16_t bits;
  if (dure_dtype_size(dtype) != 2) return value;
  dure_dtype_store(dtype, &bits, 0, (double)value);
  return (float)dure_dtype_load(dtype, &bits, 0);
}

// `rounded`: the part of `magnitude` that is rounded on the way.
static element_error compare_element(const dure_case *c, dure_dtype dtype, float exact, float actual, double magnitude,
                                     double rounded) {
  bool is_exact = c->reduction == 0 && c->roundings == 0;
  float expected = is_exact ? as_stored(dtype, exact) : exact;
  if (!isfinite(expected)) {
    bool same = c->any_not_finite ? !isfinite(actual) : isnan(expected) ? isnan(actual) : actual == expected;
    return (element_error){same ? 0 : (double)INFINITY, 0};
  }
  const storage_rounding storage = rounding_of(dtype);
  if (!isfinite(actual)) {
    bool overflows =
        isinf(actual) && (actual > 0) == (expected > 0) && fabs((double)expected) >= 0.99 * storage.overflow;
    return (element_error){overflows ? 0 : (double)INFINITY, 0};
  }
  double difference = fabs((double)actual - (double)expected);
  if (is_exact) return (element_error){difference == 0 ? 0 : (double)INFINITY, 0};
  double tolerance = (lambda * sqrt(c->reduction) + c->roundings) * unit_roundoff *
                         (isfinite(magnitude) ? magnitude : fabs((double)expected)) +
                     underflow;
  tolerance += rounding_on_the_way(c, isfinite(rounded) ? rounded : fabs((double)expected));
  const double storage_error = storage.relative * (fabs((double)expected) + tolerance) + storage.absolute;
  tolerance += c->is_stochastic ? 2 * storage_error : storage_error;
  if (!(tolerance > 0)) return (element_error){difference == 0 ? 0 : (double)INFINITY, tolerance};  // a rule is wrong
  return (element_error){difference / tolerance, tolerance};
}

static void report_element(const dure_case *c, uint32_t operand, uint64_t index, float expected, float actual,
                           double tolerance, dure_comparison *comparison) {
  char place[96];
  format_index(&c->operands[operand], index, place, sizeof(place));
  snprintf(comparison->message, sizeof(comparison->message), "%s%s is %.9g, expected %.9g within %.3g",
           dure_op_get(c->op)->operands[operand].name, place, (double)actual, (double)expected, tolerance);
}

static dure_status compare_floats(const dure_case *c, uint32_t operand, const dure_case_data *initial,
                                  const dure_case_data *expected, const dure_case_data *actual,
                                  dure_comparison *comparison) {
  const dure_case_operand *view = &c->operands[operand];
  double *magnitudes = NULL, *rounded = NULL;
  DURE_TRY(dure_case_magnitudes(c, initial, operand, &magnitudes));
  dure_status status = dure_case_rounded(c, initial, operand, &rounded);
  if (status != NULL) {
    free(magnitudes);
    return status;
  }
  uint64_t count = dure_case_count(view);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t place = dure_case_place(view, i);
    float wanted = as_float(expected->bases[view->base][place]), found = as_float(actual->bases[view->base][place]);
    element_error error = compare_element(c, dure_case_dtype(c, operand), wanted, found, magnitudes[i],
                                          rounded != NULL ? rounded[i] : magnitudes[i]);
    if (error.tolerances > comparison->worst) comparison->worst = error.tolerances;
    if (error.tolerances <= 1) continue;
    if (comparison->wrong_count++ == 0) report_element(c, operand, i, wanted, found, error.tolerance, comparison);
  }
  free(magnitudes);
  free(rounded);
  return NULL;
}

// Codes that grow with the value they stand for: off by one where the value lies between two of them.
static void compare_bytes(const dure_case *c, uint32_t operand, const dure_case_data *expected,
                          const dure_case_data *actual, dure_comparison *comparison) {
  const dure_case_operand *view = &c->operands[operand];
  const uint8_t *wanted = (const uint8_t *)expected->bases[view->base];
  const uint8_t *found = (const uint8_t *)actual->bases[view->base];
  const double tolerance = c->reduction == 0 && c->roundings == 0 ? 0 : 1;
  for (uint64_t i = 0; i < dure_case_count(view); i++) {
    const uint64_t place = dure_case_place(view, i);
    const double difference = fabs((double)wanted[place] - (double)found[place]);
    if (difference > comparison->worst) comparison->worst = difference;
    if (difference <= tolerance) continue;
    if (comparison->wrong_count++ == 0)
      report_element(c, operand, i, (float)wanted[place], (float)found[place], tolerance, comparison);
  }
}

// Elements of a base that no written operand covers must be as they were: inputs, gaps between rows, what lies around.
static dure_status compare_untouched(const dure_case *c, uint32_t owner, const dure_case_data *initial,
                                     const dure_case_data *actual, dure_comparison *comparison) {
  uint64_t base_count = c->operands[owner].base_count;
  const size_t size = dure_case_dtype(c, owner) == DURE_DTYPE_U8 ? 1 : sizeof(uint32_t);
  uint8_t *is_covered = calloc((size_t)base_count, 1);
  if (is_covered == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "the host has no memory to compare this case");
  bool is_input = true;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (!dure_case_is_written(c, i) || c->operands[i].base != owner) continue;
    is_input = false;
    uint64_t count = dure_case_count(&c->operands[i]);
    for (uint64_t j = 0; j < count; j++) is_covered[dure_case_place(&c->operands[i], j)] = 1;
  }
  for (uint64_t i = 0; i < base_count; i++) {
    uint32_t before = 0, after = 0;
    memcpy(&before, (const uint8_t *)initial->bases[owner] + i * size, size);
    memcpy(&after, (const uint8_t *)actual->bases[owner] + i * size, size);
    if (is_covered[i] != 0 || before == after) continue;
    comparison->worst = (double)INFINITY;
    if (comparison->wrong_count++ > 0) continue;
    snprintf(comparison->message, sizeof(comparison->message), "%s '%s' was changed at element %llu: %08x became %08x",
             is_input ? "input" : "memory around", dure_op_get(c->op)->operands[owner].name, (unsigned long long)i,
             before, after);
  }
  free(is_covered);
  return NULL;
}

// Integers: equal.
static void compare_words(const dure_case *c, uint32_t operand, const dure_case_data *expected,
                          const dure_case_data *actual, dure_comparison *comparison) {
  const dure_case_operand *view = &c->operands[operand];
  for (uint64_t i = 0; i < dure_case_count(view); i++) {
    const uint64_t place = dure_case_place(view, i);
    const uint32_t wanted = expected->bases[view->base][place], found = actual->bases[view->base][place];
    if (wanted == found) continue;
    comparison->worst = (double)INFINITY;
    if (comparison->wrong_count++ == 0) report_element(c, operand, i, (float)wanted, (float)found, 0, comparison);
  }
}

dure_status dure_case_compare(const dure_case *c, const dure_case_data *initial, const dure_case_data *expected,
                              const dure_case_data *actual, dure_comparison *out_comparison) {
  memset(out_comparison, 0, sizeof(*out_comparison));
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (!c->operands[i].present) continue;
    if (dure_case_is_written(c, i) && !dure_op_get(c->op)->operands[i].is_scratch) {
      if (c->op == DURE_OP_sample) {
        DURE_TRY(dure_sample_check(c, initial, actual, out_comparison));
      } else if ((c->op == DURE_OP_quantize_rows || c->op == DURE_OP_cache_append) &&
                 dure_case_dtype(c, i) == DURE_DTYPE_U8) {
        DURE_TRY(dure_quantized_check(c, i, initial, expected, actual, out_comparison));
      } else if (dure_case_dtype(c, i) == DURE_DTYPE_U8) {
        compare_bytes(c, i, expected, actual, out_comparison);
      } else if (dure_case_dtype(c, i) == DURE_DTYPE_U32) {
        compare_words(c, i, expected, actual, out_comparison);
      } else {
        DURE_TRY(compare_floats(c, i, initial, expected, actual, out_comparison));
      }
    }
    if (c->operands[i].base == i) DURE_TRY(compare_untouched(c, i, initial, actual, out_comparison));
  }
  return NULL;
}
