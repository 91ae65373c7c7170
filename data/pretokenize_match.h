// Regular expressions of tokenizer files, compiled by PCRE2 with its JIT.
#ifndef DURE_DATA_PRETOKENIZE_MATCH_H_
#define DURE_DATA_PRETOKENIZE_MATCH_H_

#include <stddef.h>

#include "runtime/status.h"

// Immutable: several threads may match with one.
typedef struct dure_pattern dure_pattern;

// `is_literal`: the pattern is a plain string; else it is Oniguruma's syntax (data/pretokenize_pattern.h).
// DURE_UNSUPPORTED for an expression that PCRE2 cannot compile or that means something else to it.
DURE_MUST_CHECK dure_status dure_pattern_create(const char *pattern, size_t length, bool is_literal,
                                                dure_pattern **out_pattern);
void dure_pattern_destroy(dure_pattern *pattern);  // NULL is fine

// What one thread needs to match.
typedef struct dure_matcher dure_matcher;
DURE_MUST_CHECK dure_status dure_matcher_create(dure_matcher **out_matcher);
void dure_matcher_destroy(dure_matcher *matcher);  // NULL is fine

// The first match at or after `offset` in valid UTF-8. Fails where the expression takes too much memory or time.
DURE_MUST_CHECK dure_status dure_pattern_find(const dure_pattern *pattern, dure_matcher *matcher, const char *text,
                                              size_t length, size_t offset, bool *out_is_found, size_t *out_start,
                                              size_t *out_end);

#endif  // DURE_DATA_PRETOKENIZE_MATCH_H_
