// The loss of a model on a long text: windows over the token stream, each token predicted once.
#ifndef DURE_MODEL_PERPLEXITY_H_
#define DURE_MODEL_PERPLEXITY_H_

#include "model/model.h"

// Reads ids [first, first + count) of the stream; called with growing `first`.
typedef dure_status (*dure_token_reader)(void *context, uint64_t first, size_t count, uint32_t *out_ids);

typedef struct dure_perplexity_options {
  uint32_t context;  // tokens of a window; 0: the model's context, at most 1024
  uint32_t stride;   // tokens a window moves on: the smaller, the more context each token has, the slower; 0: context
  uint32_t batch_size;   // windows at once; 0: 4
  uint32_t first_input;  // the token before the stream's first one: end-of-text
  float *losses;         // [token_count]: filled with each token's loss in nats; NULL: nobody asks
  void (*progress)(void *context, uint64_t done, uint64_t total);  // may be NULL
  void *progress_context;
} dure_perplexity_options;

typedef struct dure_perplexity_result {
  uint64_t tokens;  // predicted
  double nats;      // summed in double; loss = nats / tokens
} dure_perplexity_result;

// DURE_CANCELLED when the user interrupts.
DURE_MUST_CHECK dure_status dure_perplexity(dure_model *model, dure_token_reader reader, void *reader_context,
                                            uint64_t token_count, const dure_perplexity_options *options,
                                            dure_perplexity_result *out_result);

#endif  // DURE_MODEL_PERPLEXITY_H_
