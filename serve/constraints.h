// What an answer may say: response_format, grammar and tool_choice as constraints of the engine, the latest ones kept,
// so that requests that ask for the same share its states and masks. All of them share a budget of memory.
#ifndef DURE_SERVE_CONSTRAINTS_H_
#define DURE_SERVE_CONSTRAINTS_H_

#include <pthread.h>

#include "model/constraint.h"
#include "serve/generation_request.h"

enum { CONSTRAINTS_KEPT = 16 };

typedef struct constraint_cache {
  pthread_mutex_t lock;
  dure_token_trie *trie;
  dure_constraint_budget *budget;
  uint64_t bytes;  // of it
  struct {
    char *text;  // of the grammar
    dure_constraint *constraint;
  } kept[CONSTRAINTS_KEPT];
  size_t next;  // the one that goes first
} constraint_cache;

// The tokenizer must outlive it. Release with constraint_cache_clear in any case.
DURE_MUST_CHECK dure_status constraint_cache_create(const dure_tokenizer *tokenizer, uint64_t bytes,
                                                    constraint_cache *out_cache);
void constraint_cache_clear(constraint_cache *cache);
// Sets the request's constraint, where it asks for one; any thread. On failure *out_field names the field;
// DURE_CANCELLED: those of other requests leave no memory for it now.
DURE_MUST_CHECK dure_status constraint_cache_apply(constraint_cache *cache, generation_request *request,
                                                   const char **out_field);

#endif  // DURE_SERVE_CONSTRAINTS_H_
