// Raw documents into clean text, one JSON object a line: {"text": ..., "source": ..., "language": "ko"|"en"|"other"}.
//
// Each document is decoded (data/decode.h), read as what it is (plain text, HTML, XML, or the "text" field of a line of
// JSONL; data/markup.h), and normalised (data/normalise.h). Documents are handled one at a time in a fixed order:
// memory is a few times the largest document, and the same inputs give the same bytes. `source` is the path, with
// ":LINE" for JSONL. What cannot be used is left out and counted by its reason; only what the operating system refuses
// is a failure.
#ifndef DURE_DATA_CLEAN_H_
#define DURE_DATA_CLEAN_H_

#include "data/documents.h"
#include "data/language.h"

typedef struct dure_clean_options {
  const char *output;                   // a file, "-" for standard output
  dure_format format;                   // of all inputs, or AUTO
  uint64_t document_limit;              // bytes; 0 for DURE_DOCUMENT_SIZE_LIMIT
  uint64_t minimum_characters;          // of the clean text; shorter documents are left out
  bool repair;                          // invalid UTF-8 becomes U+FFFD instead of costing the document
  const char *encoding;                 // of inputs that are not UTF-8 and declare nothing; NULL for none
  bool languages[DURE_LANGUAGE_COUNT];  // which to keep
  bool (*progress)(void *progress_context, const dure_progress *progress);  // false stops; may be NULL
  void *progress_context;
} dure_clean_options;

typedef struct dure_clean_summary {
  dure_document_counts read;
  uint64_t kept;
  // Left out, beside read.too_large and read.binary.
  uint64_t invalid_utf8, malformed, empty, too_short, unwanted_language;
  uint64_t repaired;  // kept with U+FFFD in place of invalid bytes
  uint64_t text_bytes, written_bytes;
  uint64_t language_documents[DURE_LANGUAGE_COUNT], language_bytes[DURE_LANGUAGE_COUNT];
} dure_clean_summary;

DURE_MUST_CHECK dure_status dure_clean(const char *const *inputs, size_t input_count, const dure_clean_options *options,
                                       dure_clean_summary *out_summary);

#endif  // DURE_DATA_CLEAN_H_
