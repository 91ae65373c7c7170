// Cuts text into pre-tokens, the pieces that BPE never merges across, by regular expressions (PCRE2 with its JIT).
//
// A pre-tokenizer is a list of steps, each cutting the pieces of the one before: GPT-2's ByteLevel is one regular
// expression; Llama 3 and Qwen 2 have one of their own before a ByteLevel without one. The expressions come from files
// written for Oniguruma in Ruby's syntax: `\s` and `\w` are rewritten to the same characters, `^` and `$` match at
// lines, and what means something else in PCRE2 is refused. PCRE2's Unicode version (14 in Debian 12) decides what a
// letter is.
#ifndef DURE_DATA_PRETOKENIZE_H_
#define DURE_DATA_PRETOKENIZE_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

// Radford et al. (2019): contractions, words, numbers and signs with the space before them, then other white space.
#define DURE_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

typedef struct dure_pretokenizer dure_pretokenizer;

// An empty one passes its text through as one piece. Release with dure_pretokenizer_destroy.
DURE_MUST_CHECK dure_status dure_pretokenizer_create(dure_pretokenizer **out_pretokenizer);
void dure_pretokenizer_destroy(dure_pretokenizer *pretokenizer);  // NULL is fine

// Adds a step: pieces between matches, and the matches themselves, become pieces of their own. `keep_matches` and
// `keep_others` say which of the two are kept. `is_literal`: the pattern is a plain string. DURE_UNSUPPORTED for an
// expression that PCRE2 cannot compile or that means something else to it.
DURE_MUST_CHECK dure_status dure_pretokenizer_add_pattern(dure_pretokenizer *pretokenizer, const char *pattern,
                                                          size_t length, bool is_literal, bool keep_matches,
                                                          bool keep_others);
// Adds a step that puts a space before each piece that does not begin with one (ByteLevel's add_prefix_space).
DURE_MUST_CHECK dure_status dure_pretokenizer_add_prefix_space(dure_pretokenizer *pretokenizer);
// Every byte of the text comes out once, in order.
bool dure_pretokenizer_is_lossless(const dure_pretokenizer *pretokenizer);

// What one thread needs to run a pre-tokenizer.
typedef struct dure_pretokenize_scratch dure_pretokenize_scratch;
DURE_MUST_CHECK dure_status dure_pretokenize_scratch_create(dure_pretokenize_scratch **out_scratch);
void dure_pretokenize_scratch_destroy(dure_pretokenize_scratch *scratch);  // NULL is fine

// Receives the pieces in order; `bytes` is valid during the call. A failure ends the run.
typedef dure_status (*dure_pretoken_sink)(void *context, const char *bytes, size_t length);

// Gives `sink` the pre-tokens of `text`, which may be any bytes: each stretch of valid UTF-8 goes through the steps by
// itself, each run of bytes between them is one piece.
DURE_MUST_CHECK dure_status dure_pretokenize(const dure_pretokenizer *pretokenizer, dure_pretokenize_scratch *scratch,
                                             const char *text, size_t length, dure_pretoken_sink sink, void *context);

#endif  // DURE_DATA_PRETOKENIZE_H_
