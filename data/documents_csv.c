// CSV (RFC 4180) and TSV of parallel sentences: each row is a document, its columns a line each.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/bytes.h"
#include "data/documents_internal.h"

enum { COLUMN_LIMIT = 256 };

typedef struct field {
  size_t start, size;  // in the row's unquoted bytes
} field;

typedef struct table {
  dure_reader *reader;
  bool is_csv;
  dure_bytes row, text;  // unquoted; the document's
  field fields[COLUMN_LIMIT];
  size_t field_count;
  size_t chosen[COLUMN_LIMIT];  // columns, in the order asked for
  size_t chosen_count;          // 0 for all
} table;

static void begin_field(table *state) {
  if (state->field_count == COLUMN_LIMIT) return;
  state->fields[state->field_count++] = (field){.start = state->row.size};
}

static void end_field(table *state) {
  field *last = &state->fields[state->field_count - 1];
  last->size = state->row.size - last->start;
}

// Splits a line at its commas (or tabs), taking quotes away; without quotes, a backslash before t or n stands for a tab
// or a line feed, as databases write TSV.
static void split(table *state, const char *line, size_t size) {
  dure_bytes_clear(&state->row);
  state->field_count = 0;
  if (size > 0 && line[size - 1] == '\r') size--;
  begin_field(state);
  bool is_quoted = false;
  for (size_t i = 0; i < size; i++) {
    char byte = line[i];
    bool is_quote = state->is_csv && byte == '"';
    if (is_quote && is_quoted && i + 1 < size && line[i + 1] == '"') {
      dure_bytes_append(&state->row, "\"", 1);
      i++;
    } else if (is_quote) {
      is_quoted = !is_quoted;
    } else if (!is_quoted && byte == (state->is_csv ? ',' : '\t')) {
      end_field(state);
      begin_field(state);
    } else if (!state->is_csv && byte == '\\' && i + 1 < size && (line[i + 1] == 't' || line[i + 1] == 'n')) {
      dure_bytes_append(&state->row, line[++i] == 't' ? "\t" : "\n", 1);
    } else {
      dure_bytes_append(&state->row, &byte, 1);
    }
  }
  end_field(state);
}

static bool is_field(const table *state, size_t column, const char *name, size_t length) {
  const field *candidate = &state->fields[column];
  return candidate->size == length &&
         (length == 0 || strncasecmp(state->row.data + candidate->start, name, length) == 0);
}

static bool is_any(const table *state, size_t column, const char *names) {
  for (const char *name = names; *name != '\0'; name += strcspn(name, " "), name += *name == ' ') {
    if (is_field(state, column, name, strcspn(name, " "))) return true;
  }
  return false;
}

// Takes the first row for names and not sentences when it holds one of these. Columns of the second kind say something
// about the sentences and are left out, unless they are asked for.
static bool find_header(table *state) {
  static const char sentences[] =
      "ko en kor eng korean english source target src tgt text sentence sentence1 sentence2 ko_original 원문 번역문 "
      "한국어 "
      "영어 문장 번역 한글";
  static const char others[] = "id no idx sid index number url label domain score date";
  bool is_header = false;
  for (size_t column = 0; column < state->field_count; column++) {
    is_header = is_header || is_any(state, column, sentences) || is_any(state, column, others);
  }
  for (size_t column = 0; column < state->field_count && is_header; column++) {
    if (!is_any(state, column, others)) state->chosen[state->chosen_count++] = column;
  }
  return is_header;
}

static void remove_byte_order_mark(table *state) {
  if (state->field_count == 0 || state->fields[0].size < 3 || memcmp(state->row.data, "\xef\xbb\xbf", 3) != 0) return;
  state->fields[0].start += 3;
  state->fields[0].size -= 3;
}

// Finds the columns that were asked for, by name in the first row or by number.
static dure_status choose_columns(table *state, bool *out_is_header) {
  const char *columns = state->reader->reading->columns;
  state->chosen_count = 0;
  *out_is_header = columns == NULL && find_header(state);
  while (columns != NULL && *columns != '\0' && state->chosen_count < COLUMN_LIMIT) {
    size_t length = strcspn(columns, ","), column = 0;
    while (column < state->field_count && !is_field(state, column, columns, length)) column++;
    if (column < state->field_count) {
      *out_is_header = true;
    } else {
      char *end = NULL;
      unsigned long number = strtoul(columns, &end, 10);
      if (end != columns + length || number == 0 || number > COLUMN_LIMIT) {
        return dure_fail(DURE_CORRUPT, "'%s' has no column '%.*s'", state->reader->path, (int)length, columns);
      }
      column = number - 1;
    }
    state->chosen[state->chosen_count++] = column;
    columns += length + (columns[length] == ',');
  }
  return NULL;
}

static dure_status hand_over_row(table *state, uint64_t line) {
  dure_bytes_clear(&state->text);
  size_t count = state->chosen_count > 0 ? state->chosen_count : state->field_count;
  for (size_t i = 0; i < count; i++) {
    size_t column = state->chosen_count > 0 ? state->chosen[i] : i;
    if (column >= state->field_count || state->fields[column].size == 0) continue;
    if (state->text.size > 0) dure_bytes_append(&state->text, "\n", 1);
    dure_bytes_append(&state->text, state->row.data + state->fields[column].start, state->fields[column].size);
  }
  DURE_TRY(dure_bytes_status(&state->row));
  DURE_TRY(dure_bytes_status(&state->text));
  if (state->text.size == 0) return NULL;
  dure_document document = {.line = line,
                            .offset = state->reader->stream->offset,
                            .format = DURE_FORMAT_TEXT,
                            .bytes = state->text.data,
                            .size = state->text.size};
  return dure_reader_hand_over(state->reader, &document);
}

static dure_status read_rows(table *state) {
  dure_reader *reader = state->reader;
  bool is_first = true;
  for (uint64_t line = 1;;) {
    size_t length;
    uint64_t newlines;
    dure_line_state found;
    DURE_TRY(dure_reader_find_line(reader, state->is_csv, &length, &newlines, &found));
    if (found == DURE_LINE_NONE) return NULL;
    if (found == DURE_LINE_TOO_LONG) {
      DURE_TRY(dure_reader_too_large(reader, line, reader->stream->offset));
    } else {
      split(state, dure_stream_bytes(reader->stream), length);
      bool is_names = false;
      if (is_first) {
        remove_byte_order_mark(state);
        DURE_TRY(choose_columns(state, &is_names));
      }
      if (!is_names) DURE_TRY(hand_over_row(state, line));
      is_first = false;
    }
    DURE_TRY(dure_reader_take_line(reader, length, found));
    line += newlines + 1;
  }
}

static dure_status read_table(dure_reader *reader, bool is_csv) {
  table *state = calloc(1, sizeof(*state));
  if (state == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", reader->path);
  state->reader = reader;
  state->is_csv = is_csv;
  dure_status status = read_rows(state);
  dure_bytes_free(&state->row);
  dure_bytes_free(&state->text);
  free(state);
  return status;
}

dure_status dure_read_csv(dure_reader *reader) { return read_table(reader, true); }
dure_status dure_read_tsv(dure_reader *reader) { return read_table(reader, false); }
