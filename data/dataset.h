// A packed dataset: token ids in memory-mapped shards, beside the tokenizer that made them.
//
//   DATA/dataset.json        counts, dtype, vocabulary, end-of-text id, tokenizer hash, the list of shards
//   DATA/tokenizer.json      the tokenizer; training copies it into every checkpoint
//   DATA/shard-00000.bin     training ids, little-endian u16 or u32, documents one after another, each followed by
//   DATA/heldout-00000.bin   the end-of-text id; the held-out documents lie in files of their own
//
// dure_dataset_open checks everything but the ids themselves: the fields of dataset.json and their agreement with
// each other, the size of every shard, that shard names stay inside the directory, the tokenizer's hash. Ids are
// checked against the vocabulary as they are read, so that opening costs nothing however large the corpus. Opening
// maps the shards: their pages belong to the page cache, and the process's own memory stays flat. The files must not
// be cut while they are open. A dataset is immutable and may be read from several threads.
#ifndef DURE_DATA_DATASET_H_
#define DURE_DATA_DATASET_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_dataset dure_dataset;

typedef enum dure_split { DURE_SPLIT_TRAIN = 0, DURE_SPLIT_HELD_OUT = 1, DURE_SPLIT_COUNT = 2 } dure_split;

typedef struct dure_split_counts {
  uint64_t tokens;      // end-of-text tokens included
  uint64_t documents;   // one end-of-text token each
  uint64_t text_bytes;  // UTF-8 bytes of the documents' text: the denominator of bits per byte
} dure_split_counts;

// Opens DATA. Fails with DURE_NOT_FOUND when it is not there, DURE_CORRUPT when its files contradict each other.
DURE_MUST_CHECK dure_status dure_dataset_open(const char *directory, dure_dataset **out_dataset);
void dure_dataset_close(dure_dataset *dataset);  // NULL is fine; loaders over it must be gone

// Everything below is owned by the dataset and lives until it is closed.
const char *dure_dataset_directory(const dure_dataset *dataset);
dure_split_counts dure_dataset_counts(const dure_dataset *dataset, dure_split split);
uint32_t dure_dataset_bytes_per_token(const dure_dataset *dataset);  // 2 (u16) or 4 (u32)
uint32_t dure_dataset_vocabulary_size(const dure_dataset *dataset);  // every id is below it
uint32_t dure_dataset_end_of_text(const dure_dataset *dataset);      // the id that follows every document
const char *dure_dataset_tokenizer_path(const dure_dataset *dataset);
uint64_t dure_dataset_tokenizer_hash(const dure_dataset *dataset);  // XXH64 (seed 0) of tokenizer.json's bytes
// XXH64 of dataset.json's bytes, which hold a checksum of every shard: two datasets with the same value are the same
// data. A training state records it, so that resuming over other data can be noticed.
uint64_t dure_dataset_hash(const dure_dataset *dataset);

// Ids [first, first + count) of a split's concatenated shards, widened to u32. Fails with DURE_INVALID_ARGUMENT
// beyond the end and DURE_CORRUPT for an id that is not below the vocabulary.
DURE_MUST_CHECK dure_status dure_dataset_read(const dure_dataset *dataset, dure_split split, uint64_t first,
                                              size_t count, uint32_t *out_ids);

// Reads every shard and compares its XXH64 with dataset.json: for `inspect` and for doubt. DURE_CORRUPT names the
// shard.
DURE_MUST_CHECK dure_status dure_dataset_verify(const dure_dataset *dataset);

// Names and fields shared by the reader and by `pack`, which writes them.
#define DURE_DATASET_DESCRIPTION "dataset.json"
#define DURE_DATASET_TOKENIZER "tokenizer.json"
#define DURE_DATASET_FORMAT "dure-dataset"
enum { DURE_DATASET_VERSION = 1 };

#endif  // DURE_DATA_DATASET_H_
