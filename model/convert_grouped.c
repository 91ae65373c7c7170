#include "model/convert_grouped.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/packed.h"
#include "model/rounded.h"
#include "runtime/os.h"

// ---- which -------------------------------------------------------------------------------------------------------

static bool is_named(const char *name, const char *public_name, const char *prefix) {
  if (strcmp(name, public_name) == 0) return true;
  const size_t length = strlen(prefix);  // that some writers leave out
  return length > 0 && strncmp(public_name, prefix, length) == 0 && strcmp(name, public_name + length) == 0;
}

static const dure_parameter *find_parameter(const dure_model_config *config, const dure_parameter_layout *layout,
                                            const char *name) {
  for (size_t i = 0; i < layout->count; i++) {
    if (!dure_packed_takes(layout->parameters[i].row->role)) continue;  // experts may have thousands of parts
    for (uint32_t part = 0; part < layout->parameters[i].part_count; part++) {
      if (is_named(name, layout->parameters[i].parts[part].name, config->family->optional_prefix))
        return &layout->parameters[i];
    }
  }
  return NULL;
}

static bool is_table(dure_role role) {
  return role == DURE_ROLE_TOKEN_EMBEDDING || role == DURE_ROLE_EMBEDDING_INPUT || role == DURE_ROLE_EMBEDDING_OUTPUT ||
         role == DURE_ROLE_HEAD;
}

dure_group_plan dure_group_plan_of(const dure_convert_grouping *grouping, const dure_model_config *config,
                                   const dure_parameter_layout *layout, const dure_safetensors_tensor *tensor,
                                   bool *is_too_narrow) {
  dure_group_plan plan = {0};
  if (is_too_narrow != NULL) *is_too_narrow = false;
  const dure_parameter *parameter =
      grouping != NULL && tensor->rank == 2 ? find_parameter(config, layout, tensor->name) : NULL;
  if (parameter == NULL || parameter->rank != 2 || !dure_packed_takes(parameter->row->role)) return plan;
  plan.is_transposed = !parameter->row->is_output_first;
  plan.rows = tensor->shape[plan.is_transposed ? 1 : 0];
  plan.width = tensor->shape[plan.is_transposed ? 0 : 1];
  plan.is_table = is_table(parameter->row->role);
  plan.parameter = parameter;
  const bool fits = plan.width > 0 && plan.rows > 0 && plan.width % grouping->type.group == 0;
  if (is_too_narrow != NULL) *is_too_narrow = !fits;
  if (!fits) return plan;
  plan.type = grouping->type;
  if (plan.is_table || (grouping->is_mixed && parameter->row->role == DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT)) {
    plan.type.bits = 8;
    plan.type.has_minima = false;
  }
  return plan;
}

uint64_t dure_group_plan_bytes(const dure_group_plan *plan) {
  const uint64_t count = plan->rows * plan->width;
  return count * plan->type.bits / 8 + count / plan->type.group * (plan->type.has_minima ? 4 : 2);
}

// ---- writing -----------------------------------------------------------------------------------------------------

static dure_status declare_scales(const dure_group_plan *plan, const char *name, const char *suffix,
                                  dure_safetensors_writer *writer) {
  char whole[256];
  const uint64_t shape[2] = {plan->rows, plan->width / plan->type.group};
  snprintf(whole, sizeof(whole), "%s%s_%s", name, plan->is_transposed ? "_transposed" : "", suffix);
  return dure_safetensors_writer_declare(writer, whole, DURE_DTYPE_F16, 2, shape);
}

dure_status dure_group_plan_declare(const dure_group_plan *plan, const char *name, dure_safetensors_writer *writer) {
  const uint64_t row_bytes = plan->width * plan->type.bits / 8;
  const dure_safetensors_tensor codes = {.name = name,
                                         .type = plan->type.bits == 8 ? "I8" : "U8",
                                         .rank = 2,
                                         .shape = {plan->rows, row_bytes},
                                         .count = plan->rows * row_bytes,
                                         .size = plan->rows * row_bytes};
  DURE_TRY(dure_safetensors_writer_declare_alike(writer, &codes));
  DURE_TRY(declare_scales(plan, name, "scales", writer));
  return plan->type.has_minima ? declare_scales(plan, name, "minima", writer) : NULL;
}

dure_status dure_group_plan_append(const dure_group_plan *plan, const dure_rounded *rounded,
                                   const dure_safetensors_tensor *tensor, dure_safetensors_writer *writer) {
  if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted");
  const uint64_t count = plan->rows * plan->width, groups = count / plan->type.group;
  const dure_rounded_matrix *matrix = dure_rounded_find(rounded, tensor->name);
  dure_rounded_matrix made = {0};
  if (matrix == NULL) DURE_TRY(dure_rounded_matrix_make(plan, tensor, NULL, &made));
  if (matrix == NULL) matrix = &made;
  dure_status status = dure_safetensors_writer_append(writer, matrix->codes, count * plan->type.bits / 8);
  if (status == NULL) status = dure_safetensors_writer_append(writer, matrix->scales, groups * sizeof(uint16_t));
  if (status == NULL && plan->type.has_minima)
    status = dure_safetensors_writer_append(writer, matrix->minima, groups * sizeof(uint16_t));
  dure_rounded_matrix_clear(&made);
  return status;
}
