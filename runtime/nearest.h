// "Did you mean ...?": for commands, options, model types, recipe keys.
#ifndef DURE_RUNTIME_NEAREST_H_
#define DURE_RUNTIME_NEAREST_H_

#include <stddef.h>

// The candidate with the smallest edit distance (Levenshtein) to `text`; NULL when there are no candidates.
// `out_distance` may be NULL.
const char *dure_nearest_name(const char *text, const char *const *candidates, size_t count, size_t *out_distance);

#endif  // DURE_RUNTIME_NEAREST_H_
