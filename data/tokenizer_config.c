// The tokenizer_config.json beside a tokenizer, as far as it changes ids.
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"
#include "runtime/os.h"

static const uint64_t size_limit = (uint64_t)1 << 26;
static const char *const file_name = "tokenizer_config.json";

dure_status dure_tokenizer_config_read(const char *tokenizer_path, json_t **out_config) {
  char *text = NULL, *path = dure_tokenizer_file_beside(tokenizer_path, &file_name, 1);
  size_t length = 0;
  json_error_t error;
  *out_config = NULL;
  if (path == NULL) return NULL;
  dure_status status = dure_os_read_file(path, size_limit, &text, &length);
  if (status == NULL) {
    *out_config = json_loadb(text, length, JSON_ALLOW_NUL, &error);
    if (*out_config == NULL) {
      status =
          dure_fail(DURE_CORRUPT, "%s: not JSON: %s at line %d, column %d", path, error.text, error.line, error.column);
    } else if (!json_is_object(*out_config)) {
      status = dure_fail(DURE_CORRUPT, "%s: expected an object, found %s", path, dure_json_kind(*out_config));
      json_decref(*out_config);
      *out_config = NULL;
    }
  }
  free(text);
  free(path);
  return status;
}

// ---- added tokens ----

// Rows by their "content", which can be thousands on either side.
static json_t *index_rows(json_t *rows) {
  json_t *index = json_object(), *row;
  size_t i;
  json_array_foreach(rows, i, row) {
    const char *content = json_string_value(json_object_get(row, "content"));
    if (content != NULL && json_object_set(index, content, row) != 0) break;
  }
  if (i == json_array_size(rows)) return index;
  json_decref(index);
  return NULL;
}

// What tokens are put into: the tokenizer's JSON and its "added_tokens".
typedef struct adding {
  json_t *root, *rows, *index;
  bool is_changed;
} adding;

// The id that "model.vocab" has for this spelling, or `otherwise`.
static json_int_t id_in_model(json_t *root, const char *content, json_int_t otherwise) {
  json_t *vocabulary = json_object_get(json_object_get(root, "model"), "vocab"), *pair;
  size_t i;
  json_array_foreach(vocabulary, i, pair) {  // of unigram
    const char *piece = json_string_value(json_array_get(pair, 0));
    if (piece != NULL && strcmp(piece, content) == 0) return (json_int_t)i;
  }
  const json_t *id = json_object_get(vocabulary, content);
  return json_is_integer(id) ? json_integer_value(id) : otherwise;
}

// Puts the token among "added_tokens", or in the place of the row with its text, which keeps its id. `id` below 0: only
// a token that the model has.
static dure_status put_token(adding *a, json_t *token, const char *where, json_int_t id) {
  static const char *const names[] = {"single_word", "lstrip", "rstrip", "normalized", "special"};
  json_t *content = json_object_get(token, "content");
  bool flags[5] = {false, false, false, false, false};
  if (!json_is_string(content))
    return dure_fail(DURE_CORRUPT, "%s.%s.content: expected a string, found %s", file_name, where,
                     dure_json_kind(content));
  DURE_TRY(dure_json_bool(token, where, "special", &flags[4]));
  flags[3] = !flags[4];
  for (size_t i = 0; i < 4; i++) DURE_TRY(dure_json_bool(token, where, names[i], &flags[i]));
  json_t *row = json_object_get(a->index, json_string_value(content));
  if (row == NULL) {
    id = id_in_model(a->root, json_string_value(content), id);
    if (id < 0) return NULL;
    row = json_pack("{s:I, s:O}", "id", id, "content", content);
    if (row == NULL || json_array_append_new(a->rows, row) != 0 ||
        json_object_set(a->index, json_string_value(content), row) != 0)
      return dure_fail(DURE_OUT_OF_MEMORY, "no memory for an added token");
    a->is_changed = true;
  }
  for (size_t i = 0; i < 5; i++) {
    const json_t *old = json_object_get(row, names[i]);
    if (json_is_boolean(old) && json_is_true(old) == flags[i]) continue;
    a->is_changed = true;
    if (json_object_set_new(row, names[i], json_boolean(flags[i])) != 0)
      return dure_fail(DURE_OUT_OF_MEMORY, "no memory for an added token");
  }
  return NULL;
}

// "bos_token" and the like: a text, or an added token as an object. NULL where there is none.
static const char *named_text(json_t *config, const char *name, size_t *out_length) {
  json_t *value = json_object_get(config, name);
  if (json_is_object(value)) value = json_object_get(value, "content");
  *out_length = json_string_length(value);
  return json_string_value(value);
}

// Tokens with a role are special, whether the tokenizer's file lists them or not.
static dure_status put_named(adding *a, json_t *config) {
  static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    size_t length;
    const char *text = named_text(config, names[i], &length);
    if (text == NULL || length == 0 || json_object_get(a->index, text) != NULL) continue;
    json_t *token = json_pack("{s:s%, s:b}", "content", text, length, "special", 1);
    if (token == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for an added token");
    dure_status status = put_token(a, token, names[i], -1);
    json_decref(token);
    DURE_TRY(status);
  }
  return NULL;
}

static dure_status put_all(adding *a, json_t *config, json_t *tokens) {
  json_t *token;
  const char *key;
  json_object_foreach(tokens, key, token) {
    char *end = NULL;
    bool is_number = key[0] >= '0' && key[0] <= '9';
    const long long id = is_number ? strtoll(key, &end, 10) : -1;
    if (!is_number || *end != '\0' || id >= DURE_TOKEN_ID_LIMIT || !json_is_object(token)) {
      return dure_fail(DURE_CORRUPT,
                       "%s.added_tokens_decoder: expected token ids below %u with an object each, found \"%.40s\" "
                       "with %s",
                       file_name, DURE_TOKEN_ID_LIMIT, key, dure_json_kind(token));
    }
    DURE_TRY(put_token(a, token, "added_tokens_decoder", (json_int_t)id));
  }
  return put_named(a, config);
}

dure_status dure_tokenizer_config_add_tokens(json_t *config, json_t *root, bool *out_is_changed) {
  json_t *tokens;
  DURE_TRY(dure_json_member(config, file_name, "added_tokens_decoder", JSON_OBJECT, &tokens));
  adding a = {.root = root, .rows = json_object_get(root, "added_tokens")};
  if (a.rows == NULL || json_is_null(a.rows)) {
    json_object_set_new(root, "added_tokens", json_array());
    a.rows = json_object_get(root, "added_tokens");
  }
  if (!json_is_array(a.rows)) return NULL;  // refused by what reads the model
  a.index = index_rows(a.rows);
  if (a.index == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for added tokens");
  dure_status status = put_all(&a, config, tokens);
  json_decref(a.index);
  *out_is_changed = *out_is_changed || a.is_changed;
  return status;
}

// ---- what is put around texts ----

// Makes `id` the first of the prefix (the last of the suffix), or takes it from there.
static dure_status change_end(dure_ids *ids, bool is_prefix, uint32_t id, bool is_wanted, bool *out_is_changed) {
  size_t place = is_prefix || ids->count == 0 ? 0 : ids->count - 1;
  bool is_there = ids->count > 0 && ids->ids[place] == id;
  if (is_there == is_wanted) return NULL;
  *out_is_changed = true;
  if (is_wanted) {
    DURE_TRY(dure_ids_reserve(ids, 1));
    if (is_prefix) memmove(ids->ids + 1, ids->ids, ids->count * sizeof(uint32_t));
    ids->ids[is_prefix ? 0 : ids->count] = id;
    ids->count++;
    return NULL;
  }
  ids->count--;
  if (is_prefix) memmove(ids->ids, ids->ids + 1, ids->count * sizeof(uint32_t));
  return NULL;
}

static dure_status change_by(json_t *config, const char *option, const char *name, dure_tokenizer *tokenizer,
                             dure_ids *ids, bool is_prefix, bool *out_is_changed) {
  size_t length;
  uint32_t id;
  bool is_wanted = false;
  const char *text = named_text(config, name, &length);
  if (json_object_get(config, option) == NULL) return NULL;
  DURE_TRY(dure_json_bool(config, file_name, option, &is_wanted));
  if (text == NULL && !is_wanted) return NULL;
  if (text == NULL || !dure_tokenizer_find(tokenizer, text, &id)) {
    if (!is_wanted) return NULL;
    return dure_fail(DURE_CORRUPT, "%s.%s is true, and its %s, '%.100s', is no token of the vocabulary", file_name,
                     option, name, text != NULL ? text : "");
  }
  return change_end(ids, is_prefix, id, is_wanted, out_is_changed);
}

static json_t *special_parts(const dure_tokenizer *tokenizer, const dure_ids *ids, json_t *parts, json_t *specials) {
  for (size_t i = 0; i < ids->count; i++) {
    const dure_token *token = &tokenizer->tokens[ids->ids[i]];
    json_t *name = json_stringn(token->bytes, token->length);
    json_array_append_new(parts, json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", name, "type_id", 0));
    if (name != NULL)
      json_object_set_new(specials, json_string_value(name),
                          json_pack("{s:O, s:[i], s:[O]}", "id", name, "ids", (int)ids->ids[i], "tokens", name));
    json_decref(name);
  }
  return parts;
}

// The prefix and suffix as a post-processor.
static dure_status put_template(const dure_tokenizer *tokenizer, json_t *root) {
  json_t *single = json_array(), *specials = json_object();
  special_parts(tokenizer, &tokenizer->prefix, single, specials);
  json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
  special_parts(tokenizer, &tokenizer->suffix, single, specials);
  size_t wanted = tokenizer->prefix.count + 1 + tokenizer->suffix.count;
  bool is_whole = json_array_size(single) == wanted;
  json_t *pair = json_deep_copy(single);
  json_array_append_new(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
  json_t *part = json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                           "special_tokens", specials);
  if (part == NULL || !is_whole || json_object_set_new(root, "post_processor", part) != 0)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a post-processor");
  return NULL;
}

dure_status dure_tokenizer_config_add_ends(json_t *config, dure_tokenizer *tokenizer, json_t *root,
                                           bool *out_is_changed) {
  bool is_changed = false;
  DURE_TRY(change_by(config, "add_bos_token", "bos_token", tokenizer, &tokenizer->prefix, true, &is_changed));
  DURE_TRY(change_by(config, "add_eos_token", "eos_token", tokenizer, &tokenizer->suffix, false, &is_changed));
  if (!is_changed) return NULL;
  *out_is_changed = true;
  return put_template(tokenizer, root);
}
