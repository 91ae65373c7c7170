// Which tensors of a model become group-wise 4- and 8-bit matrices (grouped.h) as it is written, and writing them.
#ifndef DURE_MODEL_CONVERT_GROUPED_H_
#define DURE_MODEL_CONVERT_GROUPED_H_

#include "model/convert.h"
#include "model/parameters.h"

// How a tensor is written. Tables that are looked up and heads get 8 bits whatever the others get, and no minima; so
// do the feed-forward part's output matrices with is_mixed.
typedef struct dure_group_plan {
  dure_group_type type;             // bits 0: it is not
  uint64_t rows, width;             // [out, in]
  bool is_transposed;               // the tensor is [in, out]
  bool is_table;                    // looked up, or a head
  const dure_parameter *parameter;  // of the layout: the tensor is a part of it
} dure_group_plan;

// `is_too_narrow` (may be NULL): it would be, were its rows whole groups.
dure_group_plan dure_group_plan_of(const dure_convert_grouping *grouping, const dure_model_config *config,
                                   const dure_parameter_layout *layout, const dure_safetensors_tensor *tensor,
                                   bool *is_too_narrow);
uint64_t dure_group_plan_bytes(const dure_group_plan *plan);  // of codes, scales and minima
// Declares the tensors in the writer, and appends them in the same order.
DURE_MUST_CHECK dure_status dure_group_plan_declare(const dure_group_plan *plan, const char *name,
                                                    dure_safetensors_writer *writer);
DURE_MUST_CHECK dure_status dure_group_plan_append(const dure_group_plan *plan, const dure_rounded *rounded,
                                                   const dure_safetensors_tensor *tensor,
                                                   dure_safetensors_writer *writer);

#endif  // DURE_MODEL_CONVERT_GROUPED_H_
