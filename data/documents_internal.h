// What the readers of documents share. A reader takes a file's stream and hands over its documents; each is a row of
// the table in documents_formats.c.
#ifndef DURE_DATA_DOCUMENTS_INTERNAL_H_
#define DURE_DATA_DOCUMENTS_INTERNAL_H_

#include "data/documents.h"
#include "data/stream.h"

enum { DURE_SNIFF_SIZE = 4096 };

typedef struct dure_reader {
  const dure_document_reading *reading;
  dure_document_counts *counts;
  uint64_t size_limit;
  uint64_t bytes_total;
  dure_stream *stream;  // of the file being read
  const char *path;     // its name
  dure_document_position position;
  bool is_stopped;  // the visitor has failed, or the user has: nothing is passed over any more
} dure_reader;

typedef dure_status (*dure_reader_function)(dure_reader *reader);

// ---- the table ----
dure_format dure_format_of_name(const char *path);  // of what is inside, where it is compressed
dure_format dure_format_of_content(const char *bytes, size_t size);
dure_reader_function dure_format_reader(dure_format format);
bool dure_format_may_hold_nul(dure_format format);  // others with NUL bytes near the beginning are binary
bool dure_name_is_known(const char *path);  // what is read in a directory: a format, compressed or not, or an archive
bool dure_container_of_content(const char *bytes, size_t size);

// ---- for readers ----
// Hands over a document whose path and position are filled in here.
DURE_MUST_CHECK dure_status dure_reader_hand_over(dure_reader *reader, dure_document *document);
// `size` unread bytes of the stream as a document; they are not taken.
DURE_MUST_CHECK dure_status dure_reader_hand_over_unread(dure_reader *reader, dure_format format, uint64_t line,
                                                         size_t size);
void dure_reader_pass_record(dure_reader *reader);  // counts a record that is no document
void dure_reader_pass_file(dure_reader *reader);    // counts an archive's file that is not read
// Counts and reports a problem; NULL when it is to be passed over.
DURE_MUST_CHECK dure_status dure_reader_too_large(dure_reader *reader, uint64_t line, uint64_t offset);
DURE_MUST_CHECK dure_status dure_reader_unreadable(dure_reader *reader, uint64_t offset, dure_status cause);

// A line (or, inside quotes, several) of at most `size_limit` bytes. Finds where it ends: `*out_length` bytes without
// the newline. `*out_state` says what was found.
typedef enum dure_line_state { DURE_LINE_WHOLE, DURE_LINE_TOO_LONG, DURE_LINE_NONE } dure_line_state;
DURE_MUST_CHECK dure_status dure_reader_find_line(dure_reader *reader, bool with_quotes, size_t *out_length,
                                                  uint64_t *out_newlines, dure_line_state *out_state);
// Takes the line and its newline; of one that is too long, all of it that is still to come.
DURE_MUST_CHECK dure_status dure_reader_take_line(dure_reader *reader, size_t length, dure_line_state state);

// Visits the documents of a file that is in memory, as if it had that path.
DURE_MUST_CHECK dure_status dure_documents_visit_memory(const dure_document_reading *reading, const char *path,
                                                        const void *bytes, size_t size,
                                                        dure_document_counts *out_counts);

// ---- the readers ----
dure_status dure_read_text(dure_reader *reader);
dure_status dure_read_markdown(dure_reader *reader);
dure_status dure_read_html(dure_reader *reader);
dure_status dure_read_xml(dure_reader *reader);
dure_status dure_read_jsonl(dure_reader *reader);
dure_status dure_read_warc(dure_reader *reader);
dure_status dure_read_csv(dure_reader *reader);
dure_status dure_read_tsv(dure_reader *reader);

// Reads the compressed file or archive in the reader's stream; `visit_entry` is called with the reader's stream and
// path set to those of each entry.
typedef dure_status (*dure_entry_function)(dure_reader *reader, int depth);
DURE_MUST_CHECK dure_status dure_read_container(dure_reader *reader, int depth, dure_entry_function visit_entry);

#endif  // DURE_DATA_DOCUMENTS_INTERNAL_H_
