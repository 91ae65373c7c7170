// Near duplicates by MinHash and locality-sensitive hashing.
//
// A text is the set of its shingles: all runs of `width` words (data/text_words.h), or characters of its words joined
// by single spaces (Broder, "On the resemblance and containment of documents", 1997); a text with fewer has itself as
// its only one. Its signature has, for each of bands * rows permutations x -> a x + b (mod 2^32, a odd) of the
// shingles' 32-bit hashes, the smallest image; two signatures agree in a place with the probability s, the sets'
// Jaccard similarity. Texts that agree in all `rows` places of one of the `bands` are a pair, which a pair of
// similarity s becomes with the probability 1 - (1 - s^rows)^bands (Leskovec, Rajaraman and Ullman, "Mining of Massive
// Datasets", section 3.4). A shingle's hash is XXH3's low 32 bits through MurmurHash3's finalizer.
#ifndef DURE_DATA_MINHASH_H_
#define DURE_DATA_MINHASH_H_

#include "data/text_words.h"

typedef enum dure_shingle { DURE_SHINGLE_WORDS, DURE_SHINGLE_CHARACTERS } dure_shingle;

enum { DURE_MINHASH_LIMIT = 1024 };  // permutations

typedef struct dure_minhash_options {
  dure_shingle shingle;
  uint32_t width;         // words or characters of a shingle, at least 1
  uint32_t permutations;  // at most DURE_MINHASH_LIMIT
  // 0 and 0: chosen for `threshold` so that the areas of the curve on its wrong sides, left of the threshold and above
  // it on the right, are smallest together.
  uint32_t bands, rows;
  double threshold;
  uint64_t seed;
} dure_minhash_options;

typedef struct dure_minhash dure_minhash;

DURE_MUST_CHECK dure_status dure_minhash_create(const dure_minhash_options *options, dure_minhash **out_minhash);
void dure_minhash_destroy(dure_minhash *minhash);  // NULL is fine
uint32_t dure_minhash_bands(const dure_minhash *minhash);
uint32_t dure_minhash_rows(const dure_minhash *minhash);

// The hash of each band, [bands]; several threads may ask at a time. *out_is_empty: a text without words has none.
DURE_MUST_CHECK dure_status dure_minhash_text(const dure_minhash *minhash, const dure_text_words *words,
                                              uint64_t *out_bands, bool *out_is_empty);

// 1 - (1 - similarity^rows)^bands
double dure_minhash_probability(double similarity, uint32_t bands, uint32_t rows);

#endif  // DURE_DATA_MINHASH_H_
