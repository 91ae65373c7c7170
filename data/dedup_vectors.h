// The vectors of documents on disk: what semantic deduplication works on between its passes.
//
// A file for each rank, vectors-RANK, of records in the order of the documents: the document's number (u64), then its
// vector [width] f32 of length one.
#ifndef DURE_DATA_DEDUP_VECTORS_H_
#define DURE_DATA_DEDUP_VECTORS_H_

#include <stdio.h>

#include "data/dedup_state.h"

// Where a record is: the rank whose file it is in, and its number there.
enum { VECTOR_RANK_SHIFT = 40 };

typedef struct vector_store {
  FILE **files;  // [rank_count]
  uint32_t rank_count;
  size_t width;
  uint64_t *counts;  // [rank_count] records
  uint64_t count;    // of all
} vector_store;

size_t dedup_vector_bytes(size_t width);  // of a record
void dedup_vectors_path(const deduplication *state, uint32_t rank, char *out_path, size_t size);

// All files, for reading. Close also what failed to open.
DURE_MUST_CHECK dure_status dedup_vectors_open(const deduplication *state, vector_store *out_store);
void dedup_vectors_close(vector_store *store);

// The next record of a rank's file, from its beginning on; past the last one, *out_has is false.
DURE_MUST_CHECK dure_status dedup_vectors_next(vector_store *store, uint32_t rank, uint64_t *out_document,
                                               float *out_vector, bool *out_has);
// One record by its place.
DURE_MUST_CHECK dure_status dedup_vectors_read(vector_store *store, uint64_t place, float *out_vector);

#endif  // DURE_DATA_DEDUP_VECTORS_H_
