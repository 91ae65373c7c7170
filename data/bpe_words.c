#include "data/bpe_words.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static size_t slot_of(const dure_words *words, const char *bytes, size_t length) {
  size_t at = (size_t)XXH3_64bits(bytes, length) & (words->table_size - 1);
  while (words->table[at] != 0) {
    const dure_word *word = &words->words[words->table[at] - 1];
    if (word->length == length && memcmp(words->arena + word->start, bytes, length) == 0) break;
    at = (at + 1) & (words->table_size - 1);
  }
  return at;
}

static dure_status grow_table(dure_words *words) {
  size_t size = words->table_size > 0 ? words->table_size * 2 : 4096;
  uint32_t *table = calloc(size, sizeof(*table));
  if (table == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to count %zu different words", words->count);
  free(words->table);
  words->table = table;
  words->table_size = size;
  for (size_t i = 0; i < words->count; i++) {
    const dure_word *word = &words->words[i];
    words->table[slot_of(words, words->arena + word->start, word->length)] = (uint32_t)i + 1;
  }
  return NULL;
}

// Room for one more word of `length` bytes.
static dure_status make_room(dure_words *words, size_t length) {
  if (words->count >= UINT32_MAX - 1 || length >= UINT32_MAX) {
    return dure_fail(DURE_UNSUPPORTED,
                     "%zu different words, the last of %zu bytes; fewer than 2^32 of either are supported",
                     words->count, length);
  }
  if (words->count == words->capacity) {
    size_t capacity = words->capacity + words->capacity / 2 + 1024;
    dure_word *grown = realloc(words->words, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to count %zu different words", words->count);
    words->words = grown;
    words->capacity = capacity;
  }
  if (length > words->arena_capacity - words->arena_length) {
    size_t capacity = words->arena_capacity + words->arena_capacity / 2 + length + 16384;
    char *grown = realloc(words->arena, capacity);
    if (grown == NULL)
      return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the bytes of %zu different words", words->count);
    words->arena = grown;
    words->arena_capacity = capacity;
  }
  return words->count * 2 >= words->table_size ? grow_table(words) : NULL;
}

dure_status dure_words_add(dure_words *words, const char *bytes, size_t length) {
  if (words->table_size > 0) {
    uint32_t found = words->table[slot_of(words, bytes, length)];
    if (found != 0) {
      words->words[found - 1].count++;
      return NULL;
    }
  }
  DURE_TRY(make_room(words, length));
  size_t at = slot_of(words, bytes, length);
  words->words[words->count] = (dure_word){words->arena_length, (uint32_t)length, 1};
  memcpy(words->arena + words->arena_length, bytes, length);
  words->arena_length += length;
  words->table[at] = (uint32_t)++words->count;
  return NULL;
}

void dure_words_free(dure_words *words) {
  free(words->words);
  free(words->arena);
  free(words->table);
  *words = (dure_words){0};
}
