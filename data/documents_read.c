// The readers of whole files, of texts that are cut, and of lines.
#include <string.h>

#include "data/documents_internal.h"

static dure_status read_whole(dure_reader *reader, dure_format format) {
  dure_stream *stream = reader->stream;
  DURE_TRY(dure_stream_fill(stream, (size_t)reader->size_limit + 1));
  size_t size = dure_stream_unread(stream);
  if (size > reader->size_limit) return dure_reader_too_large(reader, 0, 0);
  return dure_reader_hand_over_unread(reader, format, 0, size);
}

dure_status dure_read_html(dure_reader *reader) { return read_whole(reader, DURE_FORMAT_HTML); }
dure_status dure_read_xml(dure_reader *reader) { return read_whole(reader, DURE_FORMAT_XML); }

// ---- texts ----

// Where to cut a text of which only the first `size` bytes fit.
static size_t cutting_point(const char *bytes, size_t size) {
  size_t newline = 0;
  for (size_t i = size; i > size / 2; i--) {
    if (bytes[i - 1] != '\n') continue;
    if (newline == 0) newline = i;
    if (i >= 2 && bytes[i - 2] == '\n') return i;
  }
  if (newline > 0) return newline;
  size_t cut = size;
  while (cut > size - 4 && ((unsigned char)bytes[cut] & 0xc0) == 0x80) cut--;  // not inside a character
  return cut;
}

static dure_status read_pieces(dure_reader *reader, dure_format format) {
  const size_t limit = (size_t)reader->size_limit;
  dure_stream *stream = reader->stream;
  for (;;) {
    dure_status failed = dure_stream_fill(stream, limit + 1);  // what came before a failure is text all the same
    size_t size = dure_stream_unread(stream);
    if (size == 0) return failed;
    size_t part = size <= limit ? size : cutting_point(dure_stream_bytes(stream), limit);
    dure_status status = dure_reader_hand_over_unread(reader, format, 0, part);
    dure_stream_skip(stream, part);
    if (status != NULL || failed != NULL) return dure_status_join(status, failed);
  }
}

dure_status dure_read_text(dure_reader *reader) { return read_pieces(reader, DURE_FORMAT_TEXT); }
dure_status dure_read_markdown(dure_reader *reader) { return read_pieces(reader, DURE_FORMAT_MARKDOWN); }

// ---- lines ----

// Searches for the newline that ends a record, from `*searched` on.
static const char *find_end(const char *bytes, size_t size, bool with_quotes, size_t searched, bool *is_quoted,
                            uint64_t *newlines) {
  if (!with_quotes) return size > searched ? memchr(bytes + searched, '\n', size - searched) : NULL;
  for (size_t i = searched; i < size; i++) {
    if (bytes[i] == '"') *is_quoted = !*is_quoted;
    if (bytes[i] != '\n') continue;
    if (!*is_quoted) return bytes + i;
    (*newlines)++;
  }
  return NULL;
}

dure_status dure_reader_find_line(dure_reader *reader, bool with_quotes, size_t *out_length, uint64_t *out_newlines,
                                  dure_line_state *out_state) {
  dure_stream *stream = reader->stream;
  *out_length = 0;
  *out_newlines = 0;
  *out_state = DURE_LINE_NONE;
  bool is_quoted = false;
  for (size_t searched = 0;;) {
    size_t size = dure_stream_unread(stream);
    const char *bytes = dure_stream_bytes(stream);
    const char *newline = find_end(bytes, size, with_quotes, searched, &is_quoted, out_newlines);
    if (newline == NULL && !stream->is_ended && size <= reader->size_limit) {
      searched = size;
      DURE_TRY(dure_stream_fill(stream, size + DURE_STREAM_READ_SIZE));
      continue;
    }
    if (newline == NULL && size == 0) return NULL;
    *out_length = newline != NULL ? (size_t)(newline - bytes) : size;
    *out_state = *out_length > reader->size_limit ? DURE_LINE_TOO_LONG : DURE_LINE_WHOLE;
    return NULL;
  }
}

dure_status dure_reader_take_line(dure_reader *reader, size_t length, dure_line_state state) {
  dure_stream *stream = reader->stream;
  dure_stream_skip(stream, length);
  for (;;) {
    size_t size = dure_stream_unread(stream);
    const char *newline = size > 0 ? memchr(dure_stream_bytes(stream), '\n', size) : NULL;
    if (newline != NULL) {
      dure_stream_skip(stream, (size_t)(newline - dure_stream_bytes(stream)) + 1);
      return NULL;
    }
    if (state == DURE_LINE_WHOLE) return NULL;  // the last line, without a newline
    dure_stream_skip(stream, size);
    DURE_TRY(dure_stream_fill(stream, DURE_STREAM_READ_SIZE));
    if (dure_stream_unread(stream) == 0) return NULL;
  }
}

static bool is_blank(const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] != ' ' && bytes[i] != '\t' && bytes[i] != '\r') return false;
  }
  return true;
}

dure_status dure_read_jsonl(dure_reader *reader) {
  for (uint64_t line = 1;; line++) {
    size_t length;
    uint64_t newlines;
    dure_line_state state;
    DURE_TRY(dure_reader_find_line(reader, false, &length, &newlines, &state));
    if (state == DURE_LINE_NONE) return NULL;
    if (state == DURE_LINE_TOO_LONG) {
      DURE_TRY(dure_reader_too_large(reader, line, reader->stream->offset));
    } else if (!is_blank(dure_stream_bytes(reader->stream), length)) {
      DURE_TRY(dure_reader_hand_over_unread(reader, DURE_FORMAT_JSONL, line, length));
    }
    DURE_TRY(dure_reader_take_line(reader, length, state));
  }
}
