#include "data/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

enum { DEEPEST = 16, LONGEST_NUMBER = 40 };

typedef struct recipe_reader {
  yaml_parser_t parser;
  const char *path;
} recipe_reader;

static dure_status refuse(const recipe_reader *reader, const yaml_event_t *event, const char *what) {
  return dure_fail(DURE_CORRUPT, "%s:%zu: %s", reader->path, event->start_mark.line + 1, what);
}

static dure_status next_event(recipe_reader *reader, yaml_event_t *out_event) {
  if (yaml_parser_parse(&reader->parser, out_event)) return NULL;
  memset(out_event, 0, sizeof(*out_event));
  return dure_fail(DURE_CORRUPT, "%s:%zu: not YAML: %s", reader->path, reader->parser.problem_mark.line + 1,
                   reader->parser.problem != NULL ? reader->parser.problem : "cannot be read");
}

static json_t *scalar_value(const yaml_event_t *event) {
  const char *text = (const char *)event->data.scalar.value;
  const size_t length = event->data.scalar.length;
  const bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
  if (is_plain && strcmp(text, "true") == 0) return json_true();
  if (is_plain && strcmp(text, "false") == 0) return json_false();
  if (is_plain && length > 0 && length < LONGEST_NUMBER && strspn(text, "+-.0123456789eE") == length) {
    char *end = NULL;
    errno = 0;
    const long long integer = strtoll(text, &end, 10);
    if (*end == '\0' && errno == 0) return json_integer(integer);
    errno = 0;
    const double number = strtod(text, &end);
    if (*end == '\0' && errno == 0) return json_real(number);
  }
  return json_stringn(text, length);
}

// One value, whose first event is given. `out_value` is the caller's even on failure.
static dure_status read_value(recipe_reader *reader, const yaml_event_t *first, int depth, json_t **out_value);

static dure_status read_member(recipe_reader *reader, json_t *object, const yaml_event_t *key, int depth) {
  const char *name = (const char *)key->data.scalar.value;
  if (key->type != YAML_SCALAR_EVENT) return refuse(reader, key, "a key should be plain text");
  if (json_object_get(object, name) != NULL) return refuse(reader, key, "a key stands twice");
  yaml_event_t event;
  DURE_TRY(next_event(reader, &event));
  json_t *value = NULL;
  dure_status status = read_value(reader, &event, depth + 1, &value);
  yaml_event_delete(&event);
  if (value != NULL && json_object_set_new(object, name, value) != 0 && status == NULL) {
    status = refuse(reader, key, "a key that is no UTF-8");
  }
  return status;
}

static dure_status read_members(recipe_reader *reader, json_t *value, int depth) {
  const yaml_event_type_t last = json_is_object(value) ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
  for (;;) {
    yaml_event_t event;
    DURE_TRY(next_event(reader, &event));
    const bool is_last = event.type == last;
    dure_status status = NULL;
    json_t *element = NULL;
    if (!is_last && json_is_object(value)) {
      status = read_member(reader, value, &event, depth);
    } else if (!is_last) {
      status = read_value(reader, &event, depth + 1, &element);
      if (element != NULL) json_array_append_new(value, element);
    }
    yaml_event_delete(&event);
    if (status != NULL || is_last) return status;
  }
}

static dure_status read_value(recipe_reader *reader, const yaml_event_t *first, int depth, json_t **out_value) {
  *out_value = NULL;
  if (depth > DEEPEST) return refuse(reader, first, "nested too deeply");
  if (first->type == YAML_SCALAR_EVENT) {
    *out_value = scalar_value(first);
    return *out_value != NULL ? NULL : refuse(reader, first, "text that is no UTF-8");
  }
  if (first->type == YAML_MAPPING_START_EVENT) *out_value = json_object();
  if (first->type == YAML_SEQUENCE_START_EVENT) *out_value = json_array();
  if (*out_value == NULL) return refuse(reader, first, "expected a mapping, a sequence or a value");
  return read_members(reader, *out_value, depth);
}

static dure_status read_document(recipe_reader *reader, json_t **out_value) {
  for (;;) {
    yaml_event_t event;
    DURE_TRY(next_event(reader, &event));
    const yaml_event_type_t type = event.type;
    dure_status status = NULL;
    if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT && type != YAML_DOCUMENT_END_EVENT &&
        type != YAML_STREAM_END_EVENT) {
      status = *out_value == NULL ? read_value(reader, &event, 0, out_value)
                                  : refuse(reader, &event, "only one document is read");
    }
    yaml_event_delete(&event);
    if (status != NULL || type == YAML_STREAM_END_EVENT) return status;
  }
}

dure_status dure_recipe_read(const char *path, json_t **out_value) {
  *out_value = NULL;
  recipe_reader reader = {.path = path};
  FILE *file = fopen(path, "rb");
  if (file == NULL) return dure_fail_errno("cannot open '%s'", path);
  dure_status status = NULL;
  if (yaml_parser_initialize(&reader.parser)) {
    yaml_parser_set_input_file(&reader.parser, file);
    status = read_document(&reader, out_value);
    yaml_parser_delete(&reader.parser);
  } else {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  }
  fclose(file);
  if (status == NULL && *out_value == NULL) status = dure_fail(DURE_CORRUPT, "'%s' is empty", path);
  if (status == NULL) return NULL;
  json_decref(*out_value);
  *out_value = NULL;
  return status;
}
