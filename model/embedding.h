// Texts as points: the final hidden states of a text's tokens, averaged or the last one's, brought to length 1.
//
//   dure_embedder *embedder = NULL;
//   DURE_TRY(dure_embedder_create(model, &(dure_embedder_options){.pooling = DURE_POOLING_MEAN}, &embedder));
//   float *vectors = malloc(count * dure_embedder_width(embedder) * sizeof(float));
//   DURE_TRY(dure_embedder_run(embedder, texts, count, vectors));
//   dure_embedder_destroy(embedder);
//
// The inner product of two vectors is the cosine of the angle between them. Hidden states are those after the final
// norm (`last_hidden_state` of `transformers`). Texts of like length are taken together; what a text gets does not
// depend on its companions on the software drivers. Everything happens on the model's stream: one thread at a time, the
// device's own.
#ifndef DURE_MODEL_EMBEDDING_H_
#define DURE_MODEL_EMBEDDING_H_

#include "model/model.h"

typedef struct dure_embedder dure_embedder;

typedef enum dure_pooling {
  DURE_POOLING_MEAN,  // of all tokens
  DURE_POOLING_LAST,  // the last token, which alone has seen all others
} dure_pooling;

typedef struct dure_embedder_options {
  dure_pooling pooling;
  uint32_t context;  // tokens of a text at most; 0: the model's
  uint32_t tokens;   // taken together at most, padding included (one text may have more); 0: 1024
} dure_embedder_options;

typedef struct dure_token_text {
  const uint32_t *tokens;  // borrowed, at least one
  uint32_t count;
} dure_token_text;

// Programs are made when they are first needed. The model must outlive it. Release with dure_embedder_destroy.
DURE_MUST_CHECK dure_status dure_embedder_create(dure_model *model, const dure_embedder_options *options,
                                                 dure_embedder **out_embedder);
void dure_embedder_destroy(dure_embedder *embedder);            // NULL is fine
uint32_t dure_embedder_width(const dure_embedder *embedder);    // elements of a vector
uint32_t dure_embedder_context(const dure_embedder *embedder);  // tokens of a text at most
// texts [count] -> out_vectors [count, width] f32, in the order of the texts; waits. DURE_INVALID_ARGUMENT naming the
// text that is empty, too long or has unknown tokens; DURE_NOT_FINITE for hidden states that are not, or all zero.
DURE_MUST_CHECK dure_status dure_embedder_run(dure_embedder *embedder, const dure_token_text *texts, size_t count,
                                              float *out_vectors);

#endif  // DURE_MODEL_EMBEDDING_H_
