#include "serve/pieces.h"

#include <stdlib.h>
#include <string.h>

static dure_status reserve(choice *c, size_t additional) {
  const size_t wanted = c->piece_count + additional, alternatives = c->owner->request.alternatives;
  if (wanted <= c->piece_capacity) return NULL;
  const size_t capacity = wanted * 2;
  scored_piece *pieces = realloc(c->pieces, capacity * sizeof(*pieces));
  if (pieces != NULL) c->pieces = pieces;
  dure_scored_token *others = realloc(c->alternatives, (capacity * alternatives + 1) * sizeof(*others));
  if (others != NULL) c->alternatives = others;
  if (pieces == NULL || others == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for log-probabilities");
  c->piece_capacity = (uint32_t)capacity;
  return NULL;
}

// Bytes that a token stands for in the text.
static size_t text_length(const choice *c, uint32_t token, bool with_special) {
  const char *bytes = NULL;
  size_t length = 0;
  bool is_special = false;
  if (!dure_tokenizer_token(c->owner->server->served.tokenizer, token, &bytes, &length, &is_special)) return 0;
  return is_special && !with_special ? 0 : length;
}

static void add(choice *c, dure_scored_token token, const dure_scored_token *others, uint32_t count,
                bool with_special) {
  const uint32_t place = c->piece_count++;
  const size_t most = c->owner->request.alternatives;
  c->pieces[place] = (scored_piece){token, c->raw, count < most ? count : (uint32_t)most};
  if (count > 0) memcpy(c->alternatives + place * most, others, c->pieces[place].alternative_count * sizeof(*others));
  c->raw += text_length(c, token.token, with_special);
}

static dure_status add_prompt(choice *c, const dure_ids *tokens, const float *scores) {
  dure_engine *engine = c->owner->server->served.engine;
  const bool are_ids = c->owner->request.prompts.prompts[c->prompt].text == NULL;
  const size_t text_end = c->raw;
  c->raw = 0;
  for (size_t i = 0; i < tokens->count; i++) {
    dure_scored_token others[DURE_ENGINE_ALTERNATIVES_MOST];
    uint32_t count = 0;
    DURE_TRY(dure_engine_prompt_alternatives(engine, c->id, (uint32_t)i, others, &count));
    // A text's first token may be one that was put before it.
    add(c, (dure_scored_token){tokens->ids[i], scores[i]}, others, count, are_ids || i > 0);
    if (c->raw > text_end) c->raw = text_end;
  }
  c->raw = text_end;
  return NULL;
}

dure_status pieces_add_prompt(choice *c) {
  const generation_request *request = &c->owner->request;
  const dure_ids *tokens = &request->prompts.prompts[c->prompt].tokens;
  if (c->has_prompt_pieces || !request->echoes || !request->with_scores) return NULL;
  float *scores = malloc(tokens->count * sizeof(*scores));
  if (scores == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for log-probabilities");
  c->has_prompt_pieces = true;
  dure_status status = dure_engine_prompt_scores(c->owner->server->served.engine, c->id, scores);
  if (status == NULL) status = reserve(c, tokens->count + 1);
  if (status == NULL) status = add_prompt(c, tokens, scores);
  free(scores);
  return status;
}

dure_status pieces_add_generated(choice *c, dure_scored_token token, uint32_t index) {
  dure_scored_token others[DURE_ENGINE_ALTERNATIVES_MOST];
  uint32_t count = 0;
  DURE_TRY(reserve(c, 1));
  DURE_TRY(dure_engine_alternatives(c->owner->server->served.engine, c->id, index, others, &count));
  add(c, token, others, count, false);
  return NULL;
}

void pieces_cut(choice *c, size_t end) {
  while (c->piece_count > c->pieces_told && c->pieces[c->piece_count - 1].start >= end) c->piece_count--;
}
