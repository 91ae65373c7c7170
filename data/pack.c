#include "data/pack.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/batches.h"
#include "data/jsonl.h"
#include "data/jsonl_text.h"
#include "data/scratch.h"
#include "data/shards.h"
#include "data/shingles.h"
#include "data/tokenizer.h"
#include "runtime/os.h"

enum { BUCKET_BITS = 20, PATH_SIZE = 4096 };

static const uint64_t SPLIT_SEED = UINT64_C(0x68656c642d6f7574);  // part of the format: another seed is another split
static const uint64_t DEFAULT_SHARD_TOKENS = UINT64_C(1) << 27;
static const double NEAR_DUPLICATE_SHARE = 0.5;
static const uint64_t JOURNAL_TOKENS = UINT64_C(1) << 24;  // what a killed process loses at most
#define JOURNAL "journal.json"

typedef struct packing {
  const dure_pack_options *options;
  const char *const *inputs;
  size_t input_count;
  dure_pack_summary *summary;
  dure_tokenizer *opened;  // here, unless the caller gave one
  const dure_tokenizer *tokenizer;
  uint32_t end_of_text;
  uint64_t threshold;  // held out below it, in units of 2^-53
  uint64_t *bucket_bytes;
  dure_shingles *shingles;
  dure_shards *shards[DURE_SPLIT_COUNT];
  dure_scratch *scratch;  // work in progress, with the directory `aside` in it
  uint64_t unsaved_tokens;
  char directory[PATH_SIZE];   // DATA without trailing slashes
  char aside[PATH_SIZE + 32];  // DATA.part/data, which becomes DATA
} packing;

// ---- passes over the documents ----

// The position of a text in the order of holding out: uniform in [0, 2^53).
static uint64_t split_position(const char *text, size_t length) {
  return XXH3_64bits_withSeed(text, length, SPLIT_SEED) >> 11;
}

// A document's text, and its ids in the pass that writes.
typedef struct packed_text {
  json_t *object;      // where it is needed: for the report
  dure_bytes decoded;  // where the text lies without it
  const char *text;
  size_t length;
  dure_split split;
  bool is_near_duplicate;
  dure_ids ids;
} packed_text;

typedef dure_status text_visitor(packing *state, const packed_text *read);

typedef struct text_pass {
  packing *state;
  text_visitor *visit;
  bool is_encoding;
} text_pass;

static void release_text(void *result) {
  packed_text *read = result;
  json_decref(read->object);
  dure_bytes_free(&read->decoded);
  dure_ids_free(&read->ids);
}

static dure_status encode_text(const packing *state, packed_text *read) {
  const bool is_held_out = split_position(read->text, read->length) < state->threshold;
  read->split = is_held_out ? DURE_SPLIT_HELD_OUT : DURE_SPLIT_TRAIN;
  read->is_near_duplicate = is_held_out && state->shingles != NULL &&
                            dure_shingles_containment(state->shingles, read->text, read->length) > NEAR_DUPLICATE_SHARE;
  if (read->is_near_duplicate) return NULL;
  return dure_tokenizer_encode(state->tokenizer, read->text, read->length, NULL, &read->ids);
}

static dure_status prepare_text(void *context, const dure_batch_item *item) {
  const text_pass *pass = context;
  packed_text *read = item->result;
  json_decref(read->object);
  read->object = NULL;
  read->is_near_duplicate = false;
  read->ids.count = 0;
  DURE_TRY(pass->state->options->report != NULL
               ? dure_jsonl_document_text(&item->document, &read->object, &read->text, &read->length)
               : dure_jsonl_read_text(&item->document, &read->decoded, &read->text, &read->length));
  return pass->is_encoding && read->length > 0 ? encode_text(pass->state, read) : NULL;
}

static dure_status save_journal(packing *state, uint64_t documents);

static void report_text(const packing *state, const dure_batch_item *item) {
  const packed_text *read = item->result;
  const char *source = json_string_value(json_object_get(read->object, "source"));
  const dure_report_entry entry = {.reason = read->length == 0         ? "empty"
                                             : read->is_near_duplicate ? "near_duplicate"
                                                                       : NULL,
                                   .source = source != NULL ? source : item->document.path,
                                   .language = json_string_value(json_object_get(read->object, "language")),
                                   .text = read->text,
                                   .length = read->length,
                                   .tokens = read->length > 0 && !read->is_near_duplicate ? read->ids.count + 1 : 0};
  dure_step_report_add(state->options->report, &entry);
}

static dure_status take_text(void *context, const dure_batch_item *item) {
  const text_pass *pass = context;
  const packed_text *read = item->result;
  if (pass->is_encoding) report_text(pass->state, item);
  if (read->length > 0) DURE_TRY(pass->visit(pass->state, read));
  const uint64_t shard_tokens = pass->state->options->shard_tokens;
  const uint64_t often = shard_tokens > 0 && shard_tokens < JOURNAL_TOKENS ? shard_tokens : JOURNAL_TOKENS;
  return pass->state->unsaved_tokens >= often ? save_journal(pass->state, item->index + 1) : NULL;
}

static dure_status run_pass(packing *state, const char *stage, text_visitor *visit, bool is_encoding, uint64_t first) {
  text_pass pass = {state, visit, is_encoding};
  const dure_document_reading reading = {
      .format = state->options->format,
      .size_limit = state->options->document_limit,
      .stage = stage,
      .progress = state->options->progress,
      .progress_context = state->options->progress_context,
  };
  const dure_batch_reading batches = {
      .reading = &reading,
      .threads = state->options->threads,
      .first = first,
      .result_size = sizeof(packed_text),
      .prepare = prepare_text,
      .take = take_text,
      .release = release_text,
      .context = &pass,
  };
  return dure_batches_visit(&batches, state->inputs, state->input_count, &state->summary->read);
}

static dure_status count_document(packing *state, const packed_text *read) {
  state->bucket_bytes[split_position(read->text, read->length) >> (53 - BUCKET_BITS)] += read->length;
  return NULL;
}

static dure_status collect_document(packing *state, const packed_text *read) {
  if (split_position(read->text, read->length) >= state->threshold) return NULL;
  return dure_shingles_collect(state->shingles, read->text, read->length);
}

static dure_status mark_document(packing *state, const packed_text *read) {
  if (split_position(read->text, read->length) >= state->threshold) {
    dure_shingles_mark(state->shingles, read->text, read->length);
  }
  return NULL;
}

static dure_status write_document(packing *state, const packed_text *read) {
  if (read->is_near_duplicate) {
    state->summary->near_duplicates++;
    state->summary->near_duplicate_bytes += read->length;
    return NULL;
  }
  DURE_TRY(dure_shards_write(state->shards[read->split], read->ids.ids, read->ids.count));
  DURE_TRY(dure_shards_write(state->shards[read->split], &state->end_of_text, 1));
  dure_split_counts *counts = &state->summary->splits[read->split];
  counts->tokens += read->ids.count + 1;
  counts->documents++;
  counts->text_bytes += read->length;
  state->unsaved_tokens += read->ids.count + 1;
  return NULL;
}

// ---- choosing the held-out documents ----

static dure_status choose_threshold(packing *state) {
  const uint64_t wanted = state->options->held_out_bytes;
  if (wanted == 0) {
    state->threshold = (uint64_t)(state->options->held_out * 9007199254740992.0);
    return NULL;
  }
  const size_t bucket_count = (size_t)1 << BUCKET_BITS;
  state->bucket_bytes = calloc(bucket_count, sizeof(uint64_t));
  if (state->bucket_bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory counting the inputs");
  DURE_TRY(run_pass(state, "counting", count_document, false, 0));
  uint64_t total = 0;
  for (size_t i = 0; i < bucket_count; i++) total += state->bucket_bytes[i];
  if (wanted > total / 2) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "%" PRIu64 " bytes to hold out of %" PRIu64 " in all: hold out at most half, or add text", wanted,
                     total);
  }
  uint64_t held = 0, bucket = 0;
  while (held < wanted) held += state->bucket_bytes[bucket++];
  state->threshold = bucket << (53 - BUCKET_BITS);
  return NULL;
}

static dure_status find_near_duplicates(packing *state) {
  if (!state->options->held_out_distinct || state->threshold == 0) return NULL;
  DURE_TRY(dure_shingles_create(&state->shingles));
  DURE_TRY(run_pass(state, "collecting", collect_document, false, 0));
  return run_pass(state, "comparing", mark_document, false, 0);
}

// ---- files ----

static dure_status write_description(packing *state, json_t *const lists[DURE_SPLIT_COUNT]) {
  static const char *const names[DURE_SPLIT_COUNT] = {"train", "held_out"};
  size_t size = 0;
  const char *tokenizer = dure_tokenizer_json(state->tokenizer, &size);
  char digits[17];
  snprintf(digits, sizeof(digits), "%016" PRIx64, (uint64_t)XXH64(tokenizer, size, 0));
  json_t *splits = json_object();
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) {
    const dure_split_counts *counts = &state->summary->splits[i];
    json_object_set_new(
        splits, names[i],
        json_pack("{s:I, s:I, s:I, s:O}", "tokens", (json_int_t)counts->tokens, "documents",
                  (json_int_t)counts->documents, "text_bytes", (json_int_t)counts->text_bytes, "shards", lists[i]));
  }
  json_t *root = json_pack("{s:s, s:i, s:s, s:I, s:I, s:s, s:o}", "format", DURE_DATASET_FORMAT, "version",
                           DURE_DATASET_VERSION, "dtype", state->summary->bytes_per_token == 2 ? "u16" : "u32",
                           "vocabulary_size", (json_int_t)state->summary->vocabulary_size, "end_of_text",
                           (json_int_t)state->end_of_text, "tokenizer_xxh64", digits, "splits", splits);
  char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
  json_decref(root);
  char *path = dure_os_path_join(state->aside, DURE_DATASET_DESCRIPTION);
  dure_status status = text == NULL || path == NULL
                           ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory describing the dataset")
                           : dure_os_write_file(path, text, strlen(text));
  free(text);
  free(path);
  return status;
}

static dure_status write_tokenizer(const packing *state) {
  char *path = dure_os_path_join(state->aside, DURE_DATASET_TOKENIZER);
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing the tokenizer");
  dure_status status = dure_tokenizer_save(state->tokenizer, path);
  free(path);
  return status;
}

static dure_status finish_shards(packing *state) {
  json_t *lists[DURE_SPLIT_COUNT] = {NULL};
  dure_status status = NULL;
  for (int i = 0; i < DURE_SPLIT_COUNT && status == NULL; i++) status = dure_shards_finish(state->shards[i], &lists[i]);
  if (status == NULL) status = write_description(state, lists);
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) json_decref(lists[i]);
  return status;
}

// ---- the journal: where a killed process had come to ----

static dure_status save_journal(packing *state, uint64_t documents) {
  json_t *splits = json_array();
  dure_status status = NULL;
  for (int i = 0; i < DURE_SPLIT_COUNT && status == NULL; i++) {
    json_t *saved = NULL;
    status = dure_shards_save(state->shards[i], &saved);
    const dure_split_counts *counts = &state->summary->splits[i];
    json_array_append_new(splits, json_pack("{s:I, s:I, s:I, s:o*}", "tokens", (json_int_t)counts->tokens, "documents",
                                            (json_int_t)counts->documents, "text_bytes", (json_int_t)counts->text_bytes,
                                            "shards", saved));
  }
  json_t *report = state->options->report != NULL ? dure_step_report_save(state->options->report) : NULL;
  json_t *root = json_pack("{s:I, s:I, s:I, s:o, s:o*}", "documents", (json_int_t)documents, "near_duplicates",
                           (json_int_t)state->summary->near_duplicates, "near_duplicate_bytes",
                           (json_int_t)state->summary->near_duplicate_bytes, "splits", splits, "report", report);
  char *text = json_dumps(root, JSON_COMPACT),
       *path = dure_os_path_join(dure_scratch_directory(state->scratch), JOURNAL);
  if (status == NULL && (text == NULL || path == NULL)) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory packing");
  if (status == NULL) status = dure_os_write_file(path, text, strlen(text));
  json_decref(root);
  free(text);
  free(path);
  state->unsaved_tokens = 0;
  return status;
}

static uint64_t number_of(const json_t *object, const char *name) {
  return (uint64_t)json_integer_value(json_object_get(object, name));
}

static dure_status resume(packing *state, const json_t *root, uint64_t *out_documents) {
  dure_pack_summary *summary = state->summary;
  for (size_t i = 0; i < DURE_SPLIT_COUNT; i++) {
    const json_t *split = json_array_get(json_object_get(root, "splits"), i);
    summary->splits[i] =
        (dure_split_counts){number_of(split, "tokens"), number_of(split, "documents"), number_of(split, "text_bytes")};
    DURE_TRY(dure_shards_resume(state->shards[i], json_object_get(split, "shards")));
  }
  summary->near_duplicates = number_of(root, "near_duplicates");
  summary->near_duplicate_bytes = number_of(root, "near_duplicate_bytes");
  dure_step_report_restore(state->options->report, json_object_get(root, "report"));
  summary->is_resumed = true;
  *out_documents = number_of(root, "documents");
  return NULL;
}

static dure_status load_journal(packing *state, uint64_t *out_documents) {
  *out_documents = 0;
  if (!dure_scratch_has(state->scratch, JOURNAL)) return NULL;
  char *path = dure_os_path_join(dure_scratch_directory(state->scratch), JOURNAL), *text = NULL;
  size_t size = 0;
  dure_status status = path == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory packing")
                                    : dure_os_read_file(path, UINT64_C(64) << 20, &text, &size);
  json_t *root = status == NULL ? json_loadb(text, size, 0, NULL) : NULL;
  if (status == NULL && root == NULL) status = dure_fail(DURE_CORRUPT, "'%s' is broken: remove its directory", path);
  if (status == NULL) status = resume(state, root, out_documents);
  json_decref(root);
  free(text);
  free(path);
  return status;
}

static dure_status write_dataset(packing *state) {
  static const char *const prefixes[DURE_SPLIT_COUNT] = {"shard", "heldout"};
  DURE_TRY(dure_os_make_directories(state->aside));
  uint64_t shard_tokens = state->options->shard_tokens == 0 ? DEFAULT_SHARD_TOKENS : state->options->shard_tokens;
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) {
    DURE_TRY(dure_shards_create(state->aside, prefixes[i], state->summary->bytes_per_token, shard_tokens,
                                &state->shards[i]));
  }
  uint64_t first = 0;
  DURE_TRY(load_journal(state, &first));
  DURE_TRY(run_pass(state, "packing", write_document, true, first));
  const dure_pack_summary *summary = state->summary;
  state->summary->empty = summary->read.documents - summary->near_duplicates;
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) state->summary->empty -= summary->splits[i].documents;
  if (summary->splits[DURE_SPLIT_TRAIN].documents == 0) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "no training text in the inputs (%" PRIu64 " documents read, %" PRIu64 " held out)",
                     summary->read.documents, summary->splits[DURE_SPLIT_HELD_OUT].documents);
  }
  DURE_TRY(finish_shards(state));
  DURE_TRY(write_tokenizer(state));
  return dure_os_sync_directory(state->aside);
}

// Only a dataset, an empty directory or nothing may be there.
static dure_status check_destination(const packing *state) {
  const char *path = state->directory;
  if (dure_os_is_file(path)) return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is a file; name a directory to make", path);
  if (!dure_os_is_directory(path)) return NULL;
  char **names = NULL;
  size_t count = 0;
  DURE_TRY(dure_os_list(path, &names, &count));
  bool is_dataset = false;
  for (size_t i = 0; i < count; i++) is_dataset = is_dataset || strcmp(names[i], DURE_DATASET_DESCRIPTION) == 0;
  dure_os_names_free(names, count);
  if (count == 0 || (is_dataset && state->options->replace)) return NULL;
  if (is_dataset) return dure_fail(DURE_INVALID_ARGUMENT, "'%s' already holds a dataset; --force replaces it", path);
  return dure_fail(DURE_INVALID_ARGUMENT, "'%s' exists and is no dataset; choose another directory", path);
}

// Gives the finished directory its name. A dataset that is replaced is moved away first and comes back on failure.
static dure_status move_into_place(const packing *state) {
  DURE_TRY(check_destination(state));
  char old[PATH_SIZE + 32];
  snprintf(old, sizeof(old), "%s.%" PRIu64 ".old", state->directory, dure_os_process_id());
  bool had_old = dure_os_is_directory(state->directory);
  if (had_old) DURE_TRY(dure_os_rename(state->directory, old));
  dure_status status = dure_os_rename(state->aside, state->directory);
  if (status != NULL) return had_old ? dure_status_join(status, dure_os_rename(old, state->directory)) : status;
  DURE_TRY(dure_os_sync_parent(state->directory));
  return had_old ? dure_os_remove_tree(old) : NULL;
}

// ---- the whole ----

static dure_status check_options(packing *state) {
  const dure_pack_options *options = state->options;
  if (!(options->held_out >= 0 && options->held_out <= 0.5)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the held-out share must be between 0 and 0.5, found %g",
                     options->held_out);
  }
  if (options->format != DURE_FORMAT_AUTO && options->format != DURE_FORMAT_TEXT &&
      options->format != DURE_FORMAT_JSONL) {
    return dure_fail(DURE_INVALID_ARGUMENT, "only text and JSONL can be packed: clean other formats first");
  }
  bool is_read_again = options->held_out_bytes > 0 || options->held_out_distinct;
  for (size_t i = 0; i < state->input_count && is_read_again; i++) {
    if (strcmp(state->inputs[i], "-") != 0) continue;
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "standard input can be read only once, and choosing the held-out text by bytes or "
                     "by distinctness reads the inputs several times: name a file");
  }
  size_t length = strlen(options->output);
  while (length > 1 && options->output[length - 1] == '/') length--;
  if (length == 0 || length >= PATH_SIZE) return dure_fail(DURE_INVALID_ARGUMENT, "no usable output directory name");
  snprintf(state->directory, sizeof(state->directory), "%.*s", (int)length, options->output);
  snprintf(state->aside, sizeof(state->aside), "%s.part/data", state->directory);
  return check_destination(state);
}

static dure_status open_tokenizer(packing *state) {
  if (state->options->opened_tokenizer == NULL) {
    DURE_TRY(dure_tokenizer_open(state->options->tokenizer, &state->opened));
  }
  state->tokenizer = state->opened != NULL ? state->opened : state->options->opened_tokenizer;
  if (!dure_tokenizer_end_of_text(state->tokenizer, &state->end_of_text)) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "'%s' has no end-of-text token (such as <|endoftext|>) to put between documents",
                     state->options->tokenizer);
  }
  state->summary->vocabulary_size = dure_tokenizer_vocabulary_size(state->tokenizer);
  state->summary->bytes_per_token = state->summary->vocabulary_size <= 65536 ? 2 : 4;
  return NULL;
}

// What the dataset's bytes depend on.
static dure_status open_scratch(packing *state) {
  const dure_pack_options *options = state->options;
  size_t size = 0;
  const char *tokenizer = dure_tokenizer_json(state->tokenizer, &size);
  const uint64_t numbers[] = {
      1,  // raised when the journal changes
      XXH3_64bits(tokenizer, size),
      state->threshold,
      options->held_out_distinct,
      options->report != NULL,
      options->shard_tokens,
      options->document_limit,
      (uint64_t)options->format,
  };
  uint64_t key = 0;
  DURE_TRY(dure_inputs_key(state->inputs, state->input_count, XXH3_64bits(numbers, sizeof(numbers)), &key));
  for (size_t i = 0; i < state->input_count; i++) {
    if (strcmp(state->inputs[i], "-") == 0) key ^= dure_os_nanoseconds() + dure_os_process_id();  // once only
  }
  char directory[PATH_SIZE + 32];
  snprintf(directory, sizeof(directory), "%s.part", state->directory);
  return dure_scratch_open(directory, key, (dure_ranks){0, 1}, &state->scratch);
}

static dure_status pack(packing *state) {
  DURE_TRY(check_options(state));
  DURE_TRY(open_tokenizer(state));
  DURE_TRY(choose_threshold(state));
  state->summary->held_out = ldexp((double)state->threshold, -53);
  DURE_TRY(find_near_duplicates(state));
  DURE_TRY(open_scratch(state));
  dure_status status = write_dataset(state);
  if (status == NULL) status = move_into_place(state);
  const dure_code code = dure_status_code(status);
  const bool is_kept = (code == DURE_IO || code == DURE_CANCELLED) && dure_scratch_has(state->scratch, JOURNAL);
  return dure_status_join(status, dure_scratch_close(state->scratch, is_kept));
}

dure_status dure_pack(const char *const *inputs, size_t input_count, const dure_pack_options *options,
                      dure_pack_summary *out_summary) {
  *out_summary = (dure_pack_summary){0};
  packing state = {.options = options, .inputs = inputs, .input_count = input_count, .summary = out_summary};
  dure_status status = pack(&state);
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) dure_shards_destroy(state.shards[i]);
  dure_shingles_destroy(state.shingles);
  dure_tokenizer_close(state.opened);
  free(state.bucket_bytes);
  return status;
}
