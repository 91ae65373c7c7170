// Which of a few texts (the held-out documents) are near-duplicates of a large corpus.
//
// A text is seen as the set of its windows ("shingles") of 50 letters or digits, lower-cased, everything else left
// out, so that spacing and punctuation do not matter and the same rule serves Korean and English (Broder, "On the
// resemblance and containment of documents", 1997, section 2). The windows of the few texts are collected, then the
// corpus is streamed past them and marks those it has too; the containment of a text is the marked share of its
// windows. Memory: 10 to 20 bytes a character of the few texts, nothing for the corpus.
#ifndef DURE_DATA_SHINGLES_H_
#define DURE_DATA_SHINGLES_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_shingles dure_shingles;

DURE_MUST_CHECK dure_status dure_shingles_create(dure_shingles **out_shingles);
void dure_shingles_destroy(dure_shingles *shingles);  // NULL is fine

// Collects the windows of one of the few texts. A text of fewer than 50 letters and digits has none.
DURE_MUST_CHECK dure_status dure_shingles_collect(dure_shingles *shingles, const char *text, size_t length);
// Marks the windows that this text of the corpus shares with the collected ones.
void dure_shingles_mark(dure_shingles *shingles, const char *text, size_t length);
// The marked share, 0 to 1, of a text's windows; 0 when it has none.
double dure_shingles_containment(const dure_shingles *shingles, const char *text, size_t length);

#endif  // DURE_DATA_SHINGLES_H_
