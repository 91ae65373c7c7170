#include "model/engine_sequence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *copy_of(const void *bytes, size_t size) {
  void *copy = malloc(size > 0 ? size : 1);
  if (copy != NULL && size > 0) memcpy(copy, bytes, size);
  return copy;
}

dure_status engine_sequence_create(const dure_request *request, uint32_t blocks_per_sequence,
                                   engine_sequence **out_sequence) {
  *out_sequence = NULL;
  engine_sequence *self = calloc(1, sizeof(*self));
  if (self == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a request");
  self->request = *request;
  self->tokens = copy_of(request->tokens, request->count * sizeof(*request->tokens));
  self->request.tokens = NULL;
  if (request->constraint != NULL) dure_constraint_hold(request->constraint);
  self->is_constrained = request->constraint == NULL;
  self->request.biases = copy_of(request->biases, request->bias_count * sizeof(*request->biases));
  self->request.ends = copy_of(request->ends, request->end_count * sizeof(*request->ends));
  self->blocks = calloc((size_t)blocks_per_sequence + 1, sizeof(*self->blocks));
  if (request->scores_prompt) self->prompt_scores = calloc(request->count, sizeof(float));
  if (request->scores_prompt)
    self->prompt_alternatives =
        calloc((size_t)request->count * request->alternatives + 1, sizeof(*self->prompt_alternatives));
  self->count = self->capacity = self->prompt_left = self->progress.prompt_count = request->count;
  if (self->tokens == NULL || self->request.biases == NULL || self->request.ends == NULL || self->blocks == NULL ||
      (request->scores_prompt && (self->prompt_scores == NULL || self->prompt_alternatives == NULL))) {
    engine_sequence_destroy(self);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a request of %u tokens", request->count);
  }
  if (request->scores_prompt) {
    self->prompt_scores[0] = (float)NAN;
    self->scored = 1;
  }
  *out_sequence = self;
  return NULL;
}

void engine_sequence_leave_grammar(engine_sequence *sequence) {
  dure_match_destroy(sequence->match);
  dure_constraint_release(sequence->request.constraint);
  dure_match_destroy(sequence->ahead_match);
  free(sequence->mask);
  free(sequence->ahead_mask);
  sequence->match = sequence->ahead_match = NULL;
  sequence->request.constraint = NULL;
  sequence->mask = sequence->ahead_mask = NULL;
}

void engine_sequence_destroy(engine_sequence *sequence) {
  if (sequence == NULL) return;
  free(sequence->tokens);
  engine_sequence_leave_grammar(sequence);
  free((void *)sequence->request.biases);
  free((void *)sequence->request.ends);
  free(sequence->blocks);
  free(sequence->generated);
  free(sequence->alternatives);
  free(sequence->prompt_scores);
  free(sequence->prompt_alternatives);
  free(sequence);
}

bool engine_sequence_ends_with(const engine_sequence *sequence, uint32_t token) {
  for (uint32_t i = 0; i < sequence->request.end_count; i++) {
    if (sequence->request.ends[i] == token) return true;
  }
  return false;
}

// ---- log-probabilities -------------------------------------------------------------------------------------------

enum { FORBIDDEN = -9999 };  // the log-probability of what a grammar rules out, as OpenAI has it

double engine_log_sum(const float *logits, uint32_t count) {
  double maximum = -(double)INFINITY, sum = 0;
  for (uint32_t i = 0; i < count; i++) maximum = fmax(maximum, (double)logits[i]);
  if (!isfinite(maximum)) return maximum;
  for (uint32_t i = 0; i < count; i++) sum += exp((double)logits[i] - maximum);
  return maximum + log(sum);
}

// The `most` largest logits, the largest first, the lowest id on ties; insertion, since there are few.
static void largest_logits(const float *logits, uint32_t candidates, uint32_t most, dure_scored_token *out_tokens) {
  uint32_t count = 0;
  for (uint32_t id = 0; id < candidates; id++) {
    if (count == most && !(logits[id] > out_tokens[most - 1].log_probability)) continue;
    uint32_t place = count < most ? count++ : most - 1;
    while (place > 0 && logits[id] > out_tokens[place - 1].log_probability) {
      out_tokens[place] = out_tokens[place - 1];
      place--;
    }
    out_tokens[place] = (dure_scored_token){id, logits[id]};
  }
}

// The same as log-probabilities.
static void likeliest(const float *logits, uint32_t candidates, uint32_t most, double log_sum,
                      dure_scored_token *out_tokens) {
  largest_logits(logits, candidates, most, out_tokens);
  for (uint32_t i = 0; i < most && i < candidates; i++)
    out_tokens[i].log_probability = (float)fmax((double)out_tokens[i].log_probability - log_sum, FORBIDDEN);
}

static dure_status reserve_generated(engine_sequence *self) {
  if (self->progress.generated_count < self->generated_capacity) return NULL;
  const uint32_t capacity = self->generated_capacity * 2 + 16;
  dure_scored_token *grown = realloc(self->generated, capacity * sizeof(*grown));
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for generated tokens");
  self->generated = grown;
  if (self->request.alternatives > 0) {
    grown = realloc(self->alternatives, (size_t)capacity * self->request.alternatives * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for generated tokens");
    self->alternatives = grown;
  }
  self->generated_capacity = capacity;
  return NULL;
}

dure_status engine_sequence_reserve(engine_sequence *sequence, uint32_t count) {
  if (count <= sequence->capacity - sequence->count) return NULL;
  const uint32_t capacity = sequence->capacity * 2 + 16 + count;
  uint32_t *grown = realloc(sequence->tokens, capacity * sizeof(*grown));
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for generated tokens");
  sequence->tokens = grown;
  sequence->capacity = capacity;
  return NULL;
}

dure_status engine_sequence_add(engine_sequence *sequence, uint32_t token, const float *logits, uint32_t candidates) {
  DURE_TRY(reserve_generated(sequence));
  DURE_TRY(engine_sequence_reserve(sequence, 1));
  const uint32_t place = sequence->progress.generated_count++;
  sequence->tokens[sequence->count++] = token;
  sequence->generated[place] = (dure_scored_token){token, 0};
  if (logits == NULL) return NULL;
  const double log_sum = engine_log_sum(logits, candidates);
  sequence->generated[place].log_probability = (float)((double)logits[token] - log_sum);
  const uint32_t most = sequence->request.alternatives;
  if (most > 0) likeliest(logits, candidates, most, log_sum, sequence->alternatives + (size_t)place * most);
  return NULL;
}

void engine_sequence_score(engine_sequence *sequence, const float *logits, uint32_t candidates) {
  const double log_sum = engine_log_sum(logits, candidates);
  const uint32_t place = sequence->scored++, most = sequence->request.alternatives;
  sequence->prompt_scores[place] = (float)((double)logits[sequence->tokens[place]] - log_sum);
  if (most > 0) likeliest(logits, candidates, most, log_sum, sequence->prompt_alternatives + (size_t)place * most);
}

// ---- the device's rows -------------------------------------------------------------------------------------------

void engine_sequence_place(const engine_sequence *sequence, const engine_programs *programs, uint32_t length,
                           uint32_t row) {
  const uint32_t blocks = programs->sizes.blocks_per_sequence;
  uint32_t *table = programs->exchange.table + (size_t)row * blocks;
  programs->exchange.lengths[row] = length;
  memcpy(table, sequence->blocks, sequence->block_count * sizeof(*table));
  memset(table + sequence->block_count, 0, (blocks - sequence->block_count) * sizeof(*table));
}

// ---- sampling ----------------------------------------------------------------------------------------------------

// Logits that change, with ids that differ.
typedef struct adjustments {
  uint32_t *ids;
  float *changes;
  uint32_t count;
  uint16_t slots[2 * ENGINE_ADJUSTED];  // by the hash of an id, its place + 1; 0: none
} adjustments;

_Static_assert(2 * ENGINE_ADJUSTED == 1 << 10, "slots are found by 10 bits");

static uint32_t place_of(adjustments *list, uint32_t token) {
  uint32_t slot = token * UINT32_C(2654435761) >> 22;
  for (; list->slots[slot] != 0; slot = (slot + 1) % (2 * ENGINE_ADJUSTED)) {
    if (list->ids[list->slots[slot] - 1] == token) return list->slots[slot] - 1u;
  }
  if (list->count == ENGINE_ADJUSTED) return ENGINE_ADJUSTED;
  list->ids[list->count] = token;
  list->changes[2 * list->count] = 1;
  list->changes[2 * list->count + 1] = 0;
  list->slots[slot] = (uint16_t)(list->count + 1);
  return list->count++;
}

static bool has_penalties(const dure_request *request) {
  const bool repeats = request->repetition_penalty > 0 && request->repetition_penalty != 1;
  return repeats || request->presence_penalty != 0 || request->frequency_penalty != 0;
}

// The latest tokens first: of more different ones than there is room for, the oldest go unpunished.
static void add_penalties(const engine_sequence *self, uint32_t ahead, adjustments *list) {
  const dure_request *request = &self->request;
  bool seen[ENGINE_ADJUSTED] = {false};
  for (uint32_t i = self->count + ahead; i-- > 0;) {
    const uint32_t place = place_of(list, self->tokens[i]);
    if (place == ENGINE_ADJUSTED) continue;
    float *change = &list->changes[2 * place];
    const bool is_generated = i >= self->prompt_left;
    if (request->repetition_penalty > 0) change[0] = request->repetition_penalty;
    if (!is_generated) continue;
    if (!seen[place]) change[1] -= request->presence_penalty;
    seen[place] = true;
    change[1] -= request->frequency_penalty;
  }
}

// The tokens that may come where a match stands, with the request's ends where the text may end there.
static dure_status write_match_mask(const engine_sequence *self, dure_match *match, uint32_t *mask, uint32_t mask_words,
                                    bool *out_goes_on, bool *out_is_whole) {
  uint32_t count = 0;
  DURE_TRY(dure_match_mask(match, mask, mask_words, &count, out_is_whole));
  *out_goes_on = count > 0;
  for (uint32_t i = 0; *out_is_whole && i < self->request.end_count; i++) {
    const uint32_t end = self->request.ends[i];
    if (end / 32 < mask_words) mask[end / 32] |= UINT32_C(1) << end % 32;
  }
  return NULL;
}

static dure_status reserve_mask(uint32_t mask_words, uint32_t **mask) {
  if (*mask == NULL) *mask = malloc(mask_words * sizeof(**mask));
  return *mask != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a mask of tokens");
}

dure_status engine_sequence_constrain(engine_sequence *sequence, uint32_t mask_words, bool *out_goes_on,
                                      bool *out_is_whole) {
  *out_goes_on = true;
  *out_is_whole = false;
  sequence->is_constrained = true;
  if (sequence->request.constraint == NULL) return NULL;
  if (sequence->match == NULL) DURE_TRY(dure_match_create(sequence->request.constraint, &sequence->match));
  DURE_TRY(reserve_mask(mask_words, &sequence->mask));
  sequence->mask_words = mask_words;
  while (sequence->matched < sequence->progress.generated_count)
    DURE_TRY(dure_match_token(sequence->match, sequence->generated[sequence->matched++].token));
  return write_match_mask(sequence, sequence->match, sequence->mask, mask_words, out_goes_on, out_is_whole);
}

static dure_status advance(engine_sequence *self, uint32_t ahead, bool *out_goes_on) {
  bool is_whole = false;
  *out_goes_on = false;
  if (self->ahead_match == NULL) DURE_TRY(dure_match_create(self->request.constraint, &self->ahead_match));
  DURE_TRY(reserve_mask(self->mask_words, &self->ahead_mask));
  if (ahead == 0) {
    dure_match_move(self->ahead_match, self->match);
  } else {
    DURE_TRY(dure_match_token(self->ahead_match, self->tokens[self->count + ahead - 1]));
  }
  return write_match_mask(self, self->ahead_match, self->ahead_mask, self->mask_words, out_goes_on, &is_whole);
}

bool engine_sequence_look_ahead(engine_sequence *sequence, uint32_t ahead) {
  if (sequence->match == NULL) return true;
  bool goes_on = false;
  dure_status status = advance(sequence, ahead, &goes_on);
  const bool may_come = status == NULL && goes_on;
  dure_status_free(status);  // what is wrong shows again where it is not a guess
  return may_come;
}

// The model's own mask, or one of a draft model with another number of rows.
static void write_mask(const engine_sequence *self, const uint32_t *from, const engine_exchange *exchange,
                       uint32_t row) {
  const uint32_t words = exchange->mask_words;
  uint32_t *mask = exchange->mask + (size_t)row * words;
  if (from != NULL) {
    const uint32_t shared = words < self->mask_words ? words : self->mask_words;
    memcpy(mask, from, shared * sizeof(*mask));
    memset(mask + shared, 0, (words - shared) * sizeof(*mask));
  } else if (exchange->is_masked[row]) {
    memset(mask, 0xff, words * sizeof(*mask));
  }
  exchange->is_masked[row] = from != NULL;
}

void engine_sequence_settings(const engine_sequence *sequence, uint32_t ahead, const engine_exchange *exchange,
                              uint32_t row) {
  const dure_request *request = &sequence->request;
  const dure_sampling *sampling = &request->sampling;
  float *settings = exchange->settings + row * DURE_SAMPLE_COUNT;
  settings[DURE_SAMPLE_TEMPERATURE] = sampling->temperature;
  settings[DURE_SAMPLE_TOP_K] = (float)sampling->top_k;
  settings[DURE_SAMPLE_TOP_P] = sampling->top_p;
  settings[DURE_SAMPLE_MIN_P] = sampling->min_p;
  settings[DURE_SAMPLE_TYPICAL_P] = sampling->typical_p;
  // Where the token stands in the whole text, as dure_session_sample has it.
  const uint32_t words[4] = {(uint32_t)sampling->seed, (uint32_t)(sampling->seed >> 32),
                             sequence->progress.prompt_count + sequence->progress.generated_count + ahead, 0};
  memcpy(exchange->random + row * 4, words, sizeof(words));
  adjustments list = {.ids = exchange->ids + (size_t)row * ENGINE_ADJUSTED,
                      .changes = exchange->changes + (size_t)row * ENGINE_ADJUSTED * 2};
  for (uint32_t i = 0; i < request->bias_count; i++) {
    const uint32_t place = place_of(&list, request->biases[i].token);
    list.changes[2 * place + 1] += request->biases[i].bias;
  }
  if (has_penalties(request)) add_penalties(sequence, ahead, &list);
  write_mask(sequence, ahead > 0 && sequence->match != NULL ? sequence->ahead_mask : sequence->mask, exchange, row);
  // What another sequence left in this row.
  for (uint32_t i = list.count; i < ENGINE_ADJUSTED && list.ids[i] != UINT32_MAX; i++) list.ids[i] = UINT32_MAX;
}
