#include "cli/prompts.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

void prompt_list_clear(prompt_list *list) {
  for (size_t i = 0; i < list->count; i++) free(list->prompts[i].text);
  free(list->prompts);
  *list = (prompt_list){0};
}

static dure_status add(prompt_list *list, const char *text, size_t length) {
  if (list->count == list->capacity) {
    const size_t capacity = list->capacity * 2 + 16;
    prompt_text *grown = realloc(list->prompts, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu prompts", capacity);
    list->prompts = grown;
    list->capacity = capacity;
  }
  char *copy = malloc(length + 1);
  if (copy == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a prompt of %zu bytes", length);
  if (length > 0) memcpy(copy, text, length);
  copy[length] = '\0';
  list->prompts[list->count++] = (prompt_text){copy, length};
  return NULL;
}

dure_status prompt_list_one(const char *text, const char *path, prompt_list *out_list) {
  *out_list = (prompt_list){0};
  if (path == NULL) return add(out_list, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
  char *bytes = NULL;
  size_t size = 0;
  DURE_TRY(dure_os_read_file(path, (uint64_t)1 << 26, &bytes, &size));
  dure_status status = add(out_list, bytes, size);
  free(bytes);
  return status;
}

static dure_status add_line(prompt_list *list, const char *line, size_t length) {
  if (length > 0 && line[length - 1] == '\r') length--;
  if (length == 0) return NULL;
  if (line[0] != '{') return add(list, line, length);
  json_error_t error;
  json_t *object = json_loadb(line, length, JSON_ALLOW_NUL, &error);
  if (object == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "%s", error.text);
  const json_t *prompt = json_object_get(object, "prompt");
  dure_status status = json_is_string(prompt)
                           ? add(list, json_string_value(prompt), json_string_length(prompt))
                           : dure_fail(DURE_INVALID_ARGUMENT, "expected an object with a text \"prompt\"");
  json_decref(object);
  return status;
}

dure_status prompt_list_read(const char *path, prompt_list *out_list) {
  *out_list = (prompt_list){0};
  char *bytes = NULL;
  size_t size = 0, number = 0;
  DURE_TRY(dure_os_read_file(path, (uint64_t)1 << 30, &bytes, &size));
  dure_status status = NULL;
  for (size_t begin = 0; begin < size && status == NULL;) {
    const char *end = memchr(bytes + begin, '\n', size - begin);
    const size_t length = end != NULL ? (size_t)(end - bytes) - begin : size - begin;
    number++;
    status = dure_status_prefix(add_line(out_list, bytes + begin, length), "%s, line %zu", path, number);
    begin += length + 1;
  }
  free(bytes);
  if (status == NULL && out_list->count == 0)
    status = dure_fail(DURE_INVALID_ARGUMENT, "%s holds no prompts: expected one a line", path);
  return status;
}
