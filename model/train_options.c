#include "model/train_options.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/nearest.h"
#include "model/schedule.h"

static const dure_train_option_row rows[] = {
#define DURE_TRAIN_OPTION(kind, field, name, initial, placeholder, help) \
  {DURE_OPTION_##kind, name, offsetof(dure_train_options, field), placeholder, help},
#include "model/train_options.def"
#undef DURE_TRAIN_OPTION
};
enum { row_count = sizeof(rows) / sizeof(rows[0]) };

const dure_train_option_row *dure_train_option_rows(size_t *out_count) {
  *out_count = row_count;
  return rows;
}

void dure_train_options_default(dure_train_options *out_options) {
  *out_options = (dure_train_options){
#define DURE_TRAIN_OPTION(kind, field, name, initial, placeholder, help) .field = initial,
#include "model/train_options.def"
#undef DURE_TRAIN_OPTION
  };
}

void dure_train_options_clear(dure_train_options *options) {
  for (size_t i = 0; i < options->text_count; i++) free(options->texts[i]);
  free(options->texts);
  dure_train_options_default(options);
}

// ---- setting -----------------------------------------------------------------------------------------------------

static void *field(const dure_train_options *options, const dure_train_option_row *row) {
  return (char *)(uintptr_t)options + row->offset;
}

static bool names_agree(const char *a, const char *b) {
  for (; *a != '\0' && *b != '\0'; a++, b++) {
    if ((*a == '_' ? '-' : *a) != (*b == '_' ? '-' : *b)) return false;
  }
  return *a == *b;
}

static const dure_train_option_row *find_row(const char *name) {
  for (size_t i = 0; i < row_count; i++) {
    if (names_agree(name, rows[i].name)) return &rows[i];
  }
  return NULL;
}

static dure_status keep_text(dure_train_options *options, const char *text, const char **out_kept) {
  char **texts = realloc(options->texts, (options->text_count + 1) * sizeof(*texts));
  if (texts != NULL) options->texts = texts;
  char *copy = texts != NULL ? strdup(text) : NULL;
  if (copy == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading options");
  options->texts[options->text_count++] = copy;
  *out_kept = copy;
  return NULL;
}

static bool parse_flag(const char *text, bool *out_value) {
  static const char *const words[] = {"true", "yes", "on", "1", "false", "no", "off", "0"};
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (strcmp(text, words[i]) != 0) continue;
    *out_value = i < 4;
    return true;
  }
  return false;
}

static bool parse_size(const char *text, uint64_t *out_bytes) {
  static const struct {
    const char *suffix;
    double factor;
  } units[] = {{"", 1},       {"B", 1},      {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
               {"K", 0x1p10}, {"M", 0x1p20}, {"G", 0x1p30},   {"MB", 1e6},     {"GB", 1e9}};
  char *end = NULL;
  double value = strtod(text, &end);
  if (end == text || !isfinite(value) || value < 0) return false;
  for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
    if (strcmp(end, units[i].suffix) != 0 || value * units[i].factor >= 0x1p62) continue;
    *out_bytes = (uint64_t)(value * units[i].factor);
    return true;
  }
  return false;
}

static bool parse_integer(const char *text, int64_t *out_value) {
  char *end = NULL;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (end == text || *end != '\0' || errno != 0) return false;
  *out_value = (int64_t)value;
  return true;
}

static bool parse_number(const char *text, double *out_value) {
  char *end = NULL;
  double value = strtod(text, &end);
  if (end == text || *end != '\0' || !isfinite(value)) return false;
  *out_value = value;
  return true;
}

dure_status dure_train_options_set(dure_train_options *options, const char *source, const char *name,
                                   const char *text) {
  static const char *const expected[] = {"a text", "a whole number", "a number", "true or false",
                                         "a size such as 8GiB"};
  const dure_train_option_row *row = find_row(name);
  if (row == NULL) {
    const char *names[row_count];
    for (size_t i = 0; i < row_count; i++) names[i] = rows[i].name;
    return dure_fail(DURE_INVALID_ARGUMENT, "%s: unknown option '%.60s'; did you mean '%s'?", source, name,
                     dure_nearest_name(name, names, row_count, NULL));
  }
  bool is_good = false;
  switch (row->kind) {
    case DURE_OPTION_TEXT: return keep_text(options, text, field(options, row));
    case DURE_OPTION_INTEGER: is_good = parse_integer(text, field(options, row)); break;
    case DURE_OPTION_NUMBER: is_good = parse_number(text, field(options, row)); break;
    case DURE_OPTION_FLAG: is_good = parse_flag(text, field(options, row)); break;
    case DURE_OPTION_SIZE: is_good = parse_size(text, field(options, row)); break;
  }
  if (is_good) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "%s: '%s' expects %s, found '%.60s'", source, row->name, expected[row->kind],
                   text);
}

// ---- JSON --------------------------------------------------------------------------------------------------------

static json_t *value_to_json(const dure_train_options *options, const dure_train_option_row *row) {
  const void *value = field(options, row);
  switch (row->kind) {
    case DURE_OPTION_TEXT: {
      const char *text = *(const char *const *)value;
      return text != NULL ? json_string(text) : json_null();
    }
    case DURE_OPTION_INTEGER: return json_integer(*(const int64_t *)value);
    case DURE_OPTION_NUMBER: return json_real(*(const double *)value);
    case DURE_OPTION_FLAG: return json_boolean(*(const bool *)value);
    case DURE_OPTION_SIZE: return json_integer((json_int_t) * (const uint64_t *)value);
  }
  return NULL;
}

json_t *dure_train_options_to_json(const dure_train_options *options) {
  json_t *json = json_object();
  for (size_t i = 0; json != NULL && i < row_count; i++) {
    json_t *value = value_to_json(options, &rows[i]);
    // A path that is not UTF-8 has no place in JSON.
    json_object_set_new(json, rows[i].name, value != NULL ? value : json_null());
  }
  return json;
}

dure_status dure_train_options_from_json(dure_train_options *options, const char *source, const json_t *json) {
  for (size_t i = 0; i < row_count; i++) {
    const json_t *value = json_object_get(json, rows[i].name);
    char text[64];
    if (json_is_string(value)) {
      DURE_TRY(dure_train_options_set(options, source, rows[i].name, json_string_value(value)));
      continue;
    } else if (json_is_integer(value)) {
      snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
      snprintf(text, sizeof(text), "%.17g", json_real_value(value));
    } else if (json_is_boolean(value)) {
      snprintf(text, sizeof(text), "%s", json_is_true(value) ? "true" : "false");
    } else {
      continue;
    }
    DURE_TRY(dure_train_options_set(options, source, rows[i].name, text));
  }
  return NULL;
}

void dure_train_option_text(const dure_train_options *options, const dure_train_option_row *row, char *out_text,
                            size_t size) {
  const void *value = field(options, row);
  switch (row->kind) {
    case DURE_OPTION_TEXT: {
      const char *text = *(const char *const *)value;
      snprintf(out_text, size, "%s", text != NULL ? text : "");
      break;
    }
    case DURE_OPTION_INTEGER: snprintf(out_text, size, "%lld", (long long)*(const int64_t *)value); break;
    case DURE_OPTION_NUMBER: snprintf(out_text, size, "%g", *(const double *)value); break;
    case DURE_OPTION_FLAG: snprintf(out_text, size, "%s", *(const bool *)value ? "on" : "off"); break;
    case DURE_OPTION_SIZE: snprintf(out_text, size, "%llu", (unsigned long long)*(const uint64_t *)value); break;
  }
}

// ---- checking ----------------------------------------------------------------------------------------------------

static dure_status check_integer(const char *name, int64_t value, int64_t minimum, int64_t maximum) {
  if (value >= minimum && value <= maximum) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "--%s must be from %lld to %lld; found %lld", name, (long long)minimum,
                   (long long)maximum, (long long)value);
}

static dure_status check_number(const char *name, double value, double minimum, double maximum) {
  if (value >= minimum && value <= maximum) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "--%s must be from %g to %g; found %g", name, minimum, maximum, value);
}

static dure_status check_ranges(const dure_train_options *o) {
  const int64_t many = INT64_C(1) << 40;
  DURE_TRY(check_integer("steps", o->steps, 0, many));
  DURE_TRY(check_integer("stop-after", o->stop_after, 0, many));
  DURE_TRY(check_integer("batch-size", o->batch_size, 1, 1 << 20));
  DURE_TRY(check_integer("context", o->context, 0, 1 << 24));
  DURE_TRY(check_integer("accumulate", o->accumulate, 1, 1 << 20));
  DURE_TRY(check_integer("warmup", o->warmup, -1, many));
  DURE_TRY(check_integer("eval-every", o->eval_every, 0, many));
  DURE_TRY(check_integer("eval-tokens", o->eval_tokens, 0, many));
  DURE_TRY(check_integer("save-every", o->save_every, 0, many));
  DURE_TRY(check_integer("keep", o->keep, 0, 1 << 20));
  DURE_TRY(check_integer("seed", o->seed, 0, INT64_MAX));
  DURE_TRY(check_integer("verify-every", o->verify_every, 0, many));
  DURE_TRY(check_integer("repeat-every", o->repeat_every, 0, many));
  DURE_TRY(check_integer("tensor-parallel", o->tensor_parallel, 1, 1024));
  DURE_TRY(check_integer("sequence-parallel", o->sequence_parallel, 1, 1024));
  DURE_TRY(check_number("epochs", o->epochs, 0, 1e9));
  DURE_TRY(check_number("lr", o->lr, 0, 1e3));
  DURE_TRY(check_number("min-lr", o->min_lr, -1, o->lr));
  DURE_TRY(check_number("decay", o->decay, 0, 1));
  DURE_TRY(check_number("weight-decay", o->weight_decay, 0, 1e3));
  DURE_TRY(check_number("beta1", o->beta1, 0, 0.9999999));
  DURE_TRY(check_number("beta2", o->beta2, 0, 0.9999999));
  DURE_TRY(check_number("epsilon", o->epsilon, 1e-30, 1));
  DURE_TRY(check_number("clip", o->clip, 0, 1e30));
  DURE_TRY(check_number("wait-seconds", o->wait_seconds, 1, 1e9));
  return check_number("dropout", o->dropout, 0, 1);
}

// Words that mean something in other versions are unsupported; others are mistakes.
static dure_status check_word(const char *name, const char *text, const char *const *words, const char *const *later) {
  for (size_t i = 0; words[i] != NULL; i++) {
    if (strcmp(text, words[i]) == 0) return NULL;
  }
  for (size_t i = 0; later[i] != NULL; i++) {
    if (strcmp(text, later[i]) == 0) {
      return dure_fail(DURE_UNSUPPORTED, "--%s %s is not supported yet; use --%s %s", name, text, name, words[0]);
    }
  }
  char list[256] = "";
  for (size_t i = 0; words[i] != NULL; i++) {
    size_t used = strlen(list);
    snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "", words[i]);
  }
  return dure_fail(DURE_INVALID_ARGUMENT, "--%s must be one of %s; found '%.40s'", name, list, text);
}

// "block", or with a number of blocks behind it, "block:4".
static dure_status check_recompute(const char *text) {
  static const char *const words[] = {"auto", "none", "activations", "block", NULL}, *const nothing[] = {NULL};
  char word[32];
  const char *colon = strchr(text, ':');
  if (colon == NULL) return check_word("recompute", text, words, nothing);
  int64_t blocks = 0;
  const bool is_count = parse_integer(colon + 1, &blocks) && blocks > 0;
  snprintf(word, sizeof(word), "%.*s", (int)(colon - text), text);
  if (is_count && (strcmp(word, "block") == 0 || strcmp(word, "activations") == 0)) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "--recompute expects a number of layers as in block:4; found '%.40s'", text);
}

static dure_status check_words(const dure_train_options *o) {
  static const char *const nothing[] = {NULL}, *const switches[] = {"on", "off", NULL};
  static const char *const dtypes[] = {"auto", "f32", "bf16", "f16", NULL};
  static const char *const states[] = {"f32", "bf16", "8bit", "auto", NULL};
  static const char *const offloads[] = {"auto", "none", "optimizer", NULL};
  static const char *const later_offloads[] = {"activations", "parameters", "all", NULL};
  const char *schedules[DURE_SCHEDULE_COUNT + 1] = {NULL};
  for (int i = 0; i < DURE_SCHEDULE_COUNT; i++) schedules[i] = dure_schedule_name((dure_schedule_kind)i);
  DURE_TRY(check_word("schedule", o->schedule, schedules, nothing));
  DURE_TRY(check_word("shuffle", o->shuffle, switches, nothing));
  DURE_TRY(check_word("balance-experts", o->balance_experts, switches, nothing));
  DURE_TRY(check_word("dtype", o->dtype, dtypes, nothing));
  DURE_TRY(check_word("masters", o->masters, switches, nothing));
  DURE_TRY(check_word("optimizer-states", o->optimizer_states, states, nothing));
  DURE_TRY(check_recompute(o->recompute));
  return check_word("offload", o->offload, offloads, later_offloads);
}

dure_status dure_train_options_check(const dure_train_options *options) {
  const char *const paths[3] = {options->model, options->data, options->out};
  static const char *const names[3] = {"model", "data", "out"};
  for (size_t i = 0; i < 3; i++) {
    if (paths[i] == NULL || paths[i][0] == '\0') {
      return dure_fail(DURE_INVALID_ARGUMENT, "--%s is missing (on the command line or in the recipe)", names[i]);
    }
  }
  DURE_TRY(check_ranges(options));
  DURE_TRY(check_words(options));
  if (options->steps > 0 && options->epochs > 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "--steps and --epochs both say how long to train; give one of them");
  }
  if (options->dropout > 0) {
    return dure_fail(DURE_UNSUPPORTED, "--dropout %g is not supported yet; training is without dropout",
                     options->dropout);
  }
  return NULL;
}
