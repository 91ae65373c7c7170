#include "model/companions.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/weights.h"
#include "runtime/os.h"

enum { companion_bytes_most = 16 << 20 };

// The text of a file in a directory; NULL: there is none.
static dure_status read_text(const char *directory, const char *name, char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  char *path = dure_os_path_join(directory, name);
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", name);
  dure_status status = NULL;
  if (dure_os_is_file(path)) status = dure_os_read_file(path, companion_bytes_most, out_text, out_length);
  free(path);
  return status;
}

static dure_status read_object(const char *directory, const char *name, json_t **out_object) {
  char *text = NULL;
  size_t length;
  json_error_t error;
  *out_object = NULL;
  DURE_TRY(read_text(directory, name, &text, &length));
  if (text == NULL) return NULL;
  json_t *found = json_loadb(text, length, JSON_ALLOW_NUL, &error);
  free(text);
  if (!json_is_object(found)) {
    dure_status status = dure_fail(DURE_CORRUPT, "'%s' in '%s' is no JSON object: %s (line %d)", name, directory,
                                   found == NULL ? error.text : "something else", found == NULL ? error.line : 1);
    json_decref(found);
    return status;
  }
  *out_object = found;
  return NULL;
}

// ---- chat templates: one text, or several with names ---------------------------------------------------------------

static dure_status set_text(char **target, const char *text) {
  free(*target);
  *target = strdup(text);
  return *target != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading a chat template");
}

static dure_status take_templates(dure_companions *companions, const char *directory) {
  const json_t *given = json_object_get(companions->tokenizer_config, "chat_template"), *row = NULL;
  size_t i;
  if (json_is_string(given)) return set_text(&companions->chat_template, json_string_value(given));
  json_array_foreach(given, i, row) {
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *text = json_string_value(json_object_get(row, "template"));
    if (name == NULL || text == NULL)
      return dure_fail(DURE_CORRUPT, "'tokenizer_config.json' in '%s': chat template %zu has no name or no text",
                       directory, i);
    if (strcmp(name, "default") == 0) DURE_TRY(set_text(&companions->chat_template, text));
    if (strcmp(name, "tool_use") == 0) DURE_TRY(set_text(&companions->tool_template, text));
  }
  return NULL;
}

// ---- directories ---------------------------------------------------------------------------------------------------

static dure_status read_directory(const char *directory, dure_companions *companions) {
  char *text = NULL;
  size_t length;
  json_t *map = NULL;
  DURE_TRY(read_object(directory, "tokenizer_config.json", &companions->tokenizer_config));
  DURE_TRY(read_object(directory, "generation_config.json", &companions->generation_config));
  DURE_TRY(take_templates(companions, directory));
  DURE_TRY(read_text(directory, "chat_template.jinja", &text, &length));
  if (text != NULL) {  // the file goes before the key, as in transformers
    free(companions->chat_template);
    companions->chat_template = text;
  }
  DURE_TRY(read_object(directory, "special_tokens_map.json", &map));
  if (map != NULL && companions->tokenizer_config == NULL) companions->tokenizer_config = json_object();
  if (map != NULL) (void)json_object_update_missing(companions->tokenizer_config, map);
  json_decref(map);
  return NULL;
}

// ---- GGUF files ----------------------------------------------------------------------------------------------------

// The text of a token by its id; a new reference, NULL: none.
static json_t *token_text(const dure_gguf *file, int64_t id) {
  dure_gguf_texts texts = dure_gguf_texts_of(dure_gguf_value_find(file, "tokenizer.ggml.tokens"));
  const char *text;
  size_t length;
  for (int64_t i = 0; dure_gguf_text_next(&texts, &text, &length); i++) {
    if (i == id) return json_stringn(text, length);
  }
  return NULL;
}

dure_status dure_companions_of_gguf(const dure_gguf *file, dure_companions *out_companions) {
  static const char *const keys[][3] = {
      {"tokenizer.ggml.bos_token_id", "bos_token", "bos_token_id"},
      {"tokenizer.ggml.eos_token_id", "eos_token", "eos_token_id"},
      {"tokenizer.ggml.unknown_token_id", "unk_token", NULL},
      {"tokenizer.ggml.padding_token_id", "pad_token", "pad_token_id"},
  };
  int64_t id, other;
  *out_companions = (dure_companions){.tokenizer_config = json_object(), .generation_config = json_object()};
  for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
    if (!dure_gguf_integer(dure_gguf_value_find(file, keys[i][0]), 0, &id) || id < 0 || id > UINT32_MAX) continue;
    json_t *text = token_text(file, id);
    if (text == NULL) continue;
    json_object_set_new(out_companions->tokenizer_config, keys[i][1], text);
    if (keys[i][2] != NULL)
      json_object_set_new(out_companions->generation_config, keys[i][2], json_integer((json_int_t)id));
  }
  // Answers may end with another token than texts do.
  if (dure_gguf_integer(dure_gguf_value_find(file, "tokenizer.ggml.eot_token_id"), 0, &id) && id >= 0 &&
      dure_gguf_integer(dure_gguf_value_find(file, "tokenizer.ggml.eos_token_id"), 0, &other) && other >= 0 &&
      id != other)
    json_object_set_new(out_companions->generation_config, "eos_token_id",
                        json_pack("[I, I]", (json_int_t)other, (json_int_t)id));
  dure_status status = dure_gguf_chat_template(file, &out_companions->chat_template);
  if (status != NULL) dure_companions_clear(out_companions);
  return status;
}

dure_status dure_companions_read(const char *model_path, dure_companions *out_companions) {
  *out_companions = (dure_companions){0};
  if (!dure_gguf_is_file(model_path)) {
    dure_status status = read_directory(model_path, out_companions);
    if (status != NULL) dure_companions_clear(out_companions);
    return status;
  }
  dure_gguf *file = NULL;
  DURE_TRY(dure_gguf_open(model_path, &file));
  dure_status status = dure_companions_of_gguf(file, out_companions);
  dure_gguf_close(file);
  return status;
}

void dure_companions_clear(dure_companions *companions) {
  json_decref(companions->tokenizer_config);
  json_decref(companions->generation_config);
  free(companions->chat_template);
  free(companions->tool_template);
  *companions = (dure_companions){0};
}

const char *dure_companions_token(const dure_companions *companions, const char *name) {
  const json_t *token = json_object_get(companions->tokenizer_config, name);
  if (json_is_object(token)) token = json_object_get(token, "content");
  return json_string_value(token);
}

// ---- writing -------------------------------------------------------------------------------------------------------

static dure_status write_text(const char *directory, const char *name, const char *text, size_t length) {
  char *path = dure_os_path_join(directory, name);
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", name);
  dure_status status = dure_os_write_file(path, text, length);
  free(path);
  return status;
}

static void set_default(json_t *object, const char *key, json_t *value) {
  if (json_object_get(object, key) == NULL) {
    json_object_set_new(object, key, value);
  } else {
    json_decref(value);
  }
}

dure_status dure_companions_write(const dure_companions *companions, uint32_t context_length, const char *directory) {
  if (companions->chat_template != NULL) {
    DURE_TRY(
        write_text(directory, "chat_template.jinja", companions->chat_template, strlen(companions->chat_template)));
  }
  json_t *described =
      companions->tokenizer_config != NULL ? json_deep_copy(companions->tokenizer_config) : json_object();
  set_default(described, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
  set_default(described, "clean_up_tokenization_spaces", json_false());
  set_default(described, "model_max_length", json_integer((json_int_t)context_length));
  if (json_is_string(json_object_get(described, "chat_template")))
    json_object_del(described, "chat_template");  // it is the file now
  char *text = json_dumps(described, JSON_INDENT(2));
  json_decref(described);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing 'tokenizer_config.json'");
  dure_status status = write_text(directory, "tokenizer_config.json", text, strlen(text));
  free(text);
  return status;
}
