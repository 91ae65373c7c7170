#include "data/contamination.h"

#include <stdlib.h>

enum { SHORTEST = 8, FIRST_CAPACITY = 1 << 12, WIDEST = 63 };

// A run, or the beginning of runs: most places of a text are done with after one look for that.
typedef struct slot {
  uint64_t run;  // 0: empty
  bool is_ignored;
} slot;

static const uint64_t BEGINNING = UINT64_C(0x5bd1e9955bd1e995);  // tells a beginning's hash from a run's

struct dure_contamination {
  uint32_t width;
  uint32_t beginning;  // words that every run has at least
  uint64_t widths;     // bit i: there are runs of i words
  slot *slots;
  size_t capacity, used;
  uint64_t count;  // runs
};

dure_status dure_contamination_create(uint32_t width, dure_contamination **out_contamination) {
  *out_contamination = NULL;
  if (width < 1 || width > WIDEST) {
    return dure_fail(DURE_INVALID_ARGUMENT, "runs of 1 to %d words can be looked for, found %u", WIDEST, width);
  }
  dure_contamination *made = calloc(1, sizeof(*made));
  slot *slots = calloc(FIRST_CAPACITY, sizeof(*slots));
  if (made == NULL || slots == NULL) {
    free(made);
    free(slots);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for the benchmarks");
  }
  *made = (dure_contamination){
      .width = width, .beginning = width < SHORTEST ? width : SHORTEST, .slots = slots, .capacity = FIRST_CAPACITY};
  *out_contamination = made;
  return NULL;
}

void dure_contamination_destroy(dure_contamination *contamination) {
  if (contamination == NULL) return;
  free(contamination->slots);
  free(contamination);
}

static slot *find_slot(slot *slots, size_t capacity, uint64_t run) {
  size_t i = (size_t)run & (capacity - 1);
  while (slots[i].run != 0 && slots[i].run != run) i = (i + 1) & (capacity - 1);
  return &slots[i];
}

static dure_status grow(dure_contamination *contamination) {
  const size_t capacity = contamination->capacity * 2;
  slot *slots = calloc(capacity, sizeof(*slots));
  if (slots == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for the benchmarks");
  for (size_t i = 0; i < contamination->capacity; i++) {
    if (contamination->slots[i].run != 0)
      *find_slot(slots, capacity, contamination->slots[i].run) = contamination->slots[i];
  }
  free(contamination->slots);
  contamination->slots = slots;
  contamination->capacity = capacity;
  return NULL;
}

static uint64_t hash_run(const dure_text_words *words, size_t first, size_t count) {
  const uint64_t hash = dure_text_words_hash(words, first, count);
  return hash != 0 ? hash : 1;
}

static uint64_t hash_beginning(const dure_contamination *contamination, const dure_text_words *words, size_t first) {
  return hash_run(words, first, contamination->beginning) ^ BEGINNING;
}

static dure_status enter(dure_contamination *contamination, uint64_t hash, bool *out_is_new) {
  if (contamination->used * 10 >= contamination->capacity * 7) DURE_TRY(grow(contamination));
  slot *found = find_slot(contamination->slots, contamination->capacity, hash);
  *out_is_new = found->run == 0;
  found->run = hash;
  contamination->used += *out_is_new;
  return NULL;
}

dure_status dure_contamination_collect(dure_contamination *contamination, const dure_text_words *words) {
  const size_t width = words->count < contamination->width ? words->count : contamination->width;
  if (width < contamination->beginning) return NULL;
  contamination->widths |= UINT64_C(1) << width;
  for (size_t i = 0; i + width <= words->count; i++) {
    bool is_new = false;
    DURE_TRY(enter(contamination, hash_beginning(contamination, words, i), &is_new));
    DURE_TRY(enter(contamination, hash_run(words, i, width), &is_new));
    contamination->count += is_new;
  }
  return NULL;
}

uint64_t dure_contamination_count(const dure_contamination *contamination) { return contamination->count; }

bool dure_contamination_find(const dure_contamination *contamination, const dure_text_words *words, size_t from,
                             dure_overlap *out_overlap) {
  for (size_t i = from; i + contamination->beginning <= words->count; i++) {
    const uint64_t beginning = hash_beginning(contamination, words, i);
    if (find_slot(contamination->slots, contamination->capacity, beginning)->run == 0) continue;
    for (uint32_t width = contamination->width; width > 0; width--) {
      if ((contamination->widths >> width & 1) == 0 || width > words->count - i) continue;
      const uint64_t run = hash_run(words, i, width);
      const slot *found = find_slot(contamination->slots, contamination->capacity, run);
      if (found->run == 0 || found->is_ignored) continue;
      *out_overlap = (dure_overlap){i, width, run};
      return true;
    }
  }
  return false;
}

void dure_contamination_ignore(dure_contamination *contamination, uint64_t run) {
  slot *found = find_slot(contamination->slots, contamination->capacity, run);
  if (found->run != 0) found->is_ignored = true;
}
