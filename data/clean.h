// Raw documents into clean text, one JSON object a line (docs/formats.md).
//
// Each document is decoded (data/decode.h), read as what it is (plain text, Markdown, HTML, XML, or a field of a line
// of JSONL; data/markup.h), normalised (data/normalise.h), freed of lines that its site repeats (data/clean_sites.h)
// and judged by rules (data/clean_rules.h), classifiers (data/classifier.h) and its language. What cannot be used is
// left out, counted by its reason and, if asked for, written to a file of its own; only what the operating system
// refuses is a failure.
//
// Documents come out in the order of the inputs, and the same inputs and options give the same bytes, whatever the
// number of threads. Memory is bounded by a few batches of documents (4 MiB each, or the largest document). Every 64
// MiB of documents what was written is made safe: after a kill or a failure the same call goes on from there
// (data/resumable.h).
#ifndef DURE_DATA_CLEAN_H_
#define DURE_DATA_CLEAN_H_

#include <jansson.h>

#include "data/clean_rules.h"
#include "data/documents.h"
#include "data/language.h"
#include "data/personal_data.h"
#include "data/step_report.h"

// Why documents are left out: these, then the rules on documents in their order.
typedef enum dure_drop {
  DURE_DROP_EMPTY,
  DURE_DROP_INVALID_UTF8,
  DURE_DROP_MALFORMED,
  DURE_DROP_BINARY,
  DURE_DROP_TOO_LARGE,
  DURE_DROP_UNREADABLE,
  DURE_DROP_LANGUAGE,
  DURE_DROP_FIRST_RULE,
  DURE_DROP_COUNT = DURE_DROP_FIRST_RULE + DURE_RULE_FIRST_OF_LINES,
} dure_drop;

const char *dure_drop_name(dure_drop reason);  // "empty", ..., then the names of the rules

// Why lines are cut.
typedef enum dure_cut {
  DURE_CUT_SITE,
  DURE_CUT_MIN_WORDS,
  DURE_CUT_PUNCTUATION,
  DURE_CUT_JAVASCRIPT,
  DURE_CUT_LANGUAGE,
  DURE_CUT_COUNT,
} dure_cut;

const char *dure_cut_name(dure_cut reason);  // "repeated_on_site", ...

typedef struct dure_clean_options {
  const char *output;                   // a file, "-" for standard output
  const char *dropped;                  // a file for what is left out, or NULL
  dure_format format;                   // of all inputs, or AUTO
  uint64_t document_limit;              // bytes; 0 for DURE_DOCUMENT_SIZE_LIMIT
  const dure_clean_rules *rules;        // NULL for none
  const char *field;                    // of JSONL: "a" or "a.b"; of tables: columns; NULL for "text" and all columns
  const char *licence;                  // of documents that name none; NULL for none
  bool repair;                          // invalid UTF-8 becomes U+FFFD instead of costing the document
  const char *encoding;                 // of inputs that are not UTF-8 and declare nothing; NULL for none
  bool languages[DURE_LANGUAGE_COUNT];  // which documents to keep
  bool line_languages[DURE_LANGUAGE_COUNT];  // which lines to keep, of those long enough to tell; none set: all
  bool remove_personal_data;
  const char *quality, *toxicity;  // files of classifiers, or NULL
  const char *bad_words;           // lists of words (data/word_list.h), or NULL
  dure_step_report *report;        // what every document is entered in, or NULL
  uint32_t threads;                // 0: one for each core
  bool stop_on_error;              // at the first input that cannot be read, instead of passing over it
  uint64_t segment_size;           // bytes of documents between two safe points; 0 for 64 MiB
  // Told of what cannot be read; may be NULL.
  void (*problem)(void *progress_context, const dure_document_problem *problem);
  bool (*progress)(void *progress_context, const dure_progress *progress);  // false stops; may be NULL
  void *progress_context;
} dure_clean_options;

enum { DURE_CLEAN_LENGTHS = 32 };

// Counts alone, so that two can be added up.
typedef struct dure_clean_summary {
  dure_document_counts read;
  uint64_t kept;
  uint64_t dropped[DURE_DROP_COUNT];
  uint64_t lines_cut[DURE_CUT_COUNT], line_bytes_cut;
  uint64_t personal[DURE_PERSONAL_COUNT];
  uint64_t repaired;  // kept with U+FFFD in place of invalid bytes
  uint64_t text_bytes, written_bytes;
  uint64_t language_documents[DURE_LANGUAGE_COUNT], language_bytes[DURE_LANGUAGE_COUNT];
  uint64_t lengths[DURE_CLEAN_LENGTHS];  // [i]: kept documents of 2^i to 2^(i+1) - 1 bytes of text
  uint64_t resumed_documents;            // that an interrupted run had done
} dure_clean_summary;

DURE_MUST_CHECK dure_status dure_clean(const char *const *inputs, size_t input_count, const dure_clean_options *options,
                                       dure_clean_summary *out_summary);

// The counts, by name (docs/formats.md), for people and for `summary` in the report; NULL when out of memory. Release
// with json_decref.
json_t *dure_clean_summary_json(const char *const *inputs, size_t input_count, const dure_clean_options *options,
                                const dure_clean_summary *summary, double seconds);

#endif  // DURE_DATA_CLEAN_H_
