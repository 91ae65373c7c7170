// Looking into a model's files without running it: statistics of tensors, and what a configuration misses or has no
// place for.
#ifndef DURE_MODEL_INSPECT_H_
#define DURE_MODEL_INSPECT_H_

#include "model/config.h"
#include "model/safetensors.h"

typedef struct dure_tensor_statistics {
  double minimum, maximum, mean, deviation;  // of the finite elements; 0 when there are none
  uint64_t nan_count, infinite_count;
} dure_tensor_statistics;

// Reads every element once; DURE_UNSUPPORTED for types without fractions.
DURE_MUST_CHECK dure_status dure_inspect_tensor(const dure_safetensors_tensor *tensor,
                                                dure_tensor_statistics *out_statistics);

typedef enum dure_disagreement_kind {
  DURE_TENSOR_MISSING,      // the configuration asks for it
  DURE_TENSOR_OTHER_SHAPE,  // it is there with another shape than the configuration asks for
  DURE_TENSOR_LEFT_OVER,    // no place for it
  DURE_TENSOR_NOT_NEEDED,   // known and harmless: the mask of an old file, the embedding once more
} dure_disagreement_kind;

typedef struct dure_disagreement {
  dure_disagreement_kind kind;
  char name[160];  // public
  uint32_t rank;   // of the shape that is expected (MISSING, OTHER_SHAPE)
  uint64_t shape[2];
} dure_disagreement;

// What the files (under public names) and the configuration do not agree in. Release with free().
DURE_MUST_CHECK dure_status dure_inspect_agreement(const dure_model_config *config, const dure_safetensors *file,
                                                   dure_disagreement **out_rows, size_t *out_count);

#endif  // DURE_MODEL_INSPECT_H_
