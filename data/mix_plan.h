// A recipe of a mixture, and how often each source and language is to be read (data/mix.h).
#ifndef DURE_DATA_MIX_PLAN_H_
#define DURE_DATA_MIX_PLAN_H_

#include "data/mix.h"

typedef struct mix_source {
  const char *name;    // of the recipe
  const char **files;  // likewise
  size_t file_count;
} mix_source;

typedef struct mix_plan {
  const json_t *stages;  // of the recipe
  uint64_t seed;
  mix_source *sources;
  size_t source_count, stage_count;
  dure_mix_amount (*available)[DURE_LANGUAGE_COUNT];  // [sources], to be counted before mix_plan_compute
  dure_mix_row *rows;                                 // [stages, sources, languages]; epochs 0 where nothing is taken
} mix_plan;

// Checks the recipe, which must outlive the plan.
DURE_MUST_CHECK dure_status mix_plan_create(const json_t *recipe, const uint64_t *seed, bool has_tokenizer,
                                            mix_plan **out_plan);
void mix_plan_destroy(mix_plan *plan);  // NULL is fine
DURE_MUST_CHECK dure_status mix_plan_compute(mix_plan *plan);
// NULL where nothing is taken.
dure_mix_row *mix_plan_row(const mix_plan *plan, size_t stage, size_t source, dure_language language);
bool mix_plan_uses(const mix_plan *plan, size_t stage, size_t source);
double mix_plan_bytes(const mix_plan *plan, size_t stage);  // about so much text
// The rows of what is there; to be freed.
void mix_plan_take_rows(const mix_plan *plan, dure_mix_row **out_rows, size_t *out_count);

#endif  // DURE_DATA_MIX_PLAN_H_
