// WARC (ISO 28500) and Common Crawl's WET: pages as `response` records with their HTTP headers, or texts as
// `conversion` (and `resource`) records. Of responses only successful ones with text, HTML or XML are documents.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <archive.h>
#include <archive_entry.h>

#include "data/bytes.h"
#include "data/documents_internal.h"

enum { HEADER_LIMIT = 1 << 16, VALUE_SIZE = 4096, SHORT_SIZE = 128 };

typedef struct warc {
  dure_reader *reader;
  dure_bytes body;  // of a response that was sent in chunks or compressed
  dure_bytes unpacked;
  // Of the record being read.
  char type[SHORT_SIZE], url[VALUE_SIZE], content_type[SHORT_SIZE];
  uint64_t length, offset;
  // Of its HTTP response.
  char encoding[SHORT_SIZE], transfer[SHORT_SIZE], compression[SHORT_SIZE];
} warc;

// ---- headers ----

// Length of the headers at the front, with the empty line that ends them; 0 when they do not end there.
static size_t header_length(const char *bytes, size_t size) {
  for (const char *newline = bytes; (newline = memchr(newline, '\n', size - (size_t)(newline - bytes))) != NULL;) {
    newline++;
    size_t left = size - (size_t)(newline - bytes);
    if (left >= 1 && newline[0] == '\n') return (size_t)(newline - bytes) + 1;
    if (left >= 2 && newline[0] == '\r' && newline[1] == '\n') return (size_t)(newline - bytes) + 2;
    if (left == 0) break;
  }
  return 0;
}

// Copies the value of a header, without white space around it; "" when there is none or it is too long.
static void find_value(const char *headers, size_t size, const char *name, char *out_value, size_t value_size) {
  size_t name_length = strlen(name);
  out_value[0] = '\0';
  const char *end = headers + size;
  for (const char *line = headers; line < end;) {
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    const char *line_end = newline != NULL ? newline : end;
    if ((size_t)(line_end - line) > name_length && line[name_length] == ':' &&
        strncasecmp(line, name, name_length) == 0) {
      const char *value = line + name_length + 1;
      while (value < line_end && (*value == ' ' || *value == '\t')) value++;
      while (line_end > value && (line_end[-1] == '\r' || line_end[-1] == ' ')) line_end--;
      size_t length = (size_t)(line_end - value);
      if (length > 1 && value[0] == '<' && value[length - 1] == '>') {  // WARC 1.0 allowed it
        value++;
        length -= 2;
      }
      if (length >= value_size || memchr(value, '\0', length) != NULL) return;
      memcpy(out_value, value, length);
      out_value[length] = '\0';
      return;
    }
    line = line_end + 1;
  }
}

static dure_status read_record_headers(warc *state, bool *out_is_end) {
  dure_stream *stream = state->reader->stream;
  *out_is_end = false;
  for (;;) {  // the empty lines between records
    DURE_TRY(dure_stream_fill(stream, 1));
    if (dure_stream_unread(stream) == 0) {
      *out_is_end = true;
      return NULL;
    }
    char byte = *dure_stream_bytes(stream);
    if (byte != '\r' && byte != '\n') break;
    dure_stream_skip(stream, 1);
  }
  state->offset = stream->offset;
  DURE_TRY(dure_stream_fill(stream, HEADER_LIMIT));
  const char *bytes = dure_stream_bytes(stream);
  size_t unread = dure_stream_unread(stream), near = unread < HEADER_LIMIT ? unread : HEADER_LIMIT;
  size_t length = near >= 5 && memcmp(bytes, "WARC/", 5) == 0 ? header_length(bytes, near) : 0;
  if (length == 0) return dure_fail(DURE_CORRUPT, "no WARC record where one must begin");
  char number[SHORT_SIZE], *end = NULL;
  find_value(bytes, length, "Content-Length", number, sizeof(number));
  state->length = strtoull(number, &end, 10);
  if (number[0] < '0' || number[0] > '9' || *end != '\0') {
    dure_stream_skip(stream, 5);  // or it would be found again
    return dure_fail(DURE_CORRUPT, "a WARC record without a Content-Length");
  }
  find_value(bytes, length, "WARC-Type", state->type, sizeof(state->type));
  find_value(bytes, length, "WARC-Target-URI", state->url, sizeof(state->url));
  find_value(bytes, length, "Content-Type", state->content_type, sizeof(state->content_type));
  dure_stream_skip(stream, length);
  return NULL;
}

// ---- HTTP ----

static bool is_media_type(const char *content_type, const char *type) {
  size_t length = strlen(type);
  return strncasecmp(content_type, type, length) == 0 && strchr("; \t", content_type[length]) != NULL;
}

// False for what is no text.
static bool find_format(const char *content_type, const char *bytes, size_t size, dure_format *out_format) {
  static const struct {
    const char *type;
    dure_format format;
  } types[] = {
      {"text/html", DURE_FORMAT_HTML},
      {"application/xhtml+xml", DURE_FORMAT_HTML},
      {"text/plain", DURE_FORMAT_TEXT},
      {"text/xml", DURE_FORMAT_XML},
      {"application/xml", DURE_FORMAT_XML},
      {"text/markdown", DURE_FORMAT_MARKDOWN},
      {"application/docbook+xml", DURE_FORMAT_XML},
  };
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    *out_format = types[i].format;
    if (is_media_type(content_type, types[i].type)) return true;
  }
  *out_format = dure_format_of_content(bytes, size);
  return content_type[0] == '\0' && *out_format == DURE_FORMAT_HTML;
}

static void find_charset(const char *content_type, char *out_encoding, size_t size) {
  out_encoding[0] = '\0';
  for (const char *cursor = content_type; (cursor = strchr(cursor, ';')) != NULL;) {
    cursor += 1 + strspn(cursor + 1, " \t");
    if (strncasecmp(cursor, "charset=", 8) != 0) continue;
    cursor += 8 + (cursor[8] == '"' || cursor[8] == '\'');
    size_t length = strcspn(cursor, "\"'; \t");
    if (length >= size) return;
    memcpy(out_encoding, cursor, length);
    out_encoding[length] = '\0';
  }
}

// Joins the chunks of a body that was sent in chunks. What is no chunk is left as it is: crawlers may have joined them.
static void join_chunks(warc *state, const char **bytes, size_t *size) {
  dure_bytes_clear(&state->body);
  const char *cursor = *bytes, *end = *bytes + *size;
  while (cursor < end) {
    const char *newline = memchr(cursor, '\n', (size_t)(end - cursor));
    size_t length = 0, digits = 0;
    for (; cursor < end && digits < 8; cursor++, digits++) {
      char low = (char)(*cursor | 0x20);
      int value = *cursor >= '0' && *cursor <= '9' ? *cursor - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
      if (value < 0) break;
      length = length * 16 + (size_t)value;
    }
    if (newline == NULL || digits == 0) return;
    if (length == 0) break;
    cursor = newline + 1;
    if (length > (size_t)(end - cursor)) length = (size_t)(end - cursor);
    dure_bytes_append(&state->body, cursor, length);
    cursor += length;
    while (cursor < end && (*cursor == '\r' || *cursor == '\n')) cursor++;
  }
  *bytes = state->body.data != NULL ? state->body.data : "";
  *size = state->body.size;
}

// Decompresses a gzip body, at most the size limit of a document and one byte.
static dure_status unpack(warc *state, const char **bytes, size_t *size) {
  struct archive *archive = archive_read_new();
  if (archive == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory decompressing a page");
  archive_read_support_filter_gzip(archive);
  archive_read_support_filter_zstd(archive);
  archive_read_support_format_raw(archive);
  dure_bytes_clear(&state->unpacked);
  struct archive_entry *entry = NULL;
  bool is_open = archive_read_open_memory(archive, *bytes, *size) == ARCHIVE_OK &&
                 archive_read_next_header(archive, &entry) == ARCHIVE_OK;
  la_ssize_t got = is_open ? 1 : -1;
  while (got > 0 && !state->unpacked.is_failed && state->unpacked.size <= state->reader->size_limit) {
    dure_bytes_reserve(&state->unpacked, DURE_STREAM_READ_SIZE);
    if (state->unpacked.is_failed) break;
    got = archive_read_data(archive, state->unpacked.data + state->unpacked.size, DURE_STREAM_READ_SIZE);
    if (got > 0) state->unpacked.size += (size_t)got;
  }
  archive_read_free(archive);
  DURE_TRY(dure_bytes_status(&state->unpacked));
  if (got < 0) return dure_fail(DURE_CORRUPT, "a page whose compression is damaged");
  *bytes = state->unpacked.data != NULL ? state->unpacked.data : "";
  *size = state->unpacked.size;
  return NULL;
}

// Takes the HTTP headers off. False when the response is no document: no success, or none at all.
static bool read_http(warc *state, const char **bytes, size_t *size) {
  size_t near = *size < HEADER_LIMIT ? *size : HEADER_LIMIT;
  size_t headers = near >= 12 && strncasecmp(*bytes, "HTTP/", 5) == 0 ? header_length(*bytes, near) : 0;
  if (headers == 0) return false;
  const char *space = memchr(*bytes, ' ', headers);
  if (space == NULL || space[1] != '2') return false;
  find_value(*bytes, headers, "Content-Type", state->content_type, sizeof(state->content_type));
  find_value(*bytes, headers, "Transfer-Encoding", state->transfer, sizeof(state->transfer));
  find_value(*bytes, headers, "Content-Encoding", state->compression, sizeof(state->compression));
  *bytes += headers;
  *size -= headers;
  return true;
}

static bool is_compressed(const char *bytes, size_t size) {
  return size >= 4 && (memcmp(bytes, "\x1f\x8b", 2) == 0 || memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0);
}

// ---- records ----

static dure_status hand_over_record(warc *state) {
  dure_reader *reader = state->reader;
  const char *bytes = dure_stream_unread(reader->stream) > 0 ? dure_stream_bytes(reader->stream) : "";
  size_t size = (size_t)state->length;
  bool is_response = strcasecmp(state->type, "response") == 0;
  if (is_response && !read_http(state, &bytes, &size)) {
    dure_reader_pass_record(reader);
    return NULL;
  }
  if (is_response && strncasecmp(state->transfer, "chunked", 7) == 0) join_chunks(state, &bytes, &size);
  DURE_TRY(dure_bytes_status(&state->body));
  if (is_response && state->compression[0] != '\0' && is_compressed(bytes, size)) {
    DURE_TRY(unpack(state, &bytes, &size));
    if (size > reader->size_limit) return dure_reader_too_large(reader, 0, state->offset);
  }
  dure_document document = {.offset = state->offset, .bytes = bytes, .size = size};
  if (!find_format(state->content_type, bytes, size, &document.format)) {
    dure_reader_pass_record(reader);
    return NULL;
  }
  find_charset(state->content_type, state->encoding, sizeof(state->encoding));
  document.encoding = state->encoding[0] != '\0' ? state->encoding : NULL;
  document.url = state->url[0] != '\0' ? state->url : NULL;
  return dure_reader_hand_over(reader, &document);
}

static dure_status read_record(warc *state) {
  dure_reader *reader = state->reader;
  state->encoding[0] = state->transfer[0] = state->compression[0] = '\0';
  bool may_be_document = strcasecmp(state->type, "response") == 0 || strcasecmp(state->type, "conversion") == 0 ||
                         strcasecmp(state->type, "resource") == 0;
  if (!may_be_document) {
    dure_reader_pass_record(reader);
    return dure_stream_discard(reader->stream, state->length);
  }
  if (state->length > reader->size_limit) {
    DURE_TRY(dure_reader_too_large(reader, 0, state->offset));
    return dure_stream_discard(reader->stream, state->length);
  }
  DURE_TRY(dure_stream_fill(reader->stream, (size_t)state->length));
  if (dure_stream_unread(reader->stream) < state->length) {
    return dure_fail(DURE_CORRUPT, "the file ends inside a WARC record");
  }
  dure_status status = dure_reader_unreadable(reader, state->offset, hand_over_record(state));
  dure_stream_skip(reader->stream, (size_t)state->length);
  return status;
}

// Goes to where the next record seems to begin.
static dure_status find_next_record(warc *state) {
  dure_stream *stream = state->reader->stream;
  for (;;) {
    size_t size = dure_stream_unread(stream);
    const char *bytes = size > 0 ? dure_stream_bytes(stream) : "";
    for (size_t i = 0; i + 7 <= size; i++) {
      const char *found = memchr(bytes + i, '\n', size - 6 - i);
      if (found == NULL) break;
      i = (size_t)(found - bytes);
      if (memcmp(found + 1, "WARC/", 5) != 0) continue;
      dure_stream_skip(stream, i + 1);
      return NULL;
    }
    if (stream->is_ended) {
      dure_stream_skip(stream, size);
      return NULL;
    }
    if (size > 6) dure_stream_skip(stream, size - 6);
    DURE_TRY(dure_stream_fill(stream, DURE_STREAM_READ_SIZE));
  }
}

static dure_status read_records(warc *state) {
  for (;;) {
    bool is_end = false;
    dure_status status = read_record_headers(state, &is_end);
    if (is_end) return NULL;
    if (status != NULL && dure_status_code(status) == DURE_CORRUPT && !state->reader->stream->is_failed) {
      DURE_TRY(dure_reader_unreadable(state->reader, state->offset, status));
      DURE_TRY(find_next_record(state));
      continue;
    }
    DURE_TRY(status);
    DURE_TRY(read_record(state));
  }
}

dure_status dure_read_warc(dure_reader *reader) {
  warc *state = calloc(1, sizeof(*state));
  if (state == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", reader->path);
  state->reader = reader;
  dure_status status = read_records(state);
  dure_bytes_free(&state->body);
  dure_bytes_free(&state->unpacked);
  free(state);
  return status;
}
