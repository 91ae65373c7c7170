// Semantic duplicates: texts that say the same in other words, found by the angle between their vectors (SemDeDup,
// Abbas et al. 2023, section 3).
//
// Texts become vectors by whoever has a model for that; this room knows none. The vectors are put in clusters by
// spherical k-means, and a text goes when an earlier one of its cluster, which stays, is as similar as `threshold`. (In
// SemDeDup the one nearest to its centroid goes; here the first stays, as everywhere in deduplication.) What two
// clusters part is not found.
#ifndef DURE_DATA_SEMANTIC_H_
#define DURE_DATA_SEMANTIC_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_semantic_text {
  const char *text;  // UTF-8, not empty; valid during the call
  size_t length;
} dure_semantic_text;

typedef struct dure_semantic_options {
  uint32_t width;     // elements of a vector
  uint32_t batch;     // texts handed over at a time, at most; 0 for 64
  double threshold;   // cosine, 0 to 1
  uint32_t clusters;  // 0: one for each 1,024 texts
  // The mean of the vectors is taken off them first: those of language models lie in a narrow cone, where every cosine
  // is near 1 (Mu and Viswanath 2018, section 2).
  bool is_centred;
  uint64_t seed;      // of the texts that clusters are learnt from
  uint64_t identity;  // another one where the vectors are others: of the model and of how texts are cut
  // texts [count] -> out_vectors [count, width] f32, of any length but zero. By one thread.
  dure_status (*embed)(void *context, const dure_semantic_text *texts, size_t count, float *out_vectors);
  void *context;
} dure_semantic_options;

#endif  // DURE_DATA_SEMANTIC_H_
