#include "data/documents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/os.h"

enum { READ_SIZE = 1 << 18, SNIFF_SIZE = 4096, DEPTH_LIMIT = 128 };

typedef struct walk {
  const dure_document_reading *reading;
  uint64_t size_limit;
  dure_document_counts *counts;
  // The file being read: bytes [start, end) of the buffer are unread.
  FILE *file;
  const char *path;
  char *buffer;
  size_t start, end, capacity;
  bool is_ended;
} walk;

// ---- formats ----

static const struct {
  const char *extension;
  dure_format format;
} extensions[] = {
    {"txt", DURE_FORMAT_TEXT},      {"text", DURE_FORMAT_TEXT},    {"md", DURE_FORMAT_TEXT},
    {"markdown", DURE_FORMAT_TEXT}, {"rst", DURE_FORMAT_TEXT},     {"html", DURE_FORMAT_HTML},
    {"htm", DURE_FORMAT_HTML},      {"xhtml", DURE_FORMAT_HTML},   {"page", DURE_FORMAT_XML},
    {"xml", DURE_FORMAT_XML},       {"docbook", DURE_FORMAT_XML},  {"dbk", DURE_FORMAT_XML},
    {"jsonl", DURE_FORMAT_JSONL},   {"ndjson", DURE_FORMAT_JSONL},
};

static dure_format format_of_name(const char *path) {
  const char *slash = strrchr(path, '/');
  const char *dot = strrchr(slash != NULL ? slash + 1 : path, '.');
  if (dot == NULL) return DURE_FORMAT_AUTO;
  for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
    if (strcasecmp(dot + 1, extensions[i].extension) == 0) return extensions[i].format;
  }
  return DURE_FORMAT_AUTO;
}

static bool contains(const char *bytes, size_t size, const char *word) {
  size_t length = strlen(word);
  for (size_t i = 0; i + length <= size; i++) {
    if (strncasecmp(bytes + i, word, length) == 0) return true;
  }
  return false;
}

static dure_format format_of_content(const char *bytes, size_t size) {
  if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
    bytes += 3;
    size -= 3;
  }
  while (size > 0 && strchr(" \t\r\n", *bytes) != NULL && *bytes != '\0') {
    bytes++;
    size--;
  }
  if (size == 0) return DURE_FORMAT_TEXT;
  if (bytes[0] == '{') return DURE_FORMAT_JSONL;
  if (bytes[0] != '<') return DURE_FORMAT_TEXT;
  size_t near = size < SNIFF_SIZE ? size : SNIFF_SIZE;
  if (contains(bytes, near, "<!doctype html") || contains(bytes, near, "<html") || contains(bytes, near, "<body")) {
    return DURE_FORMAT_HTML;
  }
  if (near >= 5 && (memcmp(bytes, "<?xml", 5) == 0 || strncasecmp(bytes, "<!doc", 5) == 0)) return DURE_FORMAT_XML;
  if (contains(bytes, near, "xmlns=")) return DURE_FORMAT_XML;
  static const char *const fragments[] = {"</p>", "</div>", "</a>", "</h1>", "<br", "<meta ", "</li>", "</td>"};
  for (size_t i = 0; i < sizeof(fragments) / sizeof(fragments[0]); i++) {
    if (contains(bytes, near, fragments[i])) return DURE_FORMAT_HTML;
  }
  return DURE_FORMAT_TEXT;
}

// NUL bytes near the beginning, unless a byte order mark says UTF-16.
static bool is_binary(const char *bytes, size_t size) {
  if (size >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0)) return false;
  return memchr(bytes, '\0', size < SNIFF_SIZE ? size : SNIFF_SIZE) != NULL;
}

// ---- one file ----

// Makes at least `wanted` unread bytes available, or all that are left.
static dure_status fill(walk *state, size_t wanted) {
  if (state->end - state->start >= wanted || state->is_ended) return NULL;
  if (state->start > 0) memmove(state->buffer, state->buffer + state->start, state->end - state->start);
  state->end -= state->start;
  state->start = 0;
  while (state->end < wanted && !state->is_ended) {
    if (state->capacity - state->end < READ_SIZE) {
      size_t grown = state->capacity * 2 > READ_SIZE * 2 ? state->capacity * 2 : READ_SIZE * 2;
      char *larger = realloc(state->buffer, grown);
      if (larger == NULL) {
        return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s' (%zu bytes so far); lower --max-document",
                         state->path, state->end);
      }
      state->buffer = larger;
      state->capacity = grown;
    }
    errno = 0;
    size_t got = fread(state->buffer + state->end, 1, READ_SIZE, state->file);
    state->end += got;
    state->counts->bytes_read += got;
    if (got < READ_SIZE) {
      if (ferror(state->file)) return dure_fail_errno("cannot read '%s'", state->path);
      state->is_ended = feof(state->file) != 0;
    }
  }
  return NULL;
}

static dure_status report(walk *state) {
  const dure_document_reading *reading = state->reading;
  if (reading->progress == NULL) return NULL;
  dure_progress progress = {reading->stage, state->counts->files, state->counts->documents, state->counts->bytes_read};
  if (reading->progress(reading->progress_context, &progress)) return NULL;
  return dure_fail(DURE_CANCELLED, "stopped while reading '%s'; nothing was written", state->path);
}

static dure_status hand_over(walk *state, dure_format format, uint64_t line, size_t size) {
  dure_document document = {state->path, line, format, state->buffer + state->start, size};
  state->counts->documents++;
  DURE_TRY(state->reading->visit(state->reading->context, &document));
  return report(state);
}

// Throws away the rest of a line; the newline stays.
static dure_status skip_line(walk *state) {
  for (;;) {
    size_t size = state->end - state->start;
    char *newline = size > 0 ? memchr(state->buffer + state->start, '\n', size) : NULL;
    if (newline != NULL) {
      state->start = (size_t)(newline - state->buffer);
      return NULL;
    }
    state->start = state->end;
    DURE_TRY(fill(state, READ_SIZE));
    if (state->start == state->end) return NULL;
  }
}

static bool is_blank(const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] != ' ' && bytes[i] != '\t' && bytes[i] != '\r') return false;
  }
  return true;
}

static dure_status visit_lines(walk *state) {
  size_t searched = 0;  // of the unread bytes, known to hold no newline
  for (uint64_t line = 1;;) {
    size_t size = state->end - state->start;
    char *unread = state->buffer + state->start;
    char *newline = size > searched ? memchr(unread + searched, '\n', size - searched) : NULL;
    if (newline == NULL && !state->is_ended && size <= state->size_limit) {
      searched = size;
      DURE_TRY(fill(state, size + READ_SIZE));
      continue;
    }
    if (newline == NULL && size == 0) return NULL;
    size_t length = newline != NULL ? (size_t)(newline - unread) : size;
    if (length > state->size_limit) {
      state->counts->too_large++;
      DURE_TRY(skip_line(state));
      length = 0;
    } else if (!is_blank(unread, length)) {
      DURE_TRY(hand_over(state, DURE_FORMAT_JSONL, line, length));
    }
    state->start += length;
    if (state->start < state->end) state->start++;  // the newline
    searched = 0;
    line++;
  }
}

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

static dure_status visit_text(walk *state) {
  const size_t limit = (size_t)state->size_limit;
  for (;;) {
    DURE_TRY(fill(state, limit + 1));
    size_t size = state->end - state->start;
    if (size == 0) return NULL;
    size_t part = size <= limit ? size : cutting_point(state->buffer + state->start, limit);
    DURE_TRY(hand_over(state, DURE_FORMAT_TEXT, 0, part));
    state->start += part;
  }
}

static dure_status visit_whole(walk *state, dure_format format) {
  DURE_TRY(fill(state, (size_t)state->size_limit + 1));
  if (state->end - state->start > state->size_limit) {
    state->counts->too_large++;
    return NULL;
  }
  return hand_over(state, format, 0, state->end - state->start);
}

static dure_status visit_open_file(walk *state, dure_format format) {
  state->start = state->end = 0;
  state->is_ended = false;
  state->counts->files++;
  DURE_TRY(fill(state, SNIFF_SIZE));
  if (format == DURE_FORMAT_AUTO) format = format_of_content(state->buffer, state->end);
  if (format != DURE_FORMAT_HTML && format != DURE_FORMAT_XML && is_binary(state->buffer, state->end)) {
    state->counts->binary++;
    return NULL;
  }
  if (format == DURE_FORMAT_JSONL) return visit_lines(state);
  if (format == DURE_FORMAT_TEXT) return visit_text(state);
  return visit_whole(state, format);
}

static dure_status visit_file(walk *state, const char *path, dure_format format) {
  if (state->reading->format != DURE_FORMAT_AUTO) format = state->reading->format;
  state->path = path;
  state->file = fopen(path, "rb");
  if (state->file == NULL) return dure_fail_errno("cannot open '%s'", path);
  setvbuf(state->file, NULL, _IONBF, 0);
  dure_status status = visit_open_file(state, format);
  fclose(state->file);
  state->file = NULL;
  return status;
}

// ---- directories ----

static bool is_excluded(const walk *state, const char *path) {
  return state->reading->excluded != NULL && dure_os_is_same_file(path, state->reading->excluded);
}

static dure_status visit_directory(walk *state, const char *path, int depth);

static dure_status visit_entry(walk *state, const char *path, int depth) {
  if (dure_os_is_directory(path)) return dure_os_is_link(path) ? NULL : visit_directory(state, path, depth + 1);
  dure_format format = format_of_name(path);
  if (format == DURE_FORMAT_AUTO || !dure_os_is_file(path) || is_excluded(state, path)) {
    state->counts->files_skipped++;
    return NULL;
  }
  return visit_file(state, path, format);
}

static dure_status visit_directory(walk *state, const char *path, int depth) {
  if (depth > DEPTH_LIMIT) return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is nested too deeply", path);
  char **names = NULL;
  size_t count = 0;
  DURE_TRY(dure_os_list(path, &names, &count));
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
    state->path = "-";
    state->file = stdin;
    dure_status status = visit_open_file(state, state->reading->format);
    state->file = NULL;
    return status;
  }
  if (dure_os_is_directory(input)) return visit_directory(state, input, 0);
  if (is_excluded(state, input)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is both input and output; write to another file", input);
  }
  return visit_file(state, input, format_of_name(input));
}

dure_status dure_documents_visit(const dure_document_reading *reading, const char *const *inputs, size_t input_count,
                                 dure_document_counts *out_counts) {
  *out_counts = (dure_document_counts){0};
  walk state = {.reading = reading, .counts = out_counts};
  state.size_limit = reading->size_limit == 0 ? DURE_DOCUMENT_SIZE_LIMIT : reading->size_limit;
  if (state.size_limit < 64 || state.size_limit > (UINT64_C(1) << 30)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the largest document must be between 64 bytes and 1 GiB");
  }
  dure_status status = NULL;
  for (size_t i = 0; i < input_count && status == NULL; i++) status = visit_input(&state, inputs[i]);
  free(state.buffer);
  return status;
}
