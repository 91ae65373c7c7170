// A tokenizer: text to token ids and back, read from any of the files in use and written as a Hugging Face
// `tokenizer.json`.
//
// Models: BPE over bytes (GPT-2, Llama 3, Qwen) or over characters with byte fallback (Llama 2, Mistral, Gemma), and
// unigram (T5, XLM-R). Files: `tokenizer.json`; SentencePiece's `tokenizer.model`; tiktoken's ranks with the pattern
// given by name; GPT-2's `vocab.json` and `merges.txt`. Ids are those of `tokenizers`, `sentencepiece` and `tiktoken`.
//
// Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016), section 3; over bytes as in
// Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), section 2.2. Text is cut into
// pre-tokens by a regular expression, each pre-token's bytes start as one symbol each, and the adjacent pair with the
// lowest merge rank is joined (the leftmost first) until no pair has a rank.
//
// Unigram: data/tokenizer_unigram.h.
//
// Text is any bytes: NUL and invalid UTF-8 included. The stretches that are valid UTF-8 are seen by the normalizer and
// the pre-tokenizer; each run of invalid bytes between them is a pre-token of its own. Whenever the file has no
// normalizer, no prefix space and a token for each of the 256 byte values, decode(encode(text)) is the text.
// SentencePiece's files make each invalid byte U+FFFD, as it does.
//
// An opened tokenizer is immutable: several threads may use one at the same time.
#ifndef DURE_DATA_TOKENIZER_H_
#define DURE_DATA_TOKENIZER_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_tokenizer dure_tokenizer;

// ---- files ----
// Opens a tokenizer.json, tokenizer.model, tiktoken file or vocab.json (with merges.txt beside it), or the first of
// them in a model directory. DURE_NOT_FOUND or DURE_IO when it cannot be read, DURE_CORRUPT when it contradicts its
// format or itself, DURE_UNSUPPORTED (naming the part and what is supported) when it asks for something else. Release
// with dure_tokenizer_close.
DURE_MUST_CHECK dure_status dure_tokenizer_open(const char *file_or_directory, dure_tokenizer **out_tokenizer);
// The same; `pattern` names the regular expression and special tokens of a tiktoken file ("cl100k_base", "llama3", ...;
// any other name lists them). NULL: told from the file's name or size where that is sure.
DURE_MUST_CHECK dure_status dure_tokenizer_open_as(const char *file_or_directory, const char *pattern,
                                                   dure_tokenizer **out_tokenizer);
// From the contents of a tokenizer.json in memory, which are copied.
DURE_MUST_CHECK dure_status dure_tokenizer_parse(const char *json, size_t length, dure_tokenizer **out_tokenizer);
// The tokenizer.json that stands for a SentencePiece model, from the bytes of its tokenizer.model; release with free().
DURE_MUST_CHECK dure_status dure_sentencepiece_to_json(const char *bytes, size_t length, char **out_json,
                                                       size_t *out_length);
void dure_tokenizer_close(dure_tokenizer *tokenizer);  // NULL is fine
// Writes a tokenizer.json: the very bytes that were opened, or those made by training or of another kind of file.
// Readers see the old file or the new.
DURE_MUST_CHECK dure_status dure_tokenizer_save(const dure_tokenizer *tokenizer, const char *path);
// The bytes that dure_tokenizer_save writes, for hashing and copying; owned by the tokenizer.
const char *dure_tokenizer_json(const dure_tokenizer *tokenizer, size_t *out_length);

// ---- vocabulary ----
// The highest id + 1. Ids below it may be unused: dure_tokenizer_token then returns false.
uint32_t dure_tokenizer_vocabulary_size(const dure_tokenizer *tokenizer);
// The id of a token by its text ("<|endoftext|>", " the"; SentencePiece's " the" or "\u2581the"); added tokens are
// looked at first.
bool dure_tokenizer_find(const dure_tokenizer *tokenizer, const char *token_text, uint32_t *out_id);
// The bytes a token stands for, owned by the tokenizer. `out_is_special`: a control token that text does not contain.
// False (and NULL, 0, false) for an id that is not used.
bool dure_tokenizer_token(const dure_tokenizer *tokenizer, uint32_t id, const char **out_bytes, size_t *out_length,
                          bool *out_is_special);
// The token that stands for what has none. False when there is no such token.
bool dure_tokenizer_unknown(const dure_tokenizer *tokenizer, uint32_t *out_id);
// The token that stands between documents and ends a generation: the special token "<|endoftext|>", else the first of
// the other customary names ("<|end_of_text|>", "</s>", ...) that is special here. False when there is none.
bool dure_tokenizer_end_of_text(const dure_tokenizer *tokenizer, uint32_t *out_id);

// ---- text to ids ----
// A growing array of ids; start from {0} and release with dure_ids_free.
typedef struct dure_ids {
  uint32_t *ids;
  size_t count, capacity;
} dure_ids;
void dure_ids_free(dure_ids *ids);  // frees the array and makes it {0} again
// Makes room for `additional` more ids, growing geometrically.
DURE_MUST_CHECK dure_status dure_ids_reserve(dure_ids *ids, size_t additional);

typedef struct dure_encode_options {
  // The text of a special token becomes that token. False (the default, for documents): it is plain text, so that
  // nobody's document can forge an end of text. Added tokens that are not special are found either way.
  bool parse_special;
  // Put the ids of the file's post-processor around the text (Llama 3's <|begin_of_text|>).
  bool add_special;
  // Subword regularisation: 0 is the one best segmentation. Unigram: segmentations are drawn with P^sampling (Kudo
  // 2018). BPE: each merge is passed over with this probability (Provilkov et al. 2020, "BPE-Dropout"), at most 1. The
  // same seed and text give the same ids.
  double sampling;
  uint64_t seed;
} dure_encode_options;

// The bytes [start, end) of the source text that a token stands for.
typedef struct dure_span {
  size_t start, end;
} dure_span;
// A growing array; start from {0} and release with dure_spans_free.
typedef struct dure_spans {
  dure_span *spans;
  size_t count, capacity;
} dure_spans;
void dure_spans_free(dure_spans *spans);  // frees the array and makes it {0} again

// Appends the ids of `text`; on failure `out_ids` holds what it held before. NULL options are all false.
DURE_MUST_CHECK dure_status dure_tokenizer_encode(const dure_tokenizer *tokenizer, const char *text, size_t length,
                                                  const dure_encode_options *options, dure_ids *out_ids);
// The same, with where each id came from. Tokens of parts of a character have those bytes of it; where the text was
// normalized, all that the changed characters came from. What a tokenizer.json puts before the text or a word stands
// for its first character, as in `tokenizers`; what a tokenizer.model puts there, for nothing, as in `sentencepiece`;
// ids put around the text have (0, 0).
DURE_MUST_CHECK dure_status dure_tokenizer_encode_spans(const dure_tokenizer *tokenizer, const char *text,
                                                        size_t length, const dure_encode_options *options,
                                                        dure_ids *out_ids, dure_spans *out_spans);

// ---- ids to text ----
// The bytes of all ids, with a NUL after the last one; release with free(). The text is what the ids say, even where
// that is not valid UTF-8. DURE_INVALID_ARGUMENT for an id outside the vocabulary.
DURE_MUST_CHECK dure_status dure_tokenizer_decode(const dure_tokenizer *tokenizer, const uint32_t *ids, size_t count,
                                                  bool skip_special, char **out_text, size_t *out_length);

// Decodes ids as they are generated, holding back the first bytes of a character until the rest has come. Bytes that
// can never become a character pass through. Not thread-safe; the tokenizer must outlive it.
typedef struct dure_token_stream dure_token_stream;
DURE_MUST_CHECK dure_status dure_token_stream_create(const dure_tokenizer *tokenizer, bool skip_special,
                                                     dure_token_stream **out_stream);
void dure_token_stream_destroy(dure_token_stream *stream);  // NULL is fine
// The bytes that are complete after this id, possibly none; valid until the next call with this stream.
DURE_MUST_CHECK dure_status dure_token_stream_push(dure_token_stream *stream, uint32_t id, const char **out_bytes,
                                                   size_t *out_length);
// What was held back (at most 3 bytes), at the end of a generation.
void dure_token_stream_flush(dure_token_stream *stream, const char **out_bytes, size_t *out_length);

#endif  // DURE_DATA_TOKENIZER_H_
