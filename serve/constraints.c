#include "serve/constraints.h"

#include <stdlib.h>
#include <string.h>

#include "model/json_schema.h"

dure_status constraint_cache_create(const dure_tokenizer *tokenizer, uint64_t bytes, constraint_cache *out_cache) {
  memset(out_cache, 0, sizeof(*out_cache));
  pthread_mutex_init(&out_cache->lock, NULL);  // on Linux it does not fail
  out_cache->bytes = bytes;
  DURE_TRY(dure_constraint_budget_create(bytes, &out_cache->budget));
  return dure_token_trie_create(tokenizer, &out_cache->trie);
}

void constraint_cache_clear(constraint_cache *cache) {
  for (size_t i = 0; i < CONSTRAINTS_KEPT; i++) {
    free(cache->kept[i].text);
    dure_constraint_release(cache->kept[i].constraint);
  }
  dure_token_trie_destroy(cache->trie);
  dure_constraint_budget_release(cache->budget);
  memset(cache->kept, 0, sizeof(cache->kept));
  cache->trie = NULL;
  cache->budget = NULL;
}

// The kept one for this grammar, held once more; NULL: there is none.
static dure_constraint *find(constraint_cache *cache, const char *text) {
  dure_constraint *found = NULL;
  pthread_mutex_lock(&cache->lock);
  for (size_t i = 0; i < CONSTRAINTS_KEPT && found == NULL; i++) {
    if (cache->kept[i].text != NULL && strcmp(cache->kept[i].text, text) == 0)
      found = dure_constraint_hold(cache->kept[i].constraint);
  }
  pthread_mutex_unlock(&cache->lock);
  return found;
}

static void keep(constraint_cache *cache, const char *text, dure_constraint *constraint) {
  char *copy = strdup(text);
  if (copy == NULL) return;  // then it is not kept
  pthread_mutex_lock(&cache->lock);
  const size_t place = cache->next++ % CONSTRAINTS_KEPT;
  free(cache->kept[place].text);
  dure_constraint_release(cache->kept[place].constraint);
  cache->kept[place].text = copy;
  cache->kept[place].constraint = dure_constraint_hold(constraint);
  pthread_mutex_unlock(&cache->lock);
}

// The text of the grammar; NULL: anything may be said.
static dure_status write_grammar(const generation_request *request, char **out_text, const char **out_field) {
  const tool_request *tools = &request->tools;
  *out_text = NULL;
  *out_field = "tools";
  if (tools->choice == TOOLS_REQUIRED || tools->choice == TOOLS_NAMED) return tools_write_grammar(tools, out_text);
  *out_field = "grammar";
  if (request->grammar != NULL) {
    *out_text = strdup(request->grammar);
    return *out_text != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar");
  }
  *out_field = "response_format";
  if (request->response == RESPONSE_ANYTHING) return NULL;
  return dure_json_schema_text(request->schema, "", "", out_text);
}

// Lets kept ones go, but for `spared`, the oldest first, while more than half of the budget is used.
static void make_room(constraint_cache *cache, const dure_constraint *spared) {
  pthread_mutex_lock(&cache->lock);
  for (size_t i = 0; i < CONSTRAINTS_KEPT && dure_constraint_budget_used(cache->budget) > cache->bytes / 2; i++) {
    const size_t place = (cache->next + i) % CONSTRAINTS_KEPT;
    if (cache->kept[place].constraint == spared) continue;
    free(cache->kept[place].text);
    dure_constraint_release(cache->kept[place].constraint);
    cache->kept[place].text = NULL;
    cache->kept[place].constraint = NULL;
  }
  pthread_mutex_unlock(&cache->lock);
}

static dure_status compile(constraint_cache *cache, const char *text, dure_constraint **out_constraint) {
  dure_grammar *grammar = NULL;
  *out_constraint = NULL;
  DURE_TRY(dure_grammar_parse(text, strlen(text), &grammar));
  DURE_TRY(dure_constraint_create(grammar, cache->trie, out_constraint));
  dure_constraint_share(*out_constraint, cache->budget);
  make_room(cache, NULL);
  const uint64_t used = dure_constraint_budget_used(cache->budget), own = dure_constraint_bytes(*out_constraint);
  if (used <= cache->bytes) return NULL;
  dure_constraint_release(*out_constraint);
  *out_constraint = NULL;
  if (own > cache->bytes)
    return dure_fail(DURE_INVALID_ARGUMENT, "the grammar needs %.1f MiB of the %.1f MiB that all may take here",
                     (double)own / 1048576, (double)cache->bytes / 1048576);
  return dure_fail(DURE_CANCELLED,
                   "the grammars of other requests take the %.1f MiB that all may take; try again later",
                   (double)cache->bytes / 1048576);
}

dure_status constraint_cache_apply(constraint_cache *cache, generation_request *request, const char **out_field) {
  char *text = NULL;
  DURE_TRY(write_grammar(request, &text, out_field));
  if (text == NULL) return NULL;
  dure_status status = NULL;
  request->constraint = find(cache, text);
  if (request->constraint != NULL) {
    make_room(cache, request->constraint);  // else those at work give back what they make, for what nobody uses
  } else {
    status = compile(cache, text, &request->constraint);
    if (status == NULL) keep(cache, text, request->constraint);
  }
  free(text);
  return status;
}
