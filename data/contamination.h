// Which texts overlap with benchmarks: runs of words that both have.
//
// As in Brown et al. 2020 ("Language Models are Few-Shot Learners", appendix C): runs of `width` words
// (data/text_words.h); a benchmark text of fewer words, but at least 8, is looked for as a whole. Memory: 32 to 92
// bytes a word of the benchmarks. Once everything is collected it may be searched from several threads.
#ifndef DURE_DATA_CONTAMINATION_H_
#define DURE_DATA_CONTAMINATION_H_

#include "data/text_words.h"

typedef struct dure_contamination dure_contamination;

DURE_MUST_CHECK dure_status dure_contamination_create(uint32_t width, dure_contamination **out_contamination);
void dure_contamination_destroy(dure_contamination *contamination);  // NULL is fine
DURE_MUST_CHECK dure_status dure_contamination_collect(dure_contamination *contamination, const dure_text_words *words);
uint64_t dure_contamination_count(const dure_contamination *contamination);  // runs collected

typedef struct dure_overlap {
  size_t first, count;  // words
  uint64_t run;         // the hash of the run
} dure_overlap;

// The first run at or after word `from` that a benchmark has and that is not to be ignored.
bool dure_contamination_find(const dure_contamination *contamination, const dure_text_words *words, size_t from,
                             dure_overlap *out_overlap);
// From now on this run is not found: too many documents have it.
void dure_contamination_ignore(dure_contamination *contamination, uint64_t run);

#endif  // DURE_DATA_CONTAMINATION_H_
