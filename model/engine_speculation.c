#include "model/engine_internal.h"

bool engine_speculates(const dure_engine *engine) {
  return engine->options.speculation.looks_up || engine->draft != NULL;
}

static uint32_t least_of(uint32_t a, uint32_t b) { return a < b ? a : b; }

// Tokens worth guessing: what the request still wants but for the one that is drawn anyway, and the context holds.
static uint32_t room_of(const dure_engine *engine, const engine_sequence *s) {
  const uint32_t context = engine->programs.sizes.context, generated = s->progress.generated_count;
  const uint32_t wanted = engine->options.speculation.proposals;
  uint32_t room = wanted > 0 ? wanted : ENGINE_PROPOSALS;
  room = least_of(room, s->request.most_tokens > generated ? s->request.most_tokens - generated - 1 : 0);
  return least_of(room, s->count < context ? context - s->count : 0);
}

// What could be proposed for a sequence. What is found in its text stands behind its last token then.
static dure_status offer_of(const dure_engine *engine, engine_sequence *s, speculation_offer *out_offer) {
  const uint32_t room = room_of(engine, s);
  uint32_t found = 0;
  speculation_kind kind = SPECULATION_MATCH_1;
  *out_offer = (speculation_offer){0};
  s->proposed = 0;
  DURE_TRY(engine_sequence_reserve(s, room + 1));
  if (engine->options.speculation.looks_up && room > 0)
    found = speculation_lookup(s->tokens, s->count, room, s->tokens + s->count, &kind);
  const float share = found > 0 ? s->record.shares[kind] : 0, drafted_share = s->record.shares[SPECULATION_DRAFT];
  *out_offer = (speculation_offer){found, share, false};
  s->proposed_kind = kind;
  const uint32_t drafted = engine->draft != NULL ? least_of(room, engine_draft_room(engine->draft, s)) : 0;
  if (drafted == 0 || drafted_share <= share) return NULL;
  *out_offer = (speculation_offer){drafted, drafted_share, true};
  s->proposed_kind = SPECULATION_DRAFT;
  return NULL;
}

// As many as there are blocks for: nobody waits for what is only a guess.
static uint32_t with_blocks(dure_engine *engine, engine_sequence *s, uint32_t count) {
  if (engine_extend_blocks(engine, s, s->count + count)) return count;
  return s->block_count * engine->programs.sizes.block_size - s->count;
}

static dure_status run_draft(dure_engine *engine, const engine_drafting *drafting, uint32_t count) {
  uint32_t steps = 0;
  double seconds = 0;
  pthread_mutex_unlock(&engine->mutex);
  dure_status status = engine_draft_run(engine->draft, drafting, count, &steps, &seconds);
  pthread_mutex_lock(&engine->mutex);
  engine->statistics.draft_steps += steps;
  if (steps > 0) speculation_times_add_draft(&engine->times, seconds);
  return status;
}

dure_status engine_propose(dure_engine *engine, const engine_plan *plan) {
  speculation_offer offers[DURE_ENGINE_SEQUENCES_MOST];
  engine_drafting drafting[DURE_ENGINE_SEQUENCES_MOST];
  uint32_t counts[DURE_ENGINE_SEQUENCES_MOST], drafted = 0;
  for (uint32_t i = 0; i < plan->count; i++) DURE_TRY(offer_of(engine, plan->sequences[i], &offers[i]));
  speculation_choose(offers, plan->count, engine->programs.sizes.rows,
                     engine->options.speculation.is_unconditional ? NULL : &engine->times, counts);
  for (uint32_t i = 0; i < plan->count; i++) {
    engine_sequence *s = plan->sequences[i];
    const uint32_t count = counts[i] > 0 ? with_blocks(engine, s, counts[i]) : 0;
    if (counts[i] == 0 && offers[i].count > 0) speculation_record_rest(&s->record, s->proposed_kind);
    if (offers[i].is_drafted && count > 0) drafting[drafted++] = (engine_drafting){s, count};
    if (!offers[i].is_drafted) s->proposed = count;
  }
  return drafted > 0 ? run_draft(engine, drafting, drafted) : NULL;
}

void engine_note_proposals(dure_engine *engine, engine_sequence *sequence, uint32_t accepted) {
  const uint32_t proposed = sequence->proposed;
  engine->statistics.proposed_tokens += proposed;
  engine->statistics.accepted_tokens += accepted;
  sequence->progress.proposed_count += proposed;
  sequence->progress.accepted_count += accepted;
  speculation_record_add(&sequence->record, sequence->proposed_kind, proposed, accepted, 1.0f / 8);
  speculation_record_add(&engine->record, sequence->proposed_kind, proposed, accepted, 1.0f / 64);
}
