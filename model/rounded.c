#include "model/rounded.h"

#include <stdlib.h>
#include <string.h>

#include "model/rounding.h"
#include "model/weights.h"
#include "runtime/os.h"

typedef struct named_matrix {
  const char *name;  // of the opened file
  dure_rounded_matrix matrix;
} named_matrix;

struct dure_rounded {
  dure_safetensors *file;
  named_matrix *matrices;  // [tensors of the file]
  size_t count;
};

// ---- one matrix --------------------------------------------------------------------------------------------------

// The matrix as [out, in].
static dure_status read_matrix(const dure_group_plan *plan, const dure_safetensors_tensor *tensor, float *out_values) {
  if (!plan->is_transposed) return dure_safetensors_read(tensor, 0, tensor->count, out_values);
  float *line = malloc((size_t)plan->rows * sizeof(*line));
  if (line == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory quantising '%s'", tensor->name);
  dure_status status = NULL;
  for (uint64_t k = 0; k < plan->width && status == NULL; k++) {
    status = dure_safetensors_read(tensor, k * plan->rows, plan->rows, line);
    for (uint64_t row = 0; row < plan->rows && status == NULL; row++) out_values[row * plan->width + k] = line[row];
  }
  free(line);
  return status;
}

static dure_status allocate(const dure_group_plan *plan, const char *name, dure_rounded_matrix *out_matrix) {
  const uint64_t count = plan->rows * plan->width, groups = count / plan->type.group;
  *out_matrix = (dure_rounded_matrix){.type = plan->type, .rows = plan->rows, .width = plan->width};
  out_matrix->codes = malloc((size_t)(count * plan->type.bits / 8));
  out_matrix->scales = malloc((size_t)groups * sizeof(uint16_t));
  if (plan->type.has_minima) out_matrix->minima = malloc((size_t)groups * sizeof(uint16_t));
  if (out_matrix->codes != NULL && out_matrix->scales != NULL && (!plan->type.has_minima || out_matrix->minima != NULL))
    return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "out of memory quantising '%s'", name);
}

static dure_status round_values(const dure_group_plan *plan, const dure_safetensors_tensor *tensor,
                                const float *products, float *values, dure_rounded_matrix *matrix) {
  DURE_TRY(read_matrix(plan, tensor, values));
  DURE_TRY(dure_convert_check_f16(tensor->name, values, plan->rows * plan->width));
  dure_rounding *rounding = NULL;
  DURE_TRY(dure_rounding_create(&plan->type, plan->width, products, &rounding));
  dure_rounding_run(rounding, values, plan->rows, matrix->codes, matrix->scales, matrix->minima);
  dure_rounding_destroy(rounding);
  return NULL;
}

dure_status dure_rounded_matrix_make(const dure_group_plan *plan, const dure_safetensors_tensor *tensor,
                                     const float *products, dure_rounded_matrix *out_matrix) {
  float *values = malloc((size_t)(plan->rows * plan->width) * sizeof(*values));
  dure_status status = allocate(plan, tensor->name, out_matrix);
  if (status == NULL && values == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory quantising '%s'", tensor->name);
  if (status == NULL) status = round_values(plan, tensor, products, values, out_matrix);
  free(values);
  if (status != NULL) dure_rounded_matrix_clear(out_matrix);
  return status;
}

void dure_rounded_matrix_clear(dure_rounded_matrix *matrix) {
  free(matrix->codes);
  free(matrix->scales);
  free(matrix->minima);
  memset(matrix, 0, sizeof(*matrix));
}

// ---- a model's ---------------------------------------------------------------------------------------------------

typedef struct rounding_run {
  const dure_model *model;
  const dure_convert_grouping *grouping;
  dure_rounded *rounded;
} rounding_run;

static dure_status round_tensor(const rounding_run *run, const dure_group_plan *plan,
                                const dure_safetensors_tensor *tensor, const dure_calibration *calibration) {
  if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted");
  const float *products = dure_calibration_products(calibration, plan->parameter->row->role, plan->width);
  named_matrix *made = &run->rounded->matrices[run->rounded->count];
  DURE_TRY(dure_rounded_matrix_make(plan, tensor, products, &made->matrix));
  made->name = tensor->name;
  run->rounded->count++;
  return NULL;
}

static dure_status round_layer(void *context, const dure_calibration *calibration, uint32_t layer) {
  const rounding_run *run = context;
  const dure_safetensors *file = run->rounded->file;
  for (size_t i = 0; i < dure_safetensors_count(file); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(file, i);
    const dure_group_plan plan =
        dure_group_plan_of(run->grouping, &run->model->config, &run->model->layout, tensor, NULL);
    if (plan.type.bits == 0 || plan.is_table || plan.parameter->layer != layer) continue;
    DURE_TRY(round_tensor(run, &plan, tensor, calibration));
  }
  return NULL;
}

dure_status dure_rounded_create(dure_model *model, const char *path, const dure_convert_grouping *grouping,
                                const uint32_t *tokens, uint64_t count, const dure_calibration_options *options,
                                dure_rounded **out_rounded) {
  *out_rounded = NULL;
  dure_rounded *rounded = calloc(1, sizeof(*rounded));
  if (rounded == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory quantising '%s'", path);
  dure_status status = dure_weights_open(path, &rounded->file);
  if (status == NULL) {
    rounded->matrices = calloc(dure_safetensors_count(rounded->file) + 1, sizeof(*rounded->matrices));
    if (rounded->matrices == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory quantising '%s'", path);
  }
  if (status == NULL) {
    rounding_run run = {model, grouping, rounded};
    dure_calibration_options settings = *options;
    settings.take_layer = round_layer;
    settings.take_context = &run;
    status = dure_calibration_run(model, tokens, count, &settings);
  }
  if (status != NULL) {
    dure_rounded_destroy(rounded);
    return status;
  }
  *out_rounded = rounded;
  return NULL;
}

void dure_rounded_destroy(dure_rounded *rounded) {
  if (rounded == NULL) return;
  for (size_t i = 0; i < rounded->count; i++) dure_rounded_matrix_clear(&rounded->matrices[i].matrix);
  free(rounded->matrices);
  dure_safetensors_close(rounded->file);
  free(rounded);
}

const dure_rounded_matrix *dure_rounded_find(const dure_rounded *rounded, const char *tensor) {
  for (size_t i = 0; rounded != NULL && i < rounded->count; i++) {
    if (strcmp(rounded->matrices[i].name, tensor) == 0) return &rounded->matrices[i].matrix;
  }
  return NULL;
}
