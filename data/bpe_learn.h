// Learns the merges of counted words: the most frequent pair of adjacent symbols becomes a symbol, over and over; among
// equally frequent pairs the one with the lowest (left id, right id). Sennrich et al. (2016), algorithm 1. What a
// symbol is, a byte or a character, is the caller's business.
#ifndef DURE_DATA_BPE_LEARN_H_
#define DURE_DATA_BPE_LEARN_H_

#include "data/bpe_pairs.h"
#include "data/bpe_train.h"
#include "data/tokenizer_write.h"

// ---- names ----
// Tokens by id, found by their text. Start from {0}; release with dure_token_names_free.
typedef struct dure_token_names {
  dure_new_token *tokens;  // [count]
  uint32_t count, capacity;
  uint32_t *table;  // hash table of id + 1; 0 is empty
  size_t table_size;
} dure_token_names;

// The id of the token with this text, which comes in two parts (`b` may be empty): a new one if there is none.
DURE_MUST_CHECK dure_status dure_token_names_add(dure_token_names *names, const char *a, size_t a_length, const char *b,
                                                 size_t b_length, uint32_t *out_id);
void dure_token_names_free(dure_token_names *names);

// ---- merges ----
typedef struct dure_merge_word {
  size_t start;    // of its symbols
  uint64_t count;  // times it occurs
  uint32_t size;   // symbols by now
} dure_merge_word;

// Start from {0}; release with dure_merge_learner_free.
typedef struct dure_merge_learner {
  dure_merge_word *words;  // [word_count]
  size_t word_count;
  uint32_t *symbols;  // of all words
  size_t symbol_count;
  dure_pairs pairs;
  uint64_t *merges;  // [merge_count]: left << 32 | right
  size_t merge_count, merge_capacity;
} dure_merge_learner;

// Room for so many words, fewer than 2^32, of so many symbols in all.
DURE_MUST_CHECK dure_status dure_merge_learner_reserve(dure_merge_learner *learner, size_t words, size_t symbols);
// Adds a word: the caller writes its symbols where `_begin` says, within the room made, and then says how many there
// are and how often the word occurs.
uint32_t *dure_merge_learner_begin(dure_merge_learner *learner);
void dure_merge_learner_end(dure_merge_learner *learner, uint32_t size, uint64_t count);
// Counts the pairs, once, after all words.
DURE_MUST_CHECK dure_status dure_merge_learner_count(dure_merge_learner *learner);
// Joins the most frequent pair everywhere and notes it among the merges; the new symbol's name, or an old one's, is
// that of both. `out_is_done`: no pair occurs, or none `min_frequency` times.
DURE_MUST_CHECK dure_status dure_merge_learner_next(dure_merge_learner *learner, dure_token_names *names,
                                                    uint64_t min_frequency, bool *out_is_done);
void dure_merge_learner_free(dure_merge_learner *learner);

// ---- what trainers have in common ----
enum { dure_train_progress_interval = 256 };  // chunks of text, and merges, between two reports
// DURE_INVALID_ARGUMENT for a special token that is empty, too long, not UTF-8 or given twice.
DURE_MUST_CHECK dure_status dure_special_tokens_check(const char *const *tokens, size_t count);
// Calls `progress`, which may be NULL. DURE_CANCELLED when interrupted.
DURE_MUST_CHECK dure_status dure_train_report(const dure_train_progress *now,
                                              void (*progress)(void *context, const dure_train_progress *progress),
                                              void *context);

#endif  // DURE_DATA_BPE_LEARN_H_
