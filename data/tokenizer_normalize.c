#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_parts.h"

// True when the text is in all four normal forms for certain: ASCII only.
static bool is_ascii(const char *text, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if ((uint8_t)text[i] >= 0x80) return false;
  }
  return true;
}

// True for characters that NFC leaves alone and that never combine with the character before them: those below U+0300,
// Hangul syllables, CJK ideographs, kana letters without a voicing mark of their own, and common punctuation. They may
// combine with what follows (a mark, a Jamo).
static bool is_plain(uint32_t c) {
  return c < 0x300 || (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x2010 && c <= 0x2027) ||
         (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) || c == 0x3001 || c == 0x3002;
}

typedef struct growing_text {
  char *bytes;
  size_t length, capacity;
} growing_text;

static dure_status append(growing_text *out, const void *bytes, size_t length) {
  if (length == 0) return NULL;
  if (length > out->capacity - out->length) {
    size_t capacity = out->length + length + out->capacity / 2 + 64;
    char *grown = realloc(out->bytes, capacity);
    if (grown == NULL)
      return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a normalized text of %zu bytes", out->length + length);
    out->bytes = grown;
    out->capacity = capacity;
  }
  memcpy(out->bytes + out->length, bytes, length);
  out->length += length;
  return NULL;
}

static dure_status append_normalized(growing_text *out, dure_normalizer normalizer, const char *text, size_t length) {
  static const utf8proc_option_t options[] = {
      [DURE_NORMALIZER_NFC] = UTF8PROC_COMPOSE,
      [DURE_NORMALIZER_NFD] = UTF8PROC_DECOMPOSE,
      [DURE_NORMALIZER_NFKC] = UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
      [DURE_NORMALIZER_NFKD] = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
  };
  utf8proc_uint8_t *normal = NULL;
  utf8proc_ssize_t size = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &normal,
                                       UTF8PROC_STABLE | options[normalizer]);
  if (size < 0) {
    free(normal);
    return dure_fail(size == UTF8PROC_ERROR_NOMEM ? DURE_OUT_OF_MEMORY : DURE_INTERNAL,
                     "normalizing %zu bytes of text failed: %s", length, utf8proc_errmsg(size));
  }
  dure_status status = append(out, normal, (size_t)size);
  free(normal);
  return status;
}

// Composes only around characters that are not plain: from the plain character before them to the next one. In the
// text of most languages that is little or nothing, and utf8proc takes ten times as long as all the rest of encoding.
static dure_status append_composed(growing_text *out, const char *text, size_t length) {
  size_t done = 0, before = 0;  // all before `done` has been appended; the last plain character begins at `before`
  for (size_t at = 0; at < length;) {
    uint32_t c;
    size_t size = dure_utf8_character(text + at, length - at, &c);
    if (size == 0 || is_plain(c)) {
      before = size == 0 ? at + 1 : at;  // nothing combines with a byte that is in no character
      at += size == 0 ? 1 : size;
      continue;
    }
    while (size > 0 && !is_plain(c)) {
      at += size;
      size = dure_utf8_character(text + at, length - at, &c);
    }
    DURE_TRY(append(out, text + done, before - done));
    DURE_TRY(append_normalized(out, DURE_NORMALIZER_NFC, text + before, at - before));
    done = before = at;
  }
  return append(out, text + done, length - done);
}

static dure_status append_stretches(growing_text *out, dure_normalizer normalizer, const char *text, size_t length) {
  for (size_t at = 0; at < length;) {
    size_t valid = dure_utf8_valid_prefix(text + at, length - at);
    if (valid > 0) DURE_TRY(append_normalized(out, normalizer, text + at, valid));
    at += valid;
    size_t invalid = dure_utf8_invalid_prefix(text + at, length - at);
    DURE_TRY(append(out, text + at, invalid));
    at += invalid;
  }
  return NULL;
}

dure_status dure_tokenizer_normalize(dure_normalizer normalizer, const char *text, size_t length, char **out_text,
                                     size_t *out_length) {
  *out_text = NULL;
  *out_length = length;
  if (normalizer == DURE_NORMALIZER_NONE || is_ascii(text, length)) return NULL;
  growing_text out = {0};
  dure_status status = normalizer == DURE_NORMALIZER_NFC ? append_composed(&out, text, length)
                                                         : append_stretches(&out, normalizer, text, length);
  if (status != NULL) {
    free(out.bytes);
    return status;
  }
  *out_text = out.bytes;
  *out_length = out.length;
  return NULL;
}
