// Added tokens: texts that become a token by themselves, found before the pre-tokenizer sees the text.
//
// As in `tokenizers`: the leftmost one, and of those that begin there the longest; it may take the white space on its
// left or right with it; one that must be a word by itself is passed over between letters.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_parts.h"

static int compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length) {
  int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
  if (order != 0) return order;
  return a_length < b_length ? -1 : a_length > b_length;
}

static int compare_tokens(const void *a, const void *b) {
  const dure_added_token *left = a, *right = b;
  return compare_bytes(left->content, left->length, right->content, right->length);
}

dure_status dure_added_set_create(dure_added_token *tokens, uint32_t count, dure_added_set *out_set) {
  *out_set = (dure_added_set){.tokens = tokens, .count = count};
  if (count == 0) return NULL;
  qsort(tokens, count, sizeof(tokens[0]), compare_tokens);
  uint32_t next = 0;
  for (uint32_t byte = 0; byte < 256; byte++) {
    out_set->first[byte] = next;
    while (next < count && (uint8_t)tokens[next].content[0] == byte) next++;
  }
  out_set->first[256] = next;
  for (uint32_t i = 0; i < count; i++) {
    out_set->special_count += tokens[i].is_special;
    if (i > 0 && compare_tokens(&tokens[i - 1], &tokens[i]) == 0) {
      return dure_fail(DURE_CORRUPT, "added_tokens: '%.*s' is there twice, as ids %u and %u", (int)tokens[i].length,
                       tokens[i].content, tokens[i - 1].id, tokens[i].id);
    }
  }
  return NULL;
}

void dure_added_set_free(dure_added_set *set) {
  free(set->tokens);
  *set = (dure_added_set){0};
}

const dure_added_token *dure_added_set_find(const dure_added_set *set, const char *content, size_t length) {
  uint32_t low = 0, high = set->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    int order = compare_bytes(set->tokens[middle].content, set->tokens[middle].length, content, length);
    if (order == 0) return &set->tokens[middle];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

// The first token in [low, high) whose byte at `depth` is at least `byte`; all of them are longer than `depth`.
static uint32_t lower_bound(const dure_added_set *set, uint32_t low, uint32_t high, size_t depth, uint32_t byte) {
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if ((uint8_t)set->tokens[middle].content[depth] < byte) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

const dure_added_token *dure_added_set_longest(const dure_added_set *set, const char *text, size_t length) {
  if (set->count == 0) return NULL;
  uint32_t low = set->first[(uint8_t)text[0]], high = set->first[(uint8_t)text[0] + 1];
  const dure_added_token *longest = NULL;
  // Tokens in [low, high) begin with the first `depth` bytes of the text.
  for (size_t depth = 1; low < high; depth++) {
    if (set->tokens[low].length == depth) longest = &set->tokens[low++];  // the shortest sorts first
    if (depth == length) break;
    low = lower_bound(set, low, high, depth, (uint8_t)text[depth]);
    high = lower_bound(set, low, high, depth, (uint32_t)(uint8_t)text[depth] + 1);
  }
  return longest;
}

static bool is_word_character(uint32_t c) {
  switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return c == 0x200C || c == 0x200D;  // joiners
  }
}

static bool is_within_word(const char *text, size_t length, size_t start, size_t end) {
  uint32_t c;
  if (dure_utf8_character_before(text, start, &c) > 0 && is_word_character(c)) return true;
  return dure_utf8_character(text + end, length - end, &c) > 0 && is_word_character(c);
}

bool dure_added_set_next(const dure_added_set *set, bool parse_special, const char *text, size_t length, size_t at,
                         size_t plain_start, const dure_added_token **out_token, size_t *out_start, size_t *out_end,
                         size_t *out_resume) {
  *out_token = NULL;
  *out_start = *out_end = *out_resume = length;
  if (set->count == 0 || (!parse_special && set->special_count == set->count)) return false;
  while (at < length) {
    uint8_t byte = (uint8_t)text[at];
    const dure_added_token *token =
        set->first[byte] < set->first[byte + 1] ? dure_added_set_longest(set, text + at, length - at) : NULL;
    if (token == NULL) {
      at++;
      continue;
    }
    size_t end = at + token->length;
    bool is_taken =
        (parse_special || !token->is_special) && !(token->is_single_word && is_within_word(text, length, at, end));
    if (is_taken) {
      *out_token = token;
      *out_resume = end;
      *out_start = token->strips_left ? dure_utf8_skip_spaces_back(text, plain_start, at) : at;
      *out_end = token->strips_right ? dure_utf8_skip_spaces(text, length, end) : end;
      if (*out_start < plain_start) *out_start = plain_start;
      return true;
    }
    at = end;
  }
  return false;
}
