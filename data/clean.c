#include "data/clean.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/clean_batch.h"
#include "data/resumable.h"
#include "runtime/os.h"

// A batch is full at this many bytes of documents, or this many documents.
enum { BATCH_SIZE = 4 << 20, BATCH_DOCUMENTS = 4096, THREAD_LIMIT = 64, STATE_VERSION = 1 };

#define SEGMENT_SIZE (UINT64_C(64) << 20)

// The batches stand in a ring: the reader fills the newest, threads take what waits for a stage, and the oldest leaves
// when it is judged. Everything that happens in order is done by the calling thread.
typedef struct cleaning {
  const dure_clean_options *options;
  dure_clean_summary *summary;
  dure_clean_models models;
  dure_site_table *sites;
  dure_resumable *files;
  dure_document_counts counts;  // so far, of the reading

  dure_clean_batch *batches;                      // [batch_count]
  size_t batch_count, oldest, unmarked, filling;  // running numbers, modulo batch_count
  uint64_t segment_bytes;
  bool next_begins_segment;

  pthread_t threads[THREAD_LIMIT];
  dure_clean_scratch scratches[THREAD_LIMIT];
  uint32_t thread_count;  // 0: the calling thread does everything
  pthread_mutex_t lock;
  pthread_cond_t has_work, has_result;
  bool is_ending;
  bool has_failed;  // nothing more is written: a later batch must not follow one that is not there
} cleaning;

static dure_clean_batch *batch_at(const cleaning *state, size_t number) {
  return &state->batches[number % state->batch_count];
}

// ---- stages ----

static void run_stage(const cleaning *state, dure_clean_batch *batch, dure_clean_scratch *scratch) {
  if (batch->status != NULL) return;
  batch->status = batch->stage == DURE_BATCH_TO_READ
                      ? dure_clean_batch_read(batch, state->options, scratch)
                      : dure_clean_batch_judge(batch, state->options, &state->models, scratch);
}

static bool waits(const dure_clean_batch *batch) {
  return batch->stage == DURE_BATCH_TO_READ || batch->stage == DURE_BATCH_TO_JUDGE;
}

typedef struct thread_start {
  cleaning *state;
  dure_clean_scratch *scratch;
} thread_start;

// The oldest batch that waits is taken: its stage is changed at once, so that no other thread takes it too.
static void *work(void *argument) {
  thread_start start = *(thread_start *)argument;
  free(argument);
  cleaning *state = start.state;
  pthread_mutex_lock(&state->lock);
  while (!state->is_ending) {
    size_t number = state->oldest;
    while (number < state->filling && !waits(batch_at(state, number))) number++;
    if (number == state->filling) {
      pthread_cond_wait(&state->has_work, &state->lock);
      continue;
    }
    dure_clean_batch *batch = batch_at(state, number);
    dure_clean_batch taken = *batch;
    batch->stage = DURE_BATCH_FILLING;
    pthread_mutex_unlock(&state->lock);
    run_stage(state, &taken, start.scratch);
    taken.stage = taken.stage == DURE_BATCH_TO_READ ? DURE_BATCH_READ : DURE_BATCH_JUDGED;
    pthread_mutex_lock(&state->lock);
    *batch = taken;
    pthread_cond_broadcast(&state->has_result);
  }
  pthread_mutex_unlock(&state->lock);
  return NULL;
}

static void submit(cleaning *state, dure_clean_batch *batch, dure_batch_stage stage) {
  batch->stage = stage;
  if (state->thread_count > 0) {
    pthread_cond_signal(&state->has_work);
    return;
  }
  run_stage(state, batch, &state->scratches[0]);
  batch->stage = stage == DURE_BATCH_TO_READ ? DURE_BATCH_READ : DURE_BATCH_JUDGED;
}

// ---- results ----

static void add_summary(dure_clean_summary *sum, const dure_clean_summary *part) {
  dure_document_counts read = sum->read;
  uint64_t *to = (uint64_t *)(void *)sum;
  const uint64_t *from = (const uint64_t *)(const void *)part;
  for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++) to[i] += from[i];
  sum->read = read;
}

static json_t *state_to_json(const cleaning *state, const dure_document_position *position) {
  json_t *counts = json_array();
  const uint64_t *values = (const uint64_t *)(const void *)state->summary;
  for (size_t i = 0; i < sizeof(*state->summary) / sizeof(*values); i++) {
    json_array_append_new(counts, json_integer((json_int_t)values[i]));
  }
  json_t *report = state->options->report != NULL ? dure_step_report_save(state->options->report) : NULL;
  return json_pack("{s:i, s:[I,I,I], s:o, s:o*}", "version", STATE_VERSION, "position", (json_int_t)position->file,
                   (json_int_t)position->document, (json_int_t)position->bytes, "counts", counts, "report", report);
}

static bool state_from_json(const json_t *json, dure_document_position *out_position, dure_clean_summary *out_summary) {
  const json_t *counts = json_object_get(json, "counts"), *position = json_object_get(json, "position");
  uint64_t *values = (uint64_t *)(void *)out_summary;
  size_t count = sizeof(*out_summary) / sizeof(*values);
  if (json_integer_value(json_object_get(json, "version")) != STATE_VERSION || json_array_size(counts) != count ||
      json_array_size(position) != 3) {
    return false;
  }
  for (size_t i = 0; i < count; i++) values[i] = (uint64_t)json_integer_value(json_array_get(counts, i));
  out_position->file = (uint64_t)json_integer_value(json_array_get(position, 0));
  out_position->document = (uint64_t)json_integer_value(json_array_get(position, 1));
  out_position->bytes = (uint64_t)json_integer_value(json_array_get(position, 2));
  return true;
}

// Every document of a batch into the report.
static void report_batch(dure_step_report *report, const dure_clean_batch *batch) {
  for (size_t i = 0; i < batch->item_count; i++) {
    const dure_clean_item *item = &batch->items[i];
    bool has_text = item->text_size > 0;
    const dure_report_entry entry = {
        .reason = item->reason != DURE_DROP_COUNT ? dure_drop_name(item->reason) : NULL,
        .source = dure_clean_string(batch, item->url != DURE_NO_STRING ? item->url : item->path),
        .language = has_text ? dure_language_name(item->language) : NULL,
        .text = has_text ? batch->text.data + item->text : "",
        .length = item->text_size,
        .note = item->message != DURE_NO_STRING ? dure_clean_string(batch, item->message) : NULL,
    };
    dure_step_report_add(report, &entry);
  }
}

static dure_status write_batch(cleaning *state, dure_clean_batch *batch) {
  if (batch->status != NULL) {
    dure_status status = batch->status;
    batch->status = NULL;
    return status;
  }
  DURE_TRY(dure_resumable_write(state->files, 0, batch->output.data, batch->output.size));
  if (state->options->dropped != NULL) {
    DURE_TRY(dure_resumable_write(state->files, 1, batch->dropped.data, batch->dropped.size));
  }
  add_summary(state->summary, &batch->summary);
  if (state->options->report != NULL) report_batch(state->options->report, batch);
  state->summary->read = batch->summary.read;
  if (!batch->ends_segment) return NULL;
  json_t *safe = state_to_json(state, &batch->position);
  dure_status status = safe != NULL ? dure_resumable_commit(state->files, safe)
                                    : dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing down the progress");
  json_decref(safe);
  return status;
}

// Brings the batches on, in order, until no more than `most` are on their way.
static dure_status drain(cleaning *state, size_t most) {
  dure_status status = NULL;
  pthread_mutex_lock(&state->lock);
  while (status == NULL && !state->has_failed && state->filling - state->oldest > most) {
    dure_clean_batch *unmarked = state->unmarked < state->filling ? batch_at(state, state->unmarked) : NULL;
    dure_clean_batch *oldest = batch_at(state, state->oldest);
    if (unmarked != NULL && unmarked->stage == DURE_BATCH_READ) {
      if (unmarked->status == NULL) dure_clean_batch_mark(unmarked, state->options, state->sites);
      state->unmarked++;
      submit(state, unmarked, DURE_BATCH_TO_JUDGE);
    } else if (oldest->stage == DURE_BATCH_JUDGED) {
      pthread_mutex_unlock(&state->lock);  // a judged batch is this thread's alone
      status = write_batch(state, oldest);
      state->has_failed = status != NULL;
      dure_clean_batch_clear(oldest);
      pthread_mutex_lock(&state->lock);
      state->oldest++;
    } else {
      pthread_cond_wait(&state->has_result, &state->lock);
    }
  }
  pthread_mutex_unlock(&state->lock);
  return status;
}

// ---- reading ----

static dure_status close_batch(cleaning *state) {
  dure_clean_batch *batch = batch_at(state, state->filling);
  batch->summary.read = state->counts;
  pthread_mutex_lock(&state->lock);
  state->filling++;
  submit(state, batch, DURE_BATCH_TO_READ);
  pthread_mutex_unlock(&state->lock);
  return drain(state, state->batch_count - 1);
}

static dure_clean_batch *open_batch(cleaning *state) {
  dure_clean_batch *batch = batch_at(state, state->filling);
  if (batch->item_count == 0) {
    batch->begins_segment = state->next_begins_segment;
    state->next_begins_segment = false;
  }
  return batch;
}

static dure_status take_document(void *context, const dure_document *document) {
  cleaning *state = context;
  dure_clean_batch *batch = open_batch(state);
  DURE_TRY(dure_clean_batch_add(batch, document));
  batch->position = document->position;
  batch->position.document++;
  state->segment_bytes += document->size;
  uint64_t segment = state->options->segment_size > 0 ? state->options->segment_size : SEGMENT_SIZE;
  batch->ends_segment = state->segment_bytes >= segment;
  if (batch->ends_segment) {
    state->segment_bytes = 0;
    state->next_begins_segment = true;
  }
  bool is_full = batch->raw.size >= BATCH_SIZE || batch->item_count >= BATCH_DOCUMENTS || batch->ends_segment;
  return is_full ? close_batch(state) : NULL;
}

static bool take_problem(void *context, const dure_document_problem *problem) {
  cleaning *state = context;
  if (state->options->problem != NULL) state->options->problem(state->options->progress_context, problem);
  if (state->options->stop_on_error && strcmp(problem->reason, "unreadable") == 0) return false;
  dure_clean_batch *batch = open_batch(state);
  dure_status status = dure_clean_batch_add_problem(batch, problem);
  bool is_kept = status == NULL;
  dure_status_free(status);
  return is_kept;
}

static dure_status read_inputs(cleaning *state, const char *const *inputs, size_t input_count,
                               const dure_document_position *position, const dure_document_counts *counts) {
  const dure_clean_options *options = state->options;
  const dure_document_reading reading = {
      .format = options->format,
      .size_limit = options->document_limit,
      .excluded = options->output,
      .stage = "cleaning",
      .columns = options->field,
      .visit = take_document,
      .problem = take_problem,
      .progress = options->progress,
      .context = state,
      .progress_context = options->progress_context,
      .resume = *position,
      .resumed_counts = *counts,
  };
  dure_status status = dure_documents_visit(&reading, inputs, input_count, &state->counts);
  if (status == NULL) status = close_batch(state);
  DURE_TRY(dure_status_join(status, drain(state, 0)));  // after a failure too, what is on its way is not lost
  state->summary->read = state->counts;
  return NULL;
}

// ---- beginning and ending ----

// Of everything that decides which bytes are written.
static uint64_t fingerprint_of(const cleaning *state, const char *const *inputs, size_t input_count) {
  const dure_clean_options *options = state->options;
  dure_bytes all = {0};
  const char *const texts[] = {DURE_VERSION,      options->field,   options->licence,
                               options->encoding, options->quality, options->toxicity};
  for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) + input_count; i++) {
    const char *text = i < 6 ? texts[i] : inputs[i - 6];
    dure_bytes_append(&all, text != NULL ? text : "", text != NULL ? strlen(text) + 1 : 1);
    uint64_t size = 0;
    if (i >= 6) dure_status_free(dure_os_file_size(text, &size));
    dure_bytes_append(&all, &size, sizeof(size));
  }
  const uint64_t numbers[] = {
      (uint64_t)options->format, options->document_limit,
      options->repair,           options->remove_personal_data,
      options->segment_size,     options->dropped != NULL,
      options->report != NULL,   state->models.bad_words != NULL ? dure_word_list_hash(state->models.bad_words) : 0};
  dure_bytes_append(&all, numbers, sizeof(numbers));
  dure_bytes_append(&all, options->languages, sizeof(options->languages));
  dure_bytes_append(&all, options->line_languages, sizeof(options->line_languages));
  if (options->rules != NULL) dure_bytes_append(&all, options->rules, sizeof(*options->rules));
  uint64_t hash = XXH3_64bits(all.data, all.size);
  dure_bytes_free(&all);
  return hash;
}

static dure_status start_threads(cleaning *state) {
  uint32_t wanted = state->options->threads > 0 ? state->options->threads : dure_os_core_count();
  if (wanted > THREAD_LIMIT) wanted = THREAD_LIMIT;
  for (uint32_t i = 0; i < wanted; i++) DURE_TRY(dure_layout_create(&state->scratches[i].layout));
  state->batch_count = wanted > 1 ? wanted + 2 : 1;
  state->batches = calloc(state->batch_count, sizeof(*state->batches));
  if (state->batches == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for batches of documents");
  for (size_t i = 0; i < state->batch_count; i++) dure_clean_batch_clear(&state->batches[i]);
  for (uint32_t i = 0; i < wanted && wanted > 1; i++) {
    thread_start *start = malloc(sizeof(*start));
    if (start == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory starting threads");
    *start = (thread_start){state, &state->scratches[i]};
    if (pthread_create(&state->threads[i], NULL, work, start) != 0) {
      free(start);
      return dure_fail(DURE_IO, "the system starts no more threads; try --threads 1");
    }
    state->thread_count++;
  }
  return NULL;
}

static void stop_threads(cleaning *state) {
  pthread_mutex_lock(&state->lock);
  state->is_ending = true;
  pthread_cond_broadcast(&state->has_work);
  pthread_mutex_unlock(&state->lock);
  for (uint32_t i = 0; i < state->thread_count; i++) pthread_join(state->threads[i], NULL);
  for (size_t i = 0; i < THREAD_LIMIT; i++) {
    dure_clean_scratch *scratch = &state->scratches[i];
    dure_layout_destroy(scratch->layout);
    dure_bytes *const bytes[] = {&scratch->decoded, &scratch->laid_out, &scratch->text, &scratch->changed,
                                 &scratch->repaired};
    for (size_t b = 0; b < sizeof(bytes) / sizeof(bytes[0]); b++) dure_bytes_free(bytes[b]);
    dure_statistics_free(&scratch->statistics);
    dure_text_words_free(&scratch->words);
  }
  for (size_t i = 0; i < state->batch_count; i++) dure_clean_batch_free(&state->batches[i]);
  free(state->batches);
}

static dure_status clean(cleaning *state, const char *const *inputs, size_t input_count) {
  const dure_clean_options *options = state->options;
  if (options->quality != NULL) DURE_TRY(dure_classifier_open(options->quality, &state->models.quality));
  if (options->toxicity != NULL) DURE_TRY(dure_classifier_open(options->toxicity, &state->models.toxicity));
  if (options->bad_words != NULL) DURE_TRY(dure_word_list_open(options->bad_words, &state->models.bad_words));
  DURE_TRY(dure_site_table_create(&state->sites));
  DURE_TRY(start_threads(state));
  const char *const paths[DURE_RESUMABLE_FILES] = {options->output, options->dropped};
  json_t *saved = NULL;
  DURE_TRY(dure_resumable_open(paths, fingerprint_of(state, inputs, input_count), &state->files, &saved));
  dure_document_position position = {0};
  dure_status status = NULL;
  if (saved != NULL && !state_from_json(saved, &position, state->summary)) {
    status = dure_fail(DURE_CORRUPT, "'%s.part.json' is damaged: remove it to begin anew", options->output);
  }
  dure_step_report_restore(options->report, json_object_get(saved, "report"));
  json_decref(saved);
  const dure_document_counts counts = state->summary->read;
  uint64_t resumed = counts.documents;
  if (status == NULL) status = read_inputs(state, inputs, input_count, &position, &counts);
  state->summary->resumed_documents = resumed;
  return dure_resumable_close(state->files, status);
}

dure_status dure_clean(const char *const *inputs, size_t input_count, const dure_clean_options *options,
                       dure_clean_summary *out_summary) {
  *out_summary = (dure_clean_summary){0};
  cleaning *state = calloc(1, sizeof(*state));
  if (state == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  state->options = options;
  state->summary = out_summary;
  state->next_begins_segment = true;
  pthread_mutex_init(&state->lock, NULL);
  pthread_cond_init(&state->has_work, NULL);
  pthread_cond_init(&state->has_result, NULL);
  dure_status status = clean(state, inputs, input_count);
  stop_threads(state);
  pthread_cond_destroy(&state->has_result);
  pthread_cond_destroy(&state->has_work);
  pthread_mutex_destroy(&state->lock);
  dure_site_table_destroy(state->sites);
  dure_classifier_destroy(state->models.quality);
  dure_classifier_destroy(state->models.toxicity);
  dure_word_list_destroy(state->models.bad_words);
  free(state);
  return status;
}
