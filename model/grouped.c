#include "model/grouped.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 32 };  // whose codes of 4 bits are paired

// ---- reading -------------------------------------------------------------------------------------------------------

static float load_f16(const uint8_t *bytes, uint64_t index) {
  return dure_f16_to_float((uint16_t)(bytes[2 * index] | bytes[2 * index + 1] << 8));
}

static int code_at(const dure_grouped *matrix, uint64_t row, uint64_t k) {
  if (matrix->bits == 8) return (int8_t)matrix->codes.data[row * matrix->width + k];
  const uint64_t within = k % BLOCK;
  const uint8_t pair = matrix->codes.data[(row * matrix->width + k - within) / 2 + within % (BLOCK / 2)];
  return (within < BLOCK / 2 ? pair & 15 : pair >> 4) - (matrix->minima.data == NULL ? 8 : 0);
}

static float value_at(const dure_grouped *matrix, uint64_t row, uint64_t k) {
  const uint64_t group = (row * matrix->width + k) / matrix->group;
  const float product = load_f16(matrix->scales.data, group) * (float)code_at(matrix, row, k);
  return matrix->minima.data != NULL ? product + load_f16(matrix->minima.data, group) : product;
}

static dure_status read_grouped(const dure_safetensors_tensor *tensor, uint64_t first, uint64_t count,
                                float *out_values) {
  const dure_grouped *matrix = tensor->source;
  for (uint64_t i = 0; i < count; i++) {
    const uint64_t columns = tensor->shape[1], row = (first + i) / columns, column = (first + i) % columns;
    out_values[i] = matrix->is_transposed ? value_at(matrix, column, row) : value_at(matrix, row, column);
  }
  return NULL;
}

const dure_grouped *dure_grouped_of(const dure_safetensors_tensor *tensor) {
  return tensor->read == read_grouped ? tensor->source : NULL;
}

void dure_grouped_row(const dure_grouped *matrix, uint64_t row, int8_t *out_codes, float *out_scales,
                      float *out_minima) {
  const uint64_t groups = matrix->width / matrix->group;
  for (uint64_t k = 0; k < matrix->width; k++) out_codes[k] = (int8_t)code_at(matrix, row, k);
  for (uint64_t i = 0; i < groups; i++) {
    out_scales[i] = load_f16(matrix->scales.data, row * groups + i);
    out_minima[i] = matrix->minima.data != NULL ? load_f16(matrix->minima.data, row * groups + i) : 0;
  }
}

// ---- opening -------------------------------------------------------------------------------------------------------

static int compare_names(const void *a, const void *b) {
  return strcmp(((const dure_safetensors_tensor *)a)->name, ((const dure_safetensors_tensor *)b)->name);
}

static dure_safetensors_tensor *find(dure_safetensors_tensor *tensors, size_t count, const char *name,
                                     const char *suffix) {
  char whole[256];
  if (snprintf(whole, sizeof(whole), "%s%s", name, suffix) >= (int)sizeof(whole)) return NULL;
  const dure_safetensors_tensor key = {.name = whole};
  return bsearch(&key, tensors, count, sizeof(*tensors), compare_names);
}

static bool has_shape_of(const dure_safetensors_tensor *minima, const dure_safetensors_tensor *scales) {
  return strcmp(minima->type, "F16") == 0 && minima->rank == 2 && minima->shape[0] == scales->shape[0] &&
         minima->shape[1] == scales->shape[1];
}

// Companions that are used up have no name from then on: dure_grouped_link takes them out at the end.
static dure_status link_one(const char *path, dure_safetensors_tensor *tensor, dure_safetensors_tensor *scales,
                            dure_safetensors_tensor *minima, bool is_transposed, dure_grouped *out_matrix) {
  const uint32_t bits = strcmp(tensor->type, "I8") == 0 ? 8 : 4;
  const uint64_t width = tensor->rank == 2 && tensor->shape[1] <= UINT64_MAX / 2 ? tensor->shape[1] * (8 / bits) : 0;
  const uint64_t groups = scales->rank == 2 ? scales->shape[1] : 0;
  const uint64_t group = groups > 0 && width % groups == 0 ? width / groups : 0;
  if ((group != 32 && group != 64 && group != 128) || scales->shape[0] != tensor->shape[0] ||
      strcmp(scales->type, "F16") != 0 || (minima != NULL && !has_shape_of(minima, scales)))
    return dure_fail(DURE_CORRUPT,
                     "'%s': tensor '%s' has no f16 scale for each 32, 64 or 128 elements of its rows in '%s'", path,
                     tensor->name, scales->name);
  *out_matrix = (dure_grouped){.codes = *tensor,
                               .scales = *scales,
                               .bits = bits,
                               .group = (uint32_t)group,
                               .rows = tensor->shape[0],
                               .width = width,
                               .is_transposed = is_transposed};
  if (minima != NULL) out_matrix->minima = *minima;
  tensor->type = bits == 4 ? "INT4" : "INT8";
  tensor->dtype = DURE_DTYPE_F32;
  tensor->shape[is_transposed ? 1 : 0] = out_matrix->rows;
  tensor->shape[is_transposed ? 0 : 1] = width;
  tensor->count = out_matrix->rows * width;
  tensor->read = read_grouped;
  tensor->source = out_matrix;
  return NULL;
}

dure_status dure_grouped_link(const char *path, dure_safetensors_tensor *tensors, size_t *count,
                              dure_grouped **out_grouped) {
  *out_grouped = NULL;
  bool *is_used = calloc(*count + 1, sizeof(*is_used));
  dure_grouped *made = calloc(*count + 1, sizeof(*made));
  dure_status status = NULL;
  if (is_used == NULL || made == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  for (size_t i = 0, used = 0; i < *count && status == NULL; i++) {
    if (tensors[i].read != NULL || (strcmp(tensors[i].type, "U8") != 0 && strcmp(tensors[i].type, "I8") != 0)) continue;
    dure_safetensors_tensor *scales = find(tensors, *count, tensors[i].name, "_scales");
    const bool is_transposed = scales == NULL;
    if (is_transposed) scales = find(tensors, *count, tensors[i].name, "_transposed_scales");
    if (scales == NULL) continue;
    dure_safetensors_tensor *minima =
        find(tensors, *count, tensors[i].name, is_transposed ? "_transposed_minima" : "_minima");
    status = link_one(path, &tensors[i], scales, minima, is_transposed, &made[used++]);
    is_used[scales - tensors] = true;
    if (minima != NULL) is_used[minima - tensors] = true;
  }
  size_t kept = 0;
  for (size_t i = 0; i < *count && status == NULL; i++) {
    if (!is_used[i]) tensors[kept++] = tensors[i];
  }
  if (status == NULL) *count = kept;
  free(is_used);
  if (status != NULL) {
    free(made);
    return status;
  }
  *out_grouped = made;
  return NULL;
}

// ---- rounding ------------------------------------------------------------------------------------------------------

static float as_f16(float value) {
  return dure_f16_to_float(dure_f16_from_float(fminf(fmaxf(value, -65504.0f), 65504.0f)));
}

// What q may be.
typedef struct code_range {
  float least, most;
} code_range;

static code_range codes_of(const dure_group_type *type) {
  if (type->has_minima) return type->bits == 4 ? (code_range){0, 15} : (code_range){-128, 127};
  return type->bits == 4 ? (code_range){-8, 7} : (code_range){-127, 127};
}

// Without the C library's rounding, which is a call; NaN becomes the least.
static int nearest_code(code_range codes, float quotient) {
  const float q = !(quotient > codes.least) ? codes.least : quotient > codes.most ? codes.most : quotient;
  return (int)(q - codes.least + 0.5f) + (int)codes.least;
}

int dure_group_round(const dure_group_type *type, float value, float scale, float minimum) {
  return nearest_code(codes_of(type), scale != 0 ? (value - minimum) / scale : 0);
}

// A group's values and what the squares of their errors weigh (NULL: 1 each).
typedef struct weighted_group {
  const dure_group_type *type;
  const float *values, *weights;
} weighted_group;

static float loss_of(const weighted_group *group, float scale, float minimum) {
  const code_range codes = codes_of(group->type);
  const float inverse = scale != 0 ? 1 / scale : 0;
  float loss = 0;
  for (uint32_t i = 0; i < group->type->group; i++) {
    const float value = group->values[i];
    const float error = value - (scale * (float)nearest_code(codes, (value - minimum) * inverse) + minimum);
    loss += error * error * (group->weights != NULL ? group->weights[i] : 1);
  }
  return loss;
}

// The scale and the minimum that suit the codes best which these give: a line through (code, value) by least squares.
static void refit(const weighted_group *group, float *scale, float *minimum) {
  const code_range codes = codes_of(group->type);
  const float inverse = *scale != 0 ? 1 / *scale : 0;
  double weight = 0, q_sum = 0, value_sum = 0, q_square = 0, product = 0;
  for (uint32_t i = 0; i < group->type->group; i++) {
    const double w = group->weights != NULL ? (double)group->weights[i] : 1, value = (double)group->values[i];
    const double q = nearest_code(codes, (group->values[i] - *minimum) * inverse);
    weight += w;
    q_sum += w * q;
    value_sum += w * value;
    q_square += w * q * q;
    product += w * q * value;
  }
  const double spread = group->type->has_minima ? weight * q_square - q_sum * q_sum : q_square;
  const double least = group->type->has_minima ? 1e-9 * weight * q_square : 0;
  if (!(spread > least)) return;  // one code alone, or nothing that weighs
  if (group->type->has_minima) {
    const double slope = (weight * product - q_sum * value_sum) / spread;
    *scale = as_f16((float)slope);
    *minimum = as_f16((float)((value_sum - (double)*scale * q_sum) / weight));
  } else {
    *scale = as_f16((float)(product / spread));
  }
}

// A range [least, most] shrunk to `part` of it.
static void range_of(const dure_group_type *type, float least, float most, float part, float *out_scale,
                     float *out_minimum) {
  *out_minimum = 0;
  if (type->has_minima) {
    const float low = least * part, high = most * part;
    *out_scale = as_f16((high - low) / (type->bits == 4 ? 15.0f : 255.0f));
    *out_minimum = as_f16(type->bits == 4 ? low : low + 128 * *out_scale);
  } else {  // the end that is further from 0 becomes -8: of 4 bits there is one code more on that side
    const float extreme = -least > most ? least : most;
    *out_scale = as_f16(extreme * part / (type->bits == 4 ? -8.0f : 127.0f));
  }
}

void dure_group_range(const dure_group_type *type, const float *values, const float *weights, float *out_scale,
                      float *out_minimum) {
  enum { STEPS = 11 };
  const weighted_group group = {type, values, weights};
  float least = 0, most = 0, best = INFINITY;
  for (uint32_t i = 0; i < type->group; i++) {
    least = fminf(least, values[i]);
    most = fmaxf(most, values[i]);
  }
  *out_scale = *out_minimum = 0;
  // Of 4 bits each range and then what suits its codes; 8 are too many for that to matter.
  for (int step = 0; step < (type->bits == 4 ? 2 * STEPS : 1); step++) {
    float scale, minimum;
    range_of(type, least, most, 1 - 0.04f * (float)(step / 2), &scale, &minimum);
    if (step % 2 == 1) refit(&group, &scale, &minimum);
    const float loss = loss_of(&group, scale, minimum);
    if (!(loss < best)) continue;
    best = loss;
    *out_scale = scale;
    *out_minimum = minimum;
  }
}

void dure_group_pack(const dure_group_type *type, const int8_t *codes, uint64_t width, uint8_t *out_bytes) {
  if (type->bits == 8) {
    memcpy(out_bytes, codes, (size_t)width);
    return;
  }
  const int added = type->has_minima ? 0 : 8;
  for (uint64_t block = 0; block < width; block += BLOCK) {
    for (int i = 0; i < BLOCK / 2; i++)
      *out_bytes++ = (uint8_t)((codes[block + i] + added) | (codes[block + i + BLOCK / 2] + added) << 4);
  }
}
