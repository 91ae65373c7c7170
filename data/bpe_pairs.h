// How often each pair of adjacent symbols occurs, in which words, and which is the most frequent.
#ifndef DURE_DATA_BPE_PAIRS_H_
#define DURE_DATA_BPE_PAIRS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

// Indices of words, without the same one twice in a row.
typedef struct dure_word_list {
  uint32_t *words;
  uint32_t count, capacity;
} dure_word_list;

typedef struct dure_pair {
  uint64_t pair;           // left << 32 | right
  int64_t count;           // occurrences, each word's as often as the word
  dure_word_list waiting;  // words it came into since it was last queued
  bool is_touched;         // in `touched`
} dure_pair;

// A pair in the queue: the count it had when it was put there, and words it may be in.
typedef struct dure_queued_pair {
  uint64_t pair;
  int64_t count;
  dure_word_list words;
} dure_queued_pair;

// Start from {0}; release with dure_pairs_free.
typedef struct dure_pairs {
  dure_pair *pairs;  // [count]; an index into it stays valid
  size_t count, capacity;
  uint32_t *table;  // hash table of pair index + 1; 0 is empty
  size_t table_size;
  uint32_t *touched;  // pairs with words waiting
  size_t touched_count, touched_capacity;
  dure_queued_pair *queue;  // a heap: the highest count first, among equals the lowest pair
  size_t queue_count, queue_capacity;
} dure_pairs;

// Adds `delta` occurrences, of word `word`; where they are positive the word is kept for the queue.
DURE_MUST_CHECK dure_status dure_pairs_change(dure_pairs *pairs, uint32_t left, uint32_t right, int64_t delta,
                                              uint32_t word);
// Queues every pair that words came into since the last call.
DURE_MUST_CHECK dure_status dure_pairs_queue(dure_pairs *pairs);
// Takes the most frequent pair, by its count now, out of the queue. False when none occurs. The caller frees
// `words.words`.
bool dure_pairs_pop(dure_pairs *pairs, dure_queued_pair *out_pair);
void dure_pairs_free(dure_pairs *pairs);

#endif  // DURE_DATA_BPE_PAIRS_H_
