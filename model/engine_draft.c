#include "model/engine_draft.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

enum { LAG_MOST = 4 };  // tokens of a sequence that a step of drafting takes at once, each a row; more go in pieces

struct engine_draft {
  engine_programs programs;
  uint32_t candidates;
  bool *has_block;  // [block_count + 1]: the block's tokens are in the draft model's cache, all of them
};

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status check_vocabulary(const dure_model *draft, const dure_model *model, uint32_t candidates) {
  if (draft->config.vocabulary_size >= candidates) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT,
                   "the draft model has a vocabulary of %u tokens, the model of %u: a draft model must have the same",
                   draft->config.vocabulary_size, model->config.vocabulary_size);
}

// The cache's type as the engine's where the draft model's heads allow it, the context where its positions do.
static engine_sizes sizes_of(const dure_model *draft, const engine_sizes *sizes, uint32_t candidates) {
  engine_sizes own = *sizes;
  own.candidate_count = candidates;
  if (own.context > draft->config.context_length) own.context = draft->config.context_length;
  if (own.cache_type == DURE_DTYPE_U8 && draft->config.head_width % DURE_QUANTIZED_BLOCK != 0)
    own.cache_type = dure_model_dtype(draft);
  return own;
}

dure_status engine_draft_create(dure_model *draft, const dure_model *model, const engine_sizes *sizes,
                                uint32_t candidates, engine_draft **out_draft) {
  *out_draft = NULL;
  DURE_TRY(check_vocabulary(draft, model, candidates));
  engine_draft *self = calloc(1, sizeof(*self));
  if (self == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a draft model");
  self->candidates = candidates;
  self->has_block = calloc((size_t)sizes->block_count + 1, sizeof(*self->has_block));
  const engine_sizes own = sizes_of(draft, sizes, candidates);
  dure_status status = self->has_block == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a draft model")
                                               : engine_programs_create(draft, &own, &self->programs);
  if (status != NULL) {
    engine_draft_destroy(self);
    return dure_status_prefix(status, "the draft model");
  }
  *out_draft = self;
  return NULL;
}

void engine_draft_destroy(engine_draft *draft) {
  if (draft == NULL) return;
  engine_programs_clear(&draft->programs);
  free(draft->has_block);
  free(draft);
}

dure_status engine_draft_prepare(engine_draft *draft, uint32_t sequences) {
  const uint32_t rows = sequences * LAG_MOST, most = draft->programs.sizes.rows;
  return engine_programs_prepare(&draft->programs, rows < most ? rows : most);
}

// ---- what it has -------------------------------------------------------------------------------------------------

void engine_draft_forget(engine_draft *draft, uint32_t block) { draft->has_block[block] = false; }

uint32_t engine_draft_reused(const engine_draft *draft, const engine_sequence *sequence) {
  uint32_t count = 0;
  while (count < sequence->block_count && draft->has_block[sequence->blocks[count]]) count++;
  return count * draft->programs.sizes.block_size;
}

// The first proposal comes from the sequence's last token, the last from the one proposed before it.
uint32_t engine_draft_room(const engine_draft *draft, const engine_sequence *sequence) {
  const uint32_t context = draft->programs.sizes.context;
  return sequence->count < context ? context - sequence->count : 0;
}

// The draft model's cache holds the sequence's tokens up to `count`.
static void keep(engine_draft *self, engine_sequence *s, uint32_t count) {
  const uint32_t size = self->programs.sizes.block_size;
  for (uint32_t i = s->draft_cached / size; (i + 1) * size <= count && i < s->block_count; i++)
    self->has_block[s->blocks[i]] = s->blocks[i] != 0;
  s->draft_cached = count;
}

void engine_draft_accept(engine_draft *draft, engine_sequence *sequence, uint32_t count) {
  if (count > sequence->draft_cached) keep(draft, sequence, count);
}

// ---- running -----------------------------------------------------------------------------------------------------

// `taken` tokens of a sequence that stand at `first` as row (or, of a piece of a text, rows) from `place` on.
static void write_tokens(engine_draft *self, const engine_sequence *s, uint32_t first, uint32_t taken, uint32_t padded,
                         uint32_t place, uint32_t row) {
  const engine_exchange *x = &self->programs.exchange;
  const engine_sizes *sizes = &self->programs.sizes;
  const uint32_t vocabulary = self->programs.model->config.vocabulary_size;
  for (uint32_t i = 0; i < padded; i++) {
    const uint32_t token = i < taken ? s->tokens[first + i] : 0;
    x->tokens[place + i] = token < vocabulary ? token : 0;  // one of the model's that is only padding there
    x->positions[place + i] = first + i < sizes->context ? first + i : sizes->context - 1;
  }
  engine_sequence_place(s, &self->programs, first, row);
}

// Takes what the draft model has not seen of a sequence, but for its last few tokens.
static dure_status catch_up(engine_draft *self, engine_sequence *s) {
  while (s->count - s->draft_cached > LAG_MOST) {
    const uint32_t left = s->count - 1 - s->draft_cached;
    const uint32_t padded = engine_chunk(&self->programs.sizes, left), taken = left < padded ? left : padded;
    write_tokens(self, s, s->draft_cached, taken, padded, 0, 0);
    self->programs.exchange.last[0] = taken - 1;
    DURE_TRY(engine_run_prefill(&self->programs, 1, padded));
    keep(self, s, s->draft_cached + taken);
  }
  return NULL;
}

// One row a sequence that is still drafted for: its last token, and in the first step also those before it that the
// draft model lacks. `rows`: the row of each that draws; *out_count: rows in all.
static void write_step(engine_draft *self, const engine_drafting *drafting, uint32_t count, uint32_t step,
                       uint32_t *rows, uint32_t *out_count) {
  uint32_t row = 0;
  for (uint32_t i = 0; i < count; i++) {
    engine_sequence *s = drafting[i].sequence;
    const uint32_t end = s->count + step;
    const uint32_t first = step == 0 ? s->draft_cached : end - 1;
    const bool goes_on = s->proposed == step && step < drafting[i].wanted;
    rows[i] = UINT32_MAX;
    if (!goes_on || row + (end - first) > self->programs.sizes.rows || !engine_sequence_look_ahead(s, step)) continue;
    for (uint32_t token = first; token < end; token++, row++) {
      write_tokens(self, s, token, 1, 1, row, row);
      engine_sequence_settings(s, step, &self->programs.exchange, row);
    }
    rows[i] = row - 1;
  }
  *out_count = row;
  for (const uint32_t width = engine_width(row); row < width; row++) engine_programs_pad(&self->programs, row);
}

// What the rows drew is proposed. What drew nothing is left alone.
static void take_step(engine_draft *self, const engine_drafting *drafting, uint32_t count, const uint32_t *rows) {
  for (uint32_t i = 0; i < count; i++) {
    if (rows[i] == UINT32_MAX) continue;
    engine_sequence *s = drafting[i].sequence;
    const uint32_t token = self->programs.exchange.drawn[rows[i]];
    if (s->proposed == 0) keep(self, s, s->count);
    if (token < self->candidates) s->tokens[s->count + s->proposed++] = token;
  }
}

dure_status engine_draft_run(engine_draft *draft, const engine_drafting *drafting, uint32_t count, uint32_t *out_steps,
                             double *out_seconds) {
  uint32_t rows[SPECULATION_SEQUENCES], row_count = 0;
  uint64_t nanoseconds = 0;
  *out_steps = 0;
  *out_seconds = 0;
  for (uint32_t i = 0; i < count; i++) DURE_TRY(catch_up(draft, drafting[i].sequence));
  for (uint32_t step = 0; step < SPECULATION_MOST; step++) {
    write_step(draft, drafting, count, step, rows, &row_count);
    if (row_count == 0) break;
    DURE_TRY(engine_programs_need(&draft->programs, engine_width(row_count)));
    const uint64_t begin = dure_os_nanoseconds();
    DURE_TRY(engine_run_decode(&draft->programs, engine_width(row_count)));
    nanoseconds += dure_os_nanoseconds() - begin;
    take_step(draft, drafting, count, rows);
    ++*out_steps;
  }
  if (*out_steps > 0) *out_seconds = (double)nanoseconds / 1e9 / *out_steps;
  return NULL;
}
