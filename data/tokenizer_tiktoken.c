// tiktoken's files: a line for each token, the base64 of its bytes and its rank, which is its id.
//
// The pair whose bytes together have the lowest rank is joined, the leftmost of equal ones first, unless the whole
// piece is a token. As merges: every cut of a token into two tokens, in the order of the ranks.
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_json_text.h"
#include "data/tokenizer_parts.h"

typedef struct rank_table {
  dure_token *tokens;  // [capacity] by rank; length 0: none
  size_t capacity, count;
  uint32_t highest;
  char *arena;
  uint32_t *slots;  // hash table of ranks by bytes
  size_t mask;
} rank_table;

bool dure_is_tiktoken(const char *bytes, size_t length) {
  const char *newline = memchr(bytes, '\n', length);
  size_t line = newline != NULL ? (size_t)(newline - bytes) : length;
  const char *space = memchr(bytes, ' ', line);
  size_t text = space != NULL ? (size_t)(space - bytes) : 0, decoded;
  char out[64];
  if (text == 0 || text > 48 || !dure_base64_decode(bytes, text, out, &decoded)) return false;
  size_t digits = 0;
  for (size_t i = text + 1; i < line && bytes[i] >= '0' && bytes[i] <= '9'; i++) digits++;
  return digits > 0 && (text + 1 + digits == line || bytes[text + 1 + digits] == '\r');
}

static uint32_t find(const rank_table *table, const char *bytes, size_t length) {
  size_t at = (size_t)XXH3_64bits(bytes, length) & table->mask;
  for (uint32_t rank; (rank = table->slots[at]) != DURE_NO_ID; at = (at + 1) & table->mask) {
    if (table->tokens[rank].length == length && memcmp(table->tokens[rank].bytes, bytes, length) == 0) return rank;
  }
  return DURE_NO_ID;
}

static dure_status add(rank_table *table, uint32_t rank, const char *bytes, size_t length, size_t line) {
  if (rank >= table->capacity) {
    size_t capacity = (size_t)rank + rank / 2 + 1024;
    dure_token *grown = realloc(table->tokens, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu ranks", capacity);
    memset(grown + table->capacity, 0, (capacity - table->capacity) * sizeof(*grown));
    table->tokens = grown;
    table->capacity = capacity;
  }
  if (table->tokens[rank].length > 0) return dure_fail(DURE_CORRUPT, "line %zu: rank %u is given twice", line, rank);
  table->tokens[rank] = (dure_token){bytes, (uint32_t)length, DURE_TOKEN_USED};
  table->count++;
  if (rank > table->highest) table->highest = rank;
  return NULL;
}

static dure_status read_line(rank_table *table, const char *bytes, size_t length, size_t line, char **arena_end) {
  const char *space = memchr(bytes, ' ', length);
  size_t text = space != NULL ? (size_t)(space - bytes) : 0, size = 0, at = text + 1;
  uint64_t rank = 0;
  while (at < length && bytes[at] >= '0' && bytes[at] <= '9' && rank < DURE_TOKEN_ID_LIMIT)
    rank = rank * 10 + (uint64_t)(bytes[at++] - '0');
  bool is_number = text > 0 && at > text + 1 && at == length;
  if (is_number && text == 1 && bytes[0] == '=') return NULL;  // Whisper's file has a token of no bytes: never met
  if (!is_number || rank >= DURE_TOKEN_ID_LIMIT || !dure_base64_decode(bytes, text, *arena_end, &size) || size == 0) {
    return dure_fail(DURE_CORRUPT,
                     "line %zu: expected the base64 of a token, a space and a rank below %u, found '%.*s'", line,
                     DURE_TOKEN_ID_LIMIT, (int)(length < 80 ? length : 80), bytes);
  }
  DURE_TRY(add(table, (uint32_t)rank, *arena_end, size, line));
  *arena_end += size;
  return NULL;
}

static dure_status index_ranks(rank_table *table) {
  size_t slots = 1024;
  while (slots < table->count * 2) slots *= 2;
  table->slots = malloc(slots * sizeof(uint32_t));
  if (table->slots == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu ranks", table->count);
  memset(table->slots, 0xFF, slots * sizeof(uint32_t));
  table->mask = slots - 1;
  for (uint32_t rank = 0; rank <= table->highest && table->count > 0; rank++) {
    const dure_token *token = &table->tokens[rank];
    if (token->length == 0) continue;
    uint32_t other = find(table, token->bytes, token->length);
    if (other != DURE_NO_ID) return dure_fail(DURE_CORRUPT, "ranks %u and %u are the same token", other, rank);
    size_t at = (size_t)XXH3_64bits(token->bytes, token->length) & table->mask;
    while (table->slots[at] != DURE_NO_ID) at = (at + 1) & table->mask;
    table->slots[at] = rank;
  }
  for (int byte = 0; byte < 256; byte++) {
    char one = (char)byte;
    if (find(table, &one, 1) == DURE_NO_ID)
      return dure_fail(DURE_CORRUPT, "expected a rank for each of the 256 bytes, found none for byte %d", byte);
  }
  return NULL;
}

static dure_status read_ranks(rank_table *table, const char *bytes, size_t length) {
  table->arena = malloc(length + 4);
  if (table->arena == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a tokenizer of %zu bytes", length);
  char *arena_end = table->arena;
  size_t line = 1;
  for (size_t at = 0; at < length; line++) {
    const char *newline = memchr(bytes + at, '\n', length - at);
    size_t size = newline != NULL ? (size_t)(newline - (bytes + at)) : length - at, next = at + size + 1;
    if (size > 0 && bytes[at + size - 1] == '\r') size--;
    if (size > 0) DURE_TRY(read_line(table, bytes + at, size, line, &arena_end));
    at = next;
  }
  return index_ranks(table);
}

// ---- writing ----

static void put_token(dure_bytes *out, const char *bytes, size_t length) {
  char text[512];
  dure_bytes_append(out, "\"", 1);
  for (size_t at = 0; at < length; at += 256) {
    size_t part = length - at < 256 ? length - at : 256;
    size_t size = dure_bytes_to_characters(bytes + at, part, text);
    for (size_t i = 0; i < size; i++) {
      if (text[i] == '"' || text[i] == '\\') dure_bytes_append(out, "\\", 1);
      dure_bytes_append(out, text + i, 1);
    }
  }
  dure_bytes_append(out, "\"", 1);
}

typedef struct cut {
  uint32_t left, right;
} cut;

static int compare_cuts(const void *a, const void *b) {
  const cut *left = a, *right = b;
  if (left->left != right->left) return left->left < right->left ? -1 : 1;
  return left->right < right->right ? -1 : left->right > right->right;
}

static dure_status put_merges(const rank_table *table, dure_bytes *out) {
  uint32_t longest = 0;
  for (uint32_t rank = 0; rank <= table->highest; rank++) {
    if (table->tokens[rank].length > longest) longest = table->tokens[rank].length;
  }
  cut *cuts = malloc((longest + 1) * sizeof(*cuts));
  if (cuts == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a token of %u bytes", longest);
  bool is_first = true;
  for (uint32_t rank = 0; rank <= table->highest && !out->is_failed; rank++) {
    const dure_token *token = &table->tokens[rank];
    size_t count = 0;
    for (uint32_t at = 1; at < token->length; at++) {
      cut c = {find(table, token->bytes, at), find(table, token->bytes + at, token->length - at)};
      if (c.left != DURE_NO_ID && c.right != DURE_NO_ID) cuts[count++] = c;
    }
    qsort(cuts, count, sizeof(*cuts), compare_cuts);
    for (size_t i = 0; i < count; i++) {
      const dure_token *left = &table->tokens[cuts[i].left], *right = &table->tokens[cuts[i].right];
      dure_bytes_append_text(out, is_first ? "[" : ",\n[");
      put_token(out, left->bytes, left->length);
      dure_bytes_append(out, ",", 1);
      put_token(out, right->bytes, right->length);
      dure_bytes_append(out, "]", 1);
      is_first = false;
    }
  }
  free(cuts);
  return NULL;
}

static dure_status write_json(const rank_table *table, const dure_named_pattern *pattern, char **out_json,
                              size_t *out_length) {
  dure_bytes out = {0};
  bool is_first = true;
  dure_json_put(&out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
  dure_named_pattern_put(pattern, &out);
  dure_json_put(&out,
                "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
                "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":true,"
                "\"ranks_by_token\":true,\n\"vocab\":{\n");
  for (uint32_t rank = 0; rank <= table->highest; rank++) {
    const dure_token *token = &table->tokens[rank];
    if (token->length == 0) continue;
    dure_bytes_append_text(&out, is_first ? "" : ",\n");
    put_token(&out, token->bytes, token->length);
    dure_json_put(&out, ":%u", rank);
    is_first = false;
  }
  dure_json_put(&out, "},\n\"merges\":[\n");
  dure_status status = put_merges(table, &out);
  dure_json_put(&out, "]}}\n");
  if (status != NULL) {
    dure_bytes_free(&out);
    return status;
  }
  return dure_json_finish(&out, out_json, out_length);
}

dure_status dure_tiktoken_to_json(const char *bytes, size_t length, const char *pattern, const char *file_name,
                                  char **out_json, size_t *out_length) {
  rank_table table = {0};
  const dure_named_pattern *named;
  *out_json = NULL;
  *out_length = 0;
  dure_status status = read_ranks(&table, bytes, length);
  if (status == NULL) status = dure_named_pattern_find(pattern, file_name, table.count, &named);
  if (status == NULL) status = write_json(&table, named, out_json, out_length);
  free(table.tokens);
  free(table.arena);
  free(table.slots);
  return status;
}
