// Drops documents that occurred before, or nearly, and cuts out what repeats within them.
//
// In this order:
// - exact documents: two are the same when their texts are, after normalisation (data/normalise.h) and with every run
//   of white space taken as one space, compared by the 128-bit XXH3 hash of that. The first occurrence stays, byte for
//   byte the line it was.
// - near duplicates, with `near`: MinHash and locality-sensitive hashing (data/minhash.h). Pairs are joined to
// clusters;
//   of a cluster the first document of the inputs stays.
// - semantic duplicates, with `semantic`: of those that stayed, the ones whose vectors are nearly the same
//   (data/semantic.h).
// - paragraphs and lines, with their limits: those of 16 bytes and more are counted over the documents that stayed, and
//   a paragraph's or line's occurrences beyond that many are cut out: boilerplate that repeats on every page.
//   Paragraphs are separated by blank lines. Documents that lose some are written anew, their other fields kept; one
//   that is left empty is dropped.
// - contamination, with `benchmarks`: where a document has a run of `overlap_width` words of a benchmark (13 by
// default;
//   data/contamination.h), the run and 200 characters on both sides are cut out, the pieces of 200 characters and more
//   stay as documents of their own, and a document that is cut more than 10 times is dropped (Brown et al. 2020,
//   appendix C). Runs that more than 10 documents have are common phrases and stay, as there.
//
// Memory is `memory`, whatever the size of the inputs, besides the two batches of documents being read (some 30 MiB),
// the benchmarks, and 23 to 46 bytes for each near duplicate: records are sorted on disk in `scratch` (some 24 bytes a
// document, 16 a band, 16 a paragraph and line). A killed process loses at most the work since its last run was
// written; the next with the same inputs and options goes on. The output is the same whatever the number of threads
// and ranks: ranks share `scratch` on one file system, each does a part of every pass, and rank 0 writes.
#ifndef DURE_DATA_DEDUP_H_
#define DURE_DATA_DEDUP_H_

#include "data/documents.h"
#include "data/minhash.h"
#include "data/scratch.h"
#include "data/semantic.h"
#include "data/step_report.h"

typedef struct dure_dedup_options {
  const char *output;                     // a file, "-" for standard output
  dure_format format;                     // of the inputs: text (a file is a document) or JSONL; AUTO to find out
  uint64_t document_limit;                // bytes; 0 for DURE_DOCUMENT_SIZE_LIMIT
  const dure_minhash_options *near;       // NULL: exact repeats only
  const dure_semantic_options *semantic;  // likewise; NULL: none
  uint64_t line_limit, paragraph_limit;   // occurrences that stay; 0 for all
  const char *const *benchmarks;          // text or JSONL (all its strings), files or directories
  size_t benchmark_count;
  uint32_t overlap_width;    // words; 0 for 13
  uint32_t threads;          // 0 for one a core
  uint64_t memory;           // bytes for sorting; 0 for 512 MiB
  const char *scratch;       // a directory to make; NULL for OUTPUT.part
  const char *pairs;         // a file for the pairs of near duplicates, one "I<tab>J" a line, by their numbers from 0
  dure_ranks ranks;          // {0} for one process
  dure_step_report *report;  // what is kept and dropped is entered; may be NULL
  bool (*progress)(void *progress_context, const dure_progress *progress);  // false stops; may be NULL
  void *progress_context;
} dure_dedup_options;

typedef struct dure_dedup_summary {
  dure_document_counts read;
  uint64_t kept, duplicates, near_duplicates, semantic_duplicates, emptied;
  uint64_t clusters;     // of near duplicates
  uint64_t bands, rows;  // in force
  uint64_t lines_cut, paragraphs_cut;
  uint64_t contaminated;      // documents cut or dropped for a benchmark's sake
  uint64_t contaminated_out;  // of those, the ones of which nothing stayed
  uint64_t text_bytes;        // kept
  uint64_t duplicate_bytes;   // of text, in documents dropped and lines cut
  bool is_resumed;            // work of an earlier process was used
} dure_dedup_summary;

// Only rank 0's summary is of the whole.
DURE_MUST_CHECK dure_status dure_dedup(const char *const *inputs, size_t input_count, const dure_dedup_options *options,
                                       dure_dedup_summary *out_summary);

#endif  // DURE_DATA_DEDUP_H_
