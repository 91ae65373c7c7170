#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"
#include "runtime/os.h"

// ---- reading JSON ----

const char *dure_json_kind(const json_t *value) {
  static const char *const kinds[] = {"an object", "an array", "a string", "a whole number",
                                      "a number",  "true",     "false",    "null"};
  return value == NULL ? "nothing" : kinds[json_typeof(value)];
}

dure_status dure_json_member(json_t *object, const char *where, const char *name, json_type type, json_t **out_value) {
  static const char *const kinds[] = {"an object", "an array", "a string", "a whole number", "a number"};
  json_t *value = json_object_get(object, name);
  *out_value = NULL;
  if (value == NULL || json_is_null(value)) return NULL;
  if (json_typeof(value) != type) {
    return dure_fail(DURE_CORRUPT, "%s.%s: expected %s, found %s", where, name, kinds[type], dure_json_kind(value));
  }
  *out_value = value;
  return NULL;
}

dure_status dure_json_bool(json_t *object, const char *where, const char *name, bool *out_value) {
  const json_t *value = json_object_get(object, name);
  if (value == NULL || json_is_null(value)) return NULL;
  if (!json_is_boolean(value)) {
    return dure_fail(DURE_CORRUPT, "%s.%s: expected true or false, found %s", where, name, dure_json_kind(value));
  }
  *out_value = json_is_true(value);
  return NULL;
}

dure_status dure_json_token_id(const json_t *value, const char *where, uint32_t *out_id) {
  *out_id = DURE_NO_ID;
  if (!json_is_integer(value))
    return dure_fail(DURE_CORRUPT, "%s: expected a token id, found %s", where, dure_json_kind(value));
  json_int_t id = json_integer_value(value);
  if (id < 0 || id >= DURE_TOKEN_ID_LIMIT) {
    return dure_fail(DURE_CORRUPT, "%s: expected a token id from 0 to %u, found %lld", where, DURE_TOKEN_ID_LIMIT - 1,
                     (long long)id);
  }
  *out_id = (uint32_t)id;
  return NULL;
}

// ---- opening, closing, saving ----

void dure_tokenizer_close(dure_tokenizer *tokenizer) {
  if (tokenizer == NULL) return;
  dure_encoder_pool_destroy(tokenizer->encoders);
  dure_pretokenizer_destroy(tokenizer->pretokenizer);
  dure_added_set_free(&tokenizer->added);
  dure_added_set_free(&tokenizer->added_normalized);
  dure_bpe_table_free(&tokenizer->merges);
  dure_ids_free(&tokenizer->prefix);
  dure_ids_free(&tokenizer->suffix);
  free(tokenizer->byte_tokens);
  free(tokenizer->tokens);
  free(tokenizer->arena);
  free(tokenizer->json);
  free(tokenizer);
}

static void choose_end_of_text(dure_tokenizer *tokenizer) {
  static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "</s>",  "<eos>",
                                      "<|eos|>",       "<EOS>",           "[EOS]", "<|end|>"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !tokenizer->has_end_of_text; i++) {
    uint32_t id;
    if (!dure_tokenizer_find(tokenizer, names[i], &id) || !(tokenizer->tokens[id].flags & DURE_TOKEN_SPECIAL)) continue;
    tokenizer->has_end_of_text = true;
    tokenizer->end_of_text = id;
  }
}

static dure_status read_json(dure_tokenizer *tokenizer) {
  json_error_t error;
  json_t *root = json_loadb(tokenizer->json, tokenizer->json_length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
  if (root == NULL) {
    return dure_fail(DURE_CORRUPT, "not the JSON of a tokenizer: %s at line %d, column %d", error.text, error.line,
                     error.column);
  }
  dure_status status = NULL;
  if (!json_is_object(root)) {
    status = dure_fail(DURE_CORRUPT, "expected an object with \"model\" and \"pre_tokenizer\", found %s",
                       dure_json_kind(root));
  }
  if (status == NULL) status = dure_tokenizer_read_normalizer(tokenizer, root);
  if (status == NULL) status = dure_tokenizer_read_model(tokenizer, root);
  if (status == NULL) status = dure_tokenizer_read_pipeline(tokenizer, root);
  json_decref(root);
  return status;
}

// Takes ownership of `json`.
static dure_status parse_owned(char *json, size_t length, dure_tokenizer **out_tokenizer) {
  dure_tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
  if (tokenizer == NULL) {
    free(json);
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a tokenizer");
  }
  tokenizer->json = json;
  tokenizer->json_length = length;
  dure_status status = read_json(tokenizer);
  if (status == NULL) status = dure_encoder_pool_create(&tokenizer->encoders);
  if (status != NULL) {
    dure_tokenizer_close(tokenizer);
    return status;
  }
  choose_end_of_text(tokenizer);
  *out_tokenizer = tokenizer;
  return NULL;
}

dure_status dure_tokenizer_parse(const char *json, size_t length, dure_tokenizer **out_tokenizer) {
  *out_tokenizer = NULL;
  char *copy = malloc(length + 1);
  if (copy == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a tokenizer of %zu bytes", length);
  memcpy(copy, json, length);
  copy[length] = '\0';
  return parse_owned(copy, length, out_tokenizer);
}

dure_status dure_tokenizer_open(const char *file_or_directory, dure_tokenizer **out_tokenizer) {
  // Files in use are below 40 MB.
  const uint64_t size_limit = (uint64_t)1 << 30;
  *out_tokenizer = NULL;
  char *joined = NULL;
  const char *path = file_or_directory;
  if (dure_os_is_directory(path)) {
    joined = dure_os_path_join(path, "tokenizer.json");
    if (joined == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a path");
    path = joined;
  }
  char *json = NULL;
  size_t length = 0;
  dure_status status = dure_os_read_file(path, size_limit, &json, &length);
  if (status == NULL) status = dure_status_prefix(parse_owned(json, length, out_tokenizer), "%s", path);
  free(joined);
  return status;
}

dure_status dure_tokenizer_save(const dure_tokenizer *tokenizer, const char *path) {
  return dure_os_write_file(path, tokenizer->json, tokenizer->json_length);
}

const char *dure_tokenizer_json(const dure_tokenizer *tokenizer, size_t *out_length) {
  *out_length = tokenizer->json_length;
  return tokenizer->json;
}

// ---- vocabulary ----

uint32_t dure_tokenizer_vocabulary_size(const dure_tokenizer *tokenizer) { return tokenizer->vocabulary_size; }

bool dure_tokenizer_find(const dure_tokenizer *tokenizer, const char *token_text, uint32_t *out_id) {
  size_t length = strlen(token_text);
  const dure_added_token *added = dure_added_set_find(&tokenizer->added, token_text, length);
  if (added == NULL) added = dure_added_set_find(&tokenizer->added_normalized, token_text, length);
  *out_id = added != NULL ? added->id : dure_tokenizer_find_bytes(tokenizer, token_text, length);
  return *out_id != DURE_NO_ID;
}

bool dure_tokenizer_token(const dure_tokenizer *tokenizer, uint32_t id, const char **out_bytes, size_t *out_length,
                          bool *out_is_special) {
  *out_bytes = NULL;
  *out_length = 0;
  *out_is_special = false;
  if (id >= tokenizer->vocabulary_size || !(tokenizer->tokens[id].flags & DURE_TOKEN_USED)) return false;
  *out_bytes = tokenizer->tokens[id].bytes;
  *out_length = tokenizer->tokens[id].length;
  *out_is_special = (tokenizer->tokens[id].flags & DURE_TOKEN_SPECIAL) != 0;
  return true;
}

bool dure_tokenizer_end_of_text(const dure_tokenizer *tokenizer, uint32_t *out_id) {
  *out_id = tokenizer->has_end_of_text ? tokenizer->end_of_text : DURE_NO_ID;
  return tokenizer->has_end_of_text;
}

// ---- ids ----

void dure_ids_free(dure_ids *ids) {
  free(ids->ids);
  *ids = (dure_ids){0};
}

dure_status dure_ids_reserve(dure_ids *ids, size_t additional) {
  if (additional <= ids->capacity - ids->count) return NULL;
  size_t wanted = ids->count + additional;
  size_t capacity = ids->capacity + ids->capacity / 2 + 64;
  if (capacity < wanted) capacity = wanted;
  uint32_t *grown = wanted < additional || capacity > SIZE_MAX / sizeof(uint32_t)
                        ? NULL
                        : realloc(ids->ids, capacity * sizeof(uint32_t));
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu token ids", wanted);
  ids->ids = grown;
  ids->capacity = capacity;
  return NULL;
}

dure_status dure_tokenizer_decode(const dure_tokenizer *tokenizer, const uint32_t *ids, size_t count, bool skip_special,
                                  char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  size_t length = 0;
  for (size_t i = 0; i < count; i++) {
    if (ids[i] >= tokenizer->vocabulary_size || !(tokenizer->tokens[ids[i]].flags & DURE_TOKEN_USED)) {
      return dure_fail(DURE_INVALID_ARGUMENT, "token id %u at position %zu is not in the vocabulary (ids up to %u)",
                       ids[i], i, tokenizer->vocabulary_size - 1);
    }
    length += tokenizer->tokens[ids[i]].length;
  }
  char *text = malloc(length + 1);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a text of %zu bytes", length);
  length = 0;
  for (size_t i = 0; i < count; i++) {
    const dure_token *token = &tokenizer->tokens[ids[i]];
    if (skip_special && (token->flags & DURE_TOKEN_SPECIAL)) continue;
    memcpy(text + length, token->bytes, token->length);
    length += token->length;
  }
  text[length] = '\0';
  *out_text = text;
  *out_length = length;
  return NULL;
}
