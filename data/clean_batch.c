#include "data/clean_batch.h"

#include <stdlib.h>
#include <string.h>

void dure_clean_batch_clear(dure_clean_batch *batch) {
  dure_bytes *const bytes[] = {&batch->raw,   &batch->strings, &batch->text,   &batch->lines,
                               &batch->marks, &batch->output,  &batch->dropped};
  for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) dure_bytes_clear(bytes[i]);
  dure_bytes_append(&batch->strings, "", 1);
  batch->item_count = 0;
  batch->summary = (dure_clean_summary){0};
  batch->begins_segment = batch->ends_segment = false;
  batch->stage = DURE_BATCH_FILLING;
}

void dure_clean_batch_free(dure_clean_batch *batch) {
  dure_bytes *const bytes[] = {&batch->raw,   &batch->strings, &batch->text,   &batch->lines,
                               &batch->marks, &batch->output,  &batch->dropped};
  for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) dure_bytes_free(bytes[i]);
  free(batch->items);
  dure_status_free(batch->status);
  *batch = (dure_clean_batch){0};
}

static size_t add_string(dure_clean_batch *batch, const char *text) {
  if (text == NULL || text[0] == '\0') return DURE_NO_STRING;
  size_t position = batch->strings.size;
  dure_bytes_append(&batch->strings, text, strlen(text) + 1);
  return position;
}

// Documents of a file follow each other: its path is kept once.
static size_t add_path(dure_clean_batch *batch, const char *path) {
  const dure_clean_item *last = batch->item_count > 0 ? &batch->items[batch->item_count - 1] : NULL;
  if (last != NULL && strcmp(dure_clean_string(batch, last->path), path) == 0) return last->path;
  return add_string(batch, path);
}

static dure_status add_item(dure_clean_batch *batch, const dure_clean_item *item) {
  if (batch->item_count == batch->item_capacity) {
    size_t capacity = batch->item_capacity == 0 ? 256 : 2 * batch->item_capacity;
    dure_clean_item *items = realloc(batch->items, capacity * sizeof(*items));
    if (items == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %zu documents", capacity);
    batch->items = items;
    batch->item_capacity = capacity;
  }
  DURE_TRY(dure_bytes_status(&batch->raw));
  DURE_TRY(dure_bytes_status(&batch->strings));
  batch->items[batch->item_count++] = *item;
  return NULL;
}

dure_status dure_clean_batch_add(dure_clean_batch *batch, const dure_document *document) {
  dure_clean_item item = {
      .format = document->format,
      .line = document->line,
      .offset = document->offset,
      .path = add_path(batch, document->path),
      .url = add_string(batch, document->url),
      .encoding = add_string(batch, document->encoding),
      .bytes = batch->raw.size,
      .size = document->size,
      .reason = DURE_DROP_COUNT,
  };
  dure_bytes_append(&batch->raw, document->bytes, document->size);
  return add_item(batch, &item);
}

dure_status dure_clean_batch_add_problem(dure_clean_batch *batch, const dure_document_problem *problem) {
  dure_clean_item item = {.line = problem->line,
                          .offset = problem->offset,
                          .path = add_path(batch, problem->path),
                          .message = add_string(batch, problem->message),
                          .reason = DURE_DROP_UNREADABLE};
  if (strcmp(problem->reason, "binary") == 0) item.reason = DURE_DROP_BINARY;
  if (strcmp(problem->reason, "too_large") == 0) item.reason = DURE_DROP_TOO_LARGE;
  return add_item(batch, &item);
}

void dure_clean_drop(dure_clean_item *item, dure_drop reason) { item->reason = reason; }
