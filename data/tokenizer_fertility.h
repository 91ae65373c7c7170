// How many tokens a vocabulary spends on a language: per syllable, word and byte.
//
// Words are runs of characters between white space. Syllables: a Hangul syllable is one; in words of Latin letters,
// each run of vowels (aeiouy and their accented forms below U+0250) is one, and a word without any counts as one; other
// letters count one each. Lines are told apart by dure_language_guess.
#ifndef DURE_DATA_TOKENIZER_FERTILITY_H_
#define DURE_DATA_TOKENIZER_FERTILITY_H_

#include "data/language.h"
#include "data/tokenizer.h"

typedef struct dure_text_units {
  uint64_t lines, bytes, characters, words, syllables;
} dure_text_units;

// Adds the units of a text that is valid UTF-8.
void dure_text_units_add(dure_text_units *units, const char *text, size_t length);

// What one tokenizer makes of a language.
typedef struct dure_fertility_row {
  const char *name;  // of the tokenizer; the caller's
  uint32_t vocabulary_size;
  uint64_t tokens[DURE_LANGUAGE_COUNT];
  uint64_t unknown[DURE_LANGUAGE_COUNT];  // of them, the unknown token
} dure_fertility_row;

typedef struct dure_fertility {
  dure_text_units units[DURE_LANGUAGE_COUNT];
  dure_fertility_row *rows;  // [row_count], the caller's
  size_t row_count;
} dure_fertility;

// Counts each line of a text with each tokenizer. Bytes that are not UTF-8 count as bytes only.
DURE_MUST_CHECK dure_status dure_fertility_add(dure_fertility *fertility, const dure_tokenizer *const *tokenizers,
                                               const char *text, size_t length);

// Bars of tokens per syllable, a group for each language that occurs, as SVG.
DURE_MUST_CHECK dure_status dure_fertility_draw(const dure_fertility *fertility, const char *path);

#endif  // DURE_DATA_TOKENIZER_FERTILITY_H_
