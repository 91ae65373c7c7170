// Recipes: a flat YAML mapping of option names to values.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "model/train_options.h"
#include "runtime/os.h"

enum { max_recipe_bytes = 1 << 20, max_keys = 256 };

typedef struct reader {
  yaml_parser_t parser;
  const char *path;
  dure_train_options *options;
  char *keys[max_keys];  // seen so far
  size_t key_count;
} reader;

static dure_status next(reader *r, yaml_event_t *out_event) {
  if (yaml_parser_parse(&r->parser, out_event)) return NULL;
  return dure_fail(DURE_CORRUPT, "'%s' is not YAML: line %zu, column %zu: %s", r->path, r->parser.problem_mark.line + 1,
                   r->parser.problem_mark.column + 1, r->parser.problem != NULL ? r->parser.problem : "unreadable");
}

// Expects a structural event of that type.
static dure_status skip(reader *r, yaml_event_type_t type, const char *expected) {
  yaml_event_t event;
  DURE_TRY(next(r, &event));
  size_t line = event.start_mark.line + 1;
  bool is_expected = event.type == type;
  yaml_event_delete(&event);
  if (is_expected) return NULL;
  return dure_fail(DURE_CORRUPT, "'%s', line %zu: expected %s", r->path, line, expected);
}

// Paths of a recipe are found beside it.
static dure_status resolve_path(const reader *r, const char *text, char **out_path) {
  *out_path = NULL;
  const char *slash = strrchr(r->path, '/');
  char *directory = slash == NULL ? strdup(".") : strndup(r->path, (size_t)(slash - r->path) + 1);
  char *beside = directory != NULL ? dure_os_path_join(directory, text) : NULL;
  free(directory);
  if (beside == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", r->path);
  if (text[0] != '/' && (dure_os_is_file(beside) || dure_os_is_directory(beside))) {
    *out_path = beside;
    return NULL;
  }
  free(beside);
  *out_path = strdup(text);
  return *out_path != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", r->path);
}

static dure_status set_option(reader *r, const char *key, const char *text, size_t line) {
  char source[4200];
  snprintf(source, sizeof(source), "'%s', line %zu", r->path, line);
  if (strcmp(key, "model") != 0 && strcmp(key, "data") != 0)
    return dure_train_options_set(r->options, source, key, text);
  char *path = NULL;
  DURE_TRY(resolve_path(r, text, &path));
  dure_status status = dure_train_options_set(r->options, source, key, path);
  free(path);
  return status;
}

static dure_status remember_key(reader *r, const char *key, size_t line) {
  for (size_t i = 0; i < r->key_count; i++) {
    if (strcmp(r->keys[i], key) == 0)
      return dure_fail(DURE_CORRUPT, "'%s', line %zu: '%.60s' is given twice", r->path, line, key);
  }
  if (r->key_count == max_keys) return dure_fail(DURE_CORRUPT, "'%s' has more than %d keys", r->path, max_keys);
  r->keys[r->key_count] = strdup(key);
  if (r->keys[r->key_count] == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", r->path);
  r->key_count++;
  return NULL;
}

static dure_status read_value(reader *r, const char *key) {
  yaml_event_t event;
  DURE_TRY(next(r, &event));
  size_t line = event.start_mark.line + 1;
  dure_status status = remember_key(r, key, line);
  if (status == NULL && event.type != YAML_SCALAR_EVENT) {
    status = dure_fail(DURE_CORRUPT, "'%s', line %zu: '%.60s' must be a single value, not a list or a mapping", r->path,
                       line, key);
  }
  if (status == NULL) {
    const char *text = (const char *)event.data.scalar.value;
    if (strlen(text) != event.data.scalar.length || text[0] == '\0') {
      status = dure_fail(DURE_CORRUPT, "'%s', line %zu: '%.60s' has no value", r->path, line, key);
    } else {
      status = set_option(r, key, text, line);
    }
  }
  yaml_event_delete(&event);
  return status;
}

static dure_status read_mapping(reader *r) {
  for (;;) {
    yaml_event_t event;
    DURE_TRY(next(r, &event));
    if (event.type == YAML_MAPPING_END_EVENT) {
      yaml_event_delete(&event);
      return NULL;
    }
    dure_status status =
        event.type == YAML_SCALAR_EVENT
            ? read_value(r, (const char *)event.data.scalar.value)
            : dure_fail(DURE_CORRUPT, "'%s', line %zu: expected an option's name", r->path, event.start_mark.line + 1);
    yaml_event_delete(&event);
    DURE_TRY(status);
  }
}

static dure_status read_document(reader *r) {
  static const char shape[] = "one mapping of option names to values, such as 'steps: 1000'";
  DURE_TRY(skip(r, YAML_STREAM_START_EVENT, shape));
  DURE_TRY(skip(r, YAML_DOCUMENT_START_EVENT, shape));
  DURE_TRY(skip(r, YAML_MAPPING_START_EVENT, shape));
  DURE_TRY(read_mapping(r));
  DURE_TRY(skip(r, YAML_DOCUMENT_END_EVENT, shape));
  return skip(r, YAML_STREAM_END_EVENT, "the end of the file after one mapping");
}

dure_status dure_train_options_read_recipe(dure_train_options *options, const char *path) {
  char *text = NULL;
  size_t size = 0;
  DURE_TRY(dure_os_read_file(path, max_recipe_bytes, &text, &size));
  reader r = {.path = path, .options = options};
  if (!yaml_parser_initialize(&r.parser)) {
    free(text);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  }
  yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
  dure_status status = read_document(&r);
  yaml_parser_delete(&r.parser);
  for (size_t i = 0; i < r.key_count; i++) free(r.keys[i]);
  free(text);
  return status;
}
