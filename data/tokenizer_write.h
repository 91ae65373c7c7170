// Writes the tokenizer.json of a vocabulary that was just learnt.
#ifndef DURE_DATA_TOKENIZER_WRITE_H_
#define DURE_DATA_TOKENIZER_WRITE_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

// A token's name as the file spells it: special tokens as they are, others in the characters of their bytes.
typedef struct dure_new_token {
  char *text;
  uint32_t length;  // bytes of `text`, after which there is a NUL
} dure_new_token;

typedef struct dure_new_vocabulary {
  const dure_new_token *tokens;  // [token_count]; the first special_count of them are special
  uint32_t token_count, special_count;
  const uint64_t *merges;  // [merge_count]: left << 32 | right, in the order of their ranks
  size_t merge_count;
} dure_new_vocabulary;

// A ByteLevel BPE tokenizer with GPT-2's pre-tokenization, no normalizer and no prefix space. Release with free().
DURE_MUST_CHECK dure_status dure_tokenizer_write_json(const dure_new_vocabulary *vocabulary, char **out_json,
                                                      size_t *out_length);

#endif  // DURE_DATA_TOKENIZER_WRITE_H_
