#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "data/bytes.h"
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
  dure_normalizer_free(&tokenizer->normalizer);
  dure_sentencepiece_destroy(tokenizer->sentencepiece);
  dure_added_set_free(&tokenizer->added);
  dure_added_set_free(&tokenizer->added_normalized);
  free(tokenizer->normalized_contents);
  dure_bpe_table_free(&tokenizer->merges);
  dure_trie_free(&tokenizer->unigram.trie);
  free(tokenizer->scores);
  for (uint32_t id = 0; id < tokenizer->vocabulary_size && tokenizer->decoded != NULL; id++)
    free(tokenizer->decoded[id]);
  free(tokenizer->decoded);
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

// Writes the JSON again, once something beside the file has changed it.
static dure_status replace_json(dure_tokenizer *tokenizer, const json_t *root) {
  char *json = json_dumps(root, JSON_COMPACT);
  if (json == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the JSON of a tokenizer");
  free(tokenizer->json);
  tokenizer->json = json;
  tokenizer->json_length = strlen(json);
  return NULL;
}

// What is found beside the file; NULL and false for a tokenizer without a place.
typedef struct companion {
  json_t *config;  // tokenizer_config.json
  bool is_asked_for_ends;
} companion;

static dure_status read_parts(dure_tokenizer *tokenizer, json_t *root, const companion *beside) {
  bool is_changed = false;
  if (beside->config != NULL) DURE_TRY(dure_tokenizer_config_add_tokens(beside->config, root, &is_changed));
  DURE_TRY(dure_tokenizer_read_normalizer(tokenizer, root));
  DURE_TRY(dure_tokenizer_read_model(tokenizer, root));
  DURE_TRY(dure_tokenizer_read_pipeline(tokenizer, root));
  DURE_TRY(dure_tokenizer_read_decoder(tokenizer, root));
  if (beside->config != NULL && beside->is_asked_for_ends)
    DURE_TRY(dure_tokenizer_config_add_ends(beside->config, tokenizer, root, &is_changed));
  return is_changed ? replace_json(tokenizer, root) : NULL;
}

static dure_status read_json(dure_tokenizer *tokenizer, const companion *beside) {
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
  if (status == NULL) status = read_parts(tokenizer, root, beside);
  json_decref(root);
  return status;
}

// Takes ownership of `json`.
static dure_status parse_owned(char *json, size_t length, const companion *beside, dure_tokenizer **out_tokenizer) {
  dure_tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
  if (tokenizer == NULL) {
    free(json);
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a tokenizer");
  }
  tokenizer->json = json;
  tokenizer->json_length = length;
  dure_status status = read_json(tokenizer, beside);
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
  return parse_owned(copy, length, &(companion){NULL, false}, out_tokenizer);
}

dure_status dure_tokenizer_open_as(const char *file_or_directory, const char *pattern, dure_tokenizer **out_tokenizer) {
  static const char *const names[] = {"tokenizer.json", "tokenizer.model", "vocab.json"};
  *out_tokenizer = NULL;
  char *joined = NULL;
  for (size_t i = 0; i < 3 && dure_os_is_directory(file_or_directory); i++) {
    char *path = dure_os_path_join(file_or_directory, names[i]);
    if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a path");
    if (joined == NULL || dure_os_is_file(path)) {
      free(joined);
      joined = path;
      if (dure_os_is_file(path)) break;
    } else {
      free(path);
    }
  }
  const char *path = joined != NULL ? joined : file_or_directory;
  char *json = NULL;
  size_t length = 0;
  bool is_own;
  companion beside = {NULL, false};
  dure_status status = dure_tokenizer_config_read(path, &beside.config);
  if (status == NULL) status = dure_tokenizer_file_to_json(path, pattern, &json, &length, &is_own);
  if (status == NULL) {
    beside.is_asked_for_ends = !is_own;
    status = dure_status_prefix(parse_owned(json, length, &beside, out_tokenizer), "%s", path);
  }
  json_decref(beside.config);
  free(joined);
  return status;
}

dure_status dure_tokenizer_open(const char *file_or_directory, dure_tokenizer **out_tokenizer) {
  return dure_tokenizer_open_as(file_or_directory, NULL, out_tokenizer);
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

// SentencePiece's spelling: spaces as marks.
static uint32_t find_marked(const dure_tokenizer *tokenizer, const char *text) {
  size_t spaces = 0, length = 0;
  for (const char *at = text; *at != '\0'; at++) spaces += *at == ' ';
  char *marked = spaces > 0 ? malloc(strlen(text) + 2 * spaces + 1) : NULL;
  if (marked == NULL) return DURE_NO_ID;
  for (const char *at = text; *at != '\0'; at++) {
    size_t size = *at == ' ' ? 3 : 1;
    memcpy(marked + length, *at == ' ' ? DURE_SPACE_MARK : at, size);
    length += size;
  }
  uint32_t id = dure_tokenizer_find_bytes(tokenizer, marked, length);
  free(marked);
  return id;
}

bool dure_tokenizer_find(const dure_tokenizer *tokenizer, const char *token_text, uint32_t *out_id) {
  size_t length = strlen(token_text);
  const dure_added_token *added = dure_added_set_find(&tokenizer->added, token_text, length);
  if (added == NULL) added = dure_added_set_find(&tokenizer->added_normalized, token_text, length);
  *out_id = added != NULL ? added->id : dure_tokenizer_find_bytes(tokenizer, token_text, length);
  if (*out_id == DURE_NO_ID && !tokenizer->is_byte_level) *out_id = find_marked(tokenizer, token_text);
  return *out_id != DURE_NO_ID;
}

bool dure_tokenizer_token(const dure_tokenizer *tokenizer, uint32_t id, const char **out_bytes, size_t *out_length,
                          bool *out_is_special) {
  *out_bytes = NULL;
  *out_length = 0;
  *out_is_special = false;
  if (id >= tokenizer->vocabulary_size || !(tokenizer->tokens[id].flags & DURE_TOKEN_USED)) return false;
  dure_tokenizer_text_of(tokenizer, id, out_bytes, out_length);
  *out_is_special = (tokenizer->tokens[id].flags & DURE_TOKEN_SPECIAL) != 0;
  return true;
}

bool dure_tokenizer_end_of_text(const dure_tokenizer *tokenizer, uint32_t *out_id) {
  *out_id = tokenizer->has_end_of_text ? tokenizer->end_of_text : DURE_NO_ID;
  return tokenizer->has_end_of_text;
}

bool dure_tokenizer_unknown(const dure_tokenizer *tokenizer, uint32_t *out_id) {
  *out_id = tokenizer->unknown_id;
  return tokenizer->unknown_id != DURE_NO_ID;
}

// ---- ids ----

void dure_ids_free(dure_ids *ids) {
  free(ids->ids);
  *ids = (dure_ids){0};
}

void dure_spans_free(dure_spans *spans) {
  free(spans->spans);
  *spans = (dure_spans){0};
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

// Appends one token. In the first one, Metaspace leaves out the marks instead of writing spaces.
static void decode_token(const dure_tokenizer *tokenizer, uint32_t id, bool is_first, dure_bytes *text) {
  const dure_decoder *decoder = &tokenizer->decoder;
  const char *bytes;
  size_t length, mark = decoder->metaspace_length;
  if (!is_first || mark == 0) {
    dure_tokenizer_text_of(tokenizer, id, &bytes, &length);
    if (!is_first && decoder->joins_with_spaces) dure_bytes_append(text, " ", 1);
    size_t size = strlen(DURE_SPACE_MARK);
    bool is_marked = decoder->drops_first_mark && is_first && tokenizer->tokens[id].length >= size &&
                     memcmp(tokenizer->tokens[id].bytes, DURE_SPACE_MARK, size) == 0;
    if (is_marked && length > 0) {
      bytes++;
      length--;
    }
    dure_bytes_append(text, bytes, length);
    return;
  }
  bytes = tokenizer->tokens[id].bytes;
  length = tokenizer->tokens[id].length;
  for (size_t at = 0; at < length;) {
    if (at + mark <= length && memcmp(bytes + at, decoder->metaspace, mark) == 0) {
      at += mark;
    } else {
      dure_bytes_append(text, bytes + at++, 1);
    }
  }
}

static void strip_ends(const dure_decoder *decoder, dure_bytes *text) {
  size_t start = 0, size = decoder->strip_length;
  if (size == 0) return;
  for (size_t i = 0; i < decoder->strip_left && text->size - start >= size; i++) {
    if (memcmp(text->data + start, decoder->strip, size) != 0) break;
    start += size;
  }
  for (size_t i = 0; i < decoder->strip_right && text->size - start >= size; i++) {
    if (memcmp(text->data + text->size - size, decoder->strip, size) != 0) break;
    text->size -= size;
  }
  text->size -= start;
  if (start > 0 && text->size > 0) memmove(text->data, text->data + start, text->size);
}

dure_status dure_tokenizer_decode(const dure_tokenizer *tokenizer, const uint32_t *ids, size_t count, bool skip_special,
                                  char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  dure_bytes text = {0};
  bool is_first = true;
  for (size_t i = 0; i < count; i++) {
    if (ids[i] >= tokenizer->vocabulary_size || !(tokenizer->tokens[ids[i]].flags & DURE_TOKEN_USED)) {
      dure_bytes_free(&text);
      return dure_fail(DURE_INVALID_ARGUMENT, "token id %u at position %zu is not in the vocabulary (ids up to %u)",
                       ids[i], i, tokenizer->vocabulary_size - 1);
    }
    if (skip_special && (tokenizer->tokens[ids[i]].flags & DURE_TOKEN_SPECIAL)) continue;
    decode_token(tokenizer, ids[i], is_first, &text);
    is_first = tokenizer->decoder.drops_all_first && text.size == 0;
  }
  strip_ends(&tokenizer->decoder, &text);
  *out_length = text.size;
  dure_bytes_append(&text, "", 1);
  dure_status status = dure_bytes_status(&text);
  if (status != NULL) {
    dure_bytes_free(&text);
    *out_length = 0;
    return status;
  }
  *out_text = text.data;
  return NULL;
}
