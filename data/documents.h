// Raw documents out of files, directories and standard input, one at a time, with memory bounded by the largest.
//
// A file is one document, except that a line of JSONL is one and a plain text larger than the limit is cut into several
// at its last blank line (else newline) before the limit. Directories are walked in byte order of their names, so every
// run sees the same order; links to directories are not followed, which rules out loops. In a directory only files with
// a known extension are read; a file that is named is read whatever its name, its format then being told from its
// contents. "-" is standard input.
#ifndef DURE_DATA_DOCUMENTS_H_
#define DURE_DATA_DOCUMENTS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef enum dure_format {
  DURE_FORMAT_AUTO = 0,  // by extension, then by content
  DURE_FORMAT_TEXT,
  DURE_FORMAT_HTML,
  DURE_FORMAT_XML,
  DURE_FORMAT_JSONL,
} dure_format;

typedef struct dure_document {
  const char *path;  // as reached from the input's name
  uint64_t line;     // of a JSONL file, from 1; 0 for the other formats
  dure_format format;
  const char *bytes;  // valid during the visit
  size_t size;
} dure_document;

typedef struct dure_document_counts {
  uint64_t files;          // read
  uint64_t files_skipped;  // in directories: unknown extension, not a regular file, or the output itself
  uint64_t documents;      // handed to the visitor
  uint64_t too_large;      // left out: larger than the limit
  uint64_t binary;         // left out: named or known as text, but with NUL bytes near its beginning
  uint64_t bytes_read;
} dure_document_counts;

typedef struct dure_progress {
  const char *stage;  // "cleaning", "counting", ...
  uint64_t files, documents, bytes_read;
} dure_progress;

typedef struct dure_document_reading {
  dure_format format;    // forced, or DURE_FORMAT_AUTO
  uint64_t size_limit;   // of one document, bytes; 0 for DURE_DOCUMENT_SIZE_LIMIT
  const char *excluded;  // a file that is never read (the output), or NULL
  const char *stage;     // passed on to `progress`
  dure_status (*visit)(void *context, const dure_document *document);
  // After each document; false stops with DURE_CANCELLED. May be NULL.
  bool (*progress)(void *progress_context, const dure_progress *progress);
  void *context, *progress_context;
} dure_document_reading;

enum { DURE_DOCUMENT_SIZE_LIMIT = 32 << 20 };

// Visits every document of the inputs in order. Stops at the first failure: of the visitor, or a file that cannot be
// read.
DURE_MUST_CHECK dure_status dure_documents_visit(const dure_document_reading *reading, const char *const *inputs,
                                                 size_t input_count, dure_document_counts *out_counts);

#endif  // DURE_DATA_DOCUMENTS_H_
