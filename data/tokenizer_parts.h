// What a tokenizer is made of. For the files of the tokenizer only; others use data/tokenizer.h.
#ifndef DURE_DATA_TOKENIZER_PARTS_H_
#define DURE_DATA_TOKENIZER_PARTS_H_

#include <jansson.h>

#include "data/bpe_merge.h"
#include "data/pretokenize.h"
#include "data/tokenizer.h"
#include "data/tokenizer_normalize.h"
#include "data/tokenizer_unigram.h"

#define DURE_NO_ID UINT32_MAX
// What SentencePiece writes for a space.
#define DURE_SPACE_MARK "\xE2\x96\x81"
// An id at or beyond this is taken for a mistake: arrays are as long as the highest id. Large vocabularies have
// 262,144.
#ifdef DURE_FUZZ  // ids that are reached, and no tables of megabytes to clear for each input
#define DURE_TOKEN_ID_LIMIT (1u << 13)
#else
#define DURE_TOKEN_ID_LIMIT (1u << 22)
#endif

enum {
  DURE_TOKEN_USED = 1,     // the id has a token
  DURE_TOKEN_ADDED = 2,    // from "added_tokens": found in the text before the pre-tokenizer sees it
  DURE_TOKEN_SPECIAL = 4,  // a control token
  DURE_TOKEN_MODEL = 8,    // from the vocabulary and, in a byte-level one, spelled in the characters of bytes: the
                           // model can make it
  DURE_TOKEN_USER = 16,    // SentencePiece's user-defined symbol: found by the model, whatever stands around it
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

// How SentencePiece treats white space and characters, before its model and after. From "model.sentencepiece" of the
// tokenizer.json made of a tokenizer.model; it stands for the file's normalizer, pre-tokenizer and decoder.
typedef struct dure_sentencepiece {
  dure_charsmap charsmap;
  bool adds_dummy_prefix, removes_extra_spaces, escapes_spaces, space_is_suffix;
  dure_added_set user_defined;
  char unknown_text[64];  // what the unknown token is decoded to
} dure_sentencepiece;

// What ids become: first each token by itself (done once, into `decoded`), then the text as a whole.
typedef struct dure_decoder {
  bool is_fused;           // what follows sees the text as one
  bool joins_with_spaces;  // a file without a decoder
  char metaspace[4];       // left out of the first token; length 0: no such thing
  size_t metaspace_length;
  char strip[4];  // taken from the ends of the text, up to so many times
  size_t strip_length, strip_left, strip_right;
  bool drops_first_mark;  // a space that begins the first token; with drops_all_first, while there is no text yet
  bool drops_all_first;
} dure_decoder;

typedef struct dure_encoder_pool dure_encoder_pool;

struct dure_tokenizer {
  char *json;  // what dure_tokenizer_save writes
  size_t json_length;

  dure_token *tokens;  // [vocabulary_size]: what the model and the added tokens see
  uint32_t vocabulary_size;
  char *arena;            // the bytes of all tokens
  uint32_t *byte_tokens;  // hash table of ids (DURE_NO_ID: empty) of the tokens with DURE_TOKEN_MODEL, by their bytes
  size_t byte_tokens_mask;
  uint32_t byte_ids[256];  // DURE_NO_ID for a byte without a token: that of the byte, or with byte fallback "<0xHH>"

  bool is_byte_level;  // the vocabulary is of bytes; else of characters
  bool is_unigram;     // else BPE
  bool has_byte_fallback;
  dure_bpe_table merges;
  bool ignore_merges;         // a pre-token that is in the vocabulary is that token, whatever the merges say
  uint32_t unknown_id;        // stands for what has no token; DURE_NO_ID: it vanishes
  bool fuse_unknown;          // a run of them is one
  bool may_cut_before_marks;  // no merge has something else before a space's mark
  dure_unigram unigram;
  double *scores;  // [vocabulary_size], of unigram

  dure_added_set added;             // found in the text as it is
  dure_added_set added_normalized;  // found after normalization
  char *normalized_contents;        // of added_normalized, where they are not the tokens' own
  dure_normalizer normalizer;
  dure_sentencepiece *sentencepiece;  // NULL unless the file came from SentencePiece
  dure_pretokenizer *pretokenizer;
  dure_ids prefix, suffix;  // from the post-processor

  dure_decoder decoder;
  char **decoded;  // [vocabulary_size]: NULL where a token's text is its bytes; else the text after its length
  bool has_end_of_text;
  uint32_t end_of_text;
  dure_encoder_pool *encoders;  // the one mutable part, safe to use from several threads
};

// ---- tokenizer_vocabulary.c: the "model" and "added_tokens" of the file, after the normalizer ----
DURE_MUST_CHECK dure_status dure_tokenizer_read_model(dure_tokenizer *tokenizer, json_t *root);
// The id of the vocabulary's token with these bytes, or DURE_NO_ID.
uint32_t dure_tokenizer_find_bytes(const dure_tokenizer *tokenizer, const char *bytes, size_t length);

// ---- tokenizer_added_read.c ----
// The added tokens, once the vocabulary is there. `arena_end` is where their texts go.
DURE_MUST_CHECK dure_status dure_tokenizer_read_added(dure_tokenizer *tokenizer, json_t *rows, char **arena_end);

// ---- tokenizer_pipeline.c ----
// "pre_tokenizer" and "post_processor", after the model.
DURE_MUST_CHECK dure_status dure_tokenizer_read_pipeline(dure_tokenizer *tokenizer, json_t *root);
// Whether the file's pre-tokenizer has a ByteLevel, so that its vocabulary is spelled in the characters of bytes.
bool dure_tokenizer_has_byte_level(json_t *root);
// Reading parts: the "type", a member that must be an array, and the refusal that names what is supported.
DURE_MUST_CHECK dure_status dure_part_type(json_t *part, const char *where, const char **out_type);
DURE_MUST_CHECK dure_status dure_part_array(json_t *part, const char *where, const char *name, json_t **out_array);
DURE_MUST_CHECK dure_status dure_part_unsupported(const char *what, const char *type, const char *supported);
// Metaspace's "prepend_scheme".
DURE_MUST_CHECK dure_status dure_part_prepend(json_t *part, const char *where, dure_prepend *out_prepend);
// {"Regex": TEXT} or {"String": TEXT}.
DURE_MUST_CHECK dure_status dure_part_pattern(json_t *part, const char *where, json_t **out_text, bool *out_is_literal);

// ---- tokenizer_normalizers.c ----
DURE_MUST_CHECK dure_status dure_tokenizer_read_normalizer(dure_tokenizer *tokenizer, json_t *root);

// ---- tokenizer_decoder.c ----
// "decoder", after all else.
DURE_MUST_CHECK dure_status dure_tokenizer_read_decoder(dure_tokenizer *tokenizer, json_t *root);
// What an id's token is decoded to by itself.
void dure_tokenizer_text_of(const dure_tokenizer *tokenizer, uint32_t id, const char **out_bytes, size_t *out_length);
// The value of "<0xHH>", -1 for other texts.
int dure_byte_token_value(const char *text, size_t length);

// ---- tokenizer_sentencepiece.c ----
// "model.sentencepiece", after the vocabulary: also marks and scores the tokens by their types.
DURE_MUST_CHECK dure_status dure_tokenizer_read_sentencepiece(dure_tokenizer *tokenizer, json_t *model);
void dure_sentencepiece_destroy(dure_sentencepiece *sentencepiece);  // NULL is fine
// `text` as SentencePiece's model sees it, in `out`.
DURE_MUST_CHECK dure_status dure_sentencepiece_normalize(const dure_sentencepiece *sentencepiece,
                                                         const dure_piece *text, dure_aligned *out);

// ---- tokenizer_added.c ----
// Takes ownership of `tokens` even when it fails.
DURE_MUST_CHECK dure_status dure_added_set_create(dure_added_token *tokens, uint32_t count, dure_added_set *out_set);
void dure_added_set_free(dure_added_set *set);
const dure_added_token *dure_added_set_find(const dure_added_set *set, const char *content, size_t length);
// The longest token at the start of `text` (at least a byte), or NULL.
const dure_added_token *dure_added_set_longest(const dure_added_set *set, const char *text, size_t length);
// The next added token at or after `at` in `text`. `plain_start` is where the last one (its stripped spaces included)
// ended. Returns false when there is none; else the token with the bytes [start, end) it takes, spaces included.
bool dure_added_set_next(const dure_added_set *set, bool parse_special, const char *text, size_t length, size_t at,
                         size_t plain_start, const dure_added_token **out_token, size_t *out_start, size_t *out_end,
                         size_t *out_resume);

// ---- tokenizer_encode.c ----
DURE_MUST_CHECK dure_status dure_encoder_pool_create(dure_encoder_pool **out_pool);
void dure_encoder_pool_destroy(dure_encoder_pool *pool);

// ---- tokenizer_files.c: other files become a tokenizer.json first; release `out_json` with free() ----
// A tiktoken file (data/tokenizer_tiktoken.c): `pattern` is the name of a known one, NULL: by `file_name` and size.
DURE_MUST_CHECK dure_status dure_tiktoken_to_json(const char *bytes, size_t length, const char *pattern,
                                                  const char *file_name, char **out_json, size_t *out_length);
// Whether the bytes look like that file: lines of base64 and a number.
bool dure_is_tiktoken(const char *bytes, size_t length);
// GPT-2's vocab.json and merges.txt.
DURE_MUST_CHECK dure_status dure_merges_to_json(const char *vocabulary, size_t vocabulary_length, const char *merges,
                                                size_t merges_length, char **out_json, size_t *out_length);
// Finds out what a file is and turns it into JSON. `out_is_own`: it is a tokenizer.json as it is.
DURE_MUST_CHECK dure_status dure_tokenizer_file_to_json(const char *path, const char *pattern, char **out_json,
                                                        size_t *out_length, bool *out_is_own);

// A file beside `path` with the first of these names that is there; NULL when none is. Release with free().
char *dure_tokenizer_file_beside(const char *path, const char *const *names, size_t count);

// ---- tokenizer_config.c: the tokenizer_config.json beside a tokenizer, as `transformers` 5 reads it ----
// NULL in `out_config` when there is none. DURE_CORRUPT when it is not a JSON object.
DURE_MUST_CHECK dure_status dure_tokenizer_config_read(const char *tokenizer_path, json_t **out_config);
// Its "added_tokens_decoder", and its tokens with a role that the model has, among the "added_tokens" of the
// tokenizer's JSON. What it says of a token goes before what is there. `out_is_changed` is only ever set.
DURE_MUST_CHECK dure_status dure_tokenizer_config_add_tokens(json_t *config, json_t *root, bool *out_is_changed);
// Its "add_bos_token" and "add_eos_token" for a tokenizer that has been read, and for the JSON. They are for files
// that cannot say it themselves: beside a tokenizer.json they are not asked, since its post-processor says it.
DURE_MUST_CHECK dure_status dure_tokenizer_config_add_ends(json_t *config, dure_tokenizer *tokenizer, json_t *root,
                                                           bool *out_is_changed);

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
