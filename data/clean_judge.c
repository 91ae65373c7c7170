// The third stage of cleaning: lines are cut, documents kept or dropped, and JSON is made of both.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "data/clean_batch.h"
#include "data/decode.h"
#include "data/jsonl.h"

enum { EXAMPLE_SIZE = 400, LINE_LANGUAGE_SIZE = 40 };

typedef struct judging {
  const dure_clean_options *options;
  const dure_clean_models *models;
  dure_clean_batch *batch;
  dure_clean_scratch *scratch;
  dure_clean_item *item;
  const char *text;  // the item's, as changed so far
  size_t size;
  double quality, toxicity;
} judging;

// ---- lines ----

static bool any_language(const bool languages[DURE_LANGUAGE_COUNT]) {
  for (int i = 0; i < DURE_LANGUAGE_COUNT; i++) {
    if (languages[i]) return true;
  }
  return false;
}

// Why a line goes; DURE_CUT_COUNT when it stays.
static dure_cut cut_of(const judging *state, const char *line, size_t size, size_t index) {
  const dure_clean_options *options = state->options;
  const dure_bytes *marks = &state->batch->marks;
  bool is_marked = state->item->line_count > 0 && state->item->first_line + index < marks->size &&
                   marks->data[state->item->first_line + index] != 0;
  if (is_marked) return DURE_CUT_SITE;
  if (options->rules != NULL && dure_clean_rules_look_at_lines(options->rules)) {
    switch (dure_clean_rules_check_line(options->rules, line, size)) {
      case DURE_RULE_LINE_MIN_WORDS: return DURE_CUT_MIN_WORDS;
      case DURE_RULE_LINE_PUNCTUATION: return DURE_CUT_PUNCTUATION;
      case DURE_RULE_LINE_JAVASCRIPT: return DURE_CUT_JAVASCRIPT;
      default: break;
    }
  }
  if (size >= LINE_LANGUAGE_SIZE && any_language(options->line_languages) &&
      !options->line_languages[dure_language_guess(line, size)]) {
    return DURE_CUT_LANGUAGE;
  }
  return DURE_CUT_COUNT;
}

static bool may_cut(const judging *state) {
  const dure_bytes *marks = &state->batch->marks;
  const dure_clean_item *item = state->item;
  bool has_marks = item->line_count > 0 && item->first_line + item->line_count <= marks->size &&
                   memchr(marks->data + item->first_line, 1, item->line_count) != NULL;
  return has_marks || any_language(state->options->line_languages) ||
         (state->options->rules != NULL && dure_clean_rules_look_at_lines(state->options->rules));
}

// Copies the lines that stay; what was between two of them is a blank line, if one stood there or a line went.
static void cut_lines(judging *state) {
  dure_clean_summary *summary = &state->batch->summary;
  dure_bytes *out = &state->scratch->text;
  dure_bytes_clear(out);
  bool is_gap = false;
  size_t index = 0;
  for (size_t i = 0; i < state->size;) {
    const char *line = state->text + i, *newline = memchr(line, '\n', state->size - i);
    size_t length = newline != NULL ? (size_t)(newline - line) : state->size - i;
    i += length + 1;
    dure_cut cut = length > 0 ? cut_of(state, line, length, index++) : DURE_CUT_COUNT;
    if (cut != DURE_CUT_COUNT) {
      summary->lines_cut[cut]++;
      summary->line_bytes_cut += length;
    }
    if (cut != DURE_CUT_COUNT || length == 0) {
      is_gap = true;
      continue;
    }
    if (out->size > 0) dure_bytes_append(out, "\n\n", is_gap ? 2 : 1);
    dure_bytes_append(out, line, length);
    is_gap = false;
  }
  state->text = out->data;
  state->size = out->size;
}

// ---- documents ----

static void remove_personal_data(judging *state) {
  dure_bytes *out = &state->scratch->changed;
  dure_bytes_clear(out);
  dure_personal_data_remove(state->text, state->size, out, state->batch->summary.personal);
  state->text = out->data;
  state->size = out->size;
}

static void drop_by_rule(judging *state, dure_rule rule, double value) {
  dure_clean_item *item = state->item;
  dure_clean_drop(item, (dure_drop)(DURE_DROP_FIRST_RULE + (int)rule));
  item->has_value = true;
  item->value = value;
  item->threshold = state->options->rules->threshold[rule];
}

static void check_scores(judging *state) {
  const dure_clean_rules *rules = state->options->rules;
  if (state->models->quality != NULL) {
    state->quality = dure_classifier_score(state->models->quality, state->text, state->size);
  }
  if (state->models->toxicity != NULL) {
    state->toxicity = dure_classifier_score(state->models->toxicity, state->text, state->size);
  }
  if (rules == NULL) return;
  if (state->models->quality != NULL && state->quality < rules->threshold[DURE_RULE_MIN_QUALITY]) {
    drop_by_rule(state, DURE_RULE_MIN_QUALITY, state->quality);
  } else if (state->models->toxicity != NULL && state->toxicity > rules->threshold[DURE_RULE_MAX_TOXICITY]) {
    drop_by_rule(state, DURE_RULE_MAX_TOXICITY, state->toxicity);
  }
}

static dure_status check_bad_words(judging *state) {
  const dure_word_list *list = state->models->bad_words;
  const dure_clean_rules *rules = state->options->rules;
  if (list == NULL || rules == NULL || !dure_rule_is_on(rules, DURE_RULE_MAX_BAD_WORDS)) return NULL;
  dure_text_words *words = &state->scratch->words;
  DURE_TRY(dure_text_words_find(state->text, state->size, words));
  double found = (double)dure_word_list_count(list, state->item->language, words);
  if (found > rules->threshold[DURE_RULE_MAX_BAD_WORDS]) drop_by_rule(state, DURE_RULE_MAX_BAD_WORDS, found);
  return NULL;
}

static dure_status check_document(judging *state) {
  dure_clean_item *item = state->item;
  if (state->size == 0) {
    dure_clean_drop(item, DURE_DROP_EMPTY);
    return NULL;
  }
  state->item->language = dure_language_guess(state->text, state->size);
  if (state->options->rules != NULL) {
    double value = 0;
    dure_rule rule = dure_clean_rules_check(state->options->rules, &state->scratch->statistics, state->text,
                                            state->size, state->item->language, &value);
    if (rule != DURE_RULE_COUNT) {
      drop_by_rule(state, rule, value);
      return NULL;
    }
  }
  if (!state->options->languages[state->item->language]) {
    dure_clean_drop(item, DURE_DROP_LANGUAGE);
    return NULL;
  }
  check_scores(state);
  return item->reason == DURE_DROP_COUNT ? check_bad_words(state) : NULL;
}

// ---- JSON ----

static void append_field(dure_bytes *out, const char *name, const char *value, size_t size) {
  dure_bytes_append_text(out, ", \"");
  dure_bytes_append_text(out, name);
  dure_bytes_append_text(out, "\": ");
  dure_jsonl_append_string(out, value, size);
}

static void append_number(dure_bytes *out, const char *name, double value) {
  char text[64];
  snprintf(text, sizeof(text), ", \"%s\": %.6g", name, value);
  dure_bytes_append_text(out, text);
}

static void append_text_field(dure_bytes *out, const char *name, const char *text) {
  dure_bytes valid = {0};  // a path may be any bytes
  dure_utf8_append_repaired(&valid, text, strlen(text));
  append_field(out, name, valid.data != NULL ? valid.data : "", valid.size);
  out->is_failed = out->is_failed || valid.is_failed;
  dure_bytes_free(&valid);
}

// Where it came from: as JSONL said, else the path, with the line of a file of lines; the address; the place in the
// file.
static void append_origin(const judging *state, dure_bytes *out) {
  const dure_clean_batch *batch = state->batch;
  const dure_clean_item *item = state->item;
  const char *path = dure_clean_string(batch, item->path);
  if (item->source_size > 0) {
    append_field(out, "source", batch->text.data + item->source, item->source_size);
  } else if (item->line > 0) {
    char place[4200];
    snprintf(place, sizeof(place), "%.4100s:%" PRIu64, path, item->line);
    append_text_field(out, "source", place);
  } else {
    append_text_field(out, "source", path);
  }
  if (item->url != DURE_NO_STRING) append_text_field(out, "url", dure_clean_string(batch, item->url));
  if (item->url == DURE_NO_STRING && item->found_url_size > 0) {
    append_field(out, "url", batch->text.data + item->found_url, item->found_url_size);
  }
  if (item->offset > 0 && item->line == 0) {
    char offset[40];
    snprintf(offset, sizeof(offset), ", \"offset\": %" PRIu64, item->offset);
    dure_bytes_append_text(out, offset);
  }
}

static void write_kept(const judging *state) {
  dure_clean_batch *batch = state->batch;
  dure_clean_summary *summary = &batch->summary;
  dure_bytes *out = &batch->output;
  size_t start = out->size;
  dure_bytes_append_text(out, "{\"text\": ");
  dure_jsonl_append_string(out, state->text, state->size);
  append_origin(state, out);
  dure_bytes_append_text(out, ", \"language\": \"");
  dure_bytes_append_text(out, dure_language_name(state->item->language));
  dure_bytes_append(out, "\"", 1);
  if (state->item->licence_size > 0) {
    append_field(out, "licence", batch->text.data + state->item->licence, state->item->licence_size);
  } else if (state->options->licence != NULL) {
    append_text_field(out, "licence", state->options->licence);
  }
  if (state->models->quality != NULL) append_number(out, "quality", state->quality);
  if (state->models->toxicity != NULL) append_number(out, "toxicity", state->toxicity);
  dure_bytes_append_text(out, "}\n");
  summary->kept++;
  summary->repaired += state->item->is_repaired;
  summary->text_bytes += state->size;
  summary->written_bytes += out->size - start;
  summary->language_documents[state->item->language]++;
  summary->language_bytes[state->item->language] += state->size;
  int length = 0;
  for (size_t left = state->size; left > 1 && length + 1 < DURE_CLEAN_LENGTHS; left /= 2) length++;
  summary->lengths[length]++;
}

// The beginning of what was dropped: the clean text, or the raw bytes where it did not come to that.
static void append_example(const judging *state, dure_bytes *out) {
  const dure_clean_batch *batch = state->batch;
  const dure_clean_item *item = state->item;
  const char *text = state->size > 0 ? state->text : item->size > 0 ? batch->raw.data + item->bytes : "";
  size_t size = state->size > 0 ? state->size : item->size;
  if (size > EXAMPLE_SIZE) {
    size = EXAMPLE_SIZE;
    while (size > EXAMPLE_SIZE - 4 && ((unsigned char)text[size] & 0xc0) == 0x80) size--;
  }
  dure_bytes valid = {0};
  dure_utf8_append_repaired(&valid, text, size);
  append_field(out, "text", valid.data != NULL ? valid.data : "", valid.size);
  out->is_failed = out->is_failed || valid.is_failed;
  dure_bytes_free(&valid);
}

static void write_dropped(const judging *state) {
  dure_clean_batch *batch = state->batch;
  const dure_clean_item *item = state->item;
  batch->summary.dropped[item->reason]++;
  if (state->options->dropped == NULL) return;
  dure_bytes *out = &batch->dropped;
  dure_bytes_append_text(out, "{\"reason\": \"");
  dure_bytes_append_text(out, dure_drop_name(item->reason));
  dure_bytes_append(out, "\"", 1);
  append_origin(state, out);
  if (item->has_value) append_number(out, "value", item->value);
  if (item->has_value) append_number(out, "threshold", item->threshold);
  if (item->message != DURE_NO_STRING) append_text_field(out, "message", dure_clean_string(batch, item->message));
  append_example(state, out);
  dure_bytes_append_text(out, "}\n");
}

// Writing needs the text as it has become: it joins the batch's.
static void keep_changed_text(judging *state) {
  dure_clean_batch *batch = state->batch;
  dure_clean_item *item = state->item;
  if (state->text != batch->text.data + item->text) {
    item->text = batch->text.size;
    dure_bytes_append(&batch->text, state->text, state->size);
    state->text = batch->text.data + item->text;
  }
  item->text_size = state->size;
}

static dure_status judge_item(judging *state) {
  dure_clean_item *item = state->item;
  state->item->language = DURE_OTHER_LANGUAGE;
  state->text = state->batch->text.data != NULL ? state->batch->text.data + item->text : "";
  state->size = item->reason == DURE_DROP_COUNT ? item->text_size : 0;
  if (item->reason == DURE_DROP_COUNT) {
    if (may_cut(state)) cut_lines(state);
    if (state->options->remove_personal_data) remove_personal_data(state);
    DURE_TRY(dure_bytes_status(&state->scratch->text));
    DURE_TRY(dure_bytes_status(&state->scratch->changed));
    keep_changed_text(state);
    DURE_TRY(check_document(state));
  }
  if (item->reason == DURE_DROP_COUNT) {
    write_kept(state);
  } else {
    write_dropped(state);
  }
  return NULL;
}

dure_status dure_clean_batch_judge(dure_clean_batch *batch, const dure_clean_options *options,
                                   const dure_clean_models *models, dure_clean_scratch *scratch) {
  judging state = {.options = options, .models = models, .batch = batch, .scratch = scratch};
  for (size_t i = 0; i < batch->item_count; i++) {
    state.item = &batch->items[i];
    DURE_TRY(judge_item(&state));
  }
  DURE_TRY(dure_bytes_status(&batch->text));
  DURE_TRY(dure_bytes_status(&batch->output));
  return dure_bytes_status(&batch->dropped);
}
