// Beam search: the likeliest continuation that keeping the N likeliest beginnings at every step finds.
//
// As `transformers` (5.x) has it in generate(num_beams=N, do_sample=False), so that the tokens are the same: each step
// looks at the K = max(2, 1 + ends) N likeliest continuations of all beams; those of the first N that end are kept as
// finished, scored by their sum of log-probabilities (nats) divided by length^length_penalty, where the length counts
// what was generated, its end included; the first N that do not end go on. Sums are f32, of log-softmax over the
// candidates.
//
// The beams' cache is paged with one token a block, so that beams share all that they have in common, and a beam that
// forks copies nothing. One prompt at a time; one thread, that of the device.
#ifndef DURE_MODEL_BEAM_H_
#define DURE_MODEL_BEAM_H_

#include "model/model.h"

enum { DURE_BEAMS_MOST = 32, DURE_BEAM_ENDS_MOST = 15 };

typedef struct dure_beams dure_beams;

// When the search is over before most_tokens.
typedef enum dure_early_stopping {
  DURE_EARLY_STOPPING_LIKELY,  // N have finished, and the best beam, were it to end now, would not beat the worst
  DURE_EARLY_STOPPING_FULL,    // N have finished
  DURE_EARLY_STOPPING_NEVER,   // N have finished, and no beam can beat the worst at any length up to most_tokens
} dure_early_stopping;

typedef struct dure_beam_options {
  uint32_t beams;        // N, 1 to DURE_BEAMS_MOST
  uint32_t most_tokens;  // to generate, at least 1
  uint32_t context;      // tokens of a prompt and what is generated, at most the model's; 0: that
  float length_penalty;  // above 0: longer ones are preferred; 1 in transformers
  dure_early_stopping early_stopping;
  const uint32_t *ends;      // tokens that end a text; copied
  uint32_t end_count;        // at most DURE_BEAM_ENDS_MOST
  uint32_t candidate_count;  // ids that may come: the tokenizer's vocabulary; 0: all rows of the embedding
  dure_dtype cache_type;     // as dure_engine_options has it
} dure_beam_options;

typedef struct dure_beam_text {
  uint32_t *tokens;  // [count], generated, without the end; owned by the search until its next run
  uint32_t count;
  bool has_ended;  // with one of the ends, else it is as long as it may be
  float score;     // as above
} dure_beam_text;

DURE_MUST_CHECK dure_status dure_beams_create(dure_model *model, const dure_beam_options *options,
                                              dure_beams **out_beams);
void dure_beams_destroy(dure_beams *beams);  // NULL is fine
// Searches; waits. `is_interrupted` (may be NULL) is asked before each step: DURE_CANCELLED when it says so.
// DURE_INVALID_ARGUMENT for a prompt that leaves no room in the context, DURE_NOT_FINITE when logits are not.
DURE_MUST_CHECK dure_status dure_beams_run(dure_beams *beams, const uint32_t *tokens, uint32_t count,
                                           bool (*is_interrupted)(void), dure_beam_text *out_text);

#endif  // DURE_MODEL_BEAM_H_
