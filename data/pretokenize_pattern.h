// Oniguruma's regular expressions (Ruby syntax) rewritten for PCRE2.
#ifndef DURE_DATA_PRETOKENIZE_PATTERN_H_
#define DURE_DATA_PRETOKENIZE_PATTERN_H_

#include <stddef.h>

#include "runtime/status.h"

// The pattern that matches the same texts under PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE; release with free().
// DURE_UNSUPPORTED for constructs whose meaning differs and that are not rewritten: class intersections and negated
// classes within classes, `\h`, `\R`, `\X`, `(?m)`, and a `+` after an interval (a repetition there, possessive in
// PCRE2).
DURE_MUST_CHECK dure_status dure_pattern_rewrite(const char *pattern, size_t length, char **out_pattern,
                                                 size_t *out_length);

#endif  // DURE_DATA_PRETOKENIZE_PATTERN_H_
