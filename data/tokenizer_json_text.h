// Writing the JSON of a tokenizer by hand: vocabularies have hundreds of thousands of rows.
#ifndef DURE_DATA_TOKENIZER_JSON_TEXT_H_
#define DURE_DATA_TOKENIZER_JSON_TEXT_H_

#include "data/bytes.h"

// A string of JSON: quoted, with what must be escaped. `text` is UTF-8.
void dure_json_put_string(dure_bytes *out, const char *text, size_t length);
// Text as printf makes it, at most 512 bytes.
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void dure_json_put(dure_bytes *out, const char *format, ...);
// A row of "added_tokens"; puts a comma before it unless `is_first`, which becomes false.
void dure_json_put_added(dure_bytes *out, bool *is_first, const char *text, size_t length, unsigned id,
                         bool is_special);
// Ends the text with a NUL and hands it over; release with free().
DURE_MUST_CHECK dure_status dure_json_finish(dure_bytes *out, char **out_json, size_t *out_length);

// ---- tokenizer_patterns.c: the regular expressions and special tokens that tiktoken files leave to their programs
// ---- Special tokens with consecutive ids: `name` has a %u for the number of each when `count` is not 0.
typedef struct dure_special_run {
  const char *name;  // NULL ends the list
  unsigned id, first, count;
} dure_special_run;

typedef struct dure_named_pattern {
  const char *name;
  const char *expression;
  bool has_nfc;           // text is put into NFC first
  const char *beginning;  // put before each text; NULL: nothing
  const dure_special_run *specials;
} dure_named_pattern;

// The row of a name; DURE_UNSUPPORTED (listing the names) for another. `name` NULL: by the file's name
// ("cl100k_base.tiktoken") and number of ranks; DURE_UNSUPPORTED when they do not tell.
DURE_MUST_CHECK dure_status dure_named_pattern_find(const char *name, const char *file_name, size_t rank_count,
                                                    const dure_named_pattern **out_pattern);
// "added_tokens", "normalizer", "pre_tokenizer", "post_processor" and "decoder" of a byte-level tokenizer.json, each
// with a comma after it.
void dure_named_pattern_put(const dure_named_pattern *pattern, dure_bytes *out);

#endif  // DURE_DATA_TOKENIZER_JSON_TEXT_H_
