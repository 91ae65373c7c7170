// Text as it goes into training: Unicode normalisation form C (UAX #15, by utf8proc), no control characters, tidy white
// space.
//
//   - CR LF, CR, form feed, U+0085, U+2028 and U+2029 become line feeds; every other space character becomes a space;
//     tabs stay
//   - control characters, zero-width spaces, soft hyphens, byte order marks, bidirectional controls and noncharacters
//     go; the joiners U+200C and U+200D stay, since scripts and emoji need them
//   - white space at the end of lines and of the text goes, and more than one blank line becomes one
//   - with `collapse`, runs of spaces and tabs inside a line become one space; indentation stays
//   - of a run of more than 30 combining marks the rest goes (UAX #15, section 13: the stream-safe format), which also
//     keeps hostile text from costing quadratic time
#ifndef DURE_DATA_NORMALISE_H_
#define DURE_DATA_NORMALISE_H_

#include "data/bytes.h"

// `text` is valid UTF-8. Appends to `out`, which starts a new line there; the result ends without a line feed.
void dure_text_normalise(const char *text, size_t size, bool collapse, dure_bytes *out);

// Form C alone, appended to `out`.
void dure_text_compose(const char *text, size_t size, dure_bytes *out);

#endif  // DURE_DATA_NORMALISE_H_
