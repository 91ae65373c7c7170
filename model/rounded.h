// A model's matrices in groups of 4 or 8 bits (grouped.h): each to the nearest, or all of them as a text says, layer by
// layer (calibration.h), before any is written.
#ifndef DURE_MODEL_ROUNDED_H_
#define DURE_MODEL_ROUNDED_H_

#include "model/calibration.h"
#include "model/convert_grouped.h"

// codes [rows, width] packed (dure_group_pack), scales and minima [rows, width / group] as f16 bits; minima NULL where
// the type has none.
typedef struct dure_rounded_matrix {
  dure_group_type type;
  uint64_t rows, width;  // [out, in]
  uint8_t *codes;
  uint16_t *scales, *minima;
} dure_rounded_matrix;

// One matrix, by the products of what it is multiplied with (NULL: to the nearest). DURE_UNSUPPORTED for values beyond
// f16.
DURE_MUST_CHECK dure_status dure_rounded_matrix_make(const dure_group_plan *plan, const dure_safetensors_tensor *tensor,
                                                     const float *products, dure_rounded_matrix *out_matrix);
void dure_rounded_matrix_clear(dure_rounded_matrix *matrix);

// Every matrix of the layers of the model that was opened, unpacked, from `path`. Memory: what the result takes, and
// what calibrating does. `options`: its take_layer is set
// here. As dure_calibration_run.
DURE_MUST_CHECK dure_status dure_rounded_create(dure_model *model, const char *path,
                                                const dure_convert_grouping *grouping, const uint32_t *tokens,
                                                uint64_t count, const dure_calibration_options *options,
                                                dure_rounded **out_rounded);
void dure_rounded_destroy(dure_rounded *rounded);  // NULL is fine
// NULL: the tensor is none of them (as embeddings and heads), or `rounded` is NULL.
const dure_rounded_matrix *dure_rounded_find(const dure_rounded *rounded, const char *tensor);

#endif  // DURE_MODEL_ROUNDED_H_
