// Counts the different words (pre-tokens) of a text.
#ifndef DURE_DATA_BPE_WORDS_H_
#define DURE_DATA_BPE_WORDS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_word {
  size_t start;     // of its bytes in the arena
  uint32_t length;  // bytes
  uint64_t count;   // times it was added
} dure_word;

// Start from {0}; release with dure_words_free.
typedef struct dure_words {
  dure_word *words;  // [count], in the order of their first appearance
  size_t count, capacity;
  char *arena;  // the bytes of all words
  size_t arena_length, arena_capacity;
  uint32_t *table;  // hash table of word index + 1; 0 is empty
  size_t table_size;
} dure_words;

// Counts a word once more. DURE_OUT_OF_MEMORY, or DURE_UNSUPPORTED beyond 2^32 - 2 different words or bytes in one.
DURE_MUST_CHECK dure_status dure_words_add(dure_words *words, const char *bytes, size_t length);
void dure_words_free(dure_words *words);

#endif  // DURE_DATA_BPE_WORDS_H_
