#include "data/shingles.h"

#include <stdlib.h>

#include "data/text_words.h"

enum { WINDOW = 50, INITIAL_CAPACITY = 1 << 16 };

// Open addressing; a slot is a window's hash with its lowest bit used as the mark. 0 is an empty slot.
struct dure_shingles {
  uint64_t *slots;
  size_t capacity;  // a power of two
  size_t count;
};

static uint64_t mix(uint64_t word) {
  word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
  return word ^ (word >> 31);
}

// ---- the windows of a text ----

typedef struct window_reader {
  const unsigned char *cursor, *end;
  uint32_t ring[WINDOW];
  size_t filled;  // characters seen, at most WINDOW counted
  size_t position;
  uint64_t hash;      // sum of ring characters times powers of `multiplier`, modulo 2^64
  uint64_t outgoing;  // multiplier ^ WINDOW
} window_reader;

static const uint64_t multiplier = UINT64_C(0x9e3779b97f4a7c15);

static window_reader windows_of(const char *text, size_t length) {
  window_reader reader = {.cursor = (const unsigned char *)text, .end = (const unsigned char *)text + length};
  reader.outgoing = 1;
  for (int i = 0; i < WINDOW; i++) reader.outgoing *= multiplier;
  return reader;
}

// The next letter or digit in lower case, 0 at the end.
static uint32_t next_character(window_reader *reader) {
  uint32_t character = DURE_FOLDED_OTHER;
  while (character == DURE_FOLDED_OTHER) character = dure_folded_next(&reader->cursor, reader->end);
  return character;
}

// The hash of the next window, 0 at the end.
static uint64_t next_window(window_reader *reader) {
  for (;;) {
    uint32_t character = next_character(reader);
    if (character == 0) return 0;
    uint32_t leaving = reader->filled == WINDOW ? reader->ring[reader->position] : 0;
    reader->hash = reader->hash * multiplier + character - leaving * reader->outgoing;
    reader->ring[reader->position] = character;
    reader->position = (reader->position + 1) % WINDOW;
    if (reader->filled < WINDOW) reader->filled++;
    if (reader->filled == WINDOW) return (mix(reader->hash) & ~UINT64_C(1)) | 2;
  }
}

// ---- the set ----

// The slot that holds this hash, or the empty one where it belongs.
static size_t find_slot(const uint64_t *slots, size_t capacity, uint64_t hash) {
  size_t slot = (size_t)(hash >> 2) & (capacity - 1);
  while (slots[slot] != 0 && (slots[slot] & ~UINT64_C(1)) != hash) slot = (slot + 1) & (capacity - 1);
  return slot;
}

dure_status dure_shingles_create(dure_shingles **out_shingles) {
  *out_shingles = NULL;
  dure_shingles *shingles = calloc(1, sizeof(*shingles));
  if (shingles != NULL) shingles->slots = calloc(INITIAL_CAPACITY, sizeof(uint64_t));
  if (shingles == NULL || shingles->slots == NULL) {
    free(shingles);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for the near-duplicate search");
  }
  shingles->capacity = INITIAL_CAPACITY;
  *out_shingles = shingles;
  return NULL;
}

void dure_shingles_destroy(dure_shingles *shingles) {
  if (shingles == NULL) return;
  free(shingles->slots);
  free(shingles);
}

static dure_status grow(dure_shingles *shingles) {
  size_t capacity = shingles->capacity * 2;
  uint64_t *slots = calloc(capacity, sizeof(uint64_t));
  if (slots == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY,
                     "out of memory for the near-duplicate search (%zu windows of held-out text): hold out less",
                     shingles->count);
  }
  for (size_t i = 0; i < shingles->capacity; i++) {
    uint64_t entry = shingles->slots[i];
    if (entry != 0) slots[find_slot(slots, capacity, entry & ~UINT64_C(1))] = entry;
  }
  free(shingles->slots);
  shingles->slots = slots;
  shingles->capacity = capacity;
  return NULL;
}

dure_status dure_shingles_collect(dure_shingles *shingles, const char *text, size_t length) {
  window_reader reader = windows_of(text, length);
  for (uint64_t hash = next_window(&reader); hash != 0; hash = next_window(&reader)) {
    if (shingles->count * 10 >= shingles->capacity * 7) DURE_TRY(grow(shingles));
    size_t slot = find_slot(shingles->slots, shingles->capacity, hash);
    if (shingles->slots[slot] == 0) {
      shingles->slots[slot] = hash;
      shingles->count++;
    }
  }
  return NULL;
}

void dure_shingles_mark(dure_shingles *shingles, const char *text, size_t length) {
  window_reader reader = windows_of(text, length);
  for (uint64_t hash = next_window(&reader); hash != 0; hash = next_window(&reader)) {
    size_t slot = find_slot(shingles->slots, shingles->capacity, hash);
    if (shingles->slots[slot] != 0) shingles->slots[slot] |= 1;
  }
}

double dure_shingles_containment(const dure_shingles *shingles, const char *text, size_t length) {
  window_reader reader = windows_of(text, length);
  uint64_t marked = 0, total = 0;
  for (uint64_t hash = next_window(&reader); hash != 0; hash = next_window(&reader)) {
    size_t slot = find_slot(shingles->slots, shingles->capacity, hash);
    marked += shingles->slots[slot] & 1;
    total++;
  }
  return total > 0 ? (double)marked / (double)total : 0;
}
