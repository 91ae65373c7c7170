// What a tokenizer does to text before it is cut: a list of steps, each with the meaning it has in `tokenizers`.
#ifndef DURE_DATA_TOKENIZER_NORMALIZE_H_
#define DURE_DATA_TOKENIZER_NORMALIZE_H_

#include "data/pretokenize_match.h"
#include "data/tokenizer_charsmap.h"
#include "data/tokenizer_text.h"

typedef enum dure_normalizer_kind {
  DURE_NORMALIZER_NFC,
  DURE_NORMALIZER_NFD,
  DURE_NORMALIZER_NFKC,
  DURE_NORMALIZER_NFKD,
  DURE_NORMALIZER_LOWERCASE,      // each character by itself
  DURE_NORMALIZER_STRIP,          // white space at the ends
  DURE_NORMALIZER_STRIP_ACCENTS,  // marks go
  DURE_NORMALIZER_NMT,            // control characters go, unusual white space becomes a space
  DURE_NORMALIZER_PREPEND,        // `content` before a text that is not empty
  DURE_NORMALIZER_REPLACE,        // each match of `pattern` becomes `content`
  DURE_NORMALIZER_PRECOMPILED,    // SentencePiece's character map, by grapheme clusters as `tokenizers` applies it
} dure_normalizer_kind;

typedef struct dure_normalizer_step {
  dure_normalizer_kind kind;
  bool strips_left, strips_right;
  char *content;  // owned
  size_t content_length;
  dure_pattern *pattern;  // owned
  dure_charsmap charsmap;
} dure_normalizer_step;

enum { dure_normalizer_step_limit = 32 };

// Start from {0}.
typedef struct dure_normalizer {
  dure_normalizer_step steps[dure_normalizer_step_limit];
  size_t step_count;
} dure_normalizer;

// Takes ownership of what the step holds, even when it fails.
DURE_MUST_CHECK dure_status dure_normalizer_add(dure_normalizer *normalizer, dure_normalizer_step step);
void dure_normalizer_free(dure_normalizer *normalizer);

// What one thread needs to run a normalizer; start from {0}.
typedef struct dure_normalize_scratch {
  dure_aligned texts[2];
  dure_matcher *matcher;
} dure_normalize_scratch;
void dure_normalize_scratch_free(dure_normalize_scratch *scratch);

// The normal form of `text`, whose bytes that are not UTF-8 stay as they are; `text` itself when nothing changes.
// `out_piece` is valid until the next call with this scratch; it carries spans when `is_tracking`.
DURE_MUST_CHECK dure_status dure_normalize(const dure_normalizer *normalizer, dure_normalize_scratch *scratch,
                                           const dure_piece *text, bool is_tracking, dure_piece *out_piece);

#endif  // DURE_DATA_TOKENIZER_NORMALIZE_H_
