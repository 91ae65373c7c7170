// Repetition inside a text, by hashes: lines, paragraphs, and n-grams of words through one table that is never cleared,
// since every pass stamps what it puts there.
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/clean_statistics.h"

enum { WORD_LIMIT = 200000 };

#define HASH_BASE UINT64_C(0x9e3779b97f4a7c15)

typedef struct dure_repetition_slot {
  uint64_t hash;
  uint32_t stamp, count;
} slot;

void dure_statistics_free(dure_statistics_workspace *workspace) {
  free(workspace->prefix_hashes);
  free(workspace->ends);
  free(workspace->slots);
  *workspace = (dure_statistics_workspace){0};
}

// ---- the table ----

// Room for `count` hashes at most half full, and a new stamp.
static bool begin_pass(dure_statistics_workspace *workspace, size_t count) {
  size_t needed = 1024;
  while (needed < 2 * count) needed *= 2;
  if (needed > workspace->slot_count) {
    free(workspace->slots);
    workspace->slot_count = 0;
    workspace->stamp = 0;
    workspace->slots = calloc(needed, sizeof(*workspace->slots));
    if (workspace->slots == NULL) return false;
    workspace->slot_count = needed;
  }
  if (++workspace->stamp == 0) {
    memset(workspace->slots, 0, workspace->slot_count * sizeof(*workspace->slots));
    workspace->stamp = 1;
  }
  return true;
}

// How often the hash has come in this pass, this time included.
static uint32_t count_hash(dure_statistics_workspace *workspace, uint64_t hash, size_t mask) {
  for (size_t i = (size_t)(hash ^ hash >> 32) & mask;; i = (i + 1) & mask) {
    slot *candidate = &workspace->slots[i];
    if (candidate->stamp != workspace->stamp) {
      *candidate = (slot){hash, workspace->stamp, 1};
      return 1;
    }
    if (candidate->hash == hash) return ++candidate->count;
  }
}

// Small texts use the front of the table alone, which stays in the cache.
static size_t mask_for(size_t count) {
  size_t size = 1024;
  while (size < 2 * count) size *= 2;
  return size - 1;
}

// ---- lines and paragraphs ----

static size_t count_newlines(const char *text, size_t size) {
  size_t count = 1;
  for (const char *cursor = text; (cursor = memchr(cursor, '\n', size - (size_t)(cursor - text))) != NULL; cursor++) {
    count++;
    if ((size_t)(cursor + 1 - text) >= size) break;
  }
  return count;
}

// Where the part that begins at `start` ends: at a newline, or at a blank line.
static size_t end_of_part(const char *text, size_t size, size_t start, bool is_paragraph) {
  for (size_t i = start; i < size;) {
    const char *newline = memchr(text + i, '\n', size - i);
    if (newline == NULL) return size;
    i = (size_t)(newline - text) + 1;
    if (!is_paragraph || (i < size && text[i] == '\n')) return i - 1;
  }
  return size;
}

static bool measure_parts(dure_statistics_workspace *workspace, const char *text, size_t size, size_t limit,
                          bool is_paragraph, double *out_share, double *out_characters) {
  if (!begin_pass(workspace, limit)) return false;
  size_t mask = mask_for(limit), parts = 0, repeated = 0, bytes = 0, repeated_bytes = 0;
  for (size_t start = 0; start < size;) {
    size_t end = end_of_part(text, size, start, is_paragraph);
    if (end > start) {
      bool is_repeated = count_hash(workspace, XXH3_64bits(text + start, end - start), mask) > 1;
      parts++;
      bytes += end - start;
      repeated += is_repeated;
      repeated_bytes += is_repeated ? end - start : 0;
    }
    start = end;
    while (start < size && text[start] == '\n') start++;
  }
  *out_share = parts > 0 ? (double)repeated / (double)parts : 0;
  *out_characters = bytes > 0 ? (double)repeated_bytes / (double)bytes : 0;
  return true;
}

// ---- n-grams ----

static bool reserve_words(dure_statistics_workspace *workspace, size_t count) {
  if (count <= workspace->word_capacity) return true;
  size_t capacity = workspace->word_capacity == 0 ? 4096 : 2 * workspace->word_capacity;
  uint64_t *hashes = realloc(workspace->prefix_hashes, (capacity + 1) * sizeof(*hashes));
  if (hashes != NULL) workspace->prefix_hashes = hashes;
  uint32_t *ends = realloc(workspace->ends, (capacity + 1) * sizeof(*ends));
  if (ends != NULL) workspace->ends = ends;
  if (hashes == NULL || ends == NULL) return false;
  workspace->word_capacity = capacity;
  return true;
}

// Polynomial hashes of all prefixes of the words, from which that of any n-gram follows.
static bool find_words(dure_statistics_workspace *workspace, const char *text, size_t size) {
  size_t count = 0;
  uint64_t hash = 0;
  uint32_t bytes = 0;
  if (!reserve_words(workspace, 1)) return false;
  workspace->prefix_hashes[0] = 0;
  workspace->ends[0] = 0;
  for (size_t i = 0; i < size && count < WORD_LIMIT;) {
    while (i < size && (unsigned char)text[i] <= ' ') i++;
    size_t start = i;
    while (i < size && (unsigned char)text[i] > ' ') i++;
    if (i == start) break;
    if (!reserve_words(workspace, ++count)) return false;
    hash = hash * HASH_BASE + XXH3_64bits(text + start, i - start);
    bytes += (uint32_t)(i - start);
    workspace->prefix_hashes[count] = hash;
    workspace->ends[count] = bytes;
  }
  workspace->word_count = count;
  return true;
}

static uint64_t power_of_base(size_t n) {
  uint64_t power = 1;
  while (n-- > 0) power *= HASH_BASE;
  return power;
}

// Share of the words' bytes in the most frequent n-gram.
static bool measure_top(dure_statistics_workspace *workspace, size_t n, double *out_share) {
  const uint64_t *hashes = workspace->prefix_hashes;
  const uint32_t *ends = workspace->ends;
  size_t count = workspace->word_count, mask = mask_for(count);
  *out_share = 0;
  if (count < n) return true;
  if (!begin_pass(workspace, count)) return false;
  uint64_t power = power_of_base(n), most = 0;
  for (size_t i = 0; i + n <= count; i++) {
    uint64_t times = count_hash(workspace, hashes[i + n] - hashes[i] * power, mask);
    uint64_t bytes = times * (ends[i + n] - ends[i]);
    if (times > 1 && bytes > most) most = bytes;
  }
  *out_share = (double)most / (double)ends[count];
  return true;
}

// Share of the words' bytes in n-grams that have occurred before.
static bool measure_duplicates(dure_statistics_workspace *workspace, size_t n, double *out_share) {
  const uint64_t *hashes = workspace->prefix_hashes;
  const uint32_t *ends = workspace->ends;
  size_t count = workspace->word_count, mask = mask_for(count), covered = 0;
  *out_share = 0;
  if (count < n) return true;
  if (!begin_pass(workspace, count)) return false;
  uint64_t power = power_of_base(n), bytes = 0;
  for (size_t i = 0; i + n <= count; i++) {
    if (count_hash(workspace, hashes[i + n] - hashes[i] * power, mask) == 1) continue;
    bytes += ends[i + n] - ends[covered > i ? covered : i];
    covered = i + n;
  }
  *out_share = (double)bytes / (double)ends[count];
  return true;
}

bool dure_statistics_repetition(dure_statistics_workspace *workspace, const char *text, size_t size,
                                dure_repetition *out_repetition) {
  *out_repetition = (dure_repetition){0};
  dure_repetition *out = out_repetition;
  if (size == 0) return true;
  size_t limit = count_newlines(text, size);
  bool is_done = measure_parts(workspace, text, size, limit, false, &out->lines, &out->line_characters) &&
                 measure_parts(workspace, text, size, limit, true, &out->paragraphs, &out->paragraph_characters) &&
                 find_words(workspace, text, size);
  for (size_t n = 2; n <= 4 && is_done; n++) is_done = measure_top(workspace, n, &out->top[n]);
  for (size_t n = 5; n <= 10 && is_done; n++) {
    is_done = measure_duplicates(workspace, n, &out->duplicate[n]);
    if (out->duplicate[n] == 0) break;  // longer ones cannot repeat either
  }
  return is_done;
}
