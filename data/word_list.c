#include "data/word_list.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/decode.h"
#include "runtime/os.h"

enum { LONGEST_PHRASE = 16, FIRST_CAPACITY = 1024 };

static const uint64_t LIST_BYTES = UINT64_C(64) << 20;

// Phrases by the hash of their folded words; languages as bits, which are not 0 where there is one.
typedef struct phrase {
  uint64_t hash;
  uint32_t languages;
} phrase;

struct dure_word_list {
  phrase *phrases;         // open addressing
  size_t count, capacity;  // the latter a power of two
  uint32_t lengths;        // bit n: there are phrases of n words
};

// What may be written onto a noun: particles, plurals, and the endings of "to be" and "to do".
static const char *const particles[] = {
    "은",   "는",   "이",   "가",   "을",   "를",   "의",   "에",   "도",   "만",     "로",     "와",
    "과",   "랑",   "나",   "야",   "아",   "들",   "들이", "들은", "한",   "임",     "께",     "들을",
    "들의", "으로", "에서", "에게", "한테", "처럼", "같은", "같이", "보다", "부터",   "까지",   "이나",
    "이랑", "이다", "이야", "이고", "이라", "라고", "하고", "하는", "하다", "입니다", "이라고", "들아",
};

// ---- the table ----

static phrase *slot_of(const dure_word_list *list, uint64_t hash) {
  size_t slot = hash & (list->capacity - 1);
  while (list->phrases[slot].languages != 0 && list->phrases[slot].hash != hash)
    slot = (slot + 1) & (list->capacity - 1);
  return &list->phrases[slot];
}

static dure_status grow(dure_word_list *list) {
  dure_word_list larger = *list;
  larger.capacity = list->capacity == 0 ? FIRST_CAPACITY : 2 * list->capacity;
  larger.phrases = calloc(larger.capacity, sizeof(*larger.phrases));
  if (larger.phrases == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %zu words", larger.capacity);
  for (size_t i = 0; i < list->capacity; i++) {
    if (list->phrases[i].languages != 0) *slot_of(&larger, list->phrases[i].hash) = list->phrases[i];
  }
  free(list->phrases);
  *list = larger;
  return NULL;
}

static dure_status add_phrase(dure_word_list *list, const dure_text_words *words, uint32_t languages) {
  if (words->count == 0 || words->count > LONGEST_PHRASE) return NULL;
  if (2 * (list->count + 1) > list->capacity) DURE_TRY(grow(list));
  const uint64_t hash = dure_text_words_hash(words, 0, words->count);
  phrase *slot = slot_of(list, hash);
  list->count += slot->languages == 0;
  slot->hash = hash;
  slot->languages |= languages;
  list->lengths |= UINT32_C(1) << words->count;
  return NULL;
}

// ---- files ----

static dure_status read_lines(dure_word_list *list, const char *path, const char *text, size_t size,
                              uint32_t languages) {
  const size_t valid = dure_utf8_valid_length(text, size);
  if (valid != size) return dure_fail(DURE_CORRUPT, "'%s' is not UTF-8 at byte %zu", path, valid);
  dure_text_words words = {0};
  dure_status status = NULL;
  for (size_t i = 0; i < size && status == NULL;) {
    const char *newline = memchr(text + i, '\n', size - i);
    const size_t end = newline != NULL ? (size_t)(newline - text) : size;
    if (text[i] != '#') status = dure_text_words_find(text + i, end - i, &words);
    if (text[i] != '#' && status == NULL) status = add_phrase(list, &words, languages);
    i = end + 1;
  }
  dure_text_words_free(&words);
  return status;
}

static dure_status read_file(dure_word_list *list, const char *path, uint32_t languages) {
  char *text = NULL;
  size_t size = 0;
  DURE_TRY(dure_os_read_file(path, LIST_BYTES, &text, &size));
  const size_t before = list->count;
  dure_status status = read_lines(list, path, text, size, languages);
  free(text);
  if (status != NULL || list->count > before) return status;
  return dure_fail(DURE_INVALID_ARGUMENT, "'%s' has no words that were not in the lists before it", path);
}

// "PATH" or "ko=PATH".
static dure_status read_entry(dure_word_list *list, const char *entry) {
  const char *equals = strchr(entry, '=');
  dure_language language;
  if (equals != NULL && dure_language_parse(entry, (size_t)(equals - entry), &language)) {
    return read_file(list, equals + 1, UINT32_C(1) << language);
  }
  return read_file(list, entry, (UINT32_C(1) << DURE_LANGUAGE_COUNT) - 1);
}

dure_status dure_word_list_open(const char *files, dure_word_list **out_list) {
  *out_list = NULL;
  dure_word_list *list = calloc(1, sizeof(*list));
  char *entries = malloc(strlen(files) + 1);
  dure_status status =
      list == NULL || entries == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory for words") : NULL;
  if (status == NULL) memcpy(entries, files, strlen(files) + 1);
  for (char *entry = entries; entry != NULL && status == NULL;) {
    char *comma = strchr(entry, ',');
    if (comma != NULL) *comma = '\0';
    status = read_entry(list, entry);
    entry = comma != NULL ? comma + 1 : NULL;
  }
  free(entries);
  if (status != NULL) {
    dure_word_list_destroy(list);
    return status;
  }
  *out_list = list;
  return NULL;
}

void dure_word_list_destroy(dure_word_list *list) {
  if (list == NULL) return;
  free(list->phrases);
  free(list);
}

uint64_t dure_word_list_hash(const dure_word_list *list) {
  uint64_t hash = list->count;
  for (size_t i = 0; i < list->capacity; i++) hash += list->phrases[i].hash * (list->phrases[i].languages + 1);
  return hash;
}

// ---- texts ----

static bool is_listed(const dure_word_list *list, const char *text, size_t size, uint32_t language) {
  return (slot_of(list, XXH3_64bits(text, size))->languages & language) != 0;
}

static bool is_listed_with_particle(const dure_word_list *list, const char *text, size_t size, uint32_t language) {
  if (size < 6 || (unsigned char)text[size - 1] < 0x80) return false;
  for (size_t i = 0; i < sizeof(particles) / sizeof(particles[0]); i++) {
    const size_t length = strlen(particles[i]);
    if (size <= length || memcmp(text + size - length, particles[i], length) != 0) continue;
    if (is_listed(list, text, size - length, language)) return true;
  }
  return false;
}

uint64_t dure_word_list_count(const dure_word_list *list, dure_language language, const dure_text_words *words) {
  const uint32_t bit = UINT32_C(1) << language;
  uint64_t found = 0;
  for (size_t i = 0; i < words->count; i++) {
    const dure_word *first = &words->words[i];
    for (size_t n = 1; n <= LONGEST_PHRASE && i + n <= words->count && list->lengths >> n != 0; n++) {
      if ((list->lengths >> n & 1) == 0) continue;
      const char *text = words->text.data + first->start;
      const size_t size = words->words[i + n - 1].end - first->start;
      found += is_listed(list, text, size, bit) || is_listed_with_particle(list, text, size, bit);
    }
  }
  return found;
}
