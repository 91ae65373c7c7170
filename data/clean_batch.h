// A batch of documents on its way through cleaning, and the three stages it goes through:
//
//   read     (any thread)  bytes to normalised text, and hashes of its lines
//   mark     (in order)    which of these lines their site repeats
//   judge    (any thread)  lines cut, documents kept or dropped, JSON made of both
#ifndef DURE_DATA_CLEAN_BATCH_H_
#define DURE_DATA_CLEAN_BATCH_H_

#include "data/bytes.h"
#include "data/classifier.h"
#include "data/clean.h"
#include "data/clean_sites.h"
#include "data/layout.h"
#include "data/word_list.h"

enum { DURE_NO_STRING = 0 };  // batch->strings begins with an empty one

typedef struct dure_clean_item {
  dure_format format;
  uint64_t line, offset;
  size_t path, url, encoding, message;  // in batch->strings
  size_t bytes, size;                   // in batch->raw
  dure_drop reason;                     // DURE_DROP_COUNT while it is to be kept
  double value, threshold;              // of the rule it broke
  bool has_value, is_repaired;
  // What reading found, in batch->text.
  size_t text, text_size;
  size_t source, source_size, licence, licence_size, found_url, found_url_size;
  size_t first_line, line_count;  // in batch->lines and batch->marks
  dure_language language;
} dure_clean_item;

typedef enum dure_batch_stage {
  DURE_BATCH_FILLING,
  DURE_BATCH_TO_READ,
  DURE_BATCH_READ,
  DURE_BATCH_TO_JUDGE,
  DURE_BATCH_JUDGED,
} dure_batch_stage;

typedef struct dure_clean_batch {
  dure_clean_item *items;
  size_t item_count, item_capacity;
  dure_bytes raw, strings, text, lines, marks;  // lines: uint64_t hashes; marks: a byte for each
  dure_bytes output, dropped;                   // JSON lines
  dure_clean_summary summary;                   // of these documents; `read` is that of all until here
  dure_document_position position;              // behind the last document
  bool begins_segment, ends_segment;
  dure_batch_stage stage;
  dure_status status;
} dure_clean_batch;

// Memory and models of one thread.
typedef struct dure_clean_scratch {
  dure_layout *layout;
  dure_bytes decoded, laid_out, text, changed, repaired;
  dure_statistics_workspace statistics;
  dure_text_words words;
} dure_clean_scratch;

typedef struct dure_clean_models {
  dure_classifier *quality, *toxicity;  // or NULL
  dure_word_list *bad_words;            // likewise
} dure_clean_models;

void dure_clean_batch_clear(dure_clean_batch *batch);
void dure_clean_batch_free(dure_clean_batch *batch);
DURE_MUST_CHECK dure_status dure_clean_batch_add(dure_clean_batch *batch, const dure_document *document);
DURE_MUST_CHECK dure_status dure_clean_batch_add_problem(dure_clean_batch *batch, const dure_document_problem *problem);

// The stages. What is wrong with a document is kept in its item; failures are the machine's.
DURE_MUST_CHECK dure_status dure_clean_batch_read(dure_clean_batch *batch, const dure_clean_options *options,
                                                  dure_clean_scratch *scratch);
void dure_clean_batch_mark(dure_clean_batch *batch, const dure_clean_options *options, dure_site_table *sites);
DURE_MUST_CHECK dure_status dure_clean_batch_judge(dure_clean_batch *batch, const dure_clean_options *options,
                                                   const dure_clean_models *models, dure_clean_scratch *scratch);

// ---- for the stages ----
static inline const char *dure_clean_string(const dure_clean_batch *batch, size_t position) {
  return batch->strings.data + position;
}
void dure_clean_drop(dure_clean_item *item, dure_drop reason);

#endif  // DURE_DATA_CLEAN_BATCH_H_
