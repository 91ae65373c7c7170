// Sorting more records than memory holds: sorted runs on disk, merged as they are read.
//
// A record is a few 64-bit words and compares by them in order. Records are cut into `parts` by the range of their
// first word, so that each part can be merged by itself, on another machine if need be. Runs are files
// DIRECTORY/NAME-PART.RUN, complete or absent (written aside, synced, renamed); merging gives every distinct record
// once, so runs that overlap do no harm.
#ifndef DURE_DATA_SORTED_RUNS_H_
#define DURE_DATA_SORTED_RUNS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { DURE_RECORD_WORDS = 3 };  // at most

typedef struct dure_sorter_options {
  const char *directory, *name;
  uint32_t words;          // of a record, 1 to DURE_RECORD_WORDS
  uint32_t parts;          // at least 1
  uint64_t memory;         // bytes; a run is written when they are full
  uint32_t run, run_step;  // the number of the first run, and of how many more the next: writers that share a directory
} dure_sorter_options;

typedef struct dure_sorter dure_sorter;

DURE_MUST_CHECK dure_status dure_sorter_create(const dure_sorter_options *options, dure_sorter **out_sorter);
DURE_MUST_CHECK dure_status dure_sorter_add(dure_sorter *sorter, const uint64_t *record);
// Writes what is in memory as a run; nothing when there is nothing.
DURE_MUST_CHECK dure_status dure_sorter_spill(dure_sorter *sorter);
uint32_t dure_sorter_next_run(const dure_sorter *sorter);
uint64_t dure_sorter_bytes(const dure_sorter *sorter);  // in memory now
void dure_sorter_destroy(dure_sorter *sorter);          // NULL is fine; what was not spilled is lost

typedef struct dure_merge dure_merge;

// All runs of a part. Where they are more than can be open at a time, some are merged into new ones first.
DURE_MUST_CHECK dure_status dure_merge_open(const char *directory, const char *name, uint32_t part, uint32_t words,
                                            dure_merge **out_merge);
// The next record, *out_has false after the last.
DURE_MUST_CHECK dure_status dure_merge_next(dure_merge *merge, uint64_t *out_record, bool *out_has);
void dure_merge_close(dure_merge *merge);  // NULL is fine

// Sorts records in memory.
void dure_records_sort(uint64_t *records, size_t count, uint32_t words);

#endif  // DURE_DATA_SORTED_RUNS_H_
