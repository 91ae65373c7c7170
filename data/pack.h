// Documents into a dataset: encoded, split into training and held-out text, written as shards (data/dataset.h).
//
// A document's side depends on nothing but its text: it is held out when the XXH3 hash of its bytes, as a fraction of
// the hash's range, is below the held-out share. Exact duplicates therefore land on the same side, and adding text
// later moves no document. With `held_out_bytes` the share is chosen, by a first pass over the inputs, as the smallest
// (in steps of 2^-20) that holds out at least that many bytes.
//
// Memory stays flat: two batches of documents and their ids (data/batches.h), 8 MiB for `held_out_bytes`, and the
// windows of the held-out text for `held_out_distinct`. The inputs are read once, plus once for `held_out_bytes`
// (counting), and twice for `held_out_distinct` (data/shingles.h); standard input can only be read once.
//
// Threads encode; one writes, in order: the same inputs and options give the same bytes, whatever their number. The
// dataset is written in the directory DATA.part, with a journal, and renamed when it is complete and synced. A process
// that is killed, or fails for want of room, loses 16 million tokens of work at most: the next one with the same inputs
// and options goes on. Other failures leave nothing.
#ifndef DURE_DATA_PACK_H_
#define DURE_DATA_PACK_H_

#include "data/dataset.h"
#include "data/documents.h"
#include "data/step_report.h"
#include "data/tokenizer.h"

typedef struct dure_pack_options {
  const char *tokenizer;                   // a tokenizer.json or a model directory
  const dure_tokenizer *opened_tokenizer;  // instead of `tokenizer`, if not NULL
  const char *output;                      // DATA
  double held_out;                         // share of the documents, 0 to 0.5; used when held_out_bytes is 0
  uint64_t held_out_bytes;                 // text bytes to hold out, or 0
  // Leaves out (of both sides) each held-out document more than half of whose 50-character windows occur in the
  // training text.
  bool held_out_distinct;
  uint64_t shard_tokens;     // ids a shard; 0 for 2^27 (256 MiB of u16)
  uint64_t document_limit;   // bytes; 0 for DURE_DOCUMENT_SIZE_LIMIT
  dure_format format;        // of the inputs: text or JSONL; AUTO to find out
  uint32_t threads;          // 0 for one a core
  dure_step_report *report;  // what is packed and left out is entered; may be NULL
  bool replace;              // an existing dataset at `output`; anything else there is never replaced
  bool (*progress)(void *progress_context, const dure_progress *progress);  // false stops; may be NULL
  void *progress_context;
} dure_pack_options;

typedef struct dure_pack_summary {
  dure_document_counts read;  // of the last pass
  dure_split_counts splits[DURE_SPLIT_COUNT];
  uint64_t empty;            // documents without text, left out
  uint64_t near_duplicates;  // held-out documents left out by held_out_distinct
  uint64_t near_duplicate_bytes;
  uint32_t vocabulary_size, bytes_per_token;
  double held_out;  // the share in force
  bool is_resumed;  // shards of an earlier process were used
} dure_pack_summary;

DURE_MUST_CHECK dure_status dure_pack(const char *const *inputs, size_t input_count, const dure_pack_options *options,
                                      dure_pack_summary *out_summary);

#endif  // DURE_DATA_PACK_H_
