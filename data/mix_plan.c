#include "data/mix_plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const double MOST_EPOCHS = 1000;

static const char *const units[] = {"bytes", "tokens", "documents"};
enum { UNIT_BYTES, UNIT_TOKENS, UNIT_DOCUMENTS, UNIT_COUNT };

static dure_status out_of_memory(void) { return dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning a mixture"); }

// ---- the recipe ----

static bool is_one_of(const char *key, const char *const *keys) {
  for (; *keys != NULL; keys++) {
    if (strcmp(key, *keys) == 0) return true;
  }
  return false;
}

static dure_status check_keys(const json_t *object, const char *where, const char *const *keys) {
  const char *key = NULL;
  json_t *value = NULL;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    if (!is_one_of(key, keys)) return dure_fail(DURE_INVALID_ARGUMENT, "the recipe's %s knows no '%s'", where, key);
  }
  return NULL;
}

static dure_status read_files(const json_t *value, mix_source *source) {
  const size_t count = json_is_array(value) ? json_array_size(value) : 1;
  source->files = calloc(count + 1, sizeof(*source->files));
  if (source->files == NULL) return out_of_memory();
  for (size_t i = 0; i < count; i++) {
    const char *file = json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
    if (file == NULL || strcmp(file, "-") == 0) {
      return dure_fail(DURE_INVALID_ARGUMENT, "the source '%s' should be a file's name or a list of them",
                       source->name);
    }
    source->files[source->file_count++] = file;
  }
  return count > 0 ? NULL : dure_fail(DURE_INVALID_ARGUMENT, "the source '%s' has no files", source->name);
}

static dure_status read_sources(mix_plan *plan, const json_t *sources) {
  const char *name = NULL;
  json_t *value = NULL;
  const size_t count = json_object_size(sources);
  if (count == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "the recipe has no sources, such as sources: {web: web.jsonl}");
  plan->sources = calloc(count, sizeof(*plan->sources));
  plan->available = calloc(count, sizeof(*plan->available));
  if (plan->sources == NULL || plan->available == NULL) return out_of_memory();
  json_object_foreach((json_t *)(uintptr_t)sources, name, value) {
    mix_source *source = &plan->sources[plan->source_count++];
    source->name = name;
    DURE_TRY(read_files(value, source));
  }
  return NULL;
}

// Weights or epochs: numbers that are not negative, for sources or languages that there are.
static dure_status check_numbers(const mix_plan *plan, const json_t *stage, const char *field) {
  const json_t *object = json_object_get(stage, field);
  const char *name = NULL;
  json_t *value = NULL;
  if (object == NULL) return NULL;
  if (!json_is_object(object))
    return dure_fail(DURE_INVALID_ARGUMENT, "%s should be a mapping of names to numbers", field);
  json_object_foreach((json_t *)(uintptr_t)object, name, value) {
    bool is_known = false;
    dure_language language;
    if (strcmp(field, "languages") == 0) is_known = dure_language_parse(name, strlen(name), &language);
    for (size_t i = 0; i < plan->source_count && strcmp(field, "languages") != 0; i++) {
      is_known = is_known || strcmp(plan->sources[i].name, name) == 0;
    }
    if (!is_known) return dure_fail(DURE_INVALID_ARGUMENT, "%s: there is no '%s'", field, name);
    if (!json_is_number(value) || !(json_number_value(value) >= 0) || json_number_value(value) > 1e15) {
      return dure_fail(DURE_INVALID_ARGUMENT, "%s: '%s' should be a number, 0 or more", field, name);
    }
  }
  return NULL;
}

// The unit of a stage's size, UNIT_COUNT for none.
static int unit_of(const json_t *stage) {
  for (int i = 0; i < UNIT_COUNT; i++) {
    if (json_object_get(stage, units[i]) != NULL) return i;
  }
  return UNIT_COUNT;
}

static dure_status check_stage(const mix_plan *plan, const json_t *stage, bool has_tokenizer) {
  static const char *const keys[] = {"name", "bytes", "tokens", "documents", "weights", "languages", "epochs", NULL};
  if (!json_is_object(stage)) return dure_fail(DURE_INVALID_ARGUMENT, "a stage should be a mapping");
  DURE_TRY(check_keys(stage, "stage", keys));
  DURE_TRY(check_numbers(plan, stage, "weights"));
  DURE_TRY(check_numbers(plan, stage, "languages"));
  DURE_TRY(check_numbers(plan, stage, "epochs"));
  const int unit = unit_of(stage);
  if (unit == UNIT_COUNT) {
    if (json_object_get(stage, "weights") != NULL || json_object_get(stage, "languages") != NULL) {
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "a stage with weights or languages needs a size: bytes, tokens or documents");
    }
    return json_object_size(json_object_get(stage, "epochs")) > 0
               ? NULL
               : dure_fail(DURE_INVALID_ARGUMENT, "a stage needs epochs, or a size and weights");
  }
  if (!(json_number_value(json_object_get(stage, units[unit])) > 0)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a stage's %s should be a number above 0", units[unit]);
  }
  if (json_object_size(json_object_get(stage, "weights")) == 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a stage with a size needs weights, such as weights: {web: 1}");
  }
  if (unit == UNIT_TOKENS && !has_tokenizer) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a size in tokens needs a tokenizer: add --tokenizer FILE");
  }
  return NULL;
}

static dure_status read_recipe(mix_plan *plan, const json_t *recipe, const uint64_t *seed, bool has_tokenizer) {
  static const char *const keys[] = {"seed", "sources", "stages", NULL};
  if (!json_is_object(recipe)) return dure_fail(DURE_INVALID_ARGUMENT, "a recipe should be a mapping");
  DURE_TRY(check_keys(recipe, "top", keys));
  plan->seed = seed != NULL ? *seed : (uint64_t)json_integer_value(json_object_get(recipe, "seed"));
  DURE_TRY(read_sources(plan, json_object_get(recipe, "sources")));
  plan->stages = json_object_get(recipe, "stages");
  plan->stage_count = json_array_size(plan->stages);
  if (plan->stage_count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "the recipe has no list of stages");
  for (size_t i = 0; i < plan->stage_count; i++) {
    DURE_TRY(dure_status_prefix(check_stage(plan, json_array_get(plan->stages, i), has_tokenizer), "stage %zu", i + 1));
  }
  plan->rows = calloc(plan->stage_count * plan->source_count * DURE_LANGUAGE_COUNT, sizeof(*plan->rows));
  return plan->rows != NULL ? NULL : out_of_memory();
}

dure_status mix_plan_create(const json_t *recipe, const uint64_t *seed, bool has_tokenizer, mix_plan **out_plan) {
  *out_plan = calloc(1, sizeof(**out_plan));
  return *out_plan != NULL ? read_recipe(*out_plan, recipe, seed, has_tokenizer) : out_of_memory();
}

void mix_plan_destroy(mix_plan *plan) {
  if (plan == NULL) return;
  for (size_t i = 0; i < plan->source_count; i++) free(plan->sources[i].files);
  free(plan->sources);
  free(plan->available);
  free(plan->rows);
  free(plan);
}

// ---- how often ----

static double amount_in(const dure_mix_amount *amount, int unit) {
  const uint64_t amounts[UNIT_COUNT] = {amount->bytes, amount->tokens, amount->documents};
  return (double)amounts[unit];
}

static double number_of(const json_t *stage, const char *field, const char *name) {
  return json_number_value(json_object_get(json_object_get(stage, field), name));
}

static dure_mix_row *row_at(const mix_plan *plan, size_t stage, size_t source, size_t language) {
  return &plan->rows[(stage * plan->source_count + source) * DURE_LANGUAGE_COUNT + language];
}

// The share of a source (of all its languages, or of one where `language` is one) among what the weights name.
static double source_share(const mix_plan *plan, const json_t *stage, size_t source, int language, int unit) {
  double all = 0, own = 0;
  for (size_t i = 0; i < plan->source_count; i++) {
    double there = 0;
    for (int j = 0; j < DURE_LANGUAGE_COUNT; j++) {
      if (language == DURE_LANGUAGE_COUNT || j == language) there += amount_in(&plan->available[i][j], unit);
    }
    const double weight = there > 0 ? number_of(stage, "weights", plan->sources[i].name) : 0;
    all += weight;
    if (i == source) own = weight;
  }
  return all > 0 ? own / all : 0;
}

// The share of a source's language in a stage with a size.
static double share_of(const mix_plan *plan, const json_t *stage, size_t source, int language, int unit) {
  const json_t *languages = json_object_get(stage, "languages");
  double all = 0;
  if (languages == NULL) {
    for (int j = 0; j < DURE_LANGUAGE_COUNT; j++) all += amount_in(&plan->available[source][j], unit);
    const double own = amount_in(&plan->available[source][language], unit);
    return all > 0 ? own / all * source_share(plan, stage, source, DURE_LANGUAGE_COUNT, unit) : 0;
  }
  for (int j = 0; j < DURE_LANGUAGE_COUNT; j++)
    all += number_of(stage, "languages", dure_language_name((dure_language)j));
  const double own = number_of(stage, "languages", dure_language_name((dure_language)language));
  return all > 0 ? own / all * source_share(plan, stage, source, language, unit) : 0;
}

static void compute_row(const mix_plan *plan, const json_t *stage, size_t source, int language, dure_mix_row *row) {
  const int unit = unit_of(stage);
  const char *name = plan->sources[source].name;
  const json_t *limit = json_object_get(json_object_get(stage, "epochs"), name);
  row->stage = json_string_value(json_object_get(stage, "name"));
  row->source = name;
  row->language = (dure_language)language;
  row->available = plan->available[source][language];
  if (row->available.documents == 0) return;
  row->epochs = json_number_value(limit);
  if (unit == UNIT_COUNT) return;
  row->share = share_of(plan, stage, source, language, unit);
  const double wanted = row->share * json_number_value(json_object_get(stage, units[unit]));
  const double there = amount_in(&row->available, unit);
  const double epochs = there > 0 ? wanted / there : 0;
  row->epochs = limit != NULL && epochs > row->epochs ? row->epochs : epochs;
}

dure_status mix_plan_compute(mix_plan *plan) {
  bool takes_some = false;
  for (size_t i = 0; i < plan->stage_count; i++) {
    const json_t *stage = json_array_get(plan->stages, i);
    for (size_t source = 0; source < plan->source_count; source++) {
      for (int language = 0; language < DURE_LANGUAGE_COUNT; language++) {
        dure_mix_row *row = row_at(plan, i, source, (size_t)language);
        compute_row(plan, stage, source, language, row);
        takes_some = takes_some || row->epochs > 0;
        if (row->epochs > MOST_EPOCHS) {
          return dure_fail(DURE_INVALID_ARGUMENT,
                           "stage %zu would read '%s' (%s, %" PRIu64
                           " bytes) %.0f times; the most is %.0f: limit its epochs, or add text",
                           i + 1, row->source, dure_language_name(row->language), row->available.bytes, row->epochs,
                           MOST_EPOCHS);
        }
      }
    }
  }
  return takes_some ? NULL : dure_fail(DURE_INVALID_ARGUMENT, "the recipe takes nothing of what there is");
}

dure_mix_row *mix_plan_row(const mix_plan *plan, size_t stage, size_t source, dure_language language) {
  dure_mix_row *row = row_at(plan, stage, source, language);
  return row->epochs > 0 ? row : NULL;
}

bool mix_plan_uses(const mix_plan *plan, size_t stage, size_t source) {
  bool is_used = false;
  for (int i = 0; i < DURE_LANGUAGE_COUNT; i++) is_used = is_used || row_at(plan, stage, source, (size_t)i)->epochs > 0;
  return is_used;
}

double mix_plan_bytes(const mix_plan *plan, size_t stage) {
  double bytes = 0;
  for (size_t source = 0; source < plan->source_count; source++) {
    for (size_t i = 0; i < DURE_LANGUAGE_COUNT; i++) {
      const dure_mix_row *row = row_at(plan, stage, source, i);
      bytes += row->epochs * (double)row->available.bytes;
    }
  }
  return bytes;
}

void mix_plan_take_rows(const mix_plan *plan, dure_mix_row **out_rows, size_t *out_count) {
  const size_t all = plan->stage_count * plan->source_count * DURE_LANGUAGE_COUNT;
  *out_count = 0;
  *out_rows = calloc(all, sizeof(**out_rows));
  for (size_t i = 0; i < all && *out_rows != NULL; i++) {
    if (plan->rows[i].available.documents > 0) (*out_rows)[(*out_count)++] = plan->rows[i];
  }
}
