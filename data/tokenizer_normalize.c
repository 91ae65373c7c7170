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

// True when the text is in NFC for certain: only characters that neither compose nor decompose nor reorder there.
// Below U+0300 nothing changes under NFC; Hangul syllables and CJK ideographs change only next to marks and Jamo.
static bool is_composed(const char *text, size_t length) {
  for (size_t i = 0; i < length;) {
    uint32_t c;
    size_t size = dure_utf8_character(text + i, length - i, &c);
    if (size == 0) return false;
    if (c >= 0x300 && !(c >= 0xAC00 && c <= 0xD7A3) && !(c >= 0x4E00 && c <= 0x9FFF) && !(c >= 0x2010 && c <= 0x2027))
      return false;
    i += size;
  }
  return true;
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

dure_status dure_tokenizer_normalize(dure_normalizer normalizer, const char *text, size_t length, char **out_text,
                                     size_t *out_length) {
  *out_text = NULL;
  *out_length = length;
  if (normalizer == DURE_NORMALIZER_NONE || is_ascii(text, length)) return NULL;
  if (normalizer == DURE_NORMALIZER_NFC && is_composed(text, length)) return NULL;
  growing_text out = {0};
  dure_status status = NULL;
  for (size_t at = 0; at < length && status == NULL;) {
    size_t valid = dure_utf8_valid_prefix(text + at, length - at);
    if (valid > 0) status = append_normalized(&out, normalizer, text + at, valid);
    at += valid;
    size_t invalid = dure_utf8_invalid_prefix(text + at, length - at);
    if (status == NULL) status = append(&out, text + at, invalid);
    at += invalid;
  }
  if (status != NULL) {
    free(out.bytes);
    return status;
  }
  *out_text = out.bytes;
  *out_length = out.length;
  return NULL;
}
