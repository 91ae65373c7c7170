#include "data/bpe_learn.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/tokenizer_bytes.h"
#include "runtime/os.h"

// ---- names ----

// The slot of the text a + b, hashed as one.
static size_t slot_of(const dure_token_names *names, uint64_t hash, const char *a, size_t a_length, const char *b,
                      size_t b_length) {
  size_t at = (size_t)hash & (names->table_size - 1);
  while (names->table[at] != 0) {
    const dure_new_token *token = &names->tokens[names->table[at] - 1];
    if (token->length == a_length + b_length && memcmp(token->text, a, a_length) == 0 &&
        (b_length == 0 || memcmp(token->text + a_length, b, b_length) == 0))
      break;
    at = (at + 1) & (names->table_size - 1);
  }
  return at;
}

static dure_status make_name_room(dure_token_names *names) {
  if (names->count < names->capacity) return NULL;
  uint32_t capacity = names->capacity > 0 ? names->capacity * 2 : 1024;
  dure_new_token *tokens = realloc(names->tokens, capacity * sizeof(*tokens));
  if (tokens == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %u tokens", capacity);
  names->tokens = tokens;
  names->capacity = capacity;
  uint32_t *table = calloc((size_t)capacity * 2, sizeof(*table));
  if (table == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %u tokens", capacity);
  free(names->table);
  names->table = table;
  names->table_size = (size_t)capacity * 2;
  for (uint32_t id = 0; id < names->count; id++) {
    const dure_new_token *token = &tokens[id];
    table[slot_of(names, XXH3_64bits(token->text, token->length), token->text, token->length, "", 0)] = id + 1;
  }
  return NULL;
}

dure_status dure_token_names_add(dure_token_names *names, const char *a, size_t a_length, const char *b,
                                 size_t b_length, uint32_t *out_id) {
  *out_id = 0;
  size_t length = a_length + b_length;
  if (length >= UINT32_MAX) return dure_fail(DURE_UNSUPPORTED, "a token of %zu bytes", length);
  DURE_TRY(make_name_room(names));
  char *text = malloc(length + 1);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a token");
  memcpy(text, a, a_length);
  if (b_length > 0) memcpy(text + a_length, b, b_length);
  text[length] = '\0';
  size_t slot = slot_of(names, XXH3_64bits(text, length), text, length, "", 0);
  if (names->table[slot] != 0) {
    *out_id = names->table[slot] - 1;
    free(text);
    return NULL;
  }
  *out_id = names->count;
  names->tokens[names->count++] = (dure_new_token){text, (uint32_t)length};
  names->table[slot] = names->count;
  return NULL;
}

void dure_token_names_free(dure_token_names *names) {
  for (uint32_t i = 0; i < names->count; i++) free(names->tokens[i].text);
  free(names->tokens);
  free(names->table);
  *names = (dure_token_names){0};
}

// ---- words ----

dure_status dure_merge_learner_reserve(dure_merge_learner *learner, size_t words, size_t symbols) {
  learner->words = malloc((words + 1) * sizeof(*learner->words));
  learner->symbols = malloc((symbols + 1) * sizeof(*learner->symbols));
  if (learner->words == NULL || learner->symbols == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu different words", words);
  return NULL;
}

uint32_t *dure_merge_learner_begin(dure_merge_learner *learner) { return learner->symbols + learner->symbol_count; }

void dure_merge_learner_end(dure_merge_learner *learner, uint32_t size, uint64_t count) {
  learner->words[learner->word_count++] = (dure_merge_word){learner->symbol_count, count, size};
  learner->symbol_count += size;
}

dure_status dure_merge_learner_count(dure_merge_learner *learner) {
  for (size_t w = 0; w < learner->word_count; w++) {
    const dure_merge_word *word = &learner->words[w];
    const uint32_t *symbols = learner->symbols + word->start;
    for (uint32_t i = 0; i + 1 < word->size; i++) {
      DURE_TRY(dure_pairs_change(&learner->pairs, symbols[i], symbols[i + 1], (int64_t)word->count, (uint32_t)w));
    }
  }
  return dure_pairs_queue(&learner->pairs);
}

void dure_merge_learner_free(dure_merge_learner *learner) {
  free(learner->words);
  free(learner->symbols);
  free(learner->merges);
  dure_pairs_free(&learner->pairs);
  *learner = (dure_merge_learner){0};
}

// ---- merging ----

// Joins the pair wherever it is in the word, from the left, and counts what that changes for the pairs beside it. The
// joined pair's own count stays as it is: it is not queued again, so nobody asks for it.
static dure_status merge_in_word(dure_merge_learner *l, uint32_t w, uint32_t left, uint32_t right, uint32_t merged) {
  uint32_t *symbols = l->symbols + l->words[w].start;
  int64_t count = (int64_t)l->words[w].count;
  uint32_t size = l->words[w].size, written = 0;
  for (uint32_t i = 0; i < size; i++) {
    if (symbols[i] != left || i + 1 >= size || symbols[i + 1] != right) {
      symbols[written++] = symbols[i];
      continue;
    }
    if (written > 0) {
      DURE_TRY(dure_pairs_change(&l->pairs, symbols[written - 1], left, -count, w));
      DURE_TRY(dure_pairs_change(&l->pairs, symbols[written - 1], merged, count, w));
    }
    if (i + 2 < size) {
      DURE_TRY(dure_pairs_change(&l->pairs, right, symbols[i + 2], -count, w));
      DURE_TRY(dure_pairs_change(&l->pairs, merged, symbols[i + 2], count, w));
    }
    symbols[written++] = merged;
    i++;
  }
  l->words[w].size = written;
  return NULL;
}

static dure_status note_merge(dure_merge_learner *l, uint64_t pair) {
  if (l->merge_count == l->merge_capacity) {
    size_t capacity = l->merge_capacity * 2 + 1024;
    uint64_t *grown = realloc(l->merges, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu merges", capacity);
    l->merges = grown;
    l->merge_capacity = capacity;
  }
  l->merges[l->merge_count++] = pair;
  return NULL;
}

static dure_status merge_pair(dure_merge_learner *l, dure_token_names *names, const dure_queued_pair *best) {
  uint32_t left = (uint32_t)(best->pair >> 32), right = (uint32_t)best->pair, merged;
  const dure_new_token a = names->tokens[left], b = names->tokens[right];
  DURE_TRY(dure_token_names_add(names, a.text, a.length, b.text, b.length, &merged));
  DURE_TRY(note_merge(l, best->pair));
  for (uint32_t i = 0; i < best->words.count; i++)
    DURE_TRY(merge_in_word(l, best->words.words[i], left, right, merged));
  return dure_pairs_queue(&l->pairs);
}

dure_status dure_merge_learner_next(dure_merge_learner *learner, dure_token_names *names, uint64_t min_frequency,
                                    bool *out_is_done) {
  dure_queued_pair best;
  *out_is_done = !dure_pairs_pop(&learner->pairs, &best);
  if (*out_is_done) return NULL;
  *out_is_done = (uint64_t)best.count < min_frequency;
  dure_status status = *out_is_done ? NULL : merge_pair(learner, names, &best);
  free(best.words.words);
  return status;
}

// ---- what trainers have in common ----

static int compare_texts(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// There may be tens of thousands: sorted, equal ones are neighbours.
static dure_status check_distinct(const char *const *tokens, size_t count) {
  const char **sorted = malloc((count + 1) * sizeof(*sorted));
  if (sorted == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for the special tokens");
  for (size_t i = 0; i < count; i++) sorted[i] = tokens[i];
  qsort(sorted, count, sizeof(*sorted), compare_texts);
  dure_status status = NULL;
  for (size_t i = 1; i < count && status == NULL; i++) {
    if (strcmp(sorted[i - 1], sorted[i]) == 0) {
      status = dure_fail(DURE_INVALID_ARGUMENT, "the special token '%s' is given twice", sorted[i]);
    }
  }
  free(sorted);
  return status;
}

dure_status dure_special_tokens_check(const char *const *tokens, size_t count) {
  for (size_t i = 0; i < count; i++) {
    size_t length = strlen(tokens[i]);
    if (length == 0 || length > 1000 || dure_utf8_valid_prefix(tokens[i], length) != length) {
      return dure_fail(DURE_INVALID_ARGUMENT, "special token %zu: expected 1 to 1000 bytes of UTF-8, found %zu bytes",
                       i, length);
    }
  }
  return check_distinct(tokens, count);
}

dure_status dure_train_report(const dure_train_progress *now,
                              void (*progress)(void *context, const dure_train_progress *progress), void *context) {
  if (progress != NULL) progress(context, now);
  return dure_os_interrupted() ? dure_fail(DURE_CANCELLED, "training the tokenizer was interrupted") : NULL;
}
