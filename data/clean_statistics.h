// What the rules of cleaning measure in a text.
#ifndef DURE_DATA_CLEAN_STATISTICS_H_
#define DURE_DATA_CLEAN_STATISTICS_H_

#include <stddef.h>
#include <stdint.h>

#include "data/language.h"

typedef struct dure_statistics {
  uint64_t characters, words, word_characters, alphabetic_words;
  uint64_t stop_words;  // distinct ones: English words, or Korean endings
  uint64_t hashes, ellipses, curly_brackets, sentences, lorem_ipsum;
  uint64_t lines, bullet_lines, ellipsis_lines;  // that are not blank
} dure_statistics;

// Shares of a text's lines, paragraphs and characters that repeat earlier ones; of characters in n-grams of words.
typedef struct dure_repetition {
  double lines, line_characters, paragraphs, paragraph_characters;
  double top[5];         // [n], n = 2..4: of the most frequent n-gram
  double duplicate[11];  // [n], n = 5..10: of all n-grams that occurred before
} dure_repetition;

// Memory that is used again from text to text. Start from {0}.
typedef struct dure_statistics_workspace {
  uint64_t *prefix_hashes;  // of the words before each word
  uint32_t *ends;           // word bytes before each word
  size_t word_count, word_capacity;
  struct dure_repetition_slot *slots;
  size_t slot_count;
  uint32_t stamp;
} dure_statistics_workspace;

void dure_statistics_free(dure_statistics_workspace *workspace);

// `text` is valid UTF-8.
void dure_statistics_measure(const char *text, size_t size, dure_language language, dure_statistics *out_statistics);

// N-grams are looked at in the first 200,000 words. False when memory runs out.
bool dure_statistics_repetition(dure_statistics_workspace *workspace, const char *text, size_t size,
                                dure_repetition *out_repetition);

// Whether a line ends a sentence: with a full stop, a question or exclamation mark, or a closing quotation mark.
bool dure_statistics_ends_sentence(const char *line, size_t size);
uint64_t dure_statistics_count_words(const char *line, size_t size);

#endif  // DURE_DATA_CLEAN_STATISTICS_H_
