#include "model/inspect.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"
#include "model/parameters.h"

enum { piece_elements = 1 << 16 };

typedef struct sums {
  double shift, sum, squares;  // of the elements less the first one, so that a mean far from 0 costs no digits
  uint64_t count;
} sums;

static void add_piece(const float *values, uint64_t count, sums *s, dure_tensor_statistics *statistics) {
  for (uint64_t i = 0; i < count; i++) {
    const double value = (double)values[i];
    if (isnan(value)) statistics->nan_count++;
    if (isinf(value)) statistics->infinite_count++;
    if (!isfinite(value)) continue;
    if (s->count++ == 0) s->shift = statistics->minimum = statistics->maximum = value;
    statistics->minimum = fmin(statistics->minimum, value);
    statistics->maximum = fmax(statistics->maximum, value);
    s->sum += value - s->shift;
    s->squares += (value - s->shift) * (value - s->shift);
  }
}

dure_status dure_inspect_tensor(const dure_safetensors_tensor *tensor, dure_tensor_statistics *out_statistics) {
  memset(out_statistics, 0, sizeof(*out_statistics));
  float *piece = malloc(piece_elements * sizeof(*piece));
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", tensor->name);
  sums s = {0};
  dure_status status = NULL;
  for (uint64_t done = 0; done < tensor->count && status == NULL;) {
    const uint64_t size = tensor->count - done < piece_elements ? tensor->count - done : piece_elements;
    status = dure_safetensors_read(tensor, done, size, piece);
    if (status == NULL) add_piece(piece, size, &s, out_statistics);
    done += size;
  }
  free(piece);
  if (status != NULL || s.count == 0) return status;
  const double mean = s.sum / (double)s.count;
  out_statistics->mean = s.shift + mean;
  out_statistics->deviation = sqrt(fmax(0, s.squares / (double)s.count - mean * mean));
  return NULL;
}

// ---- agreement ---------------------------------------------------------------------------------------------------

typedef struct comparison {
  const dure_model_config *config;
  const dure_safetensors *file;
  bool *is_used;  // [tensors of the file]
  dure_disagreement *rows;
  size_t count;
} comparison;

static const dure_safetensors_tensor *find_part(const comparison *c, const char *name) {
  const char *prefix = c->config->family->optional_prefix;
  const dure_safetensors_tensor *found = dure_safetensors_find(c->file, name);
  if (found == NULL && prefix[0] != '\0' && strncmp(name, prefix, strlen(prefix)) == 0)
    found = dure_safetensors_find(c->file, name + strlen(prefix));
  return found;
}

static void add_row(comparison *c, dure_disagreement_kind kind, const char *name, uint32_t rank,
                    const uint64_t *shape) {
  dure_disagreement *row = &c->rows[c->count++];
  row->kind = kind;
  snprintf(row->name, sizeof(row->name), "%s", name);
  row->rank = rank;
  for (uint32_t i = 0; i < rank; i++) row->shape[i] = shape[i];
}

static void compare_part(comparison *c, const dure_parameter *parameter, uint32_t part) {
  const uint64_t shape[2] = {parameter->parts[part].rows, parameter->rank > 1 ? parameter->shape[1] : 0};
  const char *name = parameter->parts[part].name;
  const dure_safetensors_tensor *tensor = find_part(c, name);
  if (tensor == NULL) {
    add_row(c, DURE_TENSOR_MISSING, name, parameter->rank, shape);
    return;
  }
  c->is_used[tensor - dure_safetensors_get(c->file, 0)] = true;
  bool agrees = tensor->rank == parameter->rank;
  for (uint32_t i = 0; agrees && i < parameter->rank; i++) agrees = tensor->shape[i] == shape[i];
  if (!agrees) add_row(c, DURE_TENSOR_OTHER_SHAPE, name, parameter->rank, shape);
}

static bool is_head(const dure_family *family, const char *name) {
  for (size_t i = 0; i < family->row_count; i++) {
    if (family->rows[i].role == DURE_ROLE_HEAD && strcmp(family->rows[i].names[0], name) == 0) return true;
  }
  return false;
}

static void add_leftovers(comparison *c) {
  const dure_family *family = c->config->family;
  for (size_t i = 0; i < dure_safetensors_count(c->file); i++) {
    const char *name = dure_safetensors_get(c->file, i)->name;
    if (c->is_used[i]) continue;
    const bool is_known =
        dure_model_config_leaves_out(c->config, name) || (c->config->tied_head && is_head(family, name));
    add_row(c, is_known ? DURE_TENSOR_NOT_NEEDED : DURE_TENSOR_LEFT_OVER, name, 0, NULL);
  }
}

static dure_status compare(comparison *c, const dure_parameter_layout *layout) {
  const size_t tensors = dure_safetensors_count(c->file);
  size_t parts = 0;
  for (size_t i = 0; i < layout->count; i++) parts += layout->parameters[i].part_count;
  c->is_used = calloc(tensors + 1, sizeof(*c->is_used));
  c->rows = calloc(tensors + parts + 1, sizeof(*c->rows));
  if (c->is_used == NULL || c->rows == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %zu tensors", tensors);
  for (size_t i = 0; i < layout->count; i++) {
    for (uint32_t part = 0; part < layout->parameters[i].part_count; part++)
      compare_part(c, &layout->parameters[i], part);
  }
  add_leftovers(c);
  return NULL;
}

dure_status dure_inspect_agreement(const dure_model_config *config, const dure_safetensors *file,
                                   dure_disagreement **out_rows, size_t *out_count) {
  *out_rows = NULL;
  *out_count = 0;
  dure_parameter_layout layout;
  DURE_TRY(dure_parameter_layout_create(config, &layout));
  comparison c = {.config = config, .file = file};
  dure_status status = compare(&c, &layout);
  dure_parameter_layout_clear(&layout);
  free(c.is_used);
  if (status != NULL) {
    free(c.rows);
    return status;
  }
  *out_rows = c.rows;
  *out_count = c.count;
  return NULL;
}
