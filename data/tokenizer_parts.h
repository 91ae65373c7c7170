// What a tokenizer is made of. For the files of the tokenizer only; others use data/tokenizer.h.
#ifndef DURE_DATA_TOKENIZER_PARTS_H_
#define DURE_DATA_TOKENIZER_PARTS_H_

#include <jansson.h>

#include "data/bpe_merge.h"
#include "data/pretokenize.h"
#include "data/tokenizer.h"

#define DURE_NO_ID UINT32_MAX
// An id at or beyond this is taken for a mistake: arrays are as long as the highest id. Large vocabularies have
// 262,144.
#define DURE_TOKEN_ID_LIMIT (1u << 22)

enum {
  DURE_TOKEN_USED = 1,     // the id has a token
  DURE_TOKEN_ADDED = 2,    // from "added_tokens": found in the text before the pre-tokenizer sees it
  DURE_TOKEN_SPECIAL = 4,  // a control token
  DURE_TOKEN_BYTES = 8,    // from the vocabulary and spelled in the characters of bytes: merges can make it
};

typedef struct dure_token {
  const char *bytes;  // in the tokenizer's arena
  uint32_t length;
  uint32_t flags;
} dure_token;

// A token that is looked for in the text itself.
typedef struct dure_added_token {
  const char *content;
  size_t length;
  uint32_t id;
  bool is_special, strips_left, strips_right, is_single_word;
} dure_added_token;

// Added tokens sorted by their bytes, so that the longest at a place is found by narrowing a range byte by byte.
typedef struct dure_added_set {
  dure_added_token *tokens;
  uint32_t count, special_count;
  uint32_t first[257];  // tokens that begin with byte b are [first[b], first[b + 1])
} dure_added_set;

typedef enum dure_normalizer {
  DURE_NORMALIZER_NONE,
  DURE_NORMALIZER_NFC,
  DURE_NORMALIZER_NFD,
  DURE_NORMALIZER_NFKC,
  DURE_NORMALIZER_NFKD
} dure_normalizer;

typedef struct dure_encoder_pool dure_encoder_pool;

struct dure_tokenizer {
  char *json;  // what dure_tokenizer_save writes
  size_t json_length;

  dure_token *tokens;  // [vocabulary_size]
  uint32_t vocabulary_size;
  char *arena;            // the bytes of all tokens
  uint32_t *byte_tokens;  // hash table of ids (DURE_NO_ID: empty) of the tokens with DURE_TOKEN_BYTES, by their bytes
  size_t byte_tokens_mask;
  uint32_t byte_ids[256];  // DURE_NO_ID for a byte without a token

  dure_bpe_table merges;
  bool ignore_merges;   // a pre-token that is in the vocabulary is that token, whatever the merges say
  uint32_t unknown_id;  // stands for a byte without a token; DURE_NO_ID: such bytes vanish
  bool fuse_unknown;    // a run of them is one

  dure_added_set added;             // found in the text as it is
  dure_added_set added_normalized;  // found after normalization
  dure_normalizer normalizer;
  dure_pretokenizer *pretokenizer;
  dure_ids prefix, suffix;  // from the post-processor

  bool has_end_of_text;
  uint32_t end_of_text;
  dure_encoder_pool *encoders;  // the one mutable part, safe to use from several threads
};

// ---- tokenizer_vocabulary.c: the "model" and "added_tokens" of the file, after the normalizer ----
DURE_MUST_CHECK dure_status dure_tokenizer_read_model(dure_tokenizer *tokenizer, json_t *root);
// The id of the vocabulary's token with these bytes, or DURE_NO_ID.
uint32_t dure_tokenizer_find_bytes(const dure_tokenizer *tokenizer, const char *bytes, size_t length);

// ---- tokenizer_pipeline.c ----
DURE_MUST_CHECK dure_status dure_tokenizer_read_normalizer(dure_tokenizer *tokenizer, json_t *root);
// "pre_tokenizer", "post_processor" and "decoder", after the model.
DURE_MUST_CHECK dure_status dure_tokenizer_read_pipeline(dure_tokenizer *tokenizer, json_t *root);

// ---- tokenizer_normalize.c ----
// The normal form of `text`, whose bytes that are not UTF-8 stay as they are; release with free(). NULL in `out_text`:
// it is that already.
DURE_MUST_CHECK dure_status dure_tokenizer_normalize(dure_normalizer normalizer, const char *text, size_t length,
                                                     char **out_text, size_t *out_length);

// ---- tokenizer_added.c ----
// Takes ownership of `tokens` even when it fails.
DURE_MUST_CHECK dure_status dure_added_set_create(dure_added_token *tokens, uint32_t count, dure_added_set *out_set);
void dure_added_set_free(dure_added_set *set);
const dure_added_token *dure_added_set_find(const dure_added_set *set, const char *content, size_t length);
// The next added token at or after `at` in `text`. `plain_start` is where the last one (its stripped spaces included)
// ended. Returns false when there is none; else the token with the bytes [start, end) it takes, spaces included.
bool dure_added_set_next(const dure_added_set *set, bool parse_special, const char *text, size_t length, size_t at,
                         size_t plain_start, const dure_added_token **out_token, size_t *out_start, size_t *out_end,
                         size_t *out_resume);

// ---- tokenizer_encode.c ----
DURE_MUST_CHECK dure_status dure_encoder_pool_create(dure_encoder_pool **out_pool);
void dure_encoder_pool_destroy(dure_encoder_pool *pool);

// ---- reading JSON: where something is, and what was expected there ----
// "an object", "a string", ... for messages.
const char *dure_json_kind(const json_t *value);
// A member that may be missing or null (then *out_value is NULL) but is otherwise of the wanted type.
DURE_MUST_CHECK dure_status dure_json_member(json_t *object, const char *where, const char *name, json_type type,
                                             json_t **out_value);
// A member that is true or false, or missing or null: then it has the value it had.
DURE_MUST_CHECK dure_status dure_json_bool(json_t *object, const char *where, const char *name, bool *out_value);
// A token id: a whole number from 0 to DURE_TOKEN_ID_LIMIT - 1.
DURE_MUST_CHECK dure_status dure_json_token_id(const json_t *value, const char *where, uint32_t *out_id);

#endif  // DURE_DATA_TOKENIZER_PARTS_H_
