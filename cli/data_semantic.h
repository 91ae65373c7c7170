// A model that gives texts their vectors, for `dure data dedup --semantic`.
#ifndef DURE_CLI_DATA_SEMANTIC_H_
#define DURE_CLI_DATA_SEMANTIC_H_

#include "cli/open_model.h"
#include "data/semantic.h"
#include "model/embedding.h"

typedef struct semantic_model {
  opened_model opened;
  dure_embedder *embedder;
  dure_ids ids;                   // of the texts of a call, one after the other
  dure_token_text *texts;         // [batch] those with tokens,
  size_t *places;                 // [batch] and where they stand in a call
  dure_semantic_options options;  // with `embed`, `width` and `identity`; its context is this model
} semantic_model;

// `context`: tokens that are looked at of a text, its first; 0 for 512 or the model's, if that is less.
DURE_MUST_CHECK dure_status semantic_model_open(const char *directory, const char *device, const char *dtype,
                                                uint32_t context, semantic_model *out_model);
void semantic_model_close(semantic_model *model);  // {0} is fine

#endif  // DURE_CLI_DATA_SEMANTIC_H_
