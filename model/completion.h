// The text of what a request generates, as its tokens come: whole characters, up to the first of its stop strings.
#ifndef DURE_MODEL_COMPLETION_H_
#define DURE_MODEL_COMPLETION_H_

#include "data/tokenizer.h"

enum { DURE_STOPS_MOST = 16 };

typedef struct dure_completion dure_completion;

// Strings that end the text, and are not part of it; copied. Not thread-safe; the tokenizer must outlive it.
DURE_MUST_CHECK dure_status dure_completion_create(const dure_tokenizer *tokenizer, const char *const *stops,
                                                   size_t stop_count, dure_completion **out_completion);
void dure_completion_destroy(dure_completion *completion);  // NULL is fine
// The bytes that are certain after this token, possibly none; valid until the next call. What may be the beginning of a
// stop string is held back. *out_stopped: a stop string has come; nothing follows.
DURE_MUST_CHECK dure_status dure_completion_push(dure_completion *completion, uint32_t token, const char **out_bytes,
                                                 size_t *out_length, bool *out_stopped);
// What was held back, at the end of the generation.
DURE_MUST_CHECK dure_status dure_completion_flush(dure_completion *completion, const char **out_bytes,
                                                  size_t *out_length);

#endif  // DURE_MODEL_COMPLETION_H_
