#include "data/batches.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "data/bytes.h"
#include "runtime/os.h"
#include "runtime/workers.h"

enum { BATCH_ITEMS = 512, BATCH_BYTES = 4 << 20, BLOCK_DOCUMENTS = 64 };

typedef struct batch {
  const dure_batch_reading *reading;
  dure_bytes text;  // paths and documents; addressed by offset while it grows
  size_t count;
  size_t paths[BATCH_ITEMS], starts[BATCH_ITEMS];
  dure_batch_item items[BATCH_ITEMS];
  dure_status failures[BATCH_ITEMS];
  char *results;
  atomic_size_t next;  // item to prepare
} batch;

typedef struct batches {
  const dure_batch_reading *reading;
  dure_workers *workers;  // NULL: this thread prepares
  uint64_t index;
  batch *filling, *running;  // running: with the workers, or ready to be taken; may be empty
} batches;

static void prepare_items(void *context, uint64_t first, uint64_t count) {
  (void)first;
  (void)count;
  batch *items = context;
  for (size_t i = atomic_fetch_add(&items->next, 1); i < items->count; i = atomic_fetch_add(&items->next, 1)) {
    items->failures[i] = items->reading->prepare(items->reading->context, &items->items[i]);
  }
}

static void start(batches *state, batch *items) {
  for (size_t i = 0; i < items->count; i++) {
    items->items[i].document.path = items->text.data + items->paths[i];
    items->items[i].document.bytes = items->text.data + items->starts[i];
  }
  atomic_store(&items->next, 0);
  if (state->workers != NULL) {
    dure_workers_start(state->workers, prepare_items, items, 64, 1);
  } else {
    prepare_items(items, 0, 0);
  }
}

static dure_status take(const batches *state, batch *items) {
  dure_status status = NULL;
  for (size_t i = 0; i < items->count; i++) {
    if (status == NULL && items->failures[i] == NULL) {
      status = state->reading->take(state->reading->context, &items->items[i]);
    } else if (status == NULL) {
      status = items->failures[i];
    } else {
      dure_status_free(items->failures[i]);
    }
    items->failures[i] = NULL;
  }
  items->count = 0;
  dure_bytes_clear(&items->text);
  return status;
}

// Hands the batch that is full to the workers and takes the one they have finished.
static dure_status turn(batches *state) {
  if (state->workers != NULL) dure_workers_wait(state->workers);
  batch *finished = state->running;
  state->running = state->filling;
  state->filling = finished;
  start(state, state->running);
  return take(state, finished);
}

static dure_status visit_document(void *context, const dure_document *document) {
  batches *state = context;
  const dure_batch_reading *reading = state->reading;
  const uint64_t index = state->index++;
  if (index < reading->first) return NULL;
  if (reading->parts > 1 && index / BLOCK_DOCUMENTS % reading->parts != reading->part) return NULL;
  batch *filling = state->filling;
  const size_t i = filling->count;
  const char *last = i > 0 ? filling->text.data + filling->paths[i - 1] : NULL;
  filling->paths[i] = filling->text.size;
  if (last != NULL && strcmp(last, document->path) == 0) {
    filling->paths[i] = filling->paths[i - 1];
  } else {
    dure_bytes_append(&filling->text, document->path, strlen(document->path) + 1);
  }
  filling->starts[i] = filling->text.size;
  dure_bytes_append(&filling->text, document->bytes, document->size);
  DURE_TRY(dure_bytes_status(&filling->text));
  void *result = reading->result_size > 0 ? filling->results + i * reading->result_size : NULL;
  filling->items[i] = (dure_batch_item){*document, index, result};
  filling->items[i].document.url = filling->items[i].document.encoding = NULL;  // valid during the visit only
  filling->count++;
  return filling->count == BATCH_ITEMS || filling->text.size >= BATCH_BYTES ? turn(state) : NULL;
}

static batch *batch_create(const dure_batch_reading *reading) {
  batch *items = calloc(1, sizeof(*items));
  if (items == NULL) return NULL;
  items->reading = reading;
  items->results = reading->result_size > 0 ? calloc(BATCH_ITEMS, reading->result_size) : NULL;
  if (items->results != NULL || reading->result_size == 0) return items;
  free(items);
  return NULL;
}

static void batch_destroy(batch *items) {
  if (items == NULL) return;
  for (size_t i = 0; i < BATCH_ITEMS; i++) {
    dure_status_free(items->failures[i]);
    if (items->reading->release != NULL) items->reading->release(items->results + i * items->reading->result_size);
  }
  free(items->results);
  dure_bytes_free(&items->text);
  free(items);
}

static dure_status visit(batches *state, const char *const *inputs, size_t input_count,
                         dure_document_counts *out_counts) {
  if (state->filling == NULL || state->running == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading");
  const uint32_t threads = state->reading->threads > 0 ? state->reading->threads : dure_os_core_count();
  if (threads > 1) DURE_TRY(dure_workers_create(threads < 64 ? threads : 64, &state->workers));
  dure_document_reading reading = *state->reading->reading;
  reading.visit = visit_document;
  reading.context = state;
  DURE_TRY(dure_documents_visit(&reading, inputs, input_count, out_counts));
  DURE_TRY(turn(state));
  return turn(state);
}

dure_status dure_batches_visit(const dure_batch_reading *reading, const char *const *inputs, size_t input_count,
                               dure_document_counts *out_counts) {
  *out_counts = (dure_document_counts){0};
  batches state = {.reading = reading, .filling = batch_create(reading), .running = batch_create(reading)};
  dure_status status = visit(&state, inputs, input_count, out_counts);
  dure_workers_destroy(state.workers);
  batch_destroy(state.filling);
  batch_destroy(state.running);
  return status;
}
