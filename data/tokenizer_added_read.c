// The "added_tokens" of a tokenizer.json.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_parts.h"

// Whether `text` is the vocabulary's spelling of the token.
static bool spells(const dure_tokenizer *tokenizer, const dure_token *token, const char *text, size_t length) {
  if (!tokenizer->is_byte_level || !(token->flags & DURE_TOKEN_MODEL))
    return token->length == length && memcmp(token->bytes, text, length) == 0;
  char *bytes = malloc(length + 1);
  size_t byte_length;
  bool is_same = bytes != NULL && dure_characters_to_bytes(text, length, bytes, &byte_length) &&
                 byte_length == token->length && memcmp(bytes, token->bytes, byte_length) == 0;
  free(bytes);
  return is_same;
}

// The id of the vocabulary's token that is spelled like this, or DURE_NO_ID.
static uint32_t find_spelling(const dure_tokenizer *tokenizer, const char *text, size_t length) {
  char *bytes = tokenizer->is_byte_level ? malloc(length + 1) : NULL;
  size_t byte_length = length;
  uint32_t id = DURE_NO_ID;
  if (!tokenizer->is_byte_level) {
    id = dure_tokenizer_find_bytes(tokenizer, text, length);
  } else if (bytes != NULL && dure_characters_to_bytes(text, length, bytes, &byte_length)) {
    id = dure_tokenizer_find_bytes(tokenizer, bytes, byte_length);
  }
  free(bytes);
  return id;
}

static dure_status read_added_token(dure_tokenizer *tokenizer, json_t *row, size_t index, char **arena_end,
                                    dure_added_token *out_added, bool *out_is_normalized) {
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
  bool is_model = (token->flags & DURE_TOKEN_USED) != 0, is_same = is_model && spells(tokenizer, token, text, length);
  uint32_t other_id = is_same ? id : find_spelling(tokenizer, text, length);
  if (other_id != DURE_NO_ID && other_id != id) {
    return dure_fail(DURE_CORRUPT, "%s: '%.100s' has id %u here and %u in model.vocab", where, text, id, other_id);
  }
  if ((token->flags & DURE_TOKEN_ADDED) || (is_model && !is_same)) {
    return dure_fail(DURE_CORRUPT, "%s: id %u of '%.100s' is another token's already", where, id, text);
  }
  memcpy(*arena_end, text, length);
  *arena_end += length;
  if (!(token->flags & DURE_TOKEN_MODEL)) {
    token->bytes = out_added->content;
    token->length = (uint32_t)length;
  }
  token->flags |= DURE_TOKEN_USED | DURE_TOKEN_ADDED | (out_added->is_special ? DURE_TOKEN_SPECIAL : 0u);
  return NULL;
}

// Texts that are looked for after normalization are normalized themselves. Replaces `tokens`' contents where that
// changes them, by bytes in tokenizer->normalized_contents.
static dure_status normalize_contents(dure_tokenizer *tokenizer, dure_added_token *tokens, uint32_t count) {
  dure_normalize_scratch scratch = {0};
  dure_aligned all = {0};
  size_t *starts = malloc((count + 1) * sizeof(size_t));
  dure_status status = starts == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "no memory for %u added tokens", count) : NULL;
  for (uint32_t i = 0; i < count && status == NULL; i++) {
    dure_piece text = {tokens[i].content, tokens[i].length, NULL, 0}, normal;
    starts[i] = all.length;
    status = dure_normalize(&tokenizer->normalizer, &scratch, &text, false, &normal);
    if (status == NULL) status = dure_aligned_copy(&all, &normal, 0, normal.length);
    starts[i + 1] = all.length;
  }
  for (uint32_t i = 0; i < count && status == NULL; i++) {
    tokens[i].content = all.bytes + starts[i];
    tokens[i].length = starts[i + 1] - starts[i];
  }
  tokenizer->normalized_contents = all.bytes;
  free(all.spans);
  free(starts);
  dure_normalize_scratch_free(&scratch);
  return status;
}

// Of equal texts the first stays; normalization can make them equal. Empty ones go.
static uint32_t drop_repeats(dure_added_token *tokens, uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    bool is_new = tokens[i].length > 0;
    for (uint32_t k = 0; k < kept && is_new; k++)
      is_new =
          tokens[k].length != tokens[i].length || memcmp(tokens[k].content, tokens[i].content, tokens[i].length) != 0;
    if (is_new) tokens[kept++] = tokens[i];
  }
  return kept;
}

// SentencePiece's model finds its user-defined symbols itself, and nobody writes its unknown token.
static bool is_sentencepiece_own(dure_tokenizer *tokenizer, uint32_t id) {
  if (tokenizer->sentencepiece == NULL) return false;
  if (id == tokenizer->unknown_id) tokenizer->tokens[id].flags &= ~(uint32_t)DURE_TOKEN_SPECIAL;
  return id == tokenizer->unknown_id || (tokenizer->tokens[id].flags & DURE_TOKEN_USER) != 0;
}

dure_status dure_tokenizer_read_added(dure_tokenizer *tokenizer, json_t *rows, char **arena_end) {
  size_t count = json_array_size(rows), i;
  dure_added_token *plain = calloc(count + 1, sizeof(*plain)), *normalized = calloc(count + 1, sizeof(*normalized));
  uint32_t plain_count = 0, normalized_count = 0;
  dure_status status = NULL;
  if (plain == NULL || normalized == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu added tokens", count);
  for (i = 0; i < count && status == NULL; i++) {
    dure_added_token added;
    bool is_normalized;
    status = read_added_token(tokenizer, json_array_get(rows, i), i, arena_end, &added, &is_normalized);
    if (status != NULL || added.length == 0 || is_sentencepiece_own(tokenizer, added.id)) continue;
    if (is_normalized) {
      normalized[normalized_count++] = added;
    } else {
      plain[plain_count++] = added;
    }
  }
  if (status == NULL && tokenizer->normalizer.step_count > 0 && normalized_count > 0) {
    status = normalize_contents(tokenizer, normalized, normalized_count);
    if (status == NULL) normalized_count = drop_repeats(normalized, normalized_count);
  }
  if (status != NULL) {
    free(plain);
    free(normalized);
    return status;
  }
  status = dure_added_set_create(plain, plain_count, &tokenizer->added);
  return dure_status_join(status, dure_added_set_create(normalized, normalized_count, &tokenizer->added_normalized));
}
