// Hashes of documents, their bands, overlaps and lines, into sorted runs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/decode.h"
#include "data/dedup_state.h"
#include "data/jsonl_text.h"
#include "data/normalise.h"

enum { KINDS = 3, MOST_BANDS = DURE_MINHASH_LIMIT, JOURNAL_WORDS = 1 + KINDS };

static const uint64_t JOURNAL_BYTES = UINT64_C(4) << 30;  // read between two journal entries at most
static const uint64_t PARAGRAPH_SEED = 1;

typedef struct scan {
  deduplication *state;
  dure_sorter *sorters[KINDS];  // of documents, bands, overlaps; or of lines
  uint64_t shares[KINDS];       // of the memory, bytes
  const char *journal;
  uint64_t taken_bytes;
  document_cursor decisions;  // when scanning lines
  bool is_of_lines;
} scan;

// What is found in one document.
typedef struct finding {
  uint64_t text[2];
  bool has_text, has_bands;
  uint64_t *bands;
  uint64_t *hashes;   // of overlaps or lines
  uint64_t *numbers;  // of lines
  size_t count, capacity;
} finding;

static void release_finding(void *result) {
  finding *found = result;
  free(found->bands);
  free(found->hashes);
  free(found->numbers);
}

static dure_status add_finding(finding *found, uint64_t hash, uint64_t number) {
  if (found->count == found->capacity) {
    const size_t capacity = found->capacity == 0 ? 16 : found->capacity * 2;
    uint64_t *hashes = realloc(found->hashes, capacity * sizeof(uint64_t));
    if (hashes != NULL) found->hashes = hashes;
    uint64_t *numbers = realloc(found->numbers, capacity * sizeof(uint64_t));
    if (numbers != NULL) found->numbers = numbers;
    if (hashes == NULL || numbers == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading a document");
    found->capacity = capacity;
  }
  found->hashes[found->count] = hash;
  found->numbers[found->count++] = number;
  return NULL;
}

// ---- documents ----

// White space becomes single spaces in place, none at the ends.
static void join_words(dure_bytes *text) {
  size_t size = 0;
  bool space_is_pending = false;
  for (size_t i = 0; i < text->size; i++) {
    char character = text->data[i];
    if (character == ' ' || character == '\t' || character == '\n') {
      space_is_pending = size > 0;
      continue;
    }
    if (space_is_pending) text->data[size++] = ' ';
    space_is_pending = false;
    text->data[size++] = character;
  }
  text->size = size;
}

static dure_status hash_text(const char *text, size_t length, uint64_t out_hash[2]) {
  dure_bytes normal = {0};
  dure_text_normalise(text, length, true, &normal);
  dure_status status = dure_bytes_status(&normal);
  if (status == NULL) {
    join_words(&normal);
    XXH128_hash_t hash = XXH3_128bits(normal.data, normal.size);
    out_hash[0] = hash.low64;
    out_hash[1] = hash.high64;
  }
  dure_bytes_free(&normal);
  return status;
}

static dure_status find_overlaps(const dure_contamination *contamination, const dure_text_words *words,
                                 finding *found) {
  dure_overlap overlap;
  for (size_t from = 0; dure_contamination_find(contamination, words, from, &overlap); from = overlap.first + 1) {
    DURE_TRY(add_finding(found, overlap.run, 0));
  }
  return NULL;
}

static dure_status hash_words(const deduplication *state, const char *text, size_t length, finding *found) {
  dure_text_words words = {0};
  dure_status status = dure_text_words_find(text, length, &words);
  if (status == NULL && state->minhash != NULL) {
    if (found->bands == NULL) found->bands = malloc(MOST_BANDS * sizeof(uint64_t));
    bool is_empty = true;
    status = found->bands == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading a document")
                                  : dure_minhash_text(state->minhash, &words, found->bands, &is_empty);
    found->has_bands = !is_empty;
  }
  if (status == NULL && state->contamination != NULL) status = find_overlaps(state->contamination, &words, found);
  dure_text_words_free(&words);
  return status;
}

static dure_status find_in_text(const deduplication *state, const char *text, size_t length, finding *found) {
  found->has_text = true;
  DURE_TRY(hash_text(text, length, found->text));
  return state->minhash == NULL && state->contamination == NULL ? NULL : hash_words(state, text, length, found);
}

// ---- lines ----

static size_t without_newline(const char *text, size_t start, size_t end) {
  return end > start && text[end - 1] == '\n' ? end - 1 : end;
}

static size_t find_paragraph_end(const line_reader *reader) {
  line_reader ahead = *reader;
  ahead.begins_paragraph = false;
  size_t end = reader->end;
  while (ahead.next < ahead.length) {
    const char *newline = memchr(ahead.text + ahead.next, '\n', ahead.length - ahead.next);
    const size_t line_end = newline != NULL ? (size_t)(newline - ahead.text) + 1 : ahead.length;
    if (without_newline(ahead.text, ahead.next, line_end) == ahead.next) break;
    end = ahead.next = line_end;
  }
  return without_newline(reader->text, reader->start, end);
}

bool dedup_next_line(line_reader *reader) {
  const bool is_first = reader->next == 0;
  if (reader->next >= reader->length) return false;
  const bool was_blank = is_first || reader->is_blank;
  reader->line += !is_first;
  reader->start = reader->next;
  const char *newline = memchr(reader->text + reader->next, '\n', reader->length - reader->next);
  reader->end = reader->next = newline != NULL ? (size_t)(newline - reader->text) + 1 : reader->length;
  reader->is_blank = without_newline(reader->text, reader->start, reader->end) == reader->start;
  reader->begins_paragraph = was_blank && !reader->is_blank;
  if (reader->begins_paragraph) {
    reader->paragraph++;
    reader->paragraph_end = find_paragraph_end(reader);
  }
  return true;
}

static dure_status find_lines(const deduplication *state, const char *text, size_t length, finding *found) {
  const dure_dedup_options *options = state->options;
  line_reader reader = {.text = text, .length = length};
  while (dedup_next_line(&reader)) {
    if (reader.line >> (POSITION_BITS - 1) != 0) return dure_fail(DURE_UNSUPPORTED, "a document of too many lines");
    const size_t size = without_newline(text, reader.start, reader.end) - reader.start;
    if (options->line_limit > 0 && size >= SHORTEST_LINE) {
      const uint64_t hash = XXH3_64bits(text + reader.start, size);
      DURE_TRY(add_finding(found, (hash & ~UINT64_C(1)) | KIND_LINE, reader.line));
    }
    const size_t paragraph_size = reader.begins_paragraph ? reader.paragraph_end - reader.start : 0;
    if (options->paragraph_limit > 0 && paragraph_size >= SHORTEST_LINE) {
      const uint64_t hash = XXH3_64bits_withSeed(text + reader.start, paragraph_size, PARAGRAPH_SEED);
      DURE_TRY(add_finding(found, hash | KIND_PARAGRAPH, reader.paragraph));
    }
  }
  return NULL;
}

// ---- the pass ----

static dure_status prepare(void *context, const dure_batch_item *item) {
  const scan *pass = context;
  finding *found = item->result;
  found->has_text = found->has_bands = false;
  found->count = 0;
  const char *text = NULL;
  size_t length = 0;
  dure_bytes decoded = {0};
  dure_status status = dure_jsonl_read_text(&item->document, &decoded, &text, &length);
  if (status == NULL && decoded.data == NULL && dure_utf8_valid_length(text, length) != length) {
    status = dure_fail(DURE_CORRUPT, "'%s' is not UTF-8: run 'dure data clean' on it first", item->document.path);
  }
  if (status == NULL && length > 0) {
    status = pass->is_of_lines ? find_lines(pass->state, text, length, found)
                               : find_in_text(pass->state, text, length, found);
  }
  dure_bytes_free(&decoded);
  return status;
}

// Everything in memory becomes runs; then the journal says so.
static dure_status write_journal(scan *pass, uint64_t documents) {
  uint64_t journal[JOURNAL_WORDS] = {documents};
  for (int i = 0; i < KINDS; i++) {
    if (pass->sorters[i] == NULL) continue;
    DURE_TRY(dure_sorter_spill(pass->sorters[i]));
    journal[1 + i] = dure_sorter_next_run(pass->sorters[i]);
  }
  pass->taken_bytes = 0;
  return dure_scratch_save(pass->state->scratch, pass->journal, journal, JOURNAL_WORDS);
}

static dure_status take_document(scan *pass, const finding *found, uint64_t index) {
  if (found->has_text) {
    const uint64_t record[3] = {found->text[0], found->text[1], index};
    DURE_TRY(dure_sorter_add(pass->sorters[0], record));
  }
  for (uint32_t i = 0; found->has_bands && i < dure_minhash_bands(pass->state->minhash); i++) {
    const uint64_t record[2] = {found->bands[i], index};
    DURE_TRY(dure_sorter_add(pass->sorters[1], record));
  }
  for (size_t i = 0; i < found->count; i++) {
    const uint64_t record[2] = {found->hashes[i], index};
    DURE_TRY(dure_sorter_add(pass->sorters[2], record));
  }
  return NULL;
}

static dure_status take_lines(scan *pass, const finding *found, uint64_t index) {
  bool is_dropped = false;
  DURE_TRY(dedup_cursor_find(&pass->decisions, index, &is_dropped));
  for (size_t i = 0; i < found->count && !is_dropped; i++) {
    const uint64_t record[2] = {found->hashes[i], index << POSITION_BITS | found->numbers[i]};
    DURE_TRY(dure_sorter_add(pass->sorters[0], record));
  }
  return NULL;
}

static dure_status take(void *context, const dure_batch_item *item) {
  scan *pass = context;
  const finding *found = item->result;
  DURE_TRY(pass->is_of_lines ? take_lines(pass, found, item->index) : take_document(pass, found, item->index));
  pass->taken_bytes += item->document.size;
  bool is_full = pass->taken_bytes >= JOURNAL_BYTES;
  for (int i = 0; i < KINDS; i++) {
    is_full = is_full || (pass->sorters[i] != NULL && dure_sorter_bytes(pass->sorters[i]) >= pass->shares[i]);
  }
  return is_full ? write_journal(pass, item->index + 1) : NULL;
}

typedef struct kind_row {
  const char *name;
  uint32_t words, share;  // of 16
} kind_row;

static dure_status scan_kinds(scan *pass, const kind_row *rows, int count, const char *stage) {
  deduplication *state = pass->state;
  uint64_t journal[JOURNAL_WORDS];
  DURE_TRY(dure_scratch_load(state->scratch, pass->journal, journal, JOURNAL_WORDS));
  state->summary->is_resumed = state->summary->is_resumed || journal[0] > 0;
  for (int i = 0; i < count; i++) {
    pass->shares[i] = state->memory / 16 * rows[i].share;
    const dure_sorter_options options = {
        .directory = state->directory,
        .name = rows[i].name,
        .words = rows[i].words,
        .parts = state->ranks.count,
        .memory = pass->shares[i] + (pass->shares[i] >> 3) + 65536,
        .run = journal[1 + i] > 0 ? (uint32_t)journal[1 + i] : state->ranks.rank,
        .run_step = state->ranks.count,
    };
    DURE_TRY(dure_sorter_create(&options, &pass->sorters[i]));
  }
  const dure_document_reading reading = dedup_reading(state, stage);
  const dure_batch_reading batches = {
      .reading = &reading,
      .threads = state->options->threads,
      .first = journal[0],
      .part = state->ranks.rank,
      .parts = state->ranks.count,
      .result_size = sizeof(finding),
      .prepare = prepare,
      .take = take,
      .release = release_finding,
      .context = pass,
  };
  DURE_TRY(dure_batches_visit(&batches, state->inputs, state->input_count, &state->summary->read));
  return write_journal(pass, UINT64_MAX);
}

dure_status dedup_scan(deduplication *state) {
  static const kind_row rows[KINDS] = {{EXACT_RUNS, 3, 3}, {BAND_RUNS, 2, 12}, {OVERLAP_RUNS, 2, 1}};
  char journal[32];
  snprintf(journal, sizeof(journal), "scan-%u.journal", state->ranks.rank);
  scan pass = {.state = state, .journal = journal};
  dure_status status = scan_kinds(&pass, rows, KINDS, "reading documents");
  for (int i = 0; i < KINDS; i++) dure_sorter_destroy(pass.sorters[i]);
  return status;
}

dure_status dedup_scan_lines(deduplication *state) {
  static const kind_row rows[1] = {{LINE_RUNS, 2, 16}};
  char journal[32];
  snprintf(journal, sizeof(journal), "lines-%u.journal", state->ranks.rank);
  scan pass = {.state = state, .journal = journal, .is_of_lines = true};
  dure_status status = dedup_cursor_open(state, DECISION_RUNS, 3, &pass.decisions);
  if (status == NULL) status = scan_kinds(&pass, rows, 1, "reading lines");
  dure_merge_close(pass.decisions.merge);
  dure_sorter_destroy(pass.sorters[0]);
  return status;
}
