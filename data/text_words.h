// A text as its words, for comparing texts: letters and digits in lower case, everything else a gap.
//
// The same rule serves Korean and English: spacing, punctuation, case and markup do not count. The words are joined by
// single spaces, so that equal words are equal bytes.
#ifndef DURE_DATA_TEXT_WORDS_H_
#define DURE_DATA_TEXT_WORDS_H_

#include <stdint.h>

#include "data/bytes.h"

enum { DURE_FOLDED_OTHER = 1 };

// The next character of [*cursor, end) in lower case when it is a letter or a digit, DURE_FOLDED_OTHER for others and
// bytes that are no UTF-8, 0 at the end.
uint32_t dure_folded_next(const unsigned char **cursor, const unsigned char *end);

// A word: bytes [start, end) of `text`, made from bytes [source_start, source_end) of the source.
typedef struct dure_word {
  size_t start, end, source_start, source_end;
} dure_word;

typedef struct dure_text_words {
  dure_bytes text;
  dure_word *words;
  size_t count, capacity;
} dure_text_words;  // start from {0}

// Replaces what `words` held.
DURE_MUST_CHECK dure_status dure_text_words_find(const char *text, size_t length, dure_text_words *words);
void dure_text_words_free(dure_text_words *words);  // makes it {0} again

// XXH3 (64 bits) of the text of words [first, first + count).
uint64_t dure_text_words_hash(const dure_text_words *words, size_t first, size_t count);

#endif  // DURE_DATA_TEXT_WORDS_H_
