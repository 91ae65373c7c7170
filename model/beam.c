#include "model/beam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/cache_blocks.h"
#include "model/engine_programs.h"
#include "model/engine_sequence.h"

enum { CANDIDATES_MOST = DURE_BEAMS_MOST * (DURE_BEAM_ENDS_MOST + 1), CHUNK = 512 };

// A beginning: what it says after the prompt, and where its keys and values are.
typedef struct beam {
  uint32_t *tokens;  // [most_tokens]
  uint32_t *blocks;  // [context], of one token each; the first `cached` are held
  uint32_t cached;
  float score;  // the sum of its tokens' log-probabilities
} beam;

typedef struct finished_text {
  uint32_t *tokens;  // [most_tokens]
  uint32_t count;
  bool has_ended;
  float score;  // with the length penalty
} finished_text;

// One more token for a beam.
typedef struct candidate {
  uint32_t beam, token;
  float score;
  bool ends, finishes;  // with one of the ends; with one, or by length
} candidate;

struct dure_beams {
  dure_model *model;
  dure_beam_options options;
  uint32_t ends[DURE_BEAM_ENDS_MOST];
  uint32_t candidate_count;
  engine_programs programs;
  dure_cache_blocks *blocks;
  float *scratch;    // [vocabulary]
  uint32_t *memory;  // of all beams' and finished texts' arrays

  beam beams[DURE_BEAMS_MOST], next[DURE_BEAMS_MOST];
  uint32_t live, length;                        // beams that go on; tokens that each has
  finished_text finished[DURE_BEAMS_MOST + 1];  // the best first; the last is room for one more
  uint32_t finished_count;
  candidate candidates[CANDIDATES_MOST];  // the likeliest first
  uint32_t kept;
};

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status check_options(const dure_model_config *config, const dure_beam_options *o) {
  if (o->beams < 1 || o->beams > DURE_BEAMS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "from 1 to %d beams are possible, %u were asked for", DURE_BEAMS_MOST,
                     o->beams);
  if (o->end_count > DURE_BEAM_ENDS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "at most %d tokens can end a beam, there are %u", DURE_BEAM_ENDS_MOST,
                     o->end_count);
  if (o->most_tokens < 1 || !isfinite(o->length_penalty))
    return dure_fail(DURE_INVALID_ARGUMENT, "beams need at least one token to generate, and a finite length penalty");
  if (o->context > config->context_length || o->candidate_count > config->vocabulary_size)
    return dure_fail(DURE_INVALID_ARGUMENT, "%u tokens, of a vocabulary of %u, are more than the model's %u and %u",
                     o->context, o->candidate_count, config->context_length, config->vocabulary_size);
  return NULL;
}

static engine_sizes sizes_of(const dure_model *model, const dure_beam_options *o) {
  const uint32_t context = o->context > 0 ? o->context : model->config.context_length;
  const uint32_t most = o->most_tokens < context ? o->most_tokens : context;
  return (engine_sizes){.sequences = o->beams,
                        .context = context,
                        .chunk = CHUNK,
                        .block_size = 1,
                        .block_count = context + (o->beams - 1) * most,
                        .blocks_per_sequence = context,
                        .candidate_count = o->candidate_count,
                        .cache_type = o->cache_type != DURE_DTYPE_NONE ? o->cache_type : dure_model_dtype(model)};
}

// The arrays of all beams, one behind the other.
static dure_status allocate(dure_beams *self) {
  const size_t most = self->options.most_tokens, context = self->programs.sizes.context;
  const size_t words = DURE_BEAMS_MOST * (2 * (most + context) + most) + most;
  self->scratch = malloc((size_t)self->model->config.vocabulary_size * sizeof(float));
  self->memory = calloc(words, sizeof(*self->memory));
  if (self->scratch == NULL || self->memory == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for beams");
  uint32_t *place = self->memory;
  for (uint32_t i = 0; i < 2 * DURE_BEAMS_MOST; i++) {
    beam *b = i < DURE_BEAMS_MOST ? &self->beams[i] : &self->next[i - DURE_BEAMS_MOST];
    b->tokens = place;
    b->blocks = place + most;
    place += most + context;
  }
  for (uint32_t i = 0; i <= DURE_BEAMS_MOST; i++, place += most) self->finished[i].tokens = place;
  return NULL;
}

dure_status dure_beams_create(dure_model *model, const dure_beam_options *options, dure_beams **out_beams) {
  *out_beams = NULL;
  DURE_TRY(check_options(&model->config, options));
  dure_beams *self = calloc(1, sizeof(*self));
  if (self == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for beams");
  self->model = model;
  self->options = *options;
  if (options->end_count > 0) memcpy(self->ends, options->ends, options->end_count * sizeof(self->ends[0]));
  self->options.ends = self->ends;
  self->candidate_count = options->candidate_count > 0 ? options->candidate_count : model->config.vocabulary_size;
  const engine_sizes sizes = sizes_of(model, options);
  dure_status status = engine_programs_create(model, &sizes, &self->programs);
  if (status == NULL) status = dure_cache_blocks_create(sizes.block_count, &self->blocks);
  if (status == NULL) status = allocate(self);
  if (status != NULL) {
    dure_beams_destroy(self);
    return status;
  }
  *out_beams = self;
  return NULL;
}

void dure_beams_destroy(dure_beams *beams) {
  if (beams == NULL) return;
  engine_programs_clear(&beams->programs);
  dure_cache_blocks_destroy(beams->blocks);
  free(beams->scratch);
  free(beams->memory);
  free(beams);
}

// ---- the cache ---------------------------------------------------------------------------------------------------

static void drop(dure_beams *self, beam *b) {
  while (b->cached > 0) dure_cache_blocks_drop(self->blocks, b->blocks[--b->cached]);
}

static dure_status append_block(dure_beams *self, beam *b) {
  const uint32_t taken = dure_cache_blocks_take(self->blocks);
  if (taken == 0) return dure_fail(DURE_INTERNAL, "the beams' cache is too small");
  b->blocks[b->cached++] = taken;
  return NULL;
}

// Row `row` of the exchange is a beam's, `length` of whose tokens are in the cache before.
static void place_row(dure_beams *self, const beam *b, uint32_t length, uint32_t row) {
  const uint32_t context = self->programs.sizes.context;
  uint32_t *table = self->programs.exchange.table + (size_t)row * context;
  self->programs.exchange.lengths[row] = length;
  memcpy(table, b->blocks, b->cached * sizeof(*table));
  memset(table + b->cached, 0, (context - b->cached) * sizeof(*table));
}

// The prompt, in pieces, as the first beam's.
static dure_status take_prompt(dure_beams *self, const uint32_t *tokens, uint32_t count) {
  const engine_exchange *x = &self->programs.exchange;
  const uint32_t context = self->programs.sizes.context;
  beam *first = &self->beams[0];
  for (uint32_t done = 0; done < count;) {
    const uint32_t padded = engine_chunk(&self->programs.sizes, count - done);
    const uint32_t taken = count - done < padded ? count - done : padded;
    for (uint32_t i = 0; i < taken; i++) DURE_TRY(append_block(self, first));
    for (uint32_t i = 0; i < padded; i++) {
      x->tokens[i] = i < taken ? tokens[done + i] : 0;
      x->positions[i] = done + i < context ? done + i : context - 1;
    }
    place_row(self, first, done, 0);
    x->last[0] = taken - 1;
    DURE_TRY(engine_run_prefill(&self->programs, 1, padded));
    done += taken;
  }
  return NULL;
}

// The last token of every beam.
static dure_status take_tokens(dure_beams *self) {
  const engine_exchange *x = &self->programs.exchange;
  const uint32_t width = engine_width(self->live);
  for (uint32_t row = 0; row < self->live; row++) {
    beam *b = &self->beams[row];
    const uint32_t position = b->cached;
    DURE_TRY(append_block(self, b));
    x->tokens[row] = b->tokens[self->length - 1];
    x->positions[row] = position;
    place_row(self, b, position, row);
  }
  for (uint32_t row = self->live; row < width; row++) engine_programs_pad(&self->programs, row);
  return engine_run_decode(&self->programs, width);
}

// ---- candidates --------------------------------------------------------------------------------------------------

static void offer(dure_beams *self, uint32_t most, candidate offered) {
  uint32_t place = self->kept < most ? self->kept++ : most - 1;
  while (place > 0 && offered.score > self->candidates[place - 1].score) {
    self->candidates[place] = self->candidates[place - 1];
    place--;
  }
  self->candidates[place] = offered;
}

static bool is_end(const dure_beams *self, uint32_t token) {
  for (uint32_t i = 0; i < self->options.end_count; i++) {
    if (self->ends[i] == token) return true;
  }
  return false;
}

// The likeliest tokens after all beams: twice as many as there are beams, so that as many stay when all beams end, and
// as many more for each further end.
static dure_status find_candidates(dure_beams *self) {
  const uint32_t ends = self->options.end_count, most = (ends > 1 ? 1 + ends : 2) * self->options.beams;
  self->kept = 0;
  for (uint32_t row = 0; row < self->live; row++) {
    const float *logits = NULL, before = self->beams[row].score;
    DURE_TRY(engine_logits_row(&self->programs, false, row, self->scratch, &logits));
    const double log_sum = engine_log_sum(logits, self->candidate_count);
    if (!isfinite(log_sum))
      return dure_fail(DURE_NOT_FINITE, "the logits after %u tokens are not finite", self->length);
    for (uint32_t token = 0; token < self->candidate_count; token++) {
      const float score = before + (float)((double)logits[token] - log_sum);
      if (self->kept == most && !(score > self->candidates[most - 1].score)) continue;
      offer(self, most, (candidate){.beam = row, .token = token, .score = score});
    }
  }
  for (uint32_t i = 0; i < self->kept; i++) {
    candidate *c = &self->candidates[i];
    c->ends = is_end(self, c->token);
    c->finishes = c->ends || self->length + 1 == self->options.most_tokens;
  }
  return NULL;
}

// ---- choosing ----------------------------------------------------------------------------------------------------

static float penalised(const dure_beams *self, float score, uint32_t length) {
  return score / (float)pow((double)length, (double)self->options.length_penalty);
}

// Keeps a text that is finished, if it is one of the best.
static void keep_finished(dure_beams *self, const candidate *c) {
  const float score = penalised(self, c->score, self->length + 1);
  uint32_t place = self->finished_count;
  finished_text made = self->finished[place];
  made.count = self->length + (c->ends ? 0 : 1);
  made.has_ended = c->ends;
  made.score = score;
  memcpy(made.tokens, self->beams[c->beam].tokens, self->length * sizeof(*made.tokens));
  if (!c->ends) made.tokens[self->length] = c->token;
  for (; place > 0 && score > self->finished[place - 1].score; place--)
    self->finished[place] = self->finished[place - 1];
  self->finished[place] = made;
  if (self->finished_count < self->options.beams) self->finished_count++;
}

// Of the first N candidates those that finish; the first N that do not go on.
static void choose(dure_beams *self) {
  uint32_t going = 0;
  for (uint32_t i = 0; i < self->kept; i++) {
    const candidate *c = &self->candidates[i];
    if (c->finishes && i < self->options.beams) keep_finished(self, c);
    if (c->finishes || going == self->options.beams) continue;
    const beam *parent = &self->beams[c->beam];
    beam *next = &self->next[going++];
    memcpy(next->tokens, parent->tokens, self->length * sizeof(*next->tokens));
    next->tokens[self->length] = c->token;
    next->score = c->score;
    next->cached = parent->cached;
    memcpy(next->blocks, parent->blocks, parent->cached * sizeof(*next->blocks));
    for (uint32_t k = 0; k < next->cached; k++) dure_cache_blocks_hold(self->blocks, next->blocks[k]);
  }
  for (uint32_t i = 0; i < self->live; i++) drop(self, &self->beams[i]);
  for (uint32_t i = 0; i < going; i++) {
    const beam before = self->beams[i];
    self->beams[i] = self->next[i];
    self->next[i] = before;
  }
  self->live = going;
  self->length++;
}

// Whether the best beam, by the rule of early stopping, can still be among the finished ones.
static bool goes_on(const dure_beams *self) {
  if (self->live == 0) return false;
  if (self->finished_count < self->options.beams) return true;
  if (self->options.early_stopping == DURE_EARLY_STOPPING_FULL) return false;
  const bool is_patient = self->options.early_stopping == DURE_EARLY_STOPPING_NEVER && self->options.length_penalty > 0;
  const float best = penalised(self, self->beams[0].score, is_patient ? self->options.most_tokens : self->length);
  return best > self->finished[self->options.beams - 1].score;
}

static dure_status search(dure_beams *self, bool (*is_interrupted)(void)) {
  for (;;) {
    DURE_TRY(find_candidates(self));
    choose(self);
    if (!goes_on(self)) return NULL;
    if (is_interrupted != NULL && is_interrupted())
      return dure_fail(DURE_CANCELLED, "interrupted after %u tokens of %u beams", self->length, self->live);
    DURE_TRY(take_tokens(self));
  }
}

static dure_status check_prompt(const dure_beams *self, const uint32_t *tokens, uint32_t count) {
  const uint32_t context = self->programs.sizes.context, vocabulary = self->model->config.vocabulary_size;
  if (count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "a prompt needs at least one token");
  if ((uint64_t)count + self->options.most_tokens > context)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "%u tokens of the prompt and %u to generate are more than the context of %u; ask for fewer", count,
                     self->options.most_tokens, context);
  for (uint32_t i = 0; i < count; i++) {
    if (tokens[i] >= vocabulary)
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "token %u (number %u of the prompt) is not below the model's vocabulary of %u", tokens[i], i,
                       vocabulary);
  }
  return NULL;
}

dure_status dure_beams_run(dure_beams *beams, const uint32_t *tokens, uint32_t count, bool (*is_interrupted)(void),
                           dure_beam_text *out_text) {
  *out_text = (dure_beam_text){0};
  DURE_TRY(check_prompt(beams, tokens, count));
  beams->live = 1;
  beams->length = beams->finished_count = 0;
  beams->beams[0].score = 0;
  dure_status status = take_prompt(beams, tokens, count);
  if (status == NULL) status = search(beams, is_interrupted);
  for (uint32_t i = 0; i < DURE_BEAMS_MOST; i++) drop(beams, &beams->beams[i]);
  if (status != NULL) return status;
  const finished_text *best = &beams->finished[0];
  *out_text = (dure_beam_text){best->tokens, best->count, best->has_ended, best->score};
  return NULL;
}
