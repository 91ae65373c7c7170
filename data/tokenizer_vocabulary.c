// The "model" of a tokenizer.json: which ids there are, what they stand for, and the merges or scores.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_parts.h"
#include "runtime/log.h"

// Refuses what would encode differently.
static dure_status read_model_options(dure_tokenizer *tokenizer, json_t *model) {
  json_t *type, *prefix, *suffix;
  DURE_TRY(dure_json_member(model, "model", "type", JSON_STRING, &type));
  // Files from before 2020 have no type.
  const char *name = type != NULL                                     ? json_string_value(type)
                     : json_is_array(json_object_get(model, "vocab")) ? "Unigram"
                                                                      : "BPE";
  tokenizer->is_unigram = strcmp(name, "Unigram") == 0;
  if (!tokenizer->is_unigram && strcmp(name, "BPE") != 0)
    return dure_fail(DURE_UNSUPPORTED, "model.type \"%.100s\" is not supported; BPE and Unigram are", name);
  if (tokenizer->is_unigram && tokenizer->is_byte_level)
    return dure_fail(DURE_UNSUPPORTED,
                     "pre_tokenizer ByteLevel is not supported with model.type Unigram; with BPE it is");
  DURE_TRY(dure_json_member(model, "model", "continuing_subword_prefix", JSON_STRING, &prefix));
  DURE_TRY(dure_json_member(model, "model", "end_of_word_suffix", JSON_STRING, &suffix));
  if ((prefix != NULL && json_string_length(prefix) > 0) || (suffix != NULL && json_string_length(suffix) > 0)) {
    return dure_fail(
        DURE_UNSUPPORTED, "model.%s is not supported; expected it empty or null",
        prefix != NULL && json_string_length(prefix) > 0 ? "continuing_subword_prefix" : "end_of_word_suffix");
  }
  const json_t *dropout = json_object_get(model, "dropout");
  if (dropout != NULL && !json_is_null(dropout)) {
    if (!json_is_number(dropout))
      return dure_fail(DURE_CORRUPT, "model.dropout: expected a number, found %s", dure_json_kind(dropout));
    if (json_number_value(dropout) != 0) {
      return dure_fail(
          DURE_UNSUPPORTED,
          "model.dropout is %g; a file that encodes at random is not supported, set it to null and ask for "
          "sampling when encoding",
          json_number_value(dropout));
    }
  }
  tokenizer->fuse_unknown = tokenizer->is_unigram;
  DURE_TRY(dure_json_bool(model, "model", "ignore_merges", &tokenizer->ignore_merges));
  DURE_TRY(dure_json_bool(model, "model", "fuse_unk", &tokenizer->fuse_unknown));
  DURE_TRY(dure_json_bool(model, "model", "byte_fallback", &tokenizer->has_byte_fallback));
  if (tokenizer->is_byte_level) tokenizer->has_byte_fallback = false;  // every byte has its own way already
  return NULL;
}

// ---- ids ----

// A row of Unigram's vocabulary: [TEXT, LOG PROBABILITY].
static dure_status unigram_row(json_t *vocabulary, size_t index, const json_t **out_text, double *out_score) {
  json_t *row = json_array_get(vocabulary, index);
  *out_text = json_array_get(row, 0);
  *out_score = json_number_value(json_array_get(row, 1));
  if (json_array_size(row) == 2 && json_is_string(*out_text) && json_is_number(json_array_get(row, 1))) return NULL;
  return dure_fail(DURE_CORRUPT, "model.vocab[%zu]: expected a text and its log probability, found %s", index,
                   json_is_array(row) ? "another array" : dure_json_kind(row));
}

// The highest id and the bytes of all texts, of the vocabulary and the added tokens together.
static dure_status measure(json_t *vocabulary, json_t *added, uint32_t *out_size, size_t *out_bytes) {
  const char *text;
  json_t *value;
  size_t i, bytes = 0;
  uint32_t id, size = 0;
  if (json_array_size(vocabulary) >= DURE_TOKEN_ID_LIMIT)
    return dure_fail(DURE_CORRUPT, "model.vocab: %zu tokens; expected fewer than %u", json_array_size(vocabulary),
                     DURE_TOKEN_ID_LIMIT);
  for (i = 0; i < json_array_size(vocabulary); i++) {
    const json_t *name;
    double score;
    DURE_TRY(unigram_row(vocabulary, i, &name, &score));
    bytes += json_string_length(name);
    size = (uint32_t)i + 1;
  }
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

static dure_status read_token(dure_tokenizer *tokenizer, uint32_t id, const char *text, size_t length,
                              char **arena_end) {
  dure_token *token = &tokenizer->tokens[id];
  size_t byte_length;
  if (token->flags & DURE_TOKEN_USED)
    return dure_fail(DURE_CORRUPT, "model.vocab: id %u is given twice, the second time to '%.100s'", id, text);
  if (length > UINT32_MAX) return dure_fail(DURE_CORRUPT, "model.vocab: a token of %zu bytes", length);
  token->bytes = *arena_end;
  token->flags = DURE_TOKEN_USED;
  if (!tokenizer->is_byte_level) {
    memcpy(*arena_end, text, length);
    token->flags |= DURE_TOKEN_MODEL;
  } else if (dure_characters_to_bytes(text, length, *arena_end, &byte_length)) {
    token->flags |= DURE_TOKEN_MODEL;
    length = byte_length;
  } else {
    memcpy(*arena_end, text, length);  // not made of bytes' characters: it stands for itself and no merge reaches it
  }
  token->length = (uint32_t)length;
  *arena_end += length;
  return NULL;
}

static dure_status read_vocabulary(dure_tokenizer *tokenizer, json_t *vocabulary, char **arena_end) {
  const char *text;
  json_t *value;
  json_object_foreach(vocabulary, text, value) {
    DURE_TRY(read_token(tokenizer, (uint32_t)json_integer_value(value), text, strlen(text), arena_end));
  }
  if (!tokenizer->is_unigram) return NULL;
  tokenizer->scores = calloc(tokenizer->vocabulary_size, sizeof(double));
  if (tokenizer->scores == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a vocabulary of %u tokens", tokenizer->vocabulary_size);
  for (size_t i = 0; i < json_array_size(vocabulary); i++) {
    const json_t *name;
    DURE_TRY(unigram_row(vocabulary, i, &name, &tokenizer->scores[i]));
    DURE_TRY(read_token(tokenizer, (uint32_t)i, json_string_value(name), json_string_length(name), arena_end));
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
    if (!(token->flags & DURE_TOKEN_MODEL) || token->length == 0) continue;
    size_t at = (size_t)XXH3_64bits(token->bytes, token->length) & tokenizer->byte_tokens_mask;
    while (tokenizer->byte_tokens[at] != DURE_NO_ID) at = (at + 1) & tokenizer->byte_tokens_mask;
    tokenizer->byte_tokens[at] = id;
  }
  for (int byte = 0; byte < 256; byte++) {
    char one[8] = {(char)byte};
    if (!tokenizer->is_byte_level) snprintf(one, sizeof(one), "<0x%02X>", (unsigned)byte);
    tokenizer->byte_ids[byte] = tokenizer->is_byte_level || tokenizer->has_byte_fallback
                                    ? dure_tokenizer_find_bytes(tokenizer, one, tokenizer->is_byte_level ? 1 : 6)
                                    : DURE_NO_ID;
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
                              uint32_t *token_ranks, char *text, size_t capacity) {
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
  uint32_t rank = (uint32_t)index;
  if (token_ranks != NULL) {
    if (token_ranks[id] == DURE_BPE_NO_RANK) token_ranks[id] = rank;
    rank = token_ranks[id];
  }
  dure_bpe_table_add(&tokenizer->merges, left, right, rank, id);
  return NULL;
}

// `ranks_by_token`: all merges that make a token have the rank of the first one. tiktoken and SentencePiece know ranks
// of tokens alone, and of equal ones the leftmost goes first; lists of merges cannot say so.
static dure_status read_merges(dure_tokenizer *tokenizer, json_t *vocabulary, json_t *merges, bool ranks_by_token) {
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
  uint32_t *token_ranks = ranks_by_token ? malloc(tokenizer->vocabulary_size * sizeof(uint32_t)) : NULL;
  if (token_ranks != NULL) memset(token_ranks, 0xFF, tokenizer->vocabulary_size * sizeof(uint32_t));
  dure_status status = buffer == NULL || (ranks_by_token && token_ranks == NULL)
                           ? dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu merges", json_array_size(merges))
                           : dure_bpe_table_create(json_array_size(merges), &tokenizer->merges);
  json_array_foreach(merges, i, value) {
    if (status != NULL) break;
    if (i == 0 && json_is_string(value) && strncmp(json_string_value(value), "#version", 8) == 0) continue;
    status = read_merge(tokenizer, vocabulary, value, i, token_ranks, buffer, capacity);
  }
  free(token_ranks);
  free(buffer);
  return status;
}

// ---- all of it ----

static dure_status read_unknown(dure_tokenizer *tokenizer, json_t *model, json_t *vocabulary) {
  json_t *unknown;
  uint32_t missing = 0;
  tokenizer->unknown_id = DURE_NO_ID;
  DURE_TRY(dure_json_member(model, "model", "unk_token", JSON_STRING, &unknown));
  if (unknown != NULL && !tokenizer->is_unigram) {
    tokenizer->unknown_id = id_of(vocabulary, json_string_value(unknown));
    if (tokenizer->unknown_id == DURE_NO_ID) {
      return dure_fail(DURE_CORRUPT, "model.unk_token: '%.100s' is not in the vocabulary", json_string_value(unknown));
    }
  }
  for (int byte = 0; byte < 256; byte++) missing += tokenizer->byte_ids[byte] == DURE_NO_ID;
  if (missing > 0 && tokenizer->is_byte_level) {
    // As in `tokenizers`, so that the same file gives the same ids.
    dure_log(DURE_LOG_WARNING, "the tokenizer has no token for %u of the 256 bytes; text with them loses them",
             missing);
  }
  return NULL;
}

// Pieces of a text without a pre-tokenizer are long, and long ones are not remembered. Where no merge joins something
// and a mark for spaces after it, cutting there changes nothing.
static bool may_cut_before_marks(const dure_tokenizer *tokenizer) {
  const char *mark = DURE_SPACE_MARK;
  size_t size = strlen(mark);
  if (tokenizer->is_byte_level || tokenizer->is_unigram || tokenizer->ignore_merges) return false;
  if (dure_tokenizer_find_bytes(tokenizer, mark, size) == DURE_NO_ID) return false;
  for (size_t i = 0; i <= tokenizer->merges.mask && tokenizer->merges.slots != NULL; i++) {
    if (tokenizer->merges.slots[i].rank == DURE_BPE_NO_RANK) continue;
    const dure_token *token = &tokenizer->tokens[tokenizer->merges.slots[i].id];
    size_t run_end = 0;
    for (size_t at = 0; at + size <= token->length; at++) {
      if (memcmp(token->bytes + at, mark, size) != 0) continue;
      if (at > run_end) return false;
      run_end = at + size;
      at = run_end - 1;
    }
  }
  return true;
}

// The lowest score less a penalty, as in `sentencepiece` and `tokenizers`.
static dure_status build_unigram(dure_tokenizer *tokenizer, json_t *model, size_t count) {
  const double unknown_penalty = 10;
  const json_t *unknown = json_object_get(model, "unk_id");
  double lowest = count > 0 ? tokenizer->scores[0] : 0;
  dure_trie_key *keys = malloc((count + 1) * sizeof(*keys));
  if (keys == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a vocabulary of %zu tokens", count);
  size_t key_count = 0;
  bool is_sentencepiece = tokenizer->sentencepiece != NULL, has_lowest = false;
  for (uint32_t id = 0; id < count; id++) {
    const dure_token *token = &tokenizer->tokens[id];
    bool is_normal = (token->flags & DURE_TOKEN_MODEL) != 0;
    if (is_normal) keys[key_count++] = (dure_trie_key){token->bytes, token->length, id};
    if ((is_sentencepiece && !is_normal) || (token->flags & DURE_TOKEN_USER)) continue;
    if (!has_lowest || tokenizer->scores[id] < lowest) lowest = tokenizer->scores[id];
    has_lowest = true;
  }
  tokenizer->unigram.scores = tokenizer->scores;
  tokenizer->unigram.is_single = is_sentencepiece;
  tokenizer->unigram.unknown_score =
      is_sentencepiece ? (double)((float)lowest - (float)unknown_penalty) : lowest - unknown_penalty;
  dure_status status = dure_trie_create(keys, key_count, &tokenizer->unigram.trie);
  free(keys);
  if (status != NULL) return status;
  if (unknown != NULL && !json_is_null(unknown)) {
    DURE_TRY(dure_json_token_id(unknown, "model.unk_id", &tokenizer->unknown_id));
    if (tokenizer->unknown_id >= count)
      return dure_fail(DURE_CORRUPT, "model.unk_id: %u is not in the vocabulary of %zu tokens", tokenizer->unknown_id,
                       count);
  }
  tokenizer->unigram.unknown_id = tokenizer->unknown_id;
  return NULL;
}

static dure_status read_rules(dure_tokenizer *tokenizer, json_t *model, json_t *vocabulary, json_t *merges) {
  DURE_TRY(index_bytes(tokenizer));
  DURE_TRY(read_unknown(tokenizer, model, vocabulary));
  if (!tokenizer->is_unigram) {
    bool ranks_by_token = false;
    DURE_TRY(dure_json_bool(model, "model", "ranks_by_token", &ranks_by_token));
    DURE_TRY(read_merges(tokenizer, vocabulary, merges, ranks_by_token));
  }
  DURE_TRY(dure_tokenizer_read_sentencepiece(tokenizer, model));
  if (tokenizer->is_unigram) DURE_TRY(build_unigram(tokenizer, model, json_array_size(vocabulary)));
  tokenizer->may_cut_before_marks = may_cut_before_marks(tokenizer);
  return NULL;
}

dure_status dure_tokenizer_read_model(dure_tokenizer *tokenizer, json_t *root) {
  json_t *model, *vocabulary, *merges, *added;
  size_t bytes = 0;
  tokenizer->is_byte_level = dure_tokenizer_has_byte_level(root);
  DURE_TRY(dure_json_member(root, "tokenizer.json", "model", JSON_OBJECT, &model));
  if (model == NULL) return dure_fail(DURE_CORRUPT, "tokenizer.json: expected a \"model\", found none");
  DURE_TRY(read_model_options(tokenizer, model));
  DURE_TRY(dure_json_member(model, "model", "vocab", tokenizer->is_unigram ? JSON_ARRAY : JSON_OBJECT, &vocabulary));
  DURE_TRY(dure_json_member(model, "model", "merges", JSON_ARRAY, &merges));
  DURE_TRY(dure_json_member(root, "tokenizer.json", "added_tokens", JSON_ARRAY, &added));
  if (vocabulary == NULL || (merges == NULL && !tokenizer->is_unigram)) {
    return dure_fail(DURE_CORRUPT, "model: expected \"vocab\"%s, found no \"%s\"",
                     tokenizer->is_unigram ? "" : " and \"merges\"", vocabulary == NULL ? "vocab" : "merges");
  }
  DURE_TRY(measure(vocabulary, added, &tokenizer->vocabulary_size, &bytes));
  tokenizer->tokens = calloc(tokenizer->vocabulary_size, sizeof(*tokenizer->tokens));
  tokenizer->arena = malloc(bytes + 1);
  if (tokenizer->tokens == NULL || tokenizer->arena == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a vocabulary of %u tokens", tokenizer->vocabulary_size);
  }
  char *arena_end = tokenizer->arena;
  DURE_TRY(read_vocabulary(tokenizer, vocabulary, &arena_end));
  DURE_TRY(read_rules(tokenizer, model, vocabulary, merges));
  return dure_tokenizer_read_added(tokenizer, added, &arena_end);
}
