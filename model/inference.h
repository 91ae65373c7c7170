// Running a model without training it: losses of windows, logits of sequences, and token-by-token decoding.
#ifndef DURE_MODEL_INFERENCE_H_
#define DURE_MODEL_INFERENCE_H_

#include "model/model.h"
#include "runtime/program.h"

// ---- scorer: the loss of whole windows, as training sees it ------------------------------------------------------

typedef struct dure_scorer dure_scorer;

// For batches of B windows of T tokens (at most the model's context). The model must outlive it.
// fuses_loss: the logits of a large vocabulary are made in chunks and never stored whole.
DURE_MUST_CHECK dure_status dure_scorer_create(dure_model *model, uint32_t batch_size, uint32_t context,
                                               bool fuses_loss, dure_scorer **out_scorer);
void dure_scorer_destroy(dure_scorer *scorer);  // NULL is fine
// Its program alone, for planning: parameters of `dtype` are its only external tensors that compile() needs places for.
typedef struct dure_scorer_tensors {
  dure_tensor *pools;                             // [layout->pool_count]; free()
  dure_tensor tokens, positions, labels, losses;  // [B, T] u32; losses [B T] f32
} dure_scorer_tensors;
DURE_MUST_CHECK dure_status dure_scorer_record(const dure_model_config *config, const dure_parameter_layout *layout,
                                               dure_dtype dtype, uint32_t batch_size, uint32_t context, bool fuses_loss,
                                               dure_program *program, dure_scorer_tensors *out_tensors);
// The loss of each label in nats (0 for DURE_IGNORE_LABEL); waits.
//   tokens, labels  [B, T] u32      out_losses  [B, T]
DURE_MUST_CHECK dure_status dure_scorer_run(dure_scorer *scorer, const uint32_t *tokens, const uint32_t *labels,
                                            float *out_losses);

// The same without waiting for it, so that the next batch is prepared and uploaded beside this one's work. out_losses
// is filled, and must stay valid, until `*out_point` has been waited for (0: all of them; after a failure, before the
// losses are freed).
DURE_MUST_CHECK dure_status dure_scorer_submit(dure_scorer *scorer, const uint32_t *tokens, const uint32_t *labels,
                                               float *out_losses, uint64_t *out_point);
DURE_MUST_CHECK dure_status dure_scorer_wait(dure_scorer *scorer, uint64_t point);

// ---- logits of a whole sequence, without a cache -----------------------------------------------------------------

// Logits after every token; waits.   tokens [count] u32      out_logits [count, vocabulary_size]
DURE_MUST_CHECK dure_status dure_model_logits(dure_model *model, const uint32_t *tokens, uint32_t count,
                                              float *out_logits);

// ---- session: one sequence through the KV cache ------------------------------------------------------------------

typedef struct dure_session dure_session;

typedef struct dure_session_options {
  uint32_t capacity;         // tokens in all; 0: the model's context length
  uint32_t chunk;            // tokens of a prompt that are taken at once; 0: 64
  uint32_t block_size;       // of the cache, tokens; 0: 16
  uint32_t candidate_count;  // ids that may be sampled: the tokenizer's vocabulary; 0: all rows of the embedding
} dure_session_options;

typedef struct dure_sampling {
  float temperature;  // 0: the likeliest
  uint32_t top_k;     // 0: all
  float top_p;        // 1: all
  uint64_t seed;
  float min_p;      // 0: all; tokens below this part of the likeliest one's probability are left out
  float typical_p;  // 0 or 1: all; else the most typical ones of this mass (Meister et al. 2022)
} dure_sampling;

DURE_MUST_CHECK dure_status dure_session_create(dure_model *model, const dure_session_options *options,
                                                dure_session **out_session);
void dure_session_destroy(dure_session *session);           // NULL is fine
uint32_t dure_session_length(const dure_session *session);  // tokens taken so far
uint32_t dure_session_capacity(const dure_session *session);
void dure_session_reset(dure_session *session);  // empty again
// Takes tokens: a prompt in chunks, one token by the one-token program. Afterwards the session holds the logits of the
// last one. Enqueued, not waited for. DURE_INVALID_ARGUMENT beyond the capacity or for an id outside the vocabulary.
DURE_MUST_CHECK dure_status dure_session_append(dure_session *session, const uint32_t *tokens, uint32_t count);
// The last token's logits [vocabulary_size]; waits.
DURE_MUST_CHECK dure_status dure_session_logits(dure_session *session, float *out_logits);
// Draws the next token from them on the device (without taking it); waits. A function of (logits, sampling, length),
// the same on every device up to the logits' own differences. DURE_NOT_FINITE when the logits are.
DURE_MUST_CHECK dure_status dure_session_sample(dure_session *session, const dure_sampling *sampling,
                                                uint32_t *out_token);

#endif  // DURE_MODEL_INFERENCE_H_
