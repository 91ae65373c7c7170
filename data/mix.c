#include "data/mix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/batches.h"
#include "data/jsonl.h"
#include "data/mix_plan.h"
#include "data/output.h"
#include "data/scratch.h"
#include "data/sorted_runs.h"
#include "runtime/os.h"

enum { MOST_BUCKETS = 256, PATH_SIZE = 4096 };

static const uint64_t DEFAULT_MEMORY = UINT64_C(512) << 20;

typedef struct mixing {
  const dure_mix_options *options;
  dure_mix_summary *summary;
  mix_plan *plan;
  dure_scratch *scratch;
  dure_output *output;
  uint64_t taken;  // documents, for `progress`
} mixing;

// What one pass over a source does with each document.
typedef struct source_pass {
  mixing *state;
  size_t source, stage;
  FILE **buckets;  // NULL: only counting
  uint32_t bucket_count;
} source_pass;

typedef struct mixed_text {
  json_t *object;
  const char *text;
  size_t length;
  dure_language language;
  dure_ids ids;
} mixed_text;

// ---- reading ----

static void release_text(void *result) {
  mixed_text *read = result;
  json_decref(read->object);
  dure_ids_free(&read->ids);
}

static dure_language language_of(const mixed_text *read) {
  const char *name = json_string_value(json_object_get(read->object, "language"));
  dure_language language = DURE_OTHER_LANGUAGE;
  if (name == NULL) return dure_language_guess(read->text, read->length);
  return dure_language_parse(name, strlen(name), &language) ? language : DURE_OTHER_LANGUAGE;
}

static dure_status prepare(void *context, const dure_batch_item *item) {
  const source_pass *pass = context;
  const dure_tokenizer *tokenizer = pass->state->options->tokenizer;
  mixed_text *read = item->result;
  json_decref(read->object);
  read->object = NULL;
  read->ids.count = 0;
  DURE_TRY(dure_jsonl_document_text(&item->document, &read->object, &read->text, &read->length));
  read->language = language_of(read);
  return tokenizer != NULL ? dure_tokenizer_encode(tokenizer, read->text, read->length, NULL, &read->ids) : NULL;
}

static void add_amount(dure_mix_amount *amount, const mixed_text *read) {
  amount->documents++;
  amount->bytes += read->length;
  amount->tokens += read->ids.count;
}

// ---- taking ----

// Hashes of a document's place: which documents make up a fraction of an epoch, and where each copy goes.
static uint64_t place_hash(const source_pass *pass, uint64_t index, uint64_t copy) {
  const uint64_t words[] = {pass->stage, pass->source, index, copy};
  return XXH3_64bits_withSeed(words, sizeof(words), pass->state->plan->seed);
}

static uint64_t copies_of(const source_pass *pass, uint64_t index, double epochs) {
  const double whole = floor(epochs);
  const uint64_t fraction = (uint64_t)((epochs - whole) * 9007199254740992.0);
  return (uint64_t)whole + ((place_hash(pass, index, UINT64_MAX) >> 11) < fraction);
}

static dure_status put(const source_pass *pass, const dure_batch_item *item, uint64_t copy) {
  const uint64_t position = place_hash(pass, item->index, copy);
  const mixed_text *read = item->result;
  FILE *bucket = pass->buckets[(position >> 32) * pass->bucket_count >> 32];
  dure_bytes line = {0};
  if (read->object == NULL) {
    dure_bytes_append_text(&line, "{\"text\": ");
    dure_jsonl_append_string(&line, read->text, read->length);
    dure_bytes_append_text(&line, "}");
  } else {
    dure_bytes_append(&line, item->document.bytes, item->document.size);
  }
  dure_bytes_append(&line, "\n", 1);
  dure_status status = dure_bytes_status(&line);
  const uint64_t head[2] = {position, line.size};
  if (status == NULL && (fwrite(head, sizeof(head), 1, bucket) != 1 || fwrite(line.data, line.size, 1, bucket) != 1)) {
    status = dure_fail_errno("cannot write in '%s'", dure_scratch_directory(pass->state->scratch));
  }
  dure_bytes_free(&line);
  return status;
}

static dure_status take(void *context, const dure_batch_item *item) {
  const source_pass *pass = context;
  mixing *state = pass->state;
  const mixed_text *read = item->result;
  if (read->length == 0) return NULL;
  if (pass->buckets == NULL) {
    add_amount(&state->plan->available[pass->source][read->language], read);
    return NULL;
  }
  dure_mix_row *row = mix_plan_row(state->plan, pass->stage, pass->source, read->language);
  if (row == NULL) return NULL;
  const uint64_t copies = copies_of(pass, item->index, row->epochs);
  for (uint64_t copy = 0; copy < copies; copy++) {
    DURE_TRY(put(pass, item, copy));
    add_amount(&row->taken, read);
    const char *source = json_string_value(json_object_get(read->object, "source"));
    const dure_report_entry entry = {.source = source != NULL ? source : item->document.path,
                                     .language = dure_language_name(read->language),
                                     .text = read->text,
                                     .length = read->length,
                                     .tokens = read->ids.count};
    dure_step_report_add(state->options->report, &entry);
  }
  return NULL;
}

static dure_status visit_source(source_pass *pass, const char *stage) {
  mixing *state = pass->state;
  const mix_source *source = &state->plan->sources[pass->source];
  const dure_document_reading reading = {
      .size_limit = state->options->document_limit,
      .excluded = state->options->output,
      .stage = stage,
      .progress = state->options->progress,
      .progress_context = state->options->progress_context,
  };
  const dure_batch_reading batches = {
      .reading = &reading,
      .threads = state->options->threads,
      .result_size = sizeof(mixed_text),
      .prepare = prepare,
      .take = take,
      .release = release_text,
      .context = pass,
  };
  dure_document_counts counts;
  DURE_TRY(dure_batches_visit(&batches, source->files, source->file_count, &counts));
  if (pass->buckets != NULL) return NULL;
  state->summary->read.documents += counts.documents;
  state->summary->read.files += counts.files;
  state->summary->read.bytes_read += counts.bytes_read;
  return NULL;
}

// ---- shuffling ----

// Writes one bucket's lines in the order of their positions; equal positions (of equal hashes) as they came.
static dure_status write_sorted(mixing *state, const char *bytes, size_t size) {
  size_t count = 0;
  uint64_t head[2];
  for (size_t at = 0; at < size; at += sizeof(head) + head[1]) {
    memcpy(head, bytes + at, sizeof(head));
    count++;
  }
  uint64_t *order = malloc((count + 1) * 2 * sizeof(*order));
  if (order == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory shuffling; lower --memory");
  count = 0;
  for (size_t at = 0; at < size; at += sizeof(head) + head[1]) {
    memcpy(head, bytes + at, sizeof(head));
    order[2 * count] = head[0];
    order[2 * count++ + 1] = at;
  }
  dure_records_sort(order, count, 2);
  dure_status status = NULL;
  for (size_t i = 0; i < count && status == NULL; i++) {
    memcpy(head, bytes + order[2 * i + 1], sizeof(head));
    status = dure_output_write(state->output, bytes + order[2 * i + 1] + sizeof(head), head[1]);
  }
  free(order);
  return status;
}

static void bucket_path(const mixing *state, uint32_t bucket, char out_path[PATH_SIZE]) {
  snprintf(out_path, PATH_SIZE, "%s/bucket-%03u", dure_scratch_directory(state->scratch), bucket);
}

static dure_status write_bucket(mixing *state, uint32_t bucket) {
  char path[PATH_SIZE], *bytes = NULL;
  size_t size = 0;
  bucket_path(state, bucket, path);
  DURE_TRY(dure_os_read_file(path, UINT64_C(1) << 50, &bytes, &size));
  dure_status status = write_sorted(state, bytes, size);
  free(bytes);
  return status != NULL ? status : dure_os_remove_tree(path);
}

static dure_status close_buckets(FILE **buckets, uint32_t count, dure_status status) {
  for (uint32_t i = 0; i < count; i++) {
    if (buckets[i] != NULL && fclose(buckets[i]) != 0 && status == NULL) status = dure_fail_errno("cannot write");
  }
  return status;
}

static dure_status open_buckets(const mixing *state, FILE **buckets, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    char path[PATH_SIZE];
    bucket_path(state, i, path);
    buckets[i] = fopen(path, "wb");
    if (buckets[i] == NULL) return dure_fail_errno("cannot create '%s'", path);
  }
  return NULL;
}

static dure_status mix_stage(mixing *state, size_t stage) {
  const uint64_t memory = state->options->memory > 0 ? state->options->memory : DEFAULT_MEMORY;
  const double wanted = mix_plan_bytes(state->plan, stage) * 3 / (double)memory;  // lines are longer than their text
  const uint32_t count = wanted < MOST_BUCKETS - 1 ? (uint32_t)wanted + 1 : MOST_BUCKETS;
  FILE *buckets[MOST_BUCKETS] = {NULL};
  dure_status status = open_buckets(state, buckets, count);
  for (size_t source = 0; source < state->plan->source_count && status == NULL; source++) {
    source_pass pass = {state, source, stage, buckets, count};
    if (mix_plan_uses(state->plan, stage, source)) status = visit_source(&pass, "mixing");
  }
  status = close_buckets(buckets, count, status);
  for (uint32_t i = 0; i < count && status == NULL; i++) status = write_bucket(state, i);
  return status;
}

// ---- the whole ----

static dure_status mix_stages(mixing *state) {
  for (size_t source = 0; source < state->plan->source_count; source++) {
    source_pass pass = {.state = state, .source = source};
    DURE_TRY(visit_source(&pass, "counting"));
  }
  DURE_TRY(mix_plan_compute(state->plan));
  DURE_TRY(dure_output_open(state->options->output, &state->output));
  dure_status status = NULL;
  for (size_t i = 0; i < state->plan->stage_count && status == NULL; i++) status = mix_stage(state, i);
  return dure_output_close(state->output, status);
}

dure_status dure_mix(const dure_mix_options *options, dure_mix_summary *out_summary) {
  *out_summary = (dure_mix_summary){0};
  mixing state = {.options = options, .summary = out_summary};
  char directory[PATH_SIZE];
  snprintf(directory, sizeof(directory), "%s.part", options->output);
  dure_status status = mix_plan_create(options->recipe, options->seed, options->tokenizer != NULL, &state.plan);
  // Mixing copies: it begins anew after a crash, in an empty directory.
  const uint64_t key = dure_os_nanoseconds() ^ dure_os_process_id() << 48;
  if (status == NULL) status = dure_scratch_open(directory, key, (dure_ranks){0, 1}, &state.scratch);
  if (status == NULL) status = mix_stages(&state);
  status = dure_status_join(status, dure_scratch_close(state.scratch, false));
  if (status == NULL) mix_plan_take_rows(state.plan, &out_summary->rows, &out_summary->count);
  mix_plan_destroy(state.plan);
  return status;
}

void dure_mix_summary_free(dure_mix_summary *summary) {
  free(summary->rows);
  *summary = (dure_mix_summary){0};
}
