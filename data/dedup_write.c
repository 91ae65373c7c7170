// The documents that stay, without the lines that repeat and what overlaps with benchmarks.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dedup_state.h"
#include "data/jsonl.h"
#include "data/jsonl_text.h"
#include "data/normalise.h"
#include "data/output.h"

// Brown et al. 2020, appendix C.
enum { MARGIN = 200, SHORTEST_PIECE = 200, MOST_CUTS = 10 };

typedef struct writing {
  deduplication *state;
  dure_output *output;
  document_cursor decisions, cuts;
  dure_bytes cut, normal, line;
} writing;

// A document that was read.
typedef struct reading {
  json_t *object;      // of JSONL, where it is needed: for the report
  dure_bytes decoded;  // where the text lies without it
  const char *text;
  size_t length;
  bool has_overlap;
} reading;

static dure_status prepare(void *context, const dure_batch_item *item) {
  const writing *pass = context;
  const dure_contamination *contamination = pass->state->contamination;
  reading *read = item->result;
  json_decref(read->object);
  read->object = NULL;
  read->has_overlap = false;
  DURE_TRY(pass->state->options->report != NULL
               ? dure_jsonl_document_text(&item->document, &read->object, &read->text, &read->length)
               : dure_jsonl_read_text(&item->document, &read->decoded, &read->text, &read->length));
  if (contamination == NULL) return NULL;
  dure_text_words words = {0};
  dure_overlap overlap;
  dure_status status = dure_text_words_find(read->text, read->length, &words);
  read->has_overlap = status == NULL && dure_contamination_find(contamination, &words, 0, &overlap);
  dure_text_words_free(&words);
  return status;
}

static void release(void *result) {
  reading *read = result;
  json_decref(read->object);
  dure_bytes_free(&read->decoded);
}

// ---- entering into the report ----

static const char *text_field(const reading *read, const char *name) {
  return json_string_value(json_object_get(read->object, name));
}

static void report(const writing *pass, const dure_batch_item *item, const char *reason, const char *note) {
  const reading *read = item->result;
  const char *source = text_field(read, "source");
  const dure_report_entry entry = {.reason = reason,
                                   .source = source != NULL ? source : item->document.path,
                                   .language = text_field(read, "language"),
                                   .text = read->text,
                                   .length = read->length,
                                   .note = note};
  dure_step_report_add(pass->state->options->report, &entry);
}

// ---- lines ----

// The numbers of a document's cuts, in order, lines' and paragraphs' mixed; to be freed.
static dure_status read_cuts(writing *pass, uint64_t document, uint64_t **out_numbers, size_t *out_count) {
  size_t capacity = 0;
  *out_numbers = NULL;
  *out_count = 0;
  while (pass->cuts.has && pass->cuts.record[0] == document) {
    if (*out_count == capacity) {
      capacity = capacity == 0 ? 16 : capacity * 2;
      uint64_t *larger = realloc(*out_numbers, capacity * sizeof(**out_numbers));
      if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory cutting lines");
      *out_numbers = larger;
    }
    (*out_numbers)[(*out_count)++] = pass->cuts.record[1];
    DURE_TRY(dedup_cursor_next(&pass->cuts));
  }
  return NULL;
}

typedef struct cut_list {
  const uint64_t *numbers;
  size_t count, next[2];  // by kind
} cut_list;

// Whether this line or paragraph is cut; asked for in order.
static bool is_cut(cut_list *list, uint64_t kind, uint64_t number) {
  size_t *next = &list->next[kind];
  while (*next < list->count && ((list->numbers[*next] & 1) != kind || list->numbers[*next] >> 1 < number)) ++*next;
  return *next < list->count && list->numbers[*next] >> 1 == number;
}

static void cut_listed(writing *pass, cut_list *list, const char *text, size_t length) {
  dure_dedup_summary *summary = pass->state->summary;
  line_reader reader = {.text = text, .length = length};
  bool paragraph_is_cut = false;
  while (dedup_next_line(&reader)) {
    const bool line_is_cut = is_cut(list, KIND_LINE, reader.line);
    if (reader.is_blank) paragraph_is_cut = false;
    if (reader.begins_paragraph) {
      paragraph_is_cut = is_cut(list, KIND_PARAGRAPH, reader.paragraph);
      summary->paragraphs_cut += paragraph_is_cut;
    }
    summary->lines_cut += line_is_cut && !paragraph_is_cut;
    if (line_is_cut || paragraph_is_cut) {
      summary->duplicate_bytes += reader.end - reader.start;
    } else {
      dure_bytes_append(&pass->cut, text + reader.start, reader.end - reader.start);
    }
  }
}

// Copies the text to pass->normal without the lines and paragraphs that have occurred too often.
static dure_status cut_lines(writing *pass, uint64_t document, const char *text, size_t length) {
  uint64_t *numbers = NULL;
  size_t count = 0;
  dure_status status = read_cuts(pass, document, &numbers, &count);
  cut_list list = {.numbers = numbers, .count = count};
  dure_bytes_clear(&pass->cut);
  if (status == NULL) cut_listed(pass, &list, text, length);
  free(numbers);
  if (status != NULL) return status;
  DURE_TRY(dure_bytes_status(&pass->cut));
  dure_bytes_clear(&pass->normal);
  dure_text_normalise(pass->cut.data, pass->cut.size, false, &pass->normal);  // the gaps close up
  return dure_bytes_status(&pass->normal);
}

// ---- writing ----

// The line of a JSONL document with another text.
static dure_status append_changed(const dure_document *document, const char *text, size_t length, dure_bytes *line) {
  json_t *object = NULL;
  const char *old_text = NULL;
  size_t old_length = 0;
  DURE_TRY(dure_jsonl_document_text(document, &object, &old_text, &old_length));
  const bool is_set = json_object_set_new(object, "text", json_stringn(text, length)) == 0;
  char *dumped = is_set ? json_dumps(object, JSON_PRESERVE_ORDER) : NULL;
  json_decref(object);
  if (dumped == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing a document");
  dure_bytes_append_text(line, dumped);
  free(dumped);
  return NULL;
}

// The document as a line: as it came if its text is whole, else made again with its new text.
static dure_status write_text(writing *pass, const dure_batch_item *item, const char *text, size_t length,
                              bool is_changed) {
  dure_bytes *line = &pass->line;
  dure_bytes_clear(line);
  if (item->document.format != DURE_FORMAT_JSONL) {
    dure_bytes_append_text(line, "{\"text\": ");
    dure_jsonl_append_string(line, text, length);
    dure_bytes_append_text(line, "}");
  } else if (is_changed) {
    DURE_TRY(append_changed(&item->document, text, length, line));
  } else {
    dure_bytes_append(line, item->document.bytes, item->document.size);
  }
  dure_bytes_append(line, "\n", 1);
  DURE_TRY(dure_bytes_status(line));
  pass->state->summary->kept++;
  pass->state->summary->text_bytes += length;
  return dure_output_write(pass->output, line->data, line->size);
}

// ---- contamination ----

// `count` characters before or behind a place.
static size_t characters_before(const char *text, size_t place, int count) {
  while (place > 0 && count > 0) count -= ((unsigned char)text[--place] & 0xc0) != 0x80;
  return place;
}

static size_t characters_behind(const char *text, size_t length, size_t place, int count) {
  while (place < length) {
    if (((unsigned char)text[place] & 0xc0) != 0x80 && count-- == 0) break;
    place++;
  }
  return place;
}

static dure_status write_piece(writing *pass, const dure_batch_item *item, const char *text, size_t length,
                               uint64_t *pieces) {
  while (length > 0 && strchr(" \n\t", text[0]) != NULL) {
    text++;
    length--;
  }
  while (length > 0 && strchr(" \n\t", text[length - 1]) != NULL) length--;
  if (characters_behind(text, length, 0, SHORTEST_PIECE) == length) return NULL;
  ++*pieces;
  return write_text(pass, item, text, length, true);
}

// The parts of a text that overlap, each with its margins, those that touch joined: [start, end) of `out_cuts`.
static size_t find_cuts(const dure_contamination *contamination, const dure_text_words *words, const char *text,
                        size_t length, size_t out_cuts[MOST_CUTS + 1][2]) {
  size_t count = 0;
  dure_overlap overlap;
  for (size_t from = 0; dure_contamination_find(contamination, words, from, &overlap); from = overlap.first + 1) {
    const size_t start = characters_before(text, words->words[overlap.first].source_start, MARGIN);
    const size_t last = words->words[overlap.first + overlap.count - 1].source_end;
    const size_t end = characters_behind(text, length, last, MARGIN);
    if (count > 0 && start <= out_cuts[count - 1][1]) {
      if (end > out_cuts[count - 1][1]) out_cuts[count - 1][1] = end;
    } else {
      out_cuts[count][0] = start;
      out_cuts[count++][1] = end;
      if (count > MOST_CUTS) return count;
    }
  }
  return count;
}

static dure_status write_pieces(writing *pass, const dure_batch_item *item, const dure_text_words *words,
                                const char *text, size_t length, bool is_changed) {
  size_t cuts[MOST_CUTS + 1][2];
  const size_t count = find_cuts(pass->state->contamination, words, text, length, cuts);
  if (count == 0) return write_text(pass, item, text, length, is_changed);
  dure_dedup_summary *summary = pass->state->summary;
  uint64_t pieces = 0;
  const uint64_t kept_before = summary->text_bytes;
  for (size_t i = 0, start = 0; i <= count && count <= MOST_CUTS; i++) {
    const size_t end = i < count ? cuts[i][0] : length;
    DURE_TRY(write_piece(pass, item, text + start, end - start, &pieces));
    start = i < count ? cuts[i][1] : length;
  }
  summary->contaminated++;
  summary->contaminated_out += pieces == 0;
  summary->duplicate_bytes += length - (summary->text_bytes - kept_before);
  if (pieces == 0) {
    report(pass, item, "contaminated", NULL);
  } else {
    report(pass, item, NULL, NULL);
  }
  return NULL;
}

static dure_status write_clean(writing *pass, const dure_batch_item *item, const char *text, size_t length,
                               bool is_changed) {
  if (!((const reading *)item->result)->has_overlap) {
    report(pass, item, NULL, NULL);
    return write_text(pass, item, text, length, is_changed);
  }
  dure_text_words words = {0};
  dure_status status = dure_text_words_find(text, length, &words);
  if (status == NULL) status = write_pieces(pass, item, &words, text, length, is_changed);
  dure_text_words_free(&words);
  return status;
}

// ---- the pass ----

static dure_status drop(writing *pass, const dure_batch_item *item) {
  dure_dedup_summary *summary = pass->state->summary;
  const reading *read = item->result;
  static const char *const reasons[] = {"duplicate", "near_duplicate", "semantic_duplicate"};
  const uint64_t reason = pass->decisions.record[1];
  if (reason > DROP_SEMANTIC) return dure_fail(DURE_CORRUPT, "'%s' is damaged; remove it", pass->state->directory);
  uint64_t *const counts[] = {&summary->duplicates, &summary->near_duplicates, &summary->semantic_duplicates};
  ++*counts[reason];
  summary->duplicate_bytes += read->length;
  char note[64];
  snprintf(note, sizeof(note), "document %llu repeats document %llu", (unsigned long long)item->index,
           (unsigned long long)pass->decisions.record[2]);
  report(pass, item, reasons[reason], note);
  return NULL;
}

static dure_status take(void *context, const dure_batch_item *item) {
  writing *pass = context;
  const reading *read = item->result;
  bool is_dropped = false, has_cuts = false;
  DURE_TRY(dedup_cursor_find(&pass->decisions, item->index, &is_dropped));
  if (is_dropped) return drop(pass, item);
  if (pass->cuts.merge != NULL) DURE_TRY(dedup_cursor_find(&pass->cuts, item->index, &has_cuts));
  const char *text = read->text;
  size_t length = read->length;
  if (has_cuts) {
    DURE_TRY(cut_lines(pass, item->index, text, length));
    text = pass->normal.data;
    length = pass->normal.size;
  }
  if (length > 0) return write_clean(pass, item, text, length, has_cuts);
  pass->state->summary->emptied++;
  report(pass, item, "empty", NULL);
  return NULL;
}

static dure_status ignore_common(const deduplication *state) {
  if (state->contamination == NULL) return NULL;
  document_cursor common;
  dure_status status = dedup_cursor_open(state, COMMON_RUNS, 1, &common);
  while (status == NULL && common.has) {
    dure_contamination_ignore(state->contamination, common.record[0]);
    status = dedup_cursor_next(&common);
  }
  dure_merge_close(common.merge);
  return status;
}

static dure_status write_documents(writing *pass) {
  deduplication *state = pass->state;
  const dure_document_reading documents = dedup_reading(state, "writing");
  const dure_batch_reading batches = {
      .reading = &documents,
      .threads = state->options->threads,
      .result_size = sizeof(reading),
      .prepare = prepare,
      .take = take,
      .release = release,
      .context = pass,
  };
  DURE_TRY(ignore_common(state));
  DURE_TRY(dedup_cursor_open(state, DECISION_RUNS, 3, &pass->decisions));
  if (state->options->line_limit > 0 || state->options->paragraph_limit > 0) {
    DURE_TRY(dedup_cursor_open(state, CUT_RUNS, 2, &pass->cuts));
  }
  DURE_TRY(dure_output_open(state->options->output, &pass->output));
  dure_status status = dure_batches_visit(&batches, state->inputs, state->input_count, &state->summary->read);
  return dure_output_close(pass->output, status);
}

dure_status dedup_write(deduplication *state) {
  writing pass = {.state = state};
  dure_status status = write_documents(&pass);
  dure_merge_close(pass.decisions.merge);
  dure_merge_close(pass.cuts.merge);
  dure_bytes_free(&pass.cut);
  dure_bytes_free(&pass.normal);
  dure_bytes_free(&pass.line);
  return status;
}
