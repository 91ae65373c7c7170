// Text on its way to token ids, with where each byte came from.
//
// Normalizers and some pre-tokenizers change the text. When offsets are wanted each byte carries the stretch of the
// source that it stands for; otherwise nothing is carried and nothing is paid.
#ifndef DURE_DATA_TOKENIZER_TEXT_H_
#define DURE_DATA_TOKENIZER_TEXT_H_

#include "data/tokenizer.h"

// A run of text that somebody else owns.
typedef struct dure_piece {
  const char *bytes;
  size_t length;
  const dure_span *spans;  // [length]; NULL: byte i is the source's [origin + i, origin + i + 1)
  size_t origin;
} dure_piece;

dure_piece dure_piece_slice(const dure_piece *piece, size_t start, size_t length);
// The stretch of the source that the bytes [start, end) stand for.
dure_span dure_piece_span(const dure_piece *piece, size_t start, size_t end);

// That of the first character, which stands in for what is put before it.
dure_span dure_piece_first(const dure_piece *piece);

// Text under construction; start from {0} and release with dure_aligned_free.
typedef struct dure_aligned {
  char *bytes;
  size_t length, capacity;
  dure_span *spans;  // [length] while `is_tracking`
  size_t span_capacity;
  bool is_tracking;
} dure_aligned;

void dure_aligned_free(dure_aligned *text);
// Empties it, keeping the memory.
void dure_aligned_clear(dure_aligned *text, bool is_tracking);
// Appends bytes that stand for `span` of the source, each of them for all of it.
DURE_MUST_CHECK dure_status dure_aligned_put(dure_aligned *text, const char *bytes, size_t length, dure_span span);
// Appends the bytes [start, start + length) of `piece` as they are.
DURE_MUST_CHECK dure_status dure_aligned_copy(dure_aligned *text, const dure_piece *piece, size_t start, size_t length);
// Valid until the text changes. Without tracking, `origin` is the source position of the beginning.
dure_piece dure_aligned_piece(const dure_aligned *text, size_t origin);

#endif  // DURE_DATA_TOKENIZER_TEXT_H_
