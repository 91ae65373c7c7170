#include "data/bpe_pairs.h"

#include <stdlib.h>

static size_t slot_of(const dure_pairs *pairs, uint64_t pair) {
  uint64_t hash = pair * 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio
  size_t at = (size_t)(hash ^ hash >> 32) & (pairs->table_size - 1);
  while (pairs->table[at] != 0 && pairs->pairs[pairs->table[at] - 1].pair != pair)
    at = (at + 1) & (pairs->table_size - 1);
  return at;
}

static dure_status no_memory(const dure_pairs *pairs) {
  return dure_fail(DURE_OUT_OF_MEMORY, "no memory to count %zu different pairs", pairs->count);
}

static dure_status make_room(dure_pairs *pairs) {
  if (pairs->count >= UINT32_MAX - 1) return no_memory(pairs);
  if (pairs->count == pairs->capacity) {
    size_t capacity = pairs->capacity + pairs->capacity / 2 + 1024;
    dure_pair *grown = realloc(pairs->pairs, capacity * sizeof(*grown));
    if (grown == NULL) return no_memory(pairs);
    pairs->pairs = grown;
    pairs->capacity = capacity;
  }
  if (pairs->count * 2 < pairs->table_size) return NULL;
  size_t size = pairs->table_size > 0 ? pairs->table_size * 2 : 4096;
  uint32_t *table = calloc(size, sizeof(*table));
  if (table == NULL) return no_memory(pairs);
  free(pairs->table);
  pairs->table = table;
  pairs->table_size = size;
  for (size_t i = 0; i < pairs->count; i++) pairs->table[slot_of(pairs, pairs->pairs[i].pair)] = (uint32_t)i + 1;
  return NULL;
}

static dure_status find_or_add(dure_pairs *pairs, uint64_t pair, dure_pair **out_pair) {
  *out_pair = NULL;
  uint32_t index = pairs->table_size > 0 ? pairs->table[slot_of(pairs, pair)] : 0;
  if (index == 0) {
    DURE_TRY(make_room(pairs));
    pairs->pairs[pairs->count] = (dure_pair){.pair = pair};
    index = (uint32_t)++pairs->count;
    pairs->table[slot_of(pairs, pair)] = index;
  }
  *out_pair = &pairs->pairs[index - 1];
  return NULL;
}

static dure_status touch(dure_pairs *pairs, dure_pair *pair) {
  if (pairs->touched_count == pairs->touched_capacity) {
    size_t capacity = pairs->touched_capacity * 2 + 256;
    uint32_t *grown = realloc(pairs->touched, capacity * sizeof(*grown));
    if (grown == NULL) return no_memory(pairs);
    pairs->touched = grown;
    pairs->touched_capacity = capacity;
  }
  pairs->touched[pairs->touched_count++] = (uint32_t)(pair - pairs->pairs);
  pair->is_touched = true;
  return NULL;
}

dure_status dure_pairs_change(dure_pairs *pairs, uint32_t left, uint32_t right, int64_t delta, uint32_t word) {
  dure_pair *pair;
  DURE_TRY(find_or_add(pairs, (uint64_t)left << 32 | right, &pair));
  pair->count += delta;
  if (delta <= 0) return NULL;
  if (!pair->is_touched) DURE_TRY(touch(pairs, pair));
  dure_word_list *list = &pair->waiting;
  // Words are gone through one after the other, so this keeps each one once.
  if (list->count > 0 && list->words[list->count - 1] == word) return NULL;
  if (list->count == list->capacity) {
    uint32_t capacity = list->capacity + list->capacity / 2 + 2;
    uint32_t *grown = capacity < list->capacity ? NULL : realloc(list->words, capacity * sizeof(*grown));
    if (grown == NULL) return no_memory(pairs);
    list->words = grown;
    list->capacity = capacity;
  }
  list->words[list->count++] = word;
  return NULL;
}

static bool is_before(const dure_queued_pair *a, const dure_queued_pair *b) {
  return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static void push(dure_pairs *pairs, dure_queued_pair added) {
  size_t at = pairs->queue_count++;
  for (size_t parent; at > 0 && is_before(&added, &pairs->queue[parent = (at - 1) / 2]); at = parent) {
    pairs->queue[at] = pairs->queue[parent];
  }
  pairs->queue[at] = added;
}

// Puts `moving` into the heap in place of its first element.
static void replace_first(dure_pairs *pairs, dure_queued_pair moving) {
  size_t at = 0;
  for (size_t child; (child = 2 * at + 1) < pairs->queue_count; at = child) {
    if (child + 1 < pairs->queue_count && is_before(&pairs->queue[child + 1], &pairs->queue[child])) child++;
    if (!is_before(&pairs->queue[child], &moving)) break;
    pairs->queue[at] = pairs->queue[child];
  }
  pairs->queue[at] = moving;
}

dure_status dure_pairs_queue(dure_pairs *pairs) {
  size_t needed = pairs->queue_count + pairs->touched_count;
  if (needed > pairs->queue_capacity) {
    size_t capacity = needed + needed / 2;
    dure_queued_pair *grown = realloc(pairs->queue, capacity * sizeof(*grown));
    if (grown == NULL) return no_memory(pairs);
    pairs->queue = grown;
    pairs->queue_capacity = capacity;
  }
  for (size_t i = 0; i < pairs->touched_count; i++) {
    dure_pair *pair = &pairs->pairs[pairs->touched[i]];
    if (pair->count > 0) {
      push(pairs, (dure_queued_pair){pair->pair, pair->count, pair->waiting});
    } else {
      free(pair->waiting.words);
    }
    pair->waiting = (dure_word_list){0};
    pair->is_touched = false;
  }
  pairs->touched_count = 0;
  return NULL;
}

bool dure_pairs_pop(dure_pairs *pairs, dure_queued_pair *out_pair) {
  *out_pair = (dure_queued_pair){0};
  while (pairs->queue_count > 0) {
    dure_queued_pair first = pairs->queue[0];
    int64_t count = pairs->pairs[pairs->table[slot_of(pairs, first.pair)] - 1].count;
    if (count == first.count) {
      if (--pairs->queue_count > 0) replace_first(pairs, pairs->queue[pairs->queue_count]);
      *out_pair = first;
      return true;
    }
    // Merges around it took occurrences since: it goes where its count now belongs, or out.
    if (count > 0) {
      first.count = count;
      replace_first(pairs, first);
    } else {
      free(first.words.words);
      if (--pairs->queue_count > 0) replace_first(pairs, pairs->queue[pairs->queue_count]);
    }
  }
  return false;
}

void dure_pairs_free(dure_pairs *pairs) {
  for (size_t i = 0; i < pairs->count; i++) free(pairs->pairs[i].waiting.words);
  for (size_t i = 0; i < pairs->queue_count; i++) free(pairs->queue[i].words.words);
  free(pairs->pairs);
  free(pairs->table);
  free(pairs->touched);
  free(pairs->queue);
  *pairs = (dure_pairs){0};
}
