#include "data/text_words.h"

#include <stdlib.h>

#include <utf8proc.h>
#include <xxhash.h>

#include "data/tokenizer_bytes.h"

// The Hangul syllable that begins here, 0 for none: by far the most common characters beyond ASCII.
static uint32_t hangul_syllable(const unsigned char *bytes, const unsigned char *end) {
  if (end - bytes < 3 || bytes[0] < 0xea || bytes[0] > 0xed) return 0;
  if ((bytes[1] & 0xc0) != 0x80 || (bytes[2] & 0xc0) != 0x80) return 0;
  const uint32_t character = (bytes[0] & 0x0fu) << 12 | (bytes[1] & 0x3fu) << 6 | (bytes[2] & 0x3fu);
  return character >= 0xac00 && character <= 0xd7a3 ? character : 0;
}

uint32_t dure_folded_next(const unsigned char **cursor, const unsigned char *end) {
  if (*cursor >= end) return 0;
  const unsigned char byte = **cursor;
  if (byte < 0x80) {
    ++*cursor;
    if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9')) return byte;
    return byte >= 'A' && byte <= 'Z' ? byte + 32u : DURE_FOLDED_OTHER;
  }
  const uint32_t syllable = hangul_syllable(*cursor, end);
  if (syllable != 0) {
    *cursor += 3;
    return syllable;
  }
  utf8proc_int32_t character = 0;
  utf8proc_ssize_t size = utf8proc_iterate(*cursor, end - *cursor, &character);
  *cursor += size > 0 ? size : 1;
  if (size <= 0) return DURE_FOLDED_OTHER;
  utf8proc_category_t category = utf8proc_category(character);
  bool is_kept = (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
                 (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
  return is_kept ? (uint32_t)utf8proc_tolower(character) : DURE_FOLDED_OTHER;
}

static dure_status begin_word(dure_text_words *words, size_t source) {
  if (words->count == words->capacity) {
    size_t capacity = words->capacity == 0 ? 64 : words->capacity * 2;
    dure_word *larger = realloc(words->words, capacity * sizeof(*larger));
    if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for the words of a document");
    words->words = larger;
    words->capacity = capacity;
  }
  if (words->text.size > 0) words->text.data[words->text.size++] = ' ';
  words->words[words->count++] = (dure_word){.start = words->text.size, .source_start = source};
  return NULL;
}

dure_status dure_text_words_find(const char *text, size_t length, dure_text_words *words) {
  const unsigned char *start = (const unsigned char *)text, *cursor = start, *end = start + length;
  dure_bytes_clear(&words->text);
  words->count = 0;
  bool is_inside = false;
  for (;;) {
    const size_t source = (size_t)(cursor - start);
    const uint32_t character = dure_folded_next(&cursor, end);
    if (is_inside && character <= DURE_FOLDED_OTHER) {
      words->words[words->count - 1].end = words->text.size;
      words->words[words->count - 1].source_end = source;
    }
    if (character == 0) return NULL;
    if (character > DURE_FOLDED_OTHER) {
      if (words->text.capacity - words->text.size < 8) {
        dure_bytes_reserve(&words->text, 64);
        DURE_TRY(dure_bytes_status(&words->text));
      }
      if (!is_inside) DURE_TRY(begin_word(words, source));
      if (character < 0x80) {
        words->text.data[words->text.size++] = (char)character;
      } else {
        words->text.size += dure_utf8_write(character, words->text.data + words->text.size);
      }
    }
    is_inside = character > DURE_FOLDED_OTHER;
  }
}

void dure_text_words_free(dure_text_words *words) {
  dure_bytes_free(&words->text);
  free(words->words);
  *words = (dure_text_words){0};
}

uint64_t dure_text_words_hash(const dure_text_words *words, size_t first, size_t count) {
  const size_t start = words->words[first].start, end = words->words[first + count - 1].end;
  return XXH3_64bits(words->text.data + start, end - start);
}
