#include "data/documents.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/documents_internal.h"
#include "runtime/os.h"

enum { DIRECTORY_DEPTH_LIMIT = 128, CONTAINER_DEPTH_LIMIT = 4 };

typedef struct walk {
  dure_reader reader;
  dure_stream file_stream, converted_stream;
  FILE *file;
  uint64_t file_ordinal;
  bool is_measuring;  // only adding up sizes
} walk;

// ---- handing over ----

static dure_status report_progress(dure_reader *reader) {
  const dure_document_reading *reading = reader->reading;
  if (reading->progress == NULL) return NULL;
  dure_progress progress = {reading->stage, reader->counts->files, reader->counts->documents,
                            reader->counts->bytes_read, reader->bytes_total};
  if (reading->progress(reading->progress_context, &progress)) return NULL;
  reader->is_stopped = true;
  return dure_fail(DURE_CANCELLED, "stopped while reading '%s'", reader->path);
}

static bool is_before_resumption(const dure_reader *reader) {
  const dure_document_position *resume = &reader->reading->resume;
  return reader->position.file < resume->file ||
         (reader->position.file == resume->file && reader->position.document < resume->document);
}

dure_status dure_reader_hand_over(dure_reader *reader, dure_document *document) {
  document->path = reader->path;
  document->position = reader->position;
  bool is_passed = is_before_resumption(reader);
  reader->position.document++;
  if (is_passed) return NULL;
  reader->counts->documents++;
  dure_status status = reader->reading->visit(reader->reading->context, document);
  reader->is_stopped = reader->is_stopped || status != NULL;
  return status != NULL ? status : report_progress(reader);
}

void dure_reader_pass_record(dure_reader *reader) {
  if (!is_before_resumption(reader)) reader->counts->records_skipped++;
}

void dure_reader_pass_file(dure_reader *reader) {
  if (!is_before_resumption(reader)) reader->counts->files_skipped++;
}

dure_status dure_reader_hand_over_unread(dure_reader *reader, dure_format format, uint64_t line, size_t size) {
  dure_document document = {.line = line,
                            .offset = reader->stream->offset,
                            .format = format,
                            .bytes = dure_stream_bytes(reader->stream),
                            .size = size};
  return dure_reader_hand_over(reader, &document);
}

static dure_status report_problem(dure_reader *reader, const char *reason, uint64_t line, uint64_t offset,
                                  const char *message) {
  const dure_document_reading *reading = reader->reading;
  const dure_document_problem problem = {reader->path, line, offset, reason, message};
  if (reading->problem == NULL || reading->problem(reading->context, &problem)) return NULL;
  reader->is_stopped = true;
  return dure_fail(DURE_CORRUPT, "'%s', byte %" PRIu64 ": %s", reader->path, offset, message);
}

dure_status dure_reader_too_large(dure_reader *reader, uint64_t line, uint64_t offset) {
  if (is_before_resumption(reader)) return NULL;
  reader->counts->too_large++;
  char message[128];
  snprintf(message, sizeof(message), "a document larger than --max-document (%" PRIu64 " bytes)", reader->size_limit);
  return report_problem(reader, "too_large", line, offset, message);
}

dure_status dure_reader_unreadable(dure_reader *reader, uint64_t offset, dure_status cause) {
  dure_code code = dure_status_code(cause);
  bool may_pass = code == DURE_CORRUPT || code == DURE_IO || code == DURE_NOT_FOUND || code == DURE_UNSUPPORTED;
  if (cause == NULL || reader->is_stopped || !may_pass || reader->reading->problem == NULL) return cause;
  if (is_before_resumption(reader)) {  // reported before
    dure_status_free(cause);
    return NULL;
  }
  reader->counts->unreadable++;
  dure_status status = report_problem(reader, "unreadable", 0, offset, dure_status_message(cause));
  if (status == NULL) {
    dure_status_free(cause);
    return NULL;
  }
  dure_status_free(status);
  return cause;
}

// ---- one file ----

// NUL bytes near the beginning.
static bool is_binary(const char *bytes, size_t size) {
  return memchr(bytes, '\0', size < DURE_SNIFF_SIZE ? size : DURE_SNIFF_SIZE) != NULL;
}

// UTF-16 by its mark (`*out_mark` bytes), or without one by where its zero bytes stand.
static bool is_utf16(const char *bytes, size_t size, bool *out_is_big_endian, size_t *out_mark) {
  *out_mark = 2;
  *out_is_big_endian = size >= 2 && memcmp(bytes, "\xfe\xff", 2) == 0;
  if (*out_is_big_endian || (size >= 2 && memcmp(bytes, "\xff\xfe", 2) == 0)) return true;
  *out_mark = 0;
  size_t zeros[2] = {0, 0}, near = size < DURE_SNIFF_SIZE ? size & ~(size_t)1 : DURE_SNIFF_SIZE;
  for (size_t i = 0; i < near; i++) zeros[i % 2] += bytes[i] == '\0';
  *out_is_big_endian = zeros[0] > zeros[1];
  size_t most = zeros[*out_is_big_endian ? 0 : 1], least = zeros[*out_is_big_endian ? 1 : 0];
  return most >= 8 && most * 10 >= near && least == 0;
}

static dure_status read_as(dure_reader *reader, dure_format format) {
  dure_stream *stream = reader->stream;
  DURE_TRY(dure_stream_fill(stream, DURE_SNIFF_SIZE));
  size_t size = dure_stream_unread(stream);
  const char *bytes = size > 0 ? dure_stream_bytes(stream) : "";
  if (format == DURE_FORMAT_AUTO) format = dure_format_of_content(bytes, size);
  if (!dure_format_may_hold_nul(format) && is_binary(bytes, size)) {
    if (is_before_resumption(reader)) return NULL;
    reader->counts->binary++;
    return report_problem(reader, "binary", 0, 0, "not text: NUL bytes near its beginning");
  }
  return dure_format_reader(format)(reader);
}

static dure_status read_converted(walk *state, bool is_big_endian, size_t mark, dure_format format) {
  dure_reader *reader = &state->reader;
  dure_stream *outer = reader->stream;
  dure_stream_skip(outer, mark);
  dure_utf16_state conversion = {outer, is_big_endian};
  dure_stream_begin_utf16(&state->converted_stream, &conversion);
  reader->stream = &state->converted_stream;
  dure_status status = read_as(reader, format);
  reader->stream = outer;
  return status;
}

// Reads the file in the reader's stream. `reader` is the beginning of a walk.
static dure_status read_stream(dure_reader *reader, int depth) {
  walk *state = (walk *)reader;
  dure_stream *stream = reader->stream;
  DURE_TRY(dure_stream_fill(stream, DURE_SNIFF_SIZE));
  size_t size = dure_stream_unread(stream), mark = 0;
  const char *bytes = size > 0 ? dure_stream_bytes(stream) : "";
  if (dure_container_of_content(bytes, size)) {
    if (depth >= CONTAINER_DEPTH_LIMIT) return dure_fail(DURE_CORRUPT, "archives are nested too deeply");
    return dure_read_container(reader, depth, read_stream);
  }
  dure_format format = reader->reading->format;
  if (format == DURE_FORMAT_AUTO) format = dure_format_of_name(reader->path);
  bool is_big_endian = false;
  if (is_utf16(bytes, size, &is_big_endian, &mark) && format != DURE_FORMAT_WARC) {
    return read_converted(state, is_big_endian, mark, format);
  }
  return read_as(reader, format);
}

static dure_status read_from_file(void *context, char *bytes, size_t size, size_t *out_got) {
  walk *state = context;
  errno = 0;
  *out_got = fread(bytes, 1, size, state->file);
  state->reader.counts->bytes_read += *out_got;
  state->reader.position.bytes += *out_got;
  if (*out_got == 0 && ferror(state->file)) return dure_fail_errno("cannot read '%s'", state->reader.path);
  return NULL;
}

static dure_status read_open_file(walk *state, const char *path) {
  dure_reader *reader = &state->reader;
  const dure_document_reading *reading = reader->reading;
  reader->path = path;
  reader->position = (dure_document_position){.file = state->file_ordinal++};
  bool is_resumed_here = reading->resume.file == reader->position.file;
  if (is_resumed_here) {
    *reader->counts = reading->resumed_counts;
    reader->counts->bytes_read -= reading->resume.bytes;
  }
  if (!is_resumed_here || reading->resume.document == 0) reader->counts->files++;
  dure_stream_begin(&state->file_stream, path, read_from_file, state);
  reader->stream = &state->file_stream;
  dure_status status = read_stream(reader, 0);
  reader->path = path;  // what it pointed to inside an archive is gone
  return dure_reader_unreadable(reader, state->file_stream.offset, status);
}

static dure_status read_file(walk *state, const char *path, bool is_input) {
  uint64_t size = 0;
  if (state->is_measuring) {
    dure_status_free(dure_os_file_size(path, &size));
    state->reader.bytes_total += size;
    return NULL;
  }
  if (state->file_ordinal < state->reader.reading->resume.file) {
    state->file_ordinal++;
    return NULL;
  }
  state->file = fopen(path, "rb");
  if (state->file == NULL) {
    dure_status status = dure_fail_errno("cannot open '%s'", path);
    state->file_ordinal++;
    state->reader.path = path;
    return is_input ? status : dure_reader_unreadable(&state->reader, 0, status);
  }
  setvbuf(state->file, NULL, _IONBF, 0);
  dure_status status = read_open_file(state, path);
  fclose(state->file);
  state->file = NULL;
  return status;
}

// ---- directories ----

static bool is_excluded(const walk *state, const char *path) {
  const char *excluded = state->reader.reading->excluded;
  return excluded != NULL && dure_os_is_same_file(path, excluded);
}

static dure_status visit_directory(walk *state, const char *path, int depth);

static dure_status visit_entry(walk *state, const char *path, int depth) {
  if (dure_os_is_directory(path)) return dure_os_is_link(path) ? NULL : visit_directory(state, path, depth + 1);
  if (dure_name_is_known(path) && dure_os_is_file(path) && !is_excluded(state, path))
    return read_file(state, path, false);
  state->reader.counts->files_skipped++;  // where a visit goes on, earlier counts replace this
  return NULL;
}

static dure_status visit_directory(walk *state, const char *path, int depth) {
  if (depth > DIRECTORY_DEPTH_LIMIT) return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is nested too deeply", path);
  char **names = NULL;
  size_t count = 0;
  state->reader.path = path;
  dure_status listed = dure_os_list(path, &names, &count);
  if (listed != NULL) return depth == 0 ? listed : dure_reader_unreadable(&state->reader, 0, listed);
  dure_status status = NULL;
  for (size_t i = 0; i < count && status == NULL; i++) {
    char *child = dure_os_path_join(path, names[i]);
    status =
        child == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory in '%s'", path) : visit_entry(state, child, depth);
    free(child);
  }
  dure_os_names_free(names, count);
  return status;
}

static dure_status visit_input(walk *state, const char *input) {
  if (strcmp(input, "-") == 0) {
    if (state->is_measuring) return dure_fail(DURE_UNSUPPORTED, "standard input has no size");
    state->file = stdin;
    dure_status status = read_open_file(state, "-");
    state->file = NULL;
    return status;
  }
  if (dure_os_is_directory(input)) return visit_directory(state, input, 0);
  if (is_excluded(state, input)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is both input and output; write to another file", input);
  }
  return read_file(state, input, true);
}

static dure_status visit_inputs(walk *state, const char *const *inputs, size_t input_count) {
  dure_status status = NULL;
  for (size_t i = 0; i < input_count && status == NULL; i++) status = visit_input(state, inputs[i]);
  return status;
}

// The size of all inputs, for the progress line; 0 when it cannot be known.
static uint64_t measure(const dure_document_reading *reading, const char *const *inputs, size_t input_count) {
  dure_document_counts counts = {0};
  walk state = {.reader = {.reading = reading, .counts = &counts}, .is_measuring = true};
  dure_status status = visit_inputs(&state, inputs, input_count);
  bool is_known = status == NULL;
  dure_status_free(status);
  return is_known ? state.reader.bytes_total : 0;
}

static dure_status begin_walk(const dure_document_reading *reading, dure_document_counts *counts, walk *out_state) {
  *counts = (dure_document_counts){0};
  *out_state = (walk){.reader = {.reading = reading, .counts = counts}};
  uint64_t limit = reading->size_limit == 0 ? DURE_DOCUMENT_SIZE_LIMIT : reading->size_limit;
  out_state->reader.size_limit = limit;
  if (limit >= 64 && limit <= (UINT64_C(1) << 30)) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "the largest document must be between 64 bytes and 1 GiB");
}

static void end_walk(walk *state) {
  dure_stream_free(&state->file_stream);
  dure_stream_free(&state->converted_stream);
}

dure_status dure_documents_visit(const dure_document_reading *reading, const char *const *inputs, size_t input_count,
                                 dure_document_counts *out_counts) {
  walk state;
  DURE_TRY(begin_walk(reading, out_counts, &state));
  if (reading->progress != NULL) state.reader.bytes_total = measure(reading, inputs, input_count);
  dure_status status = visit_inputs(&state, inputs, input_count);
  end_walk(&state);
  return status;
}

dure_status dure_documents_visit_memory(const dure_document_reading *reading, const char *path, const void *bytes,
                                        size_t size, dure_document_counts *out_counts) {
  walk state;
  DURE_TRY(begin_walk(reading, out_counts, &state));
  // An empty stream cannot be opened on every system: one byte more, which is not read.
  state.file = fmemopen((void *)(uintptr_t)bytes, size > 0 ? size : 1, "rb");
  if (state.file == NULL) return dure_fail_errno("cannot read '%s' from memory", path);
  if (size == 0) fseek(state.file, 0, SEEK_END);
  dure_status status = read_open_file(&state, path);
  fclose(state.file);
  end_walk(&state);
  return status;
}
