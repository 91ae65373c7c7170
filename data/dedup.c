#include "data/dedup.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/decode.h"
#include "data/jsonl.h"
#include "data/normalise.h"
#include "data/output.h"

enum { INITIAL_CAPACITY = 1 << 12, SHORTEST_LINE = 16 };

// ---- counting hashes ----

// Open addressing by 64 bits of the hash; the other 64 bits are compared too (documents) or count (lines).
typedef struct slot {
  uint64_t key;  // 0: empty
  uint64_t value;
} slot;

typedef struct table {
  slot *slots;
  size_t capacity, count;
  bool is_keyed_by_both;  // the value is part of the key
} table;

static slot *find_slot(const table *set, uint64_t key, uint64_t value) {
  size_t index = (size_t)key & (set->capacity - 1);
  while (set->slots[index].key != 0 &&
         !(set->slots[index].key == key && (!set->is_keyed_by_both || set->slots[index].value == value))) {
    index = (index + 1) & (set->capacity - 1);
  }
  return &set->slots[index];
}

static dure_status grow(table *set) {
  table larger = *set;
  larger.capacity = set->capacity == 0 ? INITIAL_CAPACITY : set->capacity * 2;
  larger.slots = calloc(larger.capacity, sizeof(slot));
  if (larger.slots == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory remembering %zu texts: deduplicate the parts one by one",
                     set->count);
  }
  for (size_t i = 0; i < set->capacity; i++) {
    if (set->slots[i].key != 0) *find_slot(&larger, set->slots[i].key, set->slots[i].value) = set->slots[i];
  }
  free(set->slots);
  *set = larger;
  return NULL;
}

// The slot of a hash, which is entered when it is new.
static dure_status enter(table *set, uint64_t key, uint64_t value, slot **out_slot, bool *out_is_new) {
  *out_slot = NULL;
  if (set->count * 10 >= set->capacity * 7) DURE_TRY(grow(set));
  if (key == 0) key = 1;
  *out_slot = find_slot(set, key, value);
  *out_is_new = (*out_slot)->key == 0;
  if (*out_is_new) {
    **out_slot = (slot){key, value};
    set->count++;
  }
  return NULL;
}

// ---- documents ----

typedef struct deduplication {
  const dure_dedup_options *options;
  dure_dedup_summary *summary;
  dure_output *output;
  table documents, lines;
  dure_bytes normal, cut, line;
} deduplication;

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

static dure_status is_duplicate(deduplication *state, const char *text, size_t length, bool *out_is_duplicate) {
  *out_is_duplicate = false;
  dure_bytes_clear(&state->normal);
  dure_text_normalise(text, length, true, &state->normal);
  DURE_TRY(dure_bytes_status(&state->normal));
  join_words(&state->normal);
  XXH128_hash_t hash = XXH3_128bits(state->normal.data, state->normal.size);
  slot *found = NULL;
  bool is_new = false;
  DURE_TRY(enter(&state->documents, hash.low64, hash.high64, &found, &is_new));
  *out_is_duplicate = !is_new;
  return NULL;
}

// Copies the text to state->cut without the lines that have occurred too often.
static dure_status cut_lines(deduplication *state, const char *text, size_t length) {
  dure_bytes_clear(&state->cut);
  for (size_t start = 0; start < length;) {
    const char *newline = memchr(text + start, '\n', length - start);
    size_t end = newline != NULL ? (size_t)(newline - text) + 1 : length;
    bool is_cut = false;
    if (end - start > SHORTEST_LINE) {
      size_t size = end - start - (newline != NULL);
      slot *found = NULL;
      bool is_new = false;
      DURE_TRY(enter(&state->lines, XXH3_64bits(text + start, size), 0, &found, &is_new));
      is_cut = found->value >= state->options->line_limit;
      found->value++;
    }
    if (is_cut) {
      state->summary->lines_cut++;
      state->summary->duplicate_bytes += end - start;
    } else {
      dure_bytes_append(&state->cut, text + start, end - start);
    }
    start = end;
  }
  return dure_bytes_status(&state->cut);
}

// The document as a line: as it came if its text is whole, else made again with its new text.
static dure_status write_document(deduplication *state, const dure_document *document, json_t *object, const char *text,
                                  size_t length, bool is_changed) {
  dure_bytes *line = &state->line;
  dure_bytes_clear(line);
  if (object == NULL) {
    dure_bytes_append_text(line, "{\"text\": ");
    dure_jsonl_append_string(line, text, length);
    dure_bytes_append_text(line, "}");
  } else if (is_changed) {
    if (json_object_set_new(object, "text", json_stringn(text, length)) != 0) {
      return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing a document");
    }
    char *dumped = json_dumps(object, JSON_PRESERVE_ORDER);
    if (dumped == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing a document");
    dure_bytes_append_text(line, dumped);
    free(dumped);
  } else {
    dure_bytes_append(line, document->bytes, document->size);
  }
  dure_bytes_append(line, "\n", 1);
  DURE_TRY(dure_bytes_status(line));
  return dure_output_write(state->output, line->data, line->size);
}

static dure_status keep_document(deduplication *state, const dure_document *document, json_t *object, const char *text,
                                 size_t length) {
  dure_dedup_summary *summary = state->summary;
  bool is_duplicate_document = false, is_changed = false;
  DURE_TRY(is_duplicate(state, text, length, &is_duplicate_document));
  if (is_duplicate_document) {
    summary->duplicates++;
    summary->duplicate_bytes += length;
    return NULL;
  }
  if (state->options->line_limit > 0) {
    DURE_TRY(cut_lines(state, text, length));
    is_changed = state->cut.size != length;
    dure_bytes_clear(&state->normal);
    dure_text_normalise(state->cut.data, state->cut.size, false, &state->normal);  // the gaps close up
    DURE_TRY(dure_bytes_status(&state->normal));
    if (is_changed) {
      text = state->normal.data;
      length = state->normal.size;
    }
  }
  if (length == 0) {
    summary->emptied++;
    return NULL;
  }
  summary->kept++;
  summary->text_bytes += length;
  return write_document(state, document, object, text, length, is_changed);
}

static dure_status visit_document(void *context, const dure_document *document) {
  deduplication *state = context;
  json_t *object = NULL;
  const char *text = NULL;
  size_t length = 0;
  DURE_TRY(dure_jsonl_document_text(document, &object, &text, &length));
  dure_status status;
  if (object == NULL && dure_utf8_valid_length(text, length) != length) {
    status = dure_fail(DURE_CORRUPT, "'%s' is not UTF-8: run 'dure data clean' on it first", document->path);
  } else {
    status = keep_document(state, document, object, text, length);
  }
  json_decref(object);
  return status;
}

static dure_status deduplicate(deduplication *state, const char *const *inputs, size_t input_count) {
  const dure_dedup_options *options = state->options;
  dure_document_reading reading = {
      .format = options->format,
      .size_limit = options->document_limit,
      .excluded = options->output,
      .stage = "deduplicating",
      .visit = visit_document,
      .progress = options->progress,
      .context = state,
      .progress_context = options->progress_context,
  };
  DURE_TRY(dure_output_open(options->output, &state->output));
  dure_status status = dure_documents_visit(&reading, inputs, input_count, &state->summary->read);
  return dure_output_close(state->output, status);
}

dure_status dure_dedup(const char *const *inputs, size_t input_count, const dure_dedup_options *options,
                       dure_dedup_summary *out_summary) {
  *out_summary = (dure_dedup_summary){0};
  deduplication state = {.options = options, .summary = out_summary, .documents = {.is_keyed_by_both = true}};
  dure_status status = deduplicate(&state, inputs, input_count);
  free(state.documents.slots);
  free(state.lines.slots);
  dure_bytes_free(&state.normal);
  dure_bytes_free(&state.cut);
  dure_bytes_free(&state.line);
  return status;
}
