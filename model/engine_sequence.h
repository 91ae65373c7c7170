// One request of the engine, and what it asks of sampling.
#ifndef DURE_MODEL_ENGINE_SEQUENCE_H_
#define DURE_MODEL_ENGINE_SEQUENCE_H_

#include "model/cache_blocks.h"
#include "model/engine.h"
#include "model/engine_programs.h"
#include "model/speculation.h"

typedef struct engine_sequence {
  struct engine_sequence *next;  // of all requests, by the engine
  uint64_t id;
  uint32_t *tokens;  // what the context holds: the prompt, then what was generated, then `proposed` more; owned
  uint32_t count, capacity;
  uint32_t cached;       // tokens whose keys and values are in the cache
  uint32_t prompt_left;  // of `tokens`, how many came with the prompt
  uint32_t *blocks;      // [blocks_per_sequence], its first block_count; 0: given up (outside every window); owned
  uint32_t block_count, keyed_count;  // keyed: full ones whose key is known
  dure_block_key key;                 // of the last of those
  dure_request request;               // its arrays are owned, tokens apart
  dure_scored_token *generated;       // [progress.generated_count]; owned
  uint32_t generated_capacity;
  dure_scored_token *alternatives;         // [generated_capacity, request.alternatives]; owned, or NULL
  float *prompt_scores;                    // [progress.prompt_count], or NULL
  dure_scored_token *prompt_alternatives;  // [progress.prompt_count, request.alternatives], or NULL
  uint32_t scored;                         // tokens of the prompt whose scores are known
  dure_match *match;                       // where it stands in its grammar; NULL: not begun, or it has none
  uint32_t matched;                        // tokens generated that the match has taken
  uint32_t *mask;                          // [mask_words] the tokens that may come next, with a match; owned
  bool is_constrained;                     // the mask is that of what comes next
  uint32_t mask_words;
  uint32_t proposed;  // tokens that the step in progress is to verify, behind the last
  speculation_kind proposed_kind;
  speculation_record record;  // of what was proposed for it
  uint32_t draft_cached;      // tokens whose keys and values are in the draft model's cache
  dure_match *ahead_match;    // where it would stand in its grammar after some of what is proposed
  uint32_t *ahead_mask;       // [mask_words] the tokens that may come there; owned
  dure_request_progress progress;
  bool is_waiting, is_cancelled, is_released;
} engine_sequence;

// A copy of the request that holds `tokens` as its context. Release with engine_sequence_destroy.
DURE_MUST_CHECK dure_status engine_sequence_create(const dure_request *request, uint32_t blocks_per_sequence,
                                                   engine_sequence **out_sequence);
void engine_sequence_destroy(engine_sequence *sequence);  // NULL is fine
// Adds a token that was drawn, with its log-probability and alternatives from its logits [candidates] (NULL: none).
DURE_MUST_CHECK dure_status engine_sequence_add(engine_sequence *sequence, uint32_t token, const float *logits,
                                                uint32_t candidates);
double engine_log_sum(const float *logits, uint32_t count);  // of their exponentials
// The log-probability, and alternatives, of the prompt's next token that has none, from the logits before it.
void engine_sequence_score(engine_sequence *sequence, const float *logits, uint32_t candidates);
bool engine_sequence_ends_with(const engine_sequence *sequence, uint32_t token);
// Brings the match and the mask up to date, which must be done after each token before the next is drawn. *out_goes_on:
// false when no token may come next; the text is then at its end (*out_is_whole), or cannot go on. What it touches
// belongs to the device's thread alone.
DURE_MUST_CHECK dure_status engine_sequence_constrain(engine_sequence *sequence, uint32_t mask_words, bool *out_goes_on,
                                                      bool *out_is_whole);
void engine_sequence_leave_grammar(engine_sequence *sequence);  // when it has ended: another may need the memory
// Row `row` of the exchange is this sequence's, with `length` tokens in the cache before.
void engine_sequence_place(const engine_sequence *sequence, const engine_programs *programs, uint32_t length,
                           uint32_t row);
// Room for `count` proposed tokens behind the last.
DURE_MUST_CHECK dure_status engine_sequence_reserve(engine_sequence *sequence, uint32_t count);
// Makes ready for the settings after `ahead` of its proposed tokens, one after the other from 0 on. False where that
// token cannot come, or nothing after it.
bool engine_sequence_look_ahead(engine_sequence *sequence, uint32_t ahead);
// Settings of row `row` of the exchange, for what follows the sequence and `ahead` of the tokens proposed for it: what
// sampling takes, and which logits are changed how.
void engine_sequence_settings(const engine_sequence *sequence, uint32_t ahead, const engine_exchange *exchange,
                              uint32_t row);

#endif  // DURE_MODEL_ENGINE_SEQUENCE_H_
