// A draft model beside the engine's: it proposes what it would draw itself, with each request's own seed and settings.
//
// Its cache has the same blocks as the engine's, so that one table serves both: a block holds the keys and values of
// the same tokens in either. The draft model may lag behind (`draft_cached` of a sequence); it catches up when it is
// asked. What it proposes is never trusted, so nothing here can change what a request gets.
#ifndef DURE_MODEL_ENGINE_DRAFT_H_
#define DURE_MODEL_ENGINE_DRAFT_H_

#include "model/engine_sequence.h"

typedef struct engine_draft engine_draft;

// A sequence to draft for: its `proposed` tokens, behind its last.
typedef struct engine_drafting {
  engine_sequence *sequence;
  uint32_t wanted;
} engine_drafting;

// `sizes`: those of the engine's programs; `candidates`: tokens that may be drawn. DURE_INVALID_ARGUMENT when the
// models' vocabularies differ.
DURE_MUST_CHECK dure_status engine_draft_create(dure_model *draft, const dure_model *model, const engine_sizes *sizes,
                                                uint32_t candidates, engine_draft **out_draft);
void engine_draft_destroy(engine_draft *draft);  // NULL is fine
DURE_MUST_CHECK dure_status engine_draft_prepare(engine_draft *draft, uint32_t sequences);

// A block now belongs to other tokens: what the draft model has there is worth nothing.
void engine_draft_forget(engine_draft *draft, uint32_t block);
// Tokens at the beginning of the sequence, whole blocks, that the draft model has in its cache already.
uint32_t engine_draft_reused(const engine_draft *draft, const engine_sequence *sequence);
// Tokens that may be proposed for the sequence at most: the draft model's positions end somewhere.
uint32_t engine_draft_room(const engine_draft *draft, const engine_sequence *sequence);
// Of what was proposed last, the tokens up to the sequence's number `count` were right, and are in the cache.
void engine_draft_accept(engine_draft *draft, engine_sequence *sequence, uint32_t count);
// Proposes `wanted` tokens (or fewer) for each of `count` sequences that have room for them (engine_sequence_reserve)
// and none proposed yet, and sets their `proposed`. Waits for the device, without the engine's mutex. *out_steps: how
// many steps the draft model took; *out_seconds: those of one of them, 0 where that was not measured.
DURE_MUST_CHECK dure_status engine_draft_run(engine_draft *draft, const engine_drafting *drafting, uint32_t count,
                                             uint32_t *out_steps, double *out_seconds);

#endif  // DURE_MODEL_ENGINE_DRAFT_H_
