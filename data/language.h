// A rough guess at the language of a text: enough to count, to mix by, and to filter a bilingual corpus.
#ifndef DURE_DATA_LANGUAGE_H_
#define DURE_DATA_LANGUAGE_H_

#include <stddef.h>

#include "runtime/status.h"

typedef enum dure_language { DURE_KOREAN, DURE_ENGLISH, DURE_OTHER_LANGUAGE, DURE_LANGUAGE_COUNT } dure_language;

// Korean when at least 30 % of the letters are Hangul, a syllable counted as two letters (Korean text about computers
// is full of Latin words). English when at least 90 % are ASCII letters and, in texts of 20 words and more, at least 5
// % of the words are among English's most frequent; in shorter ones, when these are as many as those of other
// languages. Other languages are otherwise. `text` is valid UTF-8.
dure_language dure_language_guess(const char *text, size_t size);

const char *dure_language_name(dure_language language);  // "ko", "en", "other"
bool dure_language_parse(const char *name, size_t length, dure_language *out_language);

#endif  // DURE_DATA_LANGUAGE_H_
