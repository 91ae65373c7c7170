// Documents through several threads: prepared in any order, taken in the order of the inputs.
//
// The calling thread reads documents into batches and takes the results of the batch before, while the others prepare
// this one. What is written therefore never depends on the number of threads. Memory: two batches (a few MiB each, or
// one document if that is larger) and their results.
#ifndef DURE_DATA_BATCHES_H_
#define DURE_DATA_BATCHES_H_

#include "data/documents.h"

typedef struct dure_batch_item {
  dure_document document;
  uint64_t index;  // among the documents of the inputs, from 0
  void *result;    // `result_size` bytes, zero at first and used again by later documents: keep buffers in it
} dure_batch_item;

typedef struct dure_batch_reading {
  const dure_document_reading *reading;  // its visit and context are not used
  uint32_t threads;                      // 0: as many as there are cores
  uint64_t first;                        // documents before this one are only read over
  uint32_t part, parts;                  // only blocks of documents whose number modulo `parts` is `part`; 0 parts: all
  size_t result_size;
  // By several threads at once. A failure stops everything before its document is taken, whatever came later.
  dure_status (*prepare)(void *context, const dure_batch_item *item);
  // By the calling thread, in order.
  dure_status (*take)(void *context, const dure_batch_item *item);
  void (*release)(void *result);  // what the result owns; may be NULL
  void *context;
} dure_batch_reading;

DURE_MUST_CHECK dure_status dure_batches_visit(const dure_batch_reading *batches, const char *const *inputs,
                                               size_t input_count, dure_document_counts *out_counts);

#endif  // DURE_DATA_BATCHES_H_
