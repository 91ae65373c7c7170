// Learns a vocabulary of pieces as SentencePiece has them: words begin with U+2581, symbols are characters.
//
// Kudo and Richardson (2018), "SentencePiece". BPE: Sennrich et al. (2016), algorithm 1, over the characters of words.
// Unigram: Kudo (2018), "Subword Regularization", section 3.2: many frequent substrings as seeds, expectation
// maximisation over all segmentations, and pruning of the pieces whose loss would matter least.
//
// Ids: the special tokens in their order (the first stands for what is unknown), with byte fallback "<0x00>" to
// "<0xFF>", then the characters by frequency and the other pieces. The result is a tokenizer.json that other readers
// encode with alike. The same text gives the same bytes.
#ifndef DURE_DATA_TOKENIZER_PIECES_H_
#define DURE_DATA_TOKENIZER_PIECES_H_

#include "data/bpe_train.h"
#include "data/bpe_words.h"

typedef struct dure_pieces_options {
  bool is_unigram;                    // else BPE
  uint32_t vocabulary_size;           // in all
  double character_coverage;          // characters of this share of the text become pieces; 0: 0.9995
  bool byte_fallback;                 // the others become tokens of their bytes, else the unknown token
  const char *const *special_tokens;  // NULL: "<unk>", "<s>", "</s>"
  size_t special_token_count;
  uint32_t threads;  // of unigram; 0: one a core. The result is the same whatever their number
  void (*progress)(void *context, const dure_train_progress *progress);  // may be NULL
  void *progress_context;
} dure_pieces_options;

typedef struct dure_pieces_trainer dure_pieces_trainer;

// The options' pointers must stay valid until the trainer is destroyed.
DURE_MUST_CHECK dure_status dure_pieces_trainer_create(const dure_pieces_options *options,
                                                       dure_pieces_trainer **out_trainer);
void dure_pieces_trainer_destroy(dure_pieces_trainer *trainer);  // NULL is fine
// Counts the words of one chunk; pieces cross neither chunks nor line breaks. DURE_CANCELLED when interrupted.
DURE_MUST_CHECK dure_status dure_pieces_trainer_add(dure_pieces_trainer *trainer, const char *text, size_t length);
// Learns the pieces, once, after all text. DURE_INVALID_ARGUMENT when the special tokens, bytes and characters alone
// are more than the vocabulary.
DURE_MUST_CHECK dure_status dure_pieces_trainer_finish(dure_pieces_trainer *trainer, dure_tokenizer **out_tokenizer);

// ---- tokenizer_pieces_unigram.c ----
// A run of characters that are pieces, within a word, as often as it occurs.
typedef struct dure_run {
  const char *bytes;
  uint32_t length;
  uint64_t count;
} dure_run;

typedef struct dure_scored_piece {
  const char *bytes;
  uint32_t length;
  bool is_character;
  double score;  // log probability
} dure_scored_piece;

// Up to `wanted` pieces, the characters among them first, the others by score; `characters` [character_count] are kept
// all. Points into the runs and characters; release with free().
DURE_MUST_CHECK dure_status dure_unigram_learn(const dure_run *runs, size_t run_count,
                                               const dure_scored_piece *characters, size_t character_count,
                                               size_t wanted, uint32_t threads, dure_scored_piece **out_pieces,
                                               size_t *out_count);

#endif  // DURE_DATA_TOKENIZER_PIECES_H_
