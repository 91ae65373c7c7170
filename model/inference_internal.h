// What the programs that run a model without training it have in common (scorer.c).
#ifndef DURE_MODEL_INFERENCE_INTERNAL_H_
#define DURE_MODEL_INFERENCE_INTERNAL_H_

#include "model/inference.h"

// Compiles a program whose only places are the model's parameters.
DURE_MUST_CHECK dure_status inference_compile(dure_model *model, const char *label, dure_program *program,
                                              const dure_tensor *pools, dure_executable **out_executable);
// Positions of `count` tokens in rows of `context`: 0, 1, .. context - 1, 0, 1, ..
DURE_MUST_CHECK dure_status inference_write_positions(dure_model *model, dure_executable *executable,
                                                      dure_tensor positions, uint64_t count, uint32_t context);
// DURE_INVALID_ARGUMENT naming the first that is not in the model's vocabulary.
DURE_MUST_CHECK dure_status inference_check_tokens(const dure_model *model, const uint32_t *tokens, uint32_t count);

#endif  // DURE_MODEL_INFERENCE_INTERNAL_H_
