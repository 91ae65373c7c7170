#include "data/tokenizer_text.h"

#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"

dure_piece dure_piece_slice(const dure_piece *piece, size_t start, size_t length) {
  return (dure_piece){piece->bytes + start, length, piece->spans != NULL ? piece->spans + start : NULL,
                      piece->origin + start};
}

dure_span dure_piece_span(const dure_piece *piece, size_t start, size_t end) {
  if (piece->spans == NULL) return (dure_span){piece->origin + start, piece->origin + end};
  if (start >= end) {
    size_t at = start < piece->length ? piece->spans[start].start
                : piece->length > 0   ? piece->spans[piece->length - 1].end
                                      : piece->origin;
    return (dure_span){at, at};
  }
  dure_span span = piece->spans[start];
  if (piece->spans[end - 1].end > span.end) span.end = piece->spans[end - 1].end;
  return span;
}

dure_span dure_piece_first(const dure_piece *piece) {
  return dure_piece_span(piece, 0, dure_utf8_character(piece->bytes, piece->length, NULL));
}

void dure_aligned_free(dure_aligned *text) {
  free(text->bytes);
  free(text->spans);
  *text = (dure_aligned){0};
}

void dure_aligned_clear(dure_aligned *text, bool is_tracking) {
  text->length = 0;
  text->is_tracking = is_tracking;
}

static dure_status grow(void **memory, size_t *capacity, size_t wanted, size_t item_size) {
  if (wanted <= *capacity) return NULL;
  size_t larger = wanted + *capacity / 2 + 64;
  void *grown = wanted < SIZE_MAX / (4 * item_size) ? realloc(*memory, larger * item_size) : NULL;
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a normalized text of %zu bytes", wanted);
  *memory = grown;
  *capacity = larger;
  return NULL;
}

static dure_status make_room(dure_aligned *text, size_t additional) {
  size_t wanted = text->length + additional;
  void *bytes = text->bytes, *spans = text->spans;
  dure_status status = grow(&bytes, &text->capacity, wanted, 1);
  text->bytes = bytes;
  if (status != NULL || !text->is_tracking) return status;
  status = grow(&spans, &text->span_capacity, wanted, sizeof(dure_span));
  text->spans = spans;
  return status;
}

dure_status dure_aligned_put(dure_aligned *text, const char *bytes, size_t length, dure_span span) {
  if (length == 0) return NULL;
  DURE_TRY(make_room(text, length));
  memcpy(text->bytes + text->length, bytes, length);
  for (size_t i = 0; i < length && text->is_tracking; i++) text->spans[text->length + i] = span;
  text->length += length;
  return NULL;
}

dure_status dure_aligned_copy(dure_aligned *text, const dure_piece *piece, size_t start, size_t length) {
  if (length == 0) return NULL;
  DURE_TRY(make_room(text, length));
  memcpy(text->bytes + text->length, piece->bytes + start, length);
  for (size_t i = 0; i < length && text->is_tracking; i++)
    text->spans[text->length + i] = dure_piece_span(piece, start + i, start + i + 1);
  text->length += length;
  return NULL;
}

dure_piece dure_aligned_piece(const dure_aligned *text, size_t origin) {
  return (dure_piece){text->bytes != NULL ? text->bytes : "", text->length, text->is_tracking ? text->spans : NULL,
                      origin};
}
