// Learns a byte-level BPE tokenizer from text.
//
// Sennrich et al. (2016), algorithm 1, on counted pre-tokens: the most frequent adjacent pair becomes a token, over and
// over; among equally frequent pairs the one with the lowest (left id, right id). Ids: the special tokens in their
// order, then the 256 bytes in the order of their GPT-2 characters, then the merges. The merges are the same as those
// of the Python `tokenizers` library's BpeTrainer with a ByteLevel pre-tokenizer (add_prefix_space off), the ByteLevel
// initial alphabet and the same chunks of text.
#ifndef DURE_DATA_BPE_TRAIN_H_
#define DURE_DATA_BPE_TRAIN_H_

#include "data/tokenizer.h"

typedef struct dure_train_progress {
  uint64_t bytes_read;       // of text, so far
  uint64_t distinct_words;   // pre-tokens, so far
  uint32_t vocabulary_size;  // tokens, so far; 0 while the text is still being read
  uint32_t vocabulary_wanted;
} dure_train_progress;

typedef struct dure_bpe_train_options {
  uint32_t vocabulary_size;           // special tokens and bytes included; 256 + specials or less: no merges
  uint64_t min_frequency;             // a pair seen fewer times is not merged; 0 and 1 are the same
  const char *const *special_tokens;  // NULL: "<|endoftext|>" alone
  size_t special_token_count;
  void (*progress)(void *context, const dure_train_progress *progress);  // may be NULL
  void *progress_context;
} dure_bpe_train_options;

// ---- text that is handed over ----
typedef struct dure_bpe_trainer dure_bpe_trainer;

// The options' pointers must stay valid until the trainer is destroyed. DURE_INVALID_ARGUMENT for a special token that
// is empty, not UTF-8 or given twice, or a vocabulary beyond 2^22.
DURE_MUST_CHECK dure_status dure_bpe_trainer_create(const dure_bpe_train_options *options,
                                                    dure_bpe_trainer **out_trainer);
void dure_bpe_trainer_destroy(dure_bpe_trainer *trainer);  // NULL is fine
// False when the vocabulary has no room for merges: the text then makes no difference.
bool dure_bpe_trainer_needs_text(const dure_bpe_trainer *trainer);
// Counts the words of one chunk. DURE_CANCELLED when interrupted (dure_os_interrupted).
DURE_MUST_CHECK dure_status dure_bpe_trainer_add(dure_bpe_trainer *trainer, const char *text, size_t length);
// Learns the merges, once, after all text.
DURE_MUST_CHECK dure_status dure_bpe_trainer_finish(dure_bpe_trainer *trainer, dure_tokenizer **out_tokenizer);

// ---- text that is asked for ----
// Gives the next chunk of text (valid until the next call), or NULL in `out_text` after the last one. Pre-tokens do
// not cross chunks, so a chunk is best a document or a line with its newline.
typedef dure_status (*dure_text_source)(void *context, const char **out_text, size_t *out_length);

// All of the above. Memory is that of the distinct pre-tokens, not of the text. The vocabulary comes out smaller than
// asked when the text has no more pairs that are frequent enough. DURE_INVALID_ARGUMENT for a special token that is
// empty, not UTF-8 or given twice; DURE_CANCELLED when interrupted (dure_os_interrupted); else what `next` or memory
// failed with.
DURE_MUST_CHECK dure_status dure_tokenizer_train(dure_text_source next, void *source_context,
                                                 const dure_bpe_train_options *options, dure_tokenizer **out_tokenizer);

#endif  // DURE_DATA_BPE_TRAIN_H_
