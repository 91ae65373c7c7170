#include "model/rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 8 };  // rows that share a pass over the factor

struct dure_rounding {
  dure_group_type type;
  uint64_t width;
  float *factor;   // [width, width] upper U with U^T U the inverse of the damped products; NULL: to the nearest
  float *weights;  // [width]: the products' diagonal
  float *row;      // scratch [width]
  int8_t *codes;   // scratch [TOGETHER, width]
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

dure_status dure_rounding_create(const dure_group_type *type, uint64_t width, const float *products,
                                 dure_rounding **out_rounding) {
  *out_rounding = NULL;
  dure_rounding *r = calloc(1, sizeof(*r));
  if (r == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory rounding a matrix");
  r->type = *type;
  r->width = width;
  r->codes = malloc((size_t)(TOGETHER * width));
  r->row = malloc((size_t)width * sizeof(*r->row));
  if (products != NULL) {
    r->factor = malloc((size_t)(width * width) * sizeof(*r->factor));
    r->weights = malloc((size_t)width * sizeof(*r->weights));
  }
  if (r->codes == NULL || r->row == NULL || (products != NULL && (r->factor == NULL || r->weights == NULL))) {
    dure_rounding_destroy(r);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory rounding a matrix");
  }
  if (products != NULL) {
    memcpy(r->factor, products, (size_t)(width * width) * sizeof(*r->factor));
    for (uint64_t i = 0; i < width; i++) r->weights[i] = products[i * width + i];
    factorise(r->factor, width);
    invert(r->factor, width, r->row);
  }
  *out_rounding = r;
  return NULL;
}

void dure_rounding_destroy(dure_rounding *rounding) {
  if (rounding == NULL) return;
  free(rounding->factor);
  free(rounding->weights);
  free(rounding->row);
  free(rounding->codes);
  free(rounding);
}

// ---- rows --------------------------------------------------------------------------------------------------------

// Rows [0, count) of `values`: codes to the scratch, scales and minima as f32 [count, width / group].
static void round_rows(const dure_rounding *r, float *values, uint64_t count, float *scales, float *minima) {
  const uint64_t n = r->width, group = r->type.group, groups = n / group;
  for (uint64_t i = 0; i < n; i++) {
    const float *factor = r->factor != NULL ? r->factor + i * n : NULL;
    for (uint64_t row = 0; row < count; row++) {
      float *w = values + row * n, *scale = &scales[row * groups + i / group],
            *minimum = &minima[row * groups + i / group];
      if (i % group == 0) dure_group_range(&r->type, w + i, r->weights != NULL ? r->weights + i : NULL, scale, minimum);
      const int q = dure_group_round(&r->type, w[i], *scale, *minimum);
      r->codes[row * n + i] = (int8_t)q;
      if (factor == NULL) continue;
      const float lost = (w[i] - (*scale * (float)q + *minimum)) / factor[i];
      add_scaled(w + i + 1, factor + i + 1, -lost, n - i - 1);
    }
  }
}

void dure_rounding_run(const dure_rounding *rounding, float *values, uint64_t rows, uint8_t *out_codes,
                       uint16_t *out_scales, uint16_t *out_minima) {
  const uint64_t n = rounding->width, groups = n / rounding->type.group, row_bytes = n * rounding->type.bits / 8;
  float *scales = rounding->row;  // not of use any more: 2 * TOGETHER * groups fit, groups being a 32nd of n at most
  float *minima = scales + TOGETHER * groups;
  for (uint64_t first = 0; first < rows; first += TOGETHER) {
    const uint64_t count = rows - first < TOGETHER ? rows - first : TOGETHER;
    round_rows(rounding, values + first * n, count, scales, minima);
    for (uint64_t i = 0; i < count * groups; i++) {
      out_scales[first * groups + i] = dure_f16_from_float(scales[i]);
      if (out_minima != NULL) out_minima[first * groups + i] = dure_f16_from_float(minima[i]);
    }
    for (uint64_t row = 0; row < count; row++)
      dure_group_pack(&rounding->type, rounding->codes + row * n, n, out_codes + (first + row) * row_bytes);
  }
}
