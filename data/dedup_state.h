// The work of deduplication in its passes; see data/dedup.h for what it does.
//
//   scan    every rank, its own documents: hashes of texts and bands, overlaps        (dedup_scan.c)
//   merge   every rank, its own range of the hashes: which documents are the same     (dedup_merge.c)
//   join    rank 0: pairs to clusters, common overlaps                                (dedup_merge.c)
//   meaning with a model: vectors of the documents that stay                          (dedup_semantic.c)
//           clusters of them, every rank its own, and what is alike in each           (dedup_clusters.c)
//   lines   scan and merge once more, the lines of the documents that stay
//   write   rank 0                                                                    (dedup_write.c)
#ifndef DURE_DATA_DEDUP_STATE_H_
#define DURE_DATA_DEDUP_STATE_H_

#include "data/batches.h"
#include "data/contamination.h"
#include "data/dedup.h"
#include "data/sorted_runs.h"

// Why a document goes; the smaller comes first where there are two reasons.
typedef enum drop_reason { DROP_EXACT, DROP_NEAR, DROP_SEMANTIC } drop_reason;

enum { POSITION_BITS = 28, SHORTEST_LINE = 16 };

// Records on disk, by name and words:
#define EXACT_RUNS "exact"        // 3: hash, hash, document
#define BAND_RUNS "band"          // 2: hash of a band, document
#define OVERLAP_RUNS "overlap"    // 2: hash of a run of words, document
#define EDGE_RUNS "edge"          // 2: document, later document: near duplicates
#define PAIR_RUNS "pair"          // 2: the same, every pair
#define COMMON_RUNS "common"      // 1: hash of a run of words
#define DECISION_RUNS "decision"  // 3: document, drop_reason, the document that stays
#define LINE_RUNS "line"          // 2: hash with its kind in the lowest bit, document << POSITION_BITS | number
#define CUT_RUNS "cut"            // 2: document, number << 1 | kind
enum { KIND_LINE, KIND_PARAGRAPH };

typedef struct deduplication {
  const dure_dedup_options *options;
  const char *const *inputs;
  size_t input_count;
  dure_dedup_summary *summary;
  dure_scratch *scratch;
  const char *directory;  // of `scratch`
  dure_ranks ranks;       // count at least 1
  uint64_t memory;
  dure_minhash *minhash;              // NULL without `near`
  dure_contamination *contamination;  // NULL without benchmarks
} deduplication;

// A cursor over the records of one kind about documents, whose first word is the document, in order.
typedef struct document_cursor {
  dure_merge *merge;
  uint64_t record[DURE_RECORD_WORDS];
  bool has;
} document_cursor;

DURE_MUST_CHECK dure_status dedup_cursor_open(const deduplication *state, const char *name, uint32_t words,
                                              document_cursor *out_cursor);
// Passes over the records of earlier documents; afterwards the cursor stands at this one's, or a later one's.
DURE_MUST_CHECK dure_status dedup_cursor_find(document_cursor *cursor, uint64_t document, bool *out_has);
DURE_MUST_CHECK dure_status dedup_cursor_next(document_cursor *cursor);

// A text's lines, with the paragraphs that they belong to.
typedef struct line_reader {
  const char *text;
  size_t length, next;
  uint64_t line, paragraph;  // numbers of the current ones, from 0
  size_t start, end;         // the current line, its newline included
  bool is_blank, begins_paragraph;
  size_t paragraph_end;  // where the lines of the paragraph that begins here end, before the newline
} line_reader;
bool dedup_next_line(line_reader *reader);

// The reading of the inputs that every pass shares.
dure_document_reading dedup_reading(const deduplication *state, const char *stage);

dure_status dedup_scan(deduplication *state);            // EXACT_RUNS, BAND_RUNS, OVERLAP_RUNS of this rank's documents
dure_status dedup_scan_lines(deduplication *state);      // LINE_RUNS of this rank's documents
dure_status dedup_merge(deduplication *state);           // DECISION_RUNS, EDGE_RUNS, COMMON_RUNS of this rank's hashes
dure_status dedup_merge_lines(deduplication *state);     // CUT_RUNS of this rank's hashes
dure_status dedup_join(deduplication *state);            // DECISION_RUNS of near duplicates; rank 0
dure_status dedup_scan_meaning(deduplication *state);    // the vectors of this rank's documents
dure_status dedup_learn_clusters(deduplication *state);  // rank 0
dure_status dedup_assign_clusters(deduplication *state);   // of this rank's documents
dure_status dedup_compare_clusters(deduplication *state);  // DECISION_RUNS of this rank's clusters
dure_status dedup_write_pairs(deduplication *state);
dure_status dedup_write(deduplication *state);  // rank 0

#endif  // DURE_DATA_DEDUP_STATE_H_
