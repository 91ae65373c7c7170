// Documents to vectors: the pass of semantic deduplication that needs a model.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dedup_vectors.h"
#include "data/jsonl_text.h"
#include "data/semantic.h"
#include "data/vector_clusters.h"
#include "runtime/os.h"

enum { DEFAULT_BATCH = 64, JOURNAL_DOCUMENTS = 1024, PATH_SIZE = 4200 };

typedef struct embedding {
  deduplication *state;
  FILE *file;
  char path[PATH_SIZE], journal[32];
  document_cursor decisions;
  // The texts that wait for the model:
  dure_bytes text;
  size_t *starts;  // [batch + 1] in `text`
  uint64_t *documents;
  dure_semantic_text *texts;
  float *vectors;  // [batch, width]
  size_t count, batch;
  uint64_t since_journal, next_document;
} embedding;

// ---- vectors to the file ----

static dure_status write_vectors(embedding *pass) {
  const size_t width = pass->state->options->semantic->width;
  for (size_t i = 0; i < pass->count; i++) {
    float *vector = pass->vectors + i * width;
    if (!dure_vector_normalise(vector, width)) continue;  // like nothing else
    if (fwrite(&pass->documents[i], sizeof(uint64_t), 1, pass->file) != 1 ||
        fwrite(vector, sizeof(float), width, pass->file) != width) {
      return dure_fail_errno("cannot write '%s'", pass->path);
    }
  }
  return NULL;
}

static dure_status embed_waiting(embedding *pass) {
  const dure_semantic_options *semantic = pass->state->options->semantic;
  if (pass->count == 0) return NULL;
  for (size_t i = 0; i < pass->count; i++) {
    pass->texts[i] = (dure_semantic_text){pass->text.data + pass->starts[i], pass->starts[i + 1] - pass->starts[i]};
  }
  DURE_TRY(semantic->embed(semantic->context, pass->texts, pass->count, pass->vectors));
  DURE_TRY(write_vectors(pass));
  pass->count = 0;
  dure_bytes_clear(&pass->text);
  return NULL;
}

// What has been embedded is made safe, then written down.
static dure_status write_journal(embedding *pass) {
  if (fflush(pass->file) != 0) return dure_fail_errno("cannot write '%s'", pass->path);
  DURE_TRY(dure_os_sync_file(pass->path));
  uint64_t journal[2] = {pass->next_document, 0};
  DURE_TRY(dure_os_file_size(pass->path, &journal[1]));
  pass->since_journal = 0;
  return dure_scratch_save(pass->state->scratch, pass->journal, journal, 2);
}

// ---- documents ----

typedef struct reading {
  dure_bytes decoded;
  const char *text;
  size_t length;
} reading;

static void release(void *result) { dure_bytes_free(&((reading *)result)->decoded); }

static dure_status prepare(void *context, const dure_batch_item *item) {
  (void)context;
  reading *read = item->result;
  return dure_jsonl_read_text(&item->document, &read->decoded, &read->text, &read->length);
}

static dure_status take(void *context, const dure_batch_item *item) {
  embedding *pass = context;
  const reading *read = item->result;
  bool is_dropped = false;
  DURE_TRY(dedup_cursor_find(&pass->decisions, item->index, &is_dropped));
  if (!is_dropped && read->length > 0) {
    pass->starts[pass->count] = pass->text.size;
    pass->documents[pass->count++] = item->index;
    dure_bytes_append(&pass->text, read->text, read->length);
    DURE_TRY(dure_bytes_status(&pass->text));
    pass->starts[pass->count] = pass->text.size;
  }
  pass->next_document = item->index + 1;
  pass->since_journal++;
  const bool is_safe_point = pass->since_journal >= JOURNAL_DOCUMENTS;
  if (pass->count == pass->batch || is_safe_point) DURE_TRY(embed_waiting(pass));
  return is_safe_point ? write_journal(pass) : NULL;
}

// ---- the pass ----

// The file as it was when the journal was last written.
static dure_status open_file(embedding *pass, uint64_t *out_first) {
  const deduplication *state = pass->state;
  uint64_t journal[2];
  dedup_vectors_path(state, state->ranks.rank, pass->path, sizeof(pass->path));
  snprintf(pass->journal, sizeof(pass->journal), "embed-%u.journal", state->ranks.rank);
  DURE_TRY(dure_scratch_load(state->scratch, pass->journal, journal, 2));
  *out_first = journal[0];
  state->summary->is_resumed = state->summary->is_resumed || journal[0] > 0;
  if (dure_os_is_file(pass->path)) DURE_TRY(dure_os_truncate(pass->path, journal[1]));
  pass->file = fopen(pass->path, "ab");
  return pass->file != NULL ? NULL : dure_fail_errno("cannot open '%s'", pass->path);
}

static dure_status make_room(embedding *pass) {
  const dure_semantic_options *semantic = pass->state->options->semantic;
  pass->batch = semantic->batch > 0 ? semantic->batch : DEFAULT_BATCH;
  pass->starts = malloc((pass->batch + 1) * sizeof(*pass->starts));
  pass->documents = malloc(pass->batch * sizeof(*pass->documents));
  pass->texts = malloc(pass->batch * sizeof(*pass->texts));
  pass->vectors = malloc(pass->batch * semantic->width * sizeof(*pass->vectors));
  if (pass->starts != NULL && pass->documents != NULL && pass->texts != NULL && pass->vectors != NULL) return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %zu vectors", pass->batch);
}

static dure_status embed_documents(embedding *pass) {
  deduplication *state = pass->state;
  uint64_t first = 0;
  DURE_TRY(make_room(pass));
  DURE_TRY(open_file(pass, &first));
  pass->next_document = first;
  DURE_TRY(dedup_cursor_open(state, DECISION_RUNS, 3, &pass->decisions));
  const dure_document_reading documents = dedup_reading(state, "embedding");
  const dure_batch_reading batches = {
      .reading = &documents,
      .threads = state->options->threads,
      .first = first,
      .part = state->ranks.rank,
      .parts = state->ranks.count,
      .result_size = sizeof(reading),
      .prepare = prepare,
      .take = take,
      .release = release,
      .context = pass,
  };
  DURE_TRY(dure_batches_visit(&batches, state->inputs, state->input_count, &state->summary->read));
  DURE_TRY(embed_waiting(pass));
  return write_journal(pass);
}

dure_status dedup_scan_meaning(deduplication *state) {
  embedding *pass = calloc(1, sizeof(*pass));
  if (pass == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  pass->state = state;
  dure_status status = embed_documents(pass);
  dure_merge_close(pass->decisions.merge);
  if (pass->file != NULL) fclose(pass->file);
  dure_bytes_free(&pass->text);
  free(pass->starts);
  free(pass->documents);
  free(pass->texts);
  free(pass->vectors);
  free(pass);
  return status;
}
