// Raw documents out of files, archives, directories and standard input, one at a time, with memory bounded by the
// largest.
//
// What a file holds is told by its extension or its contents (the table in documents_formats.c). A file is one
// document, except that a line of JSONL, a row of CSV or TSV and a record of WARC is one, and a plain text larger than
// the limit is cut into several at its last blank line (else newline) before the limit. Compressed files (gzip, zstd,
// xz, bzip2) and archives (tar, zip) are read through, also inside each other, four deep. Directories are walked in
// byte order of their names, so every run sees the same order; links to directories are not followed, which rules out
// loops. In a directory or an archive only files with a known extension are read; a file that is named is read whatever
// its name. "-" is standard input.
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
  DURE_FORMAT_MARKDOWN,
  DURE_FORMAT_WARC,  // and WET; its documents are text, HTML or XML
  DURE_FORMAT_CSV,   // its documents are text: a row's columns, a line each
  DURE_FORMAT_TSV,
  DURE_FORMAT_COUNT,
} dure_format;

// The name of a format as options have it ("auto", "text", ...).
const char *dure_format_name(dure_format format);

// Where in the inputs a document stands: files opened before its own, documents before it in that file, and how much of
// that file had been read from disk.
typedef struct dure_document_position {
  uint64_t file, document, bytes;
} dure_document_position;

typedef struct dure_document {
  const char *path;  // as reached from the input's name; archives count as directories
  uint64_t line;     // of a JSONL, CSV or TSV file, from 1; 0 for the other formats
  uint64_t offset;   // of its first byte in the file (behind decompression)
  dure_format format;
  const char *bytes;  // valid during the visit
  size_t size;
  const char *url;       // of a page from WARC, else NULL
  const char *encoding;  // that the transport declared, else NULL
  dure_document_position position;
} dure_document;

typedef struct dure_document_counts {
  uint64_t files;            // read
  uint64_t files_skipped;    // in directories: unknown extension, not a regular file, or the output itself
  uint64_t records_skipped;  // of WARC: requests, metadata, pictures, failed requests
  uint64_t documents;        // handed to the visitor
  uint64_t too_large;        // left out: larger than the limit
  uint64_t binary;           // left out: named or known as text, but with NUL bytes near its beginning
  uint64_t unreadable;       // files or records left out or cut short: truncated, damaged, not permitted
  uint64_t bytes_read;       // from disk, before decompression
} dure_document_counts;

typedef struct dure_progress {
  const char *stage;  // "cleaning", "counting", ...
  uint64_t files, documents, bytes_read;
  uint64_t bytes_total;  // of all inputs; 0 when standard input is among them
} dure_progress;

// Something that cannot be read, or only in part.
typedef struct dure_document_problem {
  const char *path;
  uint64_t line;       // 0 where there are none
  uint64_t offset;     // in the file (behind decompression)
  const char *reason;  // "too_large", "binary", "unreadable"
  const char *message;
} dure_document_problem;

typedef struct dure_document_reading {
  dure_format format;    // forced, or DURE_FORMAT_AUTO
  uint64_t size_limit;   // of one document, bytes; 0 for DURE_DOCUMENT_SIZE_LIMIT
  const char *excluded;  // a file that is never read (the output), or NULL
  const char *stage;     // passed on to `progress`
  const char *columns;   // of CSV and TSV: names or numbers from 1, separated by commas; NULL for all
  dure_status (*visit)(void *context, const dure_document *document);
  // Told of each problem; false stops, with a failure that says the same. NULL: what is unreadable stops, the rest is
  // counted.
  bool (*problem)(void *context, const dure_document_problem *problem);
  // After each document; false stops with DURE_CANCELLED. May be NULL.
  bool (*progress)(void *progress_context, const dure_progress *progress);
  void *context, *progress_context;
  // Goes on where an earlier visit of the same inputs stopped: documents before this position are passed over, whole
  // files without opening them, and the counts go on from `resumed_counts`. {0} begins at the beginning.
  dure_document_position resume;
  dure_document_counts resumed_counts;
} dure_document_reading;

enum { DURE_DOCUMENT_SIZE_LIMIT = 32 << 20 };

// Visits every document of the inputs in order. Stops at the first failure: of the visitor, of an input that is not
// there, or a problem that is not to be passed over.
DURE_MUST_CHECK dure_status dure_documents_visit(const dure_document_reading *reading, const char *const *inputs,
                                                 size_t input_count, dure_document_counts *out_counts);

#endif  // DURE_DATA_DOCUMENTS_H_
