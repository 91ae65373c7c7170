// Drops documents whose text occurred before.
//
// Two documents are the same when their texts are, after normalisation (data/normalise.h) and with every run of white
// space taken as one space; they are compared by the 128-bit XXH3 hash of that, so the memory is 16 bytes a distinct
// document, 23 to 46 in the hash table. The first occurrence stays, byte for byte the line it was.
//
// With `line_limit`, lines of text (of 16 bytes and more) are also counted over all documents, and a line's occurrences
// beyond that many are cut out: boilerplate that repeats on every page. That costs 16 bytes a distinct line likewise,
// and the documents it changes are written anew, their other fields kept; one that is left empty is dropped.
#ifndef DURE_DATA_DEDUP_H_
#define DURE_DATA_DEDUP_H_

#include "data/documents.h"

typedef struct dure_dedup_options {
  const char *output;       // a file, "-" for standard output
  dure_format format;       // of the inputs: text (a file is a document) or JSONL; AUTO to find out
  uint64_t document_limit;  // bytes; 0 for DURE_DOCUMENT_SIZE_LIMIT
  uint64_t line_limit;      // occurrences of a line that stay; 0 for all
  bool (*progress)(void *progress_context, const dure_progress *progress);  // false stops; may be NULL
  void *progress_context;
} dure_dedup_options;

typedef struct dure_dedup_summary {
  dure_document_counts read;
  uint64_t kept, duplicates, emptied;
  uint64_t lines_cut;
  uint64_t text_bytes;       // kept
  uint64_t duplicate_bytes;  // of text, in documents dropped and lines cut
} dure_dedup_summary;

DURE_MUST_CHECK dure_status dure_dedup(const char *const *inputs, size_t input_count, const dure_dedup_options *options,
                                       dure_dedup_summary *out_summary);

#endif  // DURE_DATA_DEDUP_H_
