#include "data/step_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/decode.h"
#include "runtime/os.h"

enum { EXAMPLES = 5, EXAMPLE_BYTES = 400, SOURCES = 1000, LENGTHS = 32, NAME_SIZE = 512 };

struct dure_step_report {
  char step[32];
  // name -> [documents, bytes kept, documents, bytes dropped]
  json_t *sources, *languages;
  json_t *dropped;  // reason -> {"documents", "bytes", "examples"}
  uint64_t counts[4];
  uint64_t lengths[2][LENGTHS];  // kept and dropped documents of [2^i, 2^(i+1)) characters
};

dure_status dure_step_report_create(const char *step, dure_step_report **out_report) {
  *out_report = NULL;
  dure_step_report *report = calloc(1, sizeof(*report));
  if (report == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a report");
  snprintf(report->step, sizeof(report->step), "%s", step);
  report->sources = json_object();
  report->languages = json_object();
  report->dropped = json_object();
  *out_report = report;
  return NULL;
}

void dure_step_report_destroy(dure_step_report *report) {
  if (report == NULL) return;
  json_decref(report->sources);
  json_decref(report->languages);
  json_decref(report->dropped);
  free(report);
}

// ---- entering ----

static void add_to(json_t *object, const char *key, uint64_t amount) {
  const json_int_t before = json_integer_value(json_object_get(object, key));
  json_object_set_new(object, key, json_integer(before + (json_int_t)amount));
}

// The row of a name, "other" once there are too many.
static json_t *row_of(json_t *rows, const char *name) {
  json_t *row = json_object_get(rows, name);
  if (row == NULL && json_object_size(rows) >= SOURCES) {
    name = "other";
    row = json_object_get(rows, name);
  }
  if (row != NULL) return row;
  json_object_set_new(rows, name, json_object());
  return json_object_get(rows, name);
}

static void count(json_t *rows, const char *name, const dure_report_entry *entry) {
  json_t *row = row_of(rows, name);
  add_to(row, entry->reason == NULL ? "kept" : "dropped", 1);
  add_to(row, entry->reason == NULL ? "kept_bytes" : "dropped_bytes", entry->length);
  if (entry->tokens > 0) add_to(row, "tokens", entry->tokens);
  if (entry->reason != NULL) add_to(row_of(row, "reasons"), entry->reason, 1);
}

// Documents of one directory (of one file, where a path has no directory) are one source.
static void name_source(const char *source, char out_name[NAME_SIZE]) {
  if (source == NULL) source = "unknown";
  const char *slash = strrchr(source, '/'), *end = slash;
  if (end == NULL) {
    const char *colon = strrchr(source, ':');
    const bool is_line = colon != NULL && colon[1] != '\0' && strspn(colon + 1, "0123456789") == strlen(colon + 1);
    end = is_line ? colon : source + strlen(source);
  }
  size_t length = (size_t)(end - source);
  length = dure_utf8_valid_length(source, length < NAME_SIZE ? length : NAME_SIZE - 1);
  memcpy(out_name, source, length);
  out_name[length] = '\0';
  if (length == 0) snprintf(out_name, NAME_SIZE, "/");
}

static size_t count_characters(const char *text, size_t length) {
  size_t characters = 0;
  for (size_t i = 0; i < length; i++) characters += ((unsigned char)text[i] & 0xc0) != 0x80;
  return characters;
}

static void count_length(dure_step_report *report, const dure_report_entry *entry) {
  size_t bucket = 0;
  for (size_t characters = count_characters(entry->text, entry->length); characters > 1; characters >>= 1) bucket++;
  report->lengths[entry->reason != NULL][bucket < LENGTHS ? bucket : LENGTHS - 1]++;
}

static json_t *excerpt(const dure_report_entry *entry) {
  size_t length = entry->length < EXAMPLE_BYTES ? entry->length : EXAMPLE_BYTES;
  while (length > 0 && length < entry->length && ((unsigned char)entry->text[length] & 0xc0) == 0x80) length--;
  return json_stringn(entry->text, dure_utf8_valid_length(entry->text, length));
}

static void count_dropped(dure_step_report *report, const dure_report_entry *entry) {
  json_t *row = row_of(report->dropped, entry->reason);
  add_to(row, "documents", 1);
  add_to(row, "bytes", entry->length);
  json_t *examples = json_object_get(row, "examples");
  if (examples == NULL) {
    json_object_set_new(row, "examples", json_array());
    examples = json_object_get(row, "examples");
  }
  if (json_array_size(examples) >= EXAMPLES) return;
  json_array_append_new(
      examples, json_pack("{s:s*, s:o*, s:s*}", "source", entry->source, "text", excerpt(entry), "note", entry->note));
}

void dure_step_report_add(dure_step_report *report, const dure_report_entry *entry) {
  if (report == NULL) return;
  const int is_dropped = entry->reason != NULL;
  report->counts[2 * is_dropped]++;
  report->counts[2 * is_dropped + 1] += entry->length;
  char source[NAME_SIZE];
  name_source(entry->source, source);
  count(report->sources, source, entry);
  count(report->languages, entry->language != NULL ? entry->language : "unknown", entry);
  count_length(report, entry);
  if (is_dropped) count_dropped(report, entry);
}

// ---- writing ----

static json_t *lengths_to_json(const uint64_t *lengths) {
  json_t *array = json_array();
  for (int i = 0; i < LENGTHS; i++) json_array_append_new(array, json_integer((json_int_t)lengths[i]));
  return array;
}

json_t *dure_step_report_save(const dure_step_report *report) {
  return json_pack("{s:s, s:i, s:s, s:{s:I, s:I, s:I, s:I}, s:O, s:O, s:O, s:{s:o, s:o}}", "format", "dure-step-report",
                   "version", 1, "step", report->step, "documents", "kept", (json_int_t)report->counts[0], "kept_bytes",
                   (json_int_t)report->counts[1], "dropped", (json_int_t)report->counts[2], "dropped_bytes",
                   (json_int_t)report->counts[3], "dropped", report->dropped, "languages", report->languages, "sources",
                   report->sources, "lengths", "kept", lengths_to_json(report->lengths[0]), "dropped",
                   lengths_to_json(report->lengths[1]));
}

static void restore_rows(json_t **rows, const json_t *saved) {
  json_t *copy = json_deep_copy(saved);
  if (!json_is_object(copy)) {
    json_decref(copy);
    return;
  }
  json_decref(*rows);
  *rows = copy;
}

void dure_step_report_restore(dure_step_report *report, const json_t *saved) {
  static const char *const names[] = {"kept", "kept_bytes", "dropped", "dropped_bytes"};
  if (report == NULL || saved == NULL) return;
  for (int i = 0; i < 4; i++) {
    report->counts[i] = (uint64_t)json_integer_value(json_object_get(json_object_get(saved, "documents"), names[i]));
  }
  for (size_t i = 0; i < LENGTHS; i++) {
    const json_t *lengths = json_object_get(saved, "lengths");
    report->lengths[0][i] = (uint64_t)json_integer_value(json_array_get(json_object_get(lengths, "kept"), i));
    report->lengths[1][i] = (uint64_t)json_integer_value(json_array_get(json_object_get(lengths, "dropped"), i));
  }
  restore_rows(&report->sources, json_object_get(saved, "sources"));
  restore_rows(&report->languages, json_object_get(saved, "languages"));
  restore_rows(&report->dropped, json_object_get(saved, "dropped"));
}

dure_status dure_step_report_write(const dure_step_report *report, json_t *more, const char *path) {
  json_t *root = dure_step_report_save(report);
  if (root != NULL && more != NULL) json_object_update_missing(root, more);
  char *text = root != NULL ? json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
  json_decref(root);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  dure_status status = dure_os_write_file(path, text, strlen(text));
  free(text);
  return status;
}
