#include "data/bpe_train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/bpe_pairs.h"
#include "data/bpe_words.h"
#include "data/pretokenize.h"
#include "data/tokenizer_bytes.h"
#include "data/tokenizer_write.h"
#include "runtime/os.h"

enum { token_limit = 1 << 22, progress_interval = 256 };

struct dure_bpe_trainer {
  dure_bpe_train_options options;
  dure_pretokenizer *pretokenizer;
  dure_pretokenize_scratch *scratch;
  dure_words words;
  uint32_t *symbols;     // ids of all words, each where its bytes are in the arena of `words`
  uint32_t *word_sizes;  // [words.count]: how many symbols each word has by now
  dure_pairs pairs;
  dure_new_token *tokens;  // by id
  uint32_t token_count, token_capacity, special_count;
  uint32_t *token_table;  // hash table of id + 1 by the token's text; 0 is empty
  size_t token_table_size;
  uint32_t byte_ids[256];
  uint64_t *merges;
  size_t merge_count, merge_capacity;
  uint64_t chunk_count;
  dure_train_progress progress;
};

typedef dure_bpe_trainer trainer;

static dure_status report(trainer *t) {
  t->progress.distinct_words = t->words.count;
  t->progress.vocabulary_wanted = t->options.vocabulary_size;
  if (t->options.progress != NULL) t->options.progress(t->options.progress_context, &t->progress);
  return dure_os_interrupted() ? dure_fail(DURE_CANCELLED, "training the tokenizer was interrupted") : NULL;
}

// ---- tokens ----

static size_t token_slot(const trainer *t, const char *text, size_t length) {
  size_t at = (size_t)XXH3_64bits(text, length) & (t->token_table_size - 1);
  while (t->token_table[at] != 0) {
    const dure_new_token *token = &t->tokens[t->token_table[at] - 1];
    if (token->length == length && memcmp(token->text, text, length) == 0) break;
    at = (at + 1) & (t->token_table_size - 1);
  }
  return at;
}

static dure_status make_token_room(trainer *t) {
  if (t->token_count < t->token_capacity) return NULL;
  uint32_t capacity = t->token_capacity > 0 ? t->token_capacity * 2 : 1024;
  dure_new_token *tokens = realloc(t->tokens, capacity * sizeof(*tokens));
  if (tokens == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %u tokens", capacity);
  t->tokens = tokens;
  t->token_capacity = capacity;
  uint32_t *table = calloc((size_t)capacity * 2, sizeof(*table));
  if (table == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %u tokens", capacity);
  free(t->token_table);
  t->token_table = table;
  t->token_table_size = (size_t)capacity * 2;
  for (uint32_t id = 0; id < t->token_count; id++) {
    table[token_slot(t, tokens[id].text, tokens[id].length)] = id + 1;
  }
  return NULL;
}

// The id of the token with this text, a new one if there is none. Takes ownership of `text`, which ends with a NUL.
static dure_status add_token(trainer *t, char *text, size_t length, uint32_t *out_id) {
  *out_id = 0;
  dure_status status = text == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "no memory for a token") : make_token_room(t);
  if (status != NULL) {
    free(text);
    return status;
  }
  size_t slot = token_slot(t, text, length);
  if (t->token_table[slot] != 0) {
    *out_id = t->token_table[slot] - 1;
    free(text);
    return NULL;
  }
  *out_id = t->token_count;
  t->tokens[t->token_count++] = (dure_new_token){text, (uint32_t)length};
  t->token_table[slot] = t->token_count;
  return NULL;
}

static char *copy_text(const char *text, size_t length) {
  char *copy = malloc(length + 1);
  if (copy == NULL) return NULL;
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

static dure_status add_special_tokens(trainer *t) {
  static const char *const end_of_text[] = {"<|endoftext|>"};
  const char *const *specials = t->options.special_tokens != NULL ? t->options.special_tokens : end_of_text;
  size_t count = t->options.special_tokens != NULL ? t->options.special_token_count : 1;
  for (size_t i = 0; i < count; i++) {
    size_t length = strlen(specials[i]);
    uint32_t id;
    if (length == 0 || length > 1000 || dure_utf8_valid_prefix(specials[i], length) != length) {
      return dure_fail(DURE_INVALID_ARGUMENT, "special token %zu: expected 1 to 1000 bytes of UTF-8, found %zu bytes",
                       i, length);
    }
    DURE_TRY(add_token(t, copy_text(specials[i], length), length, &id));
    if (id != i) return dure_fail(DURE_INVALID_ARGUMENT, "the special token '%s' is given twice", specials[i]);
  }
  t->special_count = (uint32_t)count;
  return NULL;
}

// In the order of the characters that stand for them, as `tokenizers` sorts its alphabet.
static dure_status add_bytes(trainer *t) {
  for (uint32_t character = 0; character < 512; character++) {
    int byte = dure_character_to_byte(character);
    char text[4];
    if (byte < 0) continue;
    size_t length = dure_utf8_write(character, text);
    DURE_TRY(add_token(t, copy_text(text, length), length, &t->byte_ids[byte]));
  }
  return NULL;
}

// ---- reading ----

static dure_status count_word(void *context, const dure_piece *piece) {
  return dure_words_add(&((trainer *)context)->words, piece->bytes, piece->length);
}

bool dure_bpe_trainer_needs_text(const dure_bpe_trainer *t) { return t->token_count < t->options.vocabulary_size; }

dure_status dure_bpe_trainer_add(dure_bpe_trainer *t, const char *text, size_t length) {
  if (!dure_bpe_trainer_needs_text(t)) return NULL;
  dure_piece chunk = {text, length, NULL, 0};
  DURE_TRY(dure_pretokenize(t->pretokenizer, t->scratch, &chunk, true, false, count_word, t));
  t->progress.bytes_read += length;
  return t->chunk_count++ % progress_interval == 0 ? report(t) : NULL;
}

// ---- merging ----

static dure_status count_pairs(trainer *t) {
  t->symbols = malloc((t->words.arena_length + 1) * sizeof(uint32_t));
  t->word_sizes = malloc((t->words.count + 1) * sizeof(uint32_t));
  if (t->symbols == NULL || t->word_sizes == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu different words", t->words.count);
  }
  for (size_t i = 0; i < t->words.arena_length; i++) t->symbols[i] = t->byte_ids[(uint8_t)t->words.arena[i]];
  for (size_t w = 0; w < t->words.count; w++) {
    const dure_word *word = &t->words.words[w];
    const uint32_t *symbols = t->symbols + word->start;
    t->word_sizes[w] = word->length;
    for (uint32_t i = 0; i + 1 < word->length; i++) {
      DURE_TRY(dure_pairs_change(&t->pairs, symbols[i], symbols[i + 1], (int64_t)word->count, (uint32_t)w));
    }
  }
  return dure_pairs_queue(&t->pairs);
}

// Joins the pair wherever it is in the word, from the left, and counts what that changes for the pairs beside it. The
// joined pair's own count stays as it is: it is not queued again, so nobody asks for it.
static dure_status merge_in_word(trainer *t, uint32_t w, uint32_t left, uint32_t right, uint32_t merged) {
  uint32_t *symbols = t->symbols + t->words.words[w].start;
  int64_t count = (int64_t)t->words.words[w].count;
  uint32_t size = t->word_sizes[w], written = 0;
  for (uint32_t i = 0; i < size; i++) {
    if (symbols[i] != left || i + 1 >= size || symbols[i + 1] != right) {
      symbols[written++] = symbols[i];
      continue;
    }
    if (written > 0) {
      DURE_TRY(dure_pairs_change(&t->pairs, symbols[written - 1], left, -count, w));
      DURE_TRY(dure_pairs_change(&t->pairs, symbols[written - 1], merged, count, w));
    }
    if (i + 2 < size) {
      DURE_TRY(dure_pairs_change(&t->pairs, right, symbols[i + 2], -count, w));
      DURE_TRY(dure_pairs_change(&t->pairs, merged, symbols[i + 2], count, w));
    }
    symbols[written++] = merged;
    i++;
  }
  t->word_sizes[w] = written;
  return NULL;
}

static dure_status record_merge(trainer *t, uint64_t pair, uint32_t *out_id) {
  const dure_new_token *left = &t->tokens[pair >> 32], *right = &t->tokens[(uint32_t)pair];
  size_t length = (size_t)left->length + right->length;
  *out_id = 0;
  if (length >= UINT32_MAX) return dure_fail(DURE_UNSUPPORTED, "a token of %zu bytes", length);
  char *text = malloc(length + 1);
  if (text != NULL) {
    memcpy(text, left->text, left->length);
    memcpy(text + left->length, right->text, right->length);
    text[length] = '\0';
  }
  DURE_TRY(add_token(t, text, length, out_id));
  if (t->merge_count == t->merge_capacity) {
    size_t capacity = t->merge_capacity * 2 + 1024;
    uint64_t *grown = realloc(t->merges, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu merges", capacity);
    t->merges = grown;
    t->merge_capacity = capacity;
  }
  t->merges[t->merge_count++] = pair;
  return NULL;
}

static dure_status merge_pair(trainer *t, const dure_queued_pair *best) {
  uint32_t left = (uint32_t)(best->pair >> 32), right = (uint32_t)best->pair, merged;
  DURE_TRY(record_merge(t, best->pair, &merged));
  for (uint32_t i = 0; i < best->words.count; i++)
    DURE_TRY(merge_in_word(t, best->words.words[i], left, right, merged));
  return dure_pairs_queue(&t->pairs);
}

static dure_status learn_merges(trainer *t) {
  while (t->token_count < t->options.vocabulary_size) {
    dure_queued_pair best;
    if (!dure_pairs_pop(&t->pairs, &best)) break;
    bool is_frequent = (uint64_t)best.count >= t->options.min_frequency;
    dure_status status = is_frequent ? merge_pair(t, &best) : NULL;
    free(best.words.words);
    if (status != NULL) return status;
    if (!is_frequent) break;
    t->progress.vocabulary_size = t->token_count;
    if (t->merge_count % progress_interval == 0) DURE_TRY(report(t));
  }
  t->progress.vocabulary_size = t->token_count;
  return report(t);
}

// ---- all of it ----

void dure_bpe_trainer_destroy(dure_bpe_trainer *t) {
  if (t == NULL) return;
  for (uint32_t i = 0; i < t->token_count; i++) free(t->tokens[i].text);
  free(t->tokens);
  free(t->token_table);
  free(t->merges);
  free(t->symbols);
  free(t->word_sizes);
  dure_pairs_free(&t->pairs);
  dure_words_free(&t->words);
  dure_pretokenize_scratch_destroy(t->scratch);
  dure_pretokenizer_destroy(t->pretokenizer);
  free(t);
}

static dure_status prepare(trainer *t) {
  DURE_TRY(add_special_tokens(t));
  DURE_TRY(add_bytes(t));
  DURE_TRY(dure_pretokenizer_create(&t->pretokenizer));
  DURE_TRY(dure_pretokenizer_add_pattern(t->pretokenizer, DURE_GPT2_PATTERN, strlen(DURE_GPT2_PATTERN), false,
                                         DURE_SPLIT_ISOLATED, false));
  return dure_pretokenize_scratch_create(&t->scratch);
}

dure_status dure_bpe_trainer_create(const dure_bpe_train_options *options, dure_bpe_trainer **out_trainer) {
  *out_trainer = NULL;
  if (options->vocabulary_size > token_limit) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a vocabulary of %u tokens; at most %d are supported",
                     options->vocabulary_size, token_limit);
  }
  trainer *t = calloc(1, sizeof(*t));
  if (t == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to train a tokenizer");
  t->options = *options;
  dure_status status = prepare(t);
  if (status != NULL) {
    dure_bpe_trainer_destroy(t);
    return status;
  }
  *out_trainer = t;
  return NULL;
}

dure_status dure_bpe_trainer_finish(dure_bpe_trainer *t, dure_tokenizer **out_tokenizer) {
  *out_tokenizer = NULL;
  if (dure_bpe_trainer_needs_text(t)) {
    DURE_TRY(report(t));
    DURE_TRY(count_pairs(t));
    DURE_TRY(learn_merges(t));
  }
  char *json = NULL;
  size_t length = 0;
  dure_new_vocabulary vocabulary = {t->tokens, t->token_count, t->special_count, t->merges, t->merge_count};
  DURE_TRY(dure_tokenizer_write_json(&vocabulary, &json, &length));
  dure_status status = dure_tokenizer_parse(json, length, out_tokenizer);
  free(json);
  return status;
}

static dure_status add_all(trainer *t, dure_text_source next, void *source_context) {
  while (dure_bpe_trainer_needs_text(t)) {
    const char *text = NULL;
    size_t length = 0;
    DURE_TRY(next(source_context, &text, &length));
    if (text == NULL) break;
    DURE_TRY(dure_bpe_trainer_add(t, text, length));
  }
  return NULL;
}

dure_status dure_tokenizer_train(dure_text_source next, void *source_context, const dure_bpe_train_options *options,
                                 dure_tokenizer **out_tokenizer) {
  trainer *t;
  *out_tokenizer = NULL;
  DURE_TRY(dure_bpe_trainer_create(options, &t));
  dure_status status = add_all(t, next, source_context);
  if (status == NULL) status = dure_bpe_trainer_finish(t, out_tokenizer);
  dure_bpe_trainer_destroy(t);
  return status;
}
