// Cuts text into pre-tokens, the pieces that a model never joins across.
//
// A pre-tokenizer is a list of steps, each cutting the pieces of the one before: GPT-2's ByteLevel is one regular
// expression; Llama 3 and Qwen 2 have one of their own before a ByteLevel without one; SentencePiece's families have
// Metaspace, which also writes spaces as another character. The expressions come from files written for Oniguruma in
// Ruby's syntax: `\s` and `\w` are rewritten to the same characters, `^` and `$` match at lines, and what means
// something else in PCRE2 is refused. PCRE2's Unicode version (14 in Debian 12) decides what a letter is.
#ifndef DURE_DATA_PRETOKENIZE_H_
#define DURE_DATA_PRETOKENIZE_H_

#include <stddef.h>
#include <stdint.h>

#include "data/tokenizer_text.h"
#include "runtime/status.h"

// Radford et al. (2019): contractions, words, numbers and signs with the space before them, then other white space.
#define DURE_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

typedef struct dure_pretokenizer dure_pretokenizer;

// An empty one passes its text through as one piece. Release with dure_pretokenizer_destroy.
DURE_MUST_CHECK dure_status dure_pretokenizer_create(dure_pretokenizer **out_pretokenizer);
void dure_pretokenizer_destroy(dure_pretokenizer *pretokenizer);  // NULL is fine

// What becomes of the matches of a pattern. Between them, other pieces come out as they are.
typedef enum dure_split {
  DURE_SPLIT_ISOLATED,       // each is a piece
  DURE_SPLIT_REMOVED,        // dropped
  DURE_SPLIT_WITH_PREVIOUS,  // joins the piece before it; a further match right after it is a piece of its own
  DURE_SPLIT_WITH_NEXT,      // joins the piece after it; further matches right before it are pieces of their own
  DURE_SPLIT_CONTIGUOUS,     // adjacent ones are one piece
} dure_split;

// Adds a step that cuts at a pattern. `is_inverted`: what lies between the matches counts as the match. `is_literal`:
// the pattern is a plain string. DURE_UNSUPPORTED for an expression that PCRE2 cannot compile or that means something
// else to it.
DURE_MUST_CHECK dure_status dure_pretokenizer_add_pattern(dure_pretokenizer *pretokenizer, const char *pattern,
                                                          size_t length, bool is_literal, dure_split split,
                                                          bool is_inverted);
// Adds a step that puts a space before each piece that does not begin with one (ByteLevel's add_prefix_space).
DURE_MUST_CHECK dure_status dure_pretokenizer_add_prefix_space(dure_pretokenizer *pretokenizer);

typedef enum dure_prepend { DURE_PREPEND_NEVER, DURE_PREPEND_FIRST, DURE_PREPEND_ALWAYS } dure_prepend;

// Adds a step that writes each space as `replacement` (one character) and puts one before each piece that does not
// begin with it, or before that at the beginning of the text alone. `is_splitting`: a piece begins at each replacement.
DURE_MUST_CHECK dure_status dure_pretokenizer_add_metaspace(dure_pretokenizer *pretokenizer, const char *replacement,
                                                            size_t length, dure_prepend prepend, bool is_splitting);
// Adds a step that cuts before each run of `mark` (one character) that follows something else. It changes nothing for a
// model none of whose tokens has the mark after something else, and makes pieces short enough to remember.
DURE_MUST_CHECK dure_status dure_pretokenizer_add_runs(dure_pretokenizer *pretokenizer, const char *mark,
                                                       size_t length);
// Adds a step that spells each byte as its GPT-2 character, or one that takes the characters back: steps between the
// two see what follows ByteLevel in a Sequence.
DURE_MUST_CHECK dure_status dure_pretokenizer_add_spelling(dure_pretokenizer *pretokenizer, bool is_back);
// Every byte of the text comes out once, in order.
bool dure_pretokenizer_is_lossless(const dure_pretokenizer *pretokenizer);
bool dure_pretokenizer_is_empty(const dure_pretokenizer *pretokenizer);

// What one thread needs to run a pre-tokenizer.
typedef struct dure_pretokenize_scratch dure_pretokenize_scratch;
DURE_MUST_CHECK dure_status dure_pretokenize_scratch_create(dure_pretokenize_scratch **out_scratch);
void dure_pretokenize_scratch_destroy(dure_pretokenize_scratch *scratch);  // NULL is fine

// Receives the pieces in order; `bytes` is valid during the call. A failure ends the run.
typedef dure_status (*dure_pretoken_sink)(void *context, const dure_piece *piece);

// Gives `sink` the pre-tokens of `text`, which may be any bytes: each stretch of valid UTF-8 goes through the steps by
// itself, each run of bytes between them is one piece. `is_text_start`: nothing came before. `is_tracking`: pieces
// whose bytes are not the text's carry spans.
DURE_MUST_CHECK dure_status dure_pretokenize(const dure_pretokenizer *pretokenizer, dure_pretokenize_scratch *scratch,
                                             const dure_piece *text, bool is_text_start, bool is_tracking,
                                             dure_pretoken_sink sink, void *context);

#endif  // DURE_DATA_PRETOKENIZE_H_
