// Many sequences at once through one paged KV cache: requests come and go between steps, and every step takes all that
// are running one token further ("continuous batching", Yu et al. 2022, section 3.2; paging: Kwon et al. 2023).
//
//   dure_engine_create(model, &options, &engine);
//   dure_engine_submit(engine, &request, &id);               // any thread
//   while (is_busy) dure_engine_step(engine, &is_busy);      // one thread, that of the device
//   dure_engine_poll(engine, id, seen, tokens, ...);         // any thread
//   dure_engine_release(engine, id);                         // any thread
//
// What a request gets does not depend on what else runs: its sums have the same order at every width on the software
// drivers, and it draws by its own seed and position. Prompts are taken in pieces between the steps of the others,
// those that come together in one step.
// Blocks of the cache that are full are shared by all requests that begin alike, and kept until their place is needed.
// When the cache is full the youngest request waits, and later computes its tokens again.
//
// Threads: submit, poll, cancel, release and statistics may be called by any thread at any time, and never wait for the
// device. step, prepare and destroy belong to the one thread that drives the model's device and stream.
#ifndef DURE_MODEL_ENGINE_H_
#define DURE_MODEL_ENGINE_H_

#include "model/constraint.h"
#include "model/inference.h"

enum {
  DURE_ENGINE_SEQUENCES_MOST = 64,
  DURE_ENGINE_BIASES_MOST = 256,
  DURE_ENGINE_ALTERNATIVES_MOST = 20,
  DURE_ENGINE_PROPOSALS_MOST = 15
};

typedef struct dure_engine dure_engine;

// Speculative decoding: several tokens of a sequence in one step, where they can be guessed (model/speculation.h). What
// a request gets is the same with and without it, whatever it asks of sampling (where kernels differ by width, but for
// the last bits of logits): a guess counts only where it is what is drawn. All zero: off.
typedef struct dure_engine_speculation {
  bool looks_up;       // guesses what followed when the end of the text, its prompt included, came before
  dure_model *draft;   // guesses what this smaller model draws where nothing is found; NULL: none. Borrowed, and must
                       // outlive the engine. Its tokens must mean what the model's do.
  uint32_t proposals;  // tokens guessed for a sequence at once, up to DURE_ENGINE_PROPOSALS_MOST; 0: 7
  bool is_unconditional;  // whatever it costs; else where the times measured so far say that it pays
} dure_engine_speculation;

typedef struct dure_engine_options {
  uint32_t sequences;  // that run together at most, up to 64; 0: 8
  uint32_t context;    // tokens of a sequence, prompt included; 0: the model's
  uint64_t
      cache_tokens;     // that the cache holds; 0: as many as fit half of the free memory, sequences * context at most
  uint32_t chunk;       // tokens of a prompt taken at once: 8, 32, 128 or 512 at most; 0: 512
  uint32_t block_size;  // of the cache, tokens; 0: 16
  uint32_t candidate_count;  // ids that may be drawn: the tokenizer's vocabulary; 0: all rows of the embedding
  uint32_t queue;            // requests that may wait; 0: 1024
  bool forgets_prefixes;     // shares nothing between requests
  // Of keys and values in the cache: f32, bf16, f16 or U8, which is q8_0 (blocks of 32 elements of a head, 8 bits each
  // and a scale in f16; heads must be whole blocks); NONE: as the activations. In a narrower float type than theirs a
  // key, a value, a query and a result of attention lose half a unit of its last place each; in q8_0 keys and values
  // are rounded, the rest is not.
  dure_dtype cache_type;
  dure_engine_speculation speculation;
} dure_engine_options;

typedef struct dure_logit_bias {
  uint32_t token;
  float bias;
} dure_logit_bias;

// What becomes of a request that reaches the end of the context.
typedef enum dure_overflow {
  DURE_OVERFLOW_REFUSE,  // submit refuses what could reach it
  DURE_OVERFLOW_STOP,    // it ends there
  DURE_OVERFLOW_SHIFT,   // its oldest quarter is forgotten, and the rest computed again
} dure_overflow;

typedef struct dure_request {  // all arrays are copied
  const uint32_t *tokens;      // the prompt, at least one
  uint32_t count;
  uint32_t most_tokens;  // to generate; 0: none (with scores_prompt)
  dure_sampling sampling;
  // Of every token that the context holds, once for each of: being there (repetition: logits above 0 are divided by it,
  // others multiplied; presence: subtracted), and each time it was generated (frequency: subtracted). 0: none.
  float repetition_penalty, presence_penalty, frequency_penalty;
  const dure_logit_bias *biases;  // added to logits; at most DURE_ENGINE_BIASES_MOST, of different tokens
  uint32_t bias_count;
  dure_constraint *constraint;  // what it may say (NULL: anything), over the model's own vocabulary; held while it runs
  const uint32_t *ends;         // tokens that end it, and are not part of what it generated
  uint32_t end_count;
  dure_overflow overflow;
  bool with_log_probabilities;  // of the tokens generated
  uint32_t alternatives;  // the likeliest others in each place, with theirs; at most DURE_ENGINE_ALTERNATIVES_MOST
  bool scores_prompt;     // log-probabilities of the prompt's tokens too (its first has none: NaN), and alternatives
} dure_request;

typedef enum dure_finish {
  DURE_FINISH_NOT_YET,
  DURE_FINISH_END,      // it drew one of its `ends`, or its grammar is at an end
  DURE_FINISH_LENGTH,   // most_tokens
  DURE_FINISH_CONTEXT,  // the end of the context
  DURE_FINISH_CANCELLED,
  DURE_FINISH_NOT_FINITE,  // its logits were not
  DURE_FINISH_FAILED,      // the device failed; step's status says how
  DURE_FINISH_GRAMMAR,     // no token goes on as its grammar wants, or that exceeds its limits
} dure_finish;
const char *dure_finish_name(dure_finish finish);  // "end", "length", ...

typedef struct dure_scored_token {
  uint32_t token;
  float log_probability;  // nats, of the adjusted logits at temperature 1; 0 where it was not asked for
} dure_scored_token;

typedef struct dure_request_progress {
  dure_finish finish;
  bool is_running;                      // not waiting any more
  uint32_t prompt_count, reused_count;  // tokens of the prompt; of those, found in the cache
  uint32_t generated_count;
  uint32_t proposed_count, accepted_count;  // tokens guessed for it (speculation); of those, right
  uint64_t submitted, started, first,
      last;  // times (dure_os_nanoseconds) of being submitted, begun, the first and last token; 0: not yet
} dure_request_progress;

DURE_MUST_CHECK dure_status dure_engine_create(dure_model *model, const dure_engine_options *options,
                                               dure_engine **out_engine);
void dure_engine_destroy(dure_engine *engine);  // NULL is fine; no other thread may use it any more
// Makes the programs of up to `sequences` together, and for what is guessed for them, now instead of when they are
// first needed.
DURE_MUST_CHECK dure_status dure_engine_prepare(dure_engine *engine, uint32_t sequences);
uint32_t dure_engine_context(const dure_engine *engine);
uint32_t dure_engine_sequences(const dure_engine *engine);
uint32_t dure_engine_block_size(const dure_engine *engine);

// DURE_INVALID_ARGUMENT for what can never run (and says why), DURE_UNSUPPORTED when the queue is full.
DURE_MUST_CHECK dure_status dure_engine_submit(dure_engine *engine, const dure_request *request, uint64_t *out_id);
// Pieces of prompts, if there are some to take, of a chunk's tokens in all, and one token of every sequence that is
// past its prompt, more where guesses were right. *out_is_busy: there is more to do. After a failure every request has
// finished as failed.
DURE_MUST_CHECK dure_status dure_engine_step(dure_engine *engine, bool *out_is_busy);
// Copies tokens generated from number `first` on, at most `capacity`; *out_count says how many. DURE_NOT_FOUND for an
// id that is not there (any more). `out_tokens` and `out_count` may be NULL.
DURE_MUST_CHECK dure_status dure_engine_poll(dure_engine *engine, uint64_t id, uint32_t first,
                                             dure_scored_token *out_tokens, uint32_t capacity, uint32_t *out_count,
                                             dure_request_progress *out_progress);
// The alternatives of generated token `index`, the likeliest first: as many as were asked for, or the number of
// candidates if that is less. `out_tokens` has room for DURE_ENGINE_ALTERNATIVES_MOST.
DURE_MUST_CHECK dure_status dure_engine_alternatives(dure_engine *engine, uint64_t id, uint32_t index,
                                                     dure_scored_token *out_tokens, uint32_t *out_count);
// Log-probabilities [prompt_count] of a prompt that was scored, once it is running past it; DURE_INVALID_ARGUMENT
// before.
DURE_MUST_CHECK dure_status dure_engine_prompt_scores(dure_engine *engine, uint64_t id, float *out_log_probabilities);
// The alternatives of the prompt's token `index`, as above; none for its first. DURE_INVALID_ARGUMENT before then too.
DURE_MUST_CHECK dure_status dure_engine_prompt_alternatives(dure_engine *engine, uint64_t id, uint32_t index,
                                                            dure_scored_token *out_tokens, uint32_t *out_count);
void dure_engine_cancel(dure_engine *engine, uint64_t id);   // ends before the next step; unknown ids are fine
void dure_engine_release(dure_engine *engine, uint64_t id);  // cancels it if need be, and forgets it

typedef struct dure_engine_statistics {
  uint64_t submitted, finished, cancelled, refused;
  uint64_t prompt_tokens, reused_tokens, generated_tokens;  // reused: of the prompts', found in the cache
  uint64_t prompt_steps, decode_steps;        // steps of pieces of prompts; of decoding, whatever their width
  uint64_t proposed_tokens, accepted_tokens;  // guessed and verified (speculation); of those, right
  uint64_t draft_steps;                       // of the draft model, for guesses
  uint64_t preempted;                         // times that a request had to wait again
  double prompt_seconds, decode_seconds;      // in such steps
  uint32_t waiting, running;
  uint32_t blocks, blocks_used, blocks_kept;  // of the cache; used: by requests; kept: for those that begin alike
} dure_engine_statistics;
dure_engine_statistics dure_engine_statistics_get(dure_engine *engine);

#endif  // DURE_MODEL_ENGINE_H_
