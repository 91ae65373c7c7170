// What a client asks to generate: the body of /v1/completions or /v1/chat/completions, checked, not yet tokenized.
#ifndef DURE_SERVE_GENERATION_REQUEST_H_
#define DURE_SERVE_GENERATION_REQUEST_H_

#include "model/completion.h"
#include "model/engine.h"
#include "serve/prompts.h"
#include "serve/tools.h"

enum {
  CHOICES_MOST = 2048,
  CHOICES_OF_PROMPT_MOST = 128,
  STOP_BYTES_MOST = 4096  // of all stop texts together: each choice has its own copy of them
};

typedef enum response_kind { RESPONSE_ANYTHING, RESPONSE_JSON } response_kind;

typedef struct generation_request {
  json_t *body;  // owned; texts below point into it; once submitted, the tools alone
  bool is_chat, is_streamed, with_usage, echoes, adds_special, ignores_ends, with_scores, has_seed;
  const char *model;      // NULL: not said
  prompt_set prompts;     // of a completion; of a chat one, rendered later
  char *rendered;         // owned; the text of a chat's prompt
  uint32_t n;             // choices of each prompt in the answer
  uint32_t best_of;       // that are generated for each: the n likeliest a token are told
  int64_t most_tokens;    // -1: not said; a chat's are then what the context holds, a completion's OpenAI's 16
  uint32_t alternatives;  // in the place of each token
  dure_sampling sampling;
  float repetition_penalty, presence_penalty, frequency_penalty;
  dure_logit_bias biases[DURE_ENGINE_BIASES_MOST];
  uint32_t bias_count;
  const char *stops[DURE_STOPS_MOST];
  size_t stop_count;
  const char *grammar;     // what may be said; NULL: not by a grammar of the client's
  response_kind response;  // JSON: by `schema`, NULL being any object
  const json_t *schema;
  tool_request tools;
  dure_constraint *constraint;  // what all of that comes to (serve/constraints.h); held
} generation_request;

// Takes `body` (also on failure). On failure *out_field names what is wrong, "" for nothing in particular; at most
// `capacity` bytes. Release with generation_request_clear in any case.
DURE_MUST_CHECK dure_status generation_request_read(json_t *body, bool is_chat, generation_request *out_request,
                                                    char *out_field, size_t capacity);
void generation_request_clear(generation_request *request);

#endif  // DURE_SERVE_GENERATION_REQUEST_H_
