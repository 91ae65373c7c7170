// The unigram language model of subwords: the segmentation with the highest sum of log probabilities.
//
// Kudo, "Subword Regularization: Improving Neural Network Translation Models with Multiple Subword Candidates" (2018),
// section 3.2 for the model and 3.3 for drawing one segmentation among all.
#ifndef DURE_DATA_TOKENIZER_UNIGRAM_H_
#define DURE_DATA_TOKENIZER_UNIGRAM_H_

#include "data/tokenizer_trie.h"

typedef struct dure_unigram {
  dure_trie trie;        // its values are ids
  const double *scores;  // [vocabulary size] by id: log probabilities; the tokenizer's
  double unknown_score;  // of a character that no token is
  uint32_t unknown_id;
  // Sums are rounded to f32 as `sentencepiece` does, so that what it holds for a tie is one here. Otherwise f64, as in
  // `tokenizers`.
  bool is_single;
} dure_unigram;

// One token of a segmentation: the bytes [start, end).
typedef struct dure_unigram_part {
  uint32_t id, start, end;
} dure_unigram_part;

// Working memory of one thread; start from {0}.
typedef struct dure_unigram_scratch {
  void *nodes;
  size_t node_size;
  void *edges;
  size_t edge_size;
  dure_unigram_part *parts;
  size_t part_capacity;
} dure_unigram_scratch;
void dure_unigram_scratch_free(dure_unigram_scratch *scratch);

// Random numbers for one encoding: draw k is a pure function of (seed, k).
typedef struct dure_draws {
  uint64_t seed, count;
} dure_draws;
double dure_draw(dure_draws *draws);  // in [0, 1)

// The best segmentation; of equal ones, the one found first from the left, shorter tokens first. `out_parts` lies in
// the scratch until the next call. Bytes in no valid character are one unknown part each. DURE_OUT_OF_MEMORY, or
// DURE_UNSUPPORTED beyond 2^31 bytes.
DURE_MUST_CHECK dure_status dure_unigram_segment(const dure_unigram *unigram, dure_unigram_scratch *scratch,
                                                 const char *text, size_t length, const dure_unigram_part **out_parts,
                                                 size_t *out_count);
// One of all segmentations, drawn with probabilities proportional to P(segmentation)^alpha.
DURE_MUST_CHECK dure_status dure_unigram_sample(const dure_unigram *unigram, dure_unigram_scratch *scratch,
                                                const char *text, size_t length, double alpha, dure_draws *draws,
                                                const dure_unigram_part **out_parts, size_t *out_count);

#endif  // DURE_DATA_TOKENIZER_UNIGRAM_H_
