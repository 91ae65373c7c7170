#include "model/rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 8 };  // rows that share a pass over the factor

struct dure_rounding {
  dure_group_type type;
  uint64_t width;
  float *factor;    // [width, width] upper U with U^T U the inverse of the damped products; NULL: to the nearest
  float *weights;   // [width]: the products' diagonal
  uint32_t *order;  // [width]: the elements in the order of their turns, which the factor's rows and columns have
  float *row;       // scratch [width]
  float *turned;    // scratch [TOGETHER, width]: rows in that order
  int8_t *codes;    // scratch [TOGETHER, width]
};

// ---- the factor --------------------------------------------------------------------------------------------------

static float dot(const float *a, const float *b, uint64_t count) {
  float sums[8] = {0}, total = 0;
  uint64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int k = 0; k < 8; k++) sums[k] += a[i + k] * b[i + k];
  }
  for (; i < count; i++) total += a[i] * b[i];
  for (int k = 0; k < 8; k++) total += sums[k];
  return total;
}

// y += s x
static void add_scaled(float *y, const float *x, float s, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) y[i] += s * x[i];
}

// H = R R^T, R upper, in place of H's upper half. A hundredth of the mean is added to the diagonal (GPTQ, section 3.3).
static void factorise(float *h, uint64_t n) {
  double mean = 0;
  for (uint64_t i = 0; i < n; i++) mean += (double)h[i * n + i] / (double)n;
  const float added = mean > 0 ? (float)(0.01 * mean) : 1;
  for (uint64_t i = 0; i < n; i++) h[i * n + i] += added;
  for (uint64_t j = n; j-- > 0;) {
    const float *column = h + j * n + j + 1;  // row j of R beyond its diagonal
    const float square = h[j * n + j] - dot(column, column, n - j - 1);
    // Rounding may take the last of a pivot; the damping is the least it can be.
    const float pivot = sqrtf(square > added * 1e-3f ? square : added * 1e-3f);
    h[j * n + j] = pivot;
    for (uint64_t i = 0; i < j; i++) h[i * n + j] = (h[i * n + j] - dot(h + i * n + j + 1, column, n - j - 1)) / pivot;
  }
}

// R becomes its inverse, row by row from the last. scratch [n]
static void invert(float *r, uint64_t n, float *scratch) {
  for (uint64_t i = n; i-- > 0;) {
    float *row = r + i * n;
    const float inverse = 1 / row[i];
    memset(scratch, 0, (size_t)n * sizeof(*scratch));
    for (uint64_t k = i + 1; k < n; k++) add_scaled(scratch + k, r + k * n + k, row[k], n - k);
    for (uint64_t k = i + 1; k < n; k++) row[k] = -inverse * scratch[k];
    row[i] = inverse;
  }
}

// An element and how large its inputs are.
typedef struct turn {
  float weight;
  uint32_t index;
} turn;

static int compare_turns(const void *left, const void *right) {
  const turn *a = left, *b = right;
  if (a->weight != b->weight) return a->weight < b->weight ? 1 : -1;
  return (a->index > b->index) - (a->index < b->index);
}

static dure_status make_factor(dure_rounding *r, const float *products) {
  const uint64_t n = r->width;
  turn *turns = malloc((size_t)n * sizeof(*turns));
  if (turns == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory rounding a matrix");
  for (uint64_t i = 0; i < n; i++) {
    r->weights[i] = products[i * n + i];
    turns[i] = (turn){r->weights[i], (uint32_t)i};
  }
  qsort(turns, (size_t)n, sizeof(*turns), compare_turns);
  for (uint64_t i = 0; i < n; i++) r->order[i] = turns[i].index;
  free(turns);
  for (uint64_t i = 0; i < n; i++) {
    for (uint64_t j = 0; j < n; j++) r->factor[i * n + j] = products[(uint64_t)r->order[i] * n + r->order[j]];
  }
  factorise(r->factor, n);
  invert(r->factor, n, r->row);
  return NULL;
}

static bool allocate(dure_rounding *r, bool is_calibrated) {
  const size_t n = (size_t)r->width;
  r->codes = malloc(TOGETHER * n);
  r->row = malloc(n * sizeof(*r->row));
  if (r->codes == NULL || r->row == NULL) return false;
  if (!is_calibrated) return true;
  r->factor = malloc(n * n * sizeof(*r->factor));
  r->weights = malloc(n * sizeof(*r->weights));
  r->order = malloc(n * sizeof(*r->order));
  r->turned = malloc(TOGETHER * n * sizeof(*r->turned));
  return r->factor != NULL && r->weights != NULL && r->order != NULL && r->turned != NULL;
}

dure_status dure_rounding_create(const dure_group_type *type, uint64_t width, const float *products,
                                 dure_rounding **out_rounding) {
  *out_rounding = NULL;
  dure_rounding *r = calloc(1, sizeof(*r));
  if (r == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory rounding a matrix");
  r->type = *type;
  r->width = width;
  dure_status status = NULL;
  if (!allocate(r, products != NULL)) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory rounding a matrix");
  if (status == NULL && products != NULL) status = make_factor(r, products);
  if (status != NULL) {
    dure_rounding_destroy(r);
    return status;
  }
  *out_rounding = r;
  return NULL;
}

void dure_rounding_destroy(dure_rounding *rounding) {
  if (rounding == NULL) return;
  free(rounding->factor);
  free(rounding->weights);
  free(rounding->order);
  free(rounding->row);
  free(rounding->turned);
  free(rounding->codes);
  free(rounding);
}

// ---- rows --------------------------------------------------------------------------------------------------------

// Scales and minima of rows [0, count) as f32 [count, width / group].
static void choose_ranges(const dure_rounding *r, const float *values, uint64_t count, float *scales, float *minima) {
  const uint64_t group = r->type.group;
  for (uint64_t i = 0; i < count * r->width / group; i++)
    dure_group_range(&r->type, values + i * group, r->weights != NULL ? r->weights + i * group % r->width : NULL,
                     &scales[i], &minima[i]);
}

static void round_to_nearest(const dure_rounding *r, const float *values, uint64_t count, const float *scales,
                             const float *minima) {
  for (uint64_t i = 0; i < count * r->width; i++) {
    const uint64_t group = i / r->type.group;
    r->codes[i] = (int8_t)dure_group_round(&r->type, values[i], scales[group], minima[group]);
  }
}

// The rows side by side, so that one pass over the factor serves them all.
static void round_in_turns(const dure_rounding *r, const float *values, uint64_t count, const float *scales,
                           const float *minima) {
  const uint64_t n = r->width, groups = n / r->type.group;
  for (uint64_t row = 0; row < count; row++) {
    for (uint64_t i = 0; i < n; i++) r->turned[row * n + i] = values[row * n + r->order[i]];
  }
  for (uint64_t i = 0; i < n; i++) {
    const float *factor = r->factor + i * n;
    const uint64_t element = r->order[i], group = element / r->type.group;
    for (uint64_t row = 0; row < count; row++) {
      float *w = r->turned + row * n;
      const float scale = scales[row * groups + group], minimum = minima[row * groups + group];
      const int q = dure_group_round(&r->type, w[i], scale, minimum);
      r->codes[row * n + element] = (int8_t)q;
      add_scaled(w + i + 1, factor + i + 1, -(w[i] - (scale * (float)q + minimum)) / factor[i], n - i - 1);
    }
  }
}

void dure_rounding_run(const dure_rounding *rounding, const float *values, uint64_t rows, uint8_t *out_codes,
                       uint16_t *out_scales, uint16_t *out_minima) {
  const uint64_t n = rounding->width, groups = n / rounding->type.group, row_bytes = n * rounding->type.bits / 8;
  float *scales = rounding->row;  // not of use any more: 2 * TOGETHER * groups fit, groups being a 32nd of n at most
  float *minima = scales + TOGETHER * groups;
  for (uint64_t first = 0; first < rows; first += TOGETHER) {
    const uint64_t count = rows - first < TOGETHER ? rows - first : TOGETHER;
    choose_ranges(rounding, values + first * n, count, scales, minima);
    if (rounding->factor != NULL) {
      round_in_turns(rounding, values + first * n, count, scales, minima);
    } else {
      round_to_nearest(rounding, values + first * n, count, scales, minima);
    }
    for (uint64_t i = 0; i < count * groups; i++) {
      out_scales[first * groups + i] = dure_f16_from_float(scales[i]);
      if (out_minima != NULL) out_minima[first * groups + i] = dure_f16_from_float(minima[i]);
    }
    for (uint64_t row = 0; row < count; row++)
      dure_group_pack(&rounding->type, rounding->codes + row * n, n, out_codes + (first + row) * row_bytes);
  }
}
