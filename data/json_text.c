#include "data/json_text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"

// Bytes at the start, where no character is valid, that are the beginning of one; else 1. Each gets its own U+FFFD, as
// in the Unicode standard's section 3.9 ("maximal subparts") and in other tokenizers' decoding.
static size_t broken_character(const char *text, size_t length) {
  for (size_t size = length < 3 ? length : 3; size > 1; size--) {
    if (dure_utf8_unfinished_suffix(text, size) == size) return size;
  }
  return 1;
}

size_t dure_json_text_character(const char *text, size_t length) {
  uint32_t character = 0;
  const size_t size = dure_utf8_character(text, length, &character);
  return size > 0 ? size : broken_character(text, length);
}

json_t *dure_json_text(const char *text, size_t length) {
  char *valid = malloc(3 * length + 1);
  size_t written = 0;
  for (size_t at = 0; at < length && valid != NULL;) {
    size_t good = dure_utf8_valid_prefix(text + at, length - at);
    memcpy(valid + written, text + at, good);
    written += good;
    at += good;
    if (at == length) break;
    written += dure_utf8_write(0xFFFD, valid + written);
    at += broken_character(text + at, length - at);
  }
  json_t *value = valid != NULL ? json_stringn(valid, written) : NULL;
  free(valid);
  return value;
}
