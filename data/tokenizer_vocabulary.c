// The "model" and "added_tokens" of a tokenizer.json: which ids there are, what they stand for, and the merges.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_parts.h"
#include "runtime/log.h"

// Refuses what is byte-level BPE by name but would encode differently.
static dure_status read_model_options(dure_tokenizer *tokenizer, json_t *model) {
  json_t *type, *prefix, *suffix;
  bool byte_fallback = false;
  DURE_TRY(dure_json_member(model, "model", "type", JSON_STRING, &type));
  // Files from before 2020 have no type.
  if (type != NULL && strcmp(json_string_value(type), "BPE") != 0) {
    return dure_fail(DURE_UNSUPPORTED, "the model \"%.100s\" is not supported; only BPE is", json_string_value(type));
  }
  DURE_TRY(dure_json_member(model, "model", "continuing_subword_prefix", JSON_STRING, &prefix));
  DURE_TRY(dure_json_member(model, "model", "end_of_word_suffix", JSON_STRING, &suffix));
  if ((prefix != NULL && json_string_length(prefix) > 0) || (suffix != NULL && json_string_length(suffix) > 0)) {
    return dure_fail(
        DURE_UNSUPPORTED, "model.%s is not supported; byte-level BPE has none",
        prefix != NULL && json_string_length(prefix) > 0 ? "continuing_subword_prefix" : "end_of_word_suffix");
  }
  const json_t *dropout = json_object_get(model, "dropout");
  if (dropout != NULL && !json_is_null(dropout)) {
    if (!json_is_number(dropout))
      return dure_fail(DURE_CORRUPT, "model.dropout: expected a number, found %s", dure_json_kind(dropout));
    if (json_number_value(dropout) != 0) {
      return dure_fail(DURE_UNSUPPORTED, "model.dropout is %g; encoding at random is not supported, set it to null",
                       json_number_value(dropout));
    }
  }
  DURE_TRY(dure_json_bool(model, "model", "ignore_merges", &tokenizer->ignore_merges));
  DURE_TRY(dure_json_bool(model, "model", "fuse_unk", &tokenizer->fuse_unknown));
  DURE_TRY(dure_json_bool(model, "model", "byte_fallback", &byte_fallback));
  if (byte_fallback)
    return dure_fail(DURE_UNSUPPORTED,
                     "model.byte_fallback is not supported; byte-level BPE has a token for each byte");
  return NULL;
}

// ---- ids ----

// The highest id and the bytes of all texts, of the vocabulary and the added tokens together.
static dure_status measure(json_t *vocabulary, json_t *added, uint32_t *out_size, size_t *out_bytes) {
  const char *text;
  json_t *value;
  size_t i, bytes = 0;
  uint32_t id, size = 0;
  json_object_foreach(vocabulary, text, value) {
    DURE_TRY(dure_status_prefix(dure_json_token_id(value, "its id", &id), "model.vocab: '%.100s'", text));
    bytes += strlen(text);
    if (id + 1 > size) size = id + 1;
  }
  json_array_foreach(added, i, value) {
    const json_t *content = json_object_get(value, "content");
    if (!json_is_string(content)) {
      return dure_fail(DURE_CORRUPT, "added_tokens[%zu].content: expected a string, found %s", i,
                       dure_json_kind(content));
    }
    if (json_string_length(content) > 65536) {
      return dure_fail(DURE_CORRUPT, "added_tokens[%zu].content: %zu bytes; at most 65536 make sense", i,
                       json_string_length(content));
    }
    DURE_TRY(dure_status_prefix(dure_json_token_id(json_object_get(value, "id"), "id", &id), "added_tokens[%zu]", i));
    bytes += json_string_length(content);
    if (id + 1 > size) size = id + 1;
  }
  if (size == 0) return dure_fail(DURE_CORRUPT, "model.vocab: the vocabulary is empty");
  *out_size = size;
  *out_bytes = bytes;
  return NULL;
}

static dure_status read_vocabulary(dure_tokenizer *tokenizer, json_t *vocabulary, char **arena_end) {
  const char *text;
  json_t *value;
  json_object_foreach(vocabulary, text, value) {
    dure_token *token = &tokenizer->tokens[json_integer_value(value)];
    if (token->flags & DURE_TOKEN_USED) {
      return dure_fail(DURE_CORRUPT, "model.vocab: id %u is given twice, the second time to '%.100s'",
                       (uint32_t)json_integer_value(value), text);
    }
    size_t length = strlen(text), byte_length;
    token->bytes = *arena_end;
    token->flags = DURE_TOKEN_USED;
    if (dure_characters_to_bytes(text, length, *arena_end, &byte_length)) {
      token->flags |= DURE_TOKEN_BYTES;
      length = byte_length;
    } else {
      memcpy(*arena_end, text, length);  // not made of bytes' characters: it stands for itself and no merge reaches it
    }
    if (length > UINT32_MAX) return dure_fail(DURE_CORRUPT, "model.vocab: a token of %zu bytes", length);
    token->length = (uint32_t)length;
    *arena_end += length;
  }
  return NULL;
}

// Finds tokens by their bytes; text is looked up there once for each pre-token at most.
static dure_status index_bytes(dure_tokenizer *tokenizer) {
  size_t slots = 1024;
  while (slots < (size_t)tokenizer->vocabulary_size * 2) slots *= 2;
  tokenizer->byte_tokens = malloc(slots * sizeof(uint32_t));
  if (tokenizer->byte_tokens == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a vocabulary of %u tokens", tokenizer->vocabulary_size);
  memset(tokenizer->byte_tokens, 0xFF, slots * sizeof(uint32_t));
  tokenizer->byte_tokens_mask = slots - 1;
  for (uint32_t id = 0; id < tokenizer->vocabulary_size; id++) {
    const dure_token *token = &tokenizer->tokens[id];
    if (!(token->flags & DURE_TOKEN_BYTES) || token->length == 0) continue;
    size_t at = (size_t)XXH3_64bits(token->bytes, token->length) & tokenizer->byte_tokens_mask;
    while (tokenizer->byte_tokens[at] != DURE_NO_ID) at = (at + 1) & tokenizer->byte_tokens_mask;
    tokenizer->byte_tokens[at] = id;
  }
  for (int byte = 0; byte < 256; byte++) {
    char one = (char)byte;
    tokenizer->byte_ids[byte] = dure_tokenizer_find_bytes(tokenizer, &one, 1);
  }
  return NULL;
}

uint32_t dure_tokenizer_find_bytes(const dure_tokenizer *tokenizer, const char *bytes, size_t length) {
  size_t at = (size_t)XXH3_64bits(bytes, length) & tokenizer->byte_tokens_mask;
  for (uint32_t id; (id = tokenizer->byte_tokens[at]) != DURE_NO_ID; at = (at + 1) & tokenizer->byte_tokens_mask) {
    const dure_token *token = &tokenizer->tokens[id];
    if (token->length == length && memcmp(token->bytes, bytes, length) == 0) return id;
  }
  return DURE_NO_ID;
}

// ---- merges ----

// The id of a text of the vocabulary, DURE_NO_ID when it is not there. The values have been checked.
static uint32_t id_of(json_t *vocabulary, const char *text) {
  const json_t *value = json_object_get(vocabulary, text);
  return value != NULL ? (uint32_t)json_integer_value(value) : DURE_NO_ID;
}

// Both spellings, "a b" and ["a", "b"]: leaves the two texts in `out_text`, the first ended by a NUL, and where the
// second begins. `out_text` holds `capacity` bytes.
static dure_status split_merge(const json_t *merge, size_t index, char *out_text, size_t capacity, char **out_right) {
  const char *left, *right;
  size_t left_length, right_length;
  if (json_is_string(merge)) {
    const char *text = json_string_value(merge), *space = strchr(text, ' ');
    size_t length = json_string_length(merge);
    if (space == NULL || strchr(space + 1, ' ') != NULL || strlen(text) != length) {
      return dure_fail(DURE_CORRUPT, "model.merges[%zu]: expected two tokens with a space between them, found '%.100s'",
                       index, text);
    }
    left = text;
    left_length = (size_t)(space - text);
    right = space + 1;
    right_length = length - left_length - 1;
  } else if (json_array_size(merge) == 2 && json_is_string(json_array_get(merge, 0)) &&
             json_is_string(json_array_get(merge, 1))) {
    left = json_string_value(json_array_get(merge, 0));
    left_length = json_string_length(json_array_get(merge, 0));
    right = json_string_value(json_array_get(merge, 1));
    right_length = json_string_length(json_array_get(merge, 1));
  } else {
    return dure_fail(DURE_CORRUPT, "model.merges[%zu]: expected a string or an array of two strings, found %s", index,
                     json_is_array(merge) ? "another array" : dure_json_kind(merge));
  }
  if (left_length + right_length + 2 > capacity) {
    return dure_fail(DURE_CORRUPT, "model.merges[%zu]: makes a token of %zu bytes, longer than any in the vocabulary",
                     index, left_length + right_length);
  }
  memcpy(out_text, left, left_length);
  out_text[left_length] = '\0';
  *out_right = out_text + left_length + 1;
  memcpy(*out_right, right, right_length);
  (*out_right)[right_length] = '\0';
  return NULL;
}

static dure_status read_merge(dure_tokenizer *tokenizer, json_t *vocabulary, const json_t *merge, size_t index,
                              char *text, size_t capacity) {
  char *right_text = NULL;
  DURE_TRY(split_merge(merge, index, text, capacity, &right_text));
  uint32_t left = id_of(vocabulary, text), right = id_of(vocabulary, right_text);
  if (left == DURE_NO_ID || right == DURE_NO_ID) {
    return dure_fail(DURE_CORRUPT, "model.merges[%zu]: '%.100s' is not in the vocabulary", index,
                     left == DURE_NO_ID ? text : right_text);
  }
  memmove(right_text - 1, right_text, strlen(right_text) + 1);
  uint32_t id = id_of(vocabulary, text);
  if (id == DURE_NO_ID)
    return dure_fail(DURE_CORRUPT, "model.merges[%zu]: makes '%.100s', which is not in the vocabulary", index, text);
  dure_bpe_table_add(&tokenizer->merges, left, right, (uint32_t)index, id);
  return NULL;
}

static dure_status read_merges(dure_tokenizer *tokenizer, json_t *vocabulary, json_t *merges) {
  if (json_array_size(merges) >= DURE_TOKEN_ID_LIMIT) {
    return dure_fail(DURE_CORRUPT, "model.merges: %zu merges; expected fewer than %u", json_array_size(merges),
                     DURE_TOKEN_ID_LIMIT);
  }
  const char *text;
  json_t *value;
  size_t longest = 0, i;
  json_object_foreach(vocabulary, text, value) {
    if (strlen(text) > longest) longest = strlen(text);
  }
  size_t capacity = 2 * longest + 2;  // the two parts of a merge, each in the vocabulary
  char *buffer = malloc(capacity);
  if (buffer == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a token of %zu bytes", longest);
  dure_status status = dure_bpe_table_create(json_array_size(merges), &tokenizer->merges);
  json_array_foreach(merges, i, value) {
    if (status != NULL) break;
    if (i == 0 && json_is_string(value) && strncmp(json_string_value(value), "#version", 8) == 0) continue;
    status = read_merge(tokenizer, vocabulary, value, i, buffer, capacity);
  }
  free(buffer);
  return status;
}

// ---- added tokens ----

static dure_status read_added_token(dure_tokenizer *tokenizer, json_t *vocabulary, json_t *row, size_t index,
                                    char **arena_end, dure_added_token *out_added, bool *out_is_normalized) {
  char where[40];
  snprintf(where, sizeof(where), "added_tokens[%zu]", index);
  const json_t *content = json_object_get(row, "content");
  uint32_t id = (uint32_t)json_integer_value(json_object_get(row, "id"));
  const char *text = json_string_value(content);
  size_t length = json_string_length(content);
  *out_added = (dure_added_token){*arena_end, length, id, false, false, false, false};
  *out_is_normalized = true;
  DURE_TRY(dure_json_bool(row, where, "special", &out_added->is_special));
  DURE_TRY(dure_json_bool(row, where, "lstrip", &out_added->strips_left));
  DURE_TRY(dure_json_bool(row, where, "rstrip", &out_added->strips_right));
  DURE_TRY(dure_json_bool(row, where, "single_word", &out_added->is_single_word));
  *out_is_normalized = !out_added->is_special;
  DURE_TRY(dure_json_bool(row, where, "normalized", out_is_normalized));

  dure_token *token = &tokenizer->tokens[id];
  uint32_t vocabulary_id = strlen(text) == length ? id_of(vocabulary, text) : DURE_NO_ID;
  if (vocabulary_id != DURE_NO_ID && vocabulary_id != id) {
    return dure_fail(DURE_CORRUPT, "%s: '%.100s' has id %u here and %u in model.vocab", where, text, id, vocabulary_id);
  }
  if ((token->flags & DURE_TOKEN_ADDED) || ((token->flags & DURE_TOKEN_USED) && vocabulary_id != id)) {
    return dure_fail(DURE_CORRUPT, "%s: id %u of '%.100s' is another token's already", where, id, text);
  }
  memcpy(*arena_end, text, length);
  *arena_end += length;
  if (!(token->flags & DURE_TOKEN_BYTES)) {
    token->bytes = out_added->content;
    token->length = (uint32_t)length;
  } else if (token->length != length || memcmp(token->bytes, text, length) != 0) {
    return dure_fail(DURE_UNSUPPORTED,
                     "%s: '%.100s' is spelled in characters that stand for other bytes in model.vocab", where, text);
  }
  token->flags |= DURE_TOKEN_USED | DURE_TOKEN_ADDED | (out_added->is_special ? DURE_TOKEN_SPECIAL : 0u);
  return NULL;
}

static dure_status check_normal_form(const dure_tokenizer *tokenizer, const dure_added_token *added) {
  char *normal;
  size_t length;
  DURE_TRY(dure_tokenizer_normalize(tokenizer->normalizer, added->content, added->length, &normal, &length));
  bool is_same = normal == NULL || (length == added->length && memcmp(normal, added->content, length) == 0);
  free(normal);
  if (is_same) return NULL;
  return dure_fail(DURE_UNSUPPORTED,
                   "the added token '%.*s' is looked for in normalized text but is not in that form itself",
                   (int)(added->length < 100 ? added->length : 100), added->content);
}

static dure_status read_added(dure_tokenizer *tokenizer, json_t *vocabulary, json_t *rows, char **arena_end) {
  size_t count = json_array_size(rows), i;
  dure_added_token *plain = calloc(count + 1, sizeof(*plain)), *normalized = calloc(count + 1, sizeof(*normalized));
  uint32_t plain_count = 0, normalized_count = 0;
  dure_status status = NULL;
  if (plain == NULL || normalized == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu added tokens", count);
  for (i = 0; i < count && status == NULL; i++) {
    dure_added_token added;
    bool is_normalized;
    status = read_added_token(tokenizer, vocabulary, json_array_get(rows, i), i, arena_end, &added, &is_normalized);
    if (status == NULL && is_normalized) status = check_normal_form(tokenizer, &added);
    if (status != NULL || added.length == 0) continue;
    if (is_normalized) {
      normalized[normalized_count++] = added;
    } else {
      plain[plain_count++] = added;
    }
  }
  if (status != NULL) {
    free(plain);
    free(normalized);
    return status;
  }
  status = dure_added_set_create(plain, plain_count, &tokenizer->added);
  return dure_status_join(status, dure_added_set_create(normalized, normalized_count, &tokenizer->added_normalized));
}

// ---- all of it ----

static dure_status read_unknown(dure_tokenizer *tokenizer, json_t *model, json_t *vocabulary) {
  json_t *unknown;
  uint32_t missing = 0;
  tokenizer->unknown_id = DURE_NO_ID;
  DURE_TRY(dure_json_member(model, "model", "unk_token", JSON_STRING, &unknown));
  if (unknown != NULL) {
    tokenizer->unknown_id = id_of(vocabulary, json_string_value(unknown));
    if (tokenizer->unknown_id == DURE_NO_ID) {
      return dure_fail(DURE_CORRUPT, "model.unk_token: '%.100s' is not in the vocabulary", json_string_value(unknown));
    }
  }
  for (int byte = 0; byte < 256; byte++) missing += tokenizer->byte_ids[byte] == DURE_NO_ID;
  if (missing > 0) {
    // As in `tokenizers`, so that the same file gives the same ids.
    dure_log(DURE_LOG_WARNING, "the tokenizer has no token for %u of the 256 bytes; text with them loses them",
             missing);
  }
  return NULL;
}

dure_status dure_tokenizer_read_model(dure_tokenizer *tokenizer, json_t *root) {
  json_t *model, *vocabulary, *merges, *added;
  size_t bytes = 0;
  DURE_TRY(dure_json_member(root, "tokenizer.json", "model", JSON_OBJECT, &model));
  if (model == NULL) return dure_fail(DURE_CORRUPT, "tokenizer.json: expected a \"model\", found none");
  DURE_TRY(read_model_options(tokenizer, model));
  DURE_TRY(dure_json_member(model, "model", "vocab", JSON_OBJECT, &vocabulary));
  DURE_TRY(dure_json_member(model, "model", "merges", JSON_ARRAY, &merges));
  DURE_TRY(dure_json_member(root, "tokenizer.json", "added_tokens", JSON_ARRAY, &added));
  if (vocabulary == NULL || merges == NULL) {
    return dure_fail(DURE_CORRUPT, "model: expected \"vocab\" and \"merges\", found no \"%s\"",
                     vocabulary == NULL ? "vocab" : "merges");
  }
  DURE_TRY(measure(vocabulary, added, &tokenizer->vocabulary_size, &bytes));
  tokenizer->tokens = calloc(tokenizer->vocabulary_size, sizeof(*tokenizer->tokens));
  tokenizer->arena = malloc(bytes + 1);
  if (tokenizer->tokens == NULL || tokenizer->arena == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a vocabulary of %u tokens", tokenizer->vocabulary_size);
  }
  char *arena_end = tokenizer->arena;
  DURE_TRY(read_vocabulary(tokenizer, vocabulary, &arena_end));
  DURE_TRY(index_bytes(tokenizer));
  DURE_TRY(read_merges(tokenizer, vocabulary, merges));
  DURE_TRY(read_unknown(tokenizer, model, vocabulary));
  return read_added(tokenizer, vocabulary, added, &arena_end);
}
