#include "data/dedup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/dedup_state.h"
#include "data/output.h"
#include "runtime/os.h"

enum { PATH_SIZE = 4096, OVERLAP_WIDTH = 13, COPY_BYTES = 1 << 16 };

static const uint64_t DEFAULT_MEMORY = UINT64_C(512) << 20;
static const uint64_t LEAST_MEMORY = UINT64_C(1) << 20;

dure_document_reading dedup_reading(const deduplication *state, const char *stage) {
  const dure_dedup_options *options = state->options;
  return (dure_document_reading){
      .format = options->format,
      .size_limit = options->document_limit,
      .excluded = options->output,
      .stage = stage,
      .progress = options->progress,
      .progress_context = options->progress_context,
  };
}

// ---- benchmarks ----

// Every string in it.
static dure_status collect_json(dure_contamination *contamination, dure_text_words *words, const json_t *value) {
  const char *key = NULL;
  const json_t *child = NULL;
  size_t i = 0;
  if (json_is_string(value)) {
    DURE_TRY(dure_text_words_find(json_string_value(value), json_string_length(value), words));
    return dure_contamination_collect(contamination, words);
  }
  json_array_foreach(value, i, child) DURE_TRY(collect_json(contamination, words, child));
  if (!json_is_object(value)) return NULL;
  json_object_foreach((json_t *)(uintptr_t)value, key, child) DURE_TRY(collect_json(contamination, words, child));
  return NULL;
}

typedef struct collecting {
  dure_contamination *contamination;
  dure_text_words words;
} collecting;

static dure_status collect_document(void *context, const dure_document *document) {
  collecting *pass = context;
  if (document->format != DURE_FORMAT_JSONL) {
    DURE_TRY(dure_text_words_find(document->bytes, document->size, &pass->words));
    return dure_contamination_collect(pass->contamination, &pass->words);
  }
  json_error_t error;
  json_t *value = json_loadb(document->bytes, document->size, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
  if (value == NULL) {
    return dure_fail(DURE_CORRUPT, "%s:%llu: not JSON: %s", document->path, (unsigned long long)document->line,
                     error.text);
  }
  dure_status status = collect_json(pass->contamination, &pass->words, value);
  json_decref(value);
  return status;
}

static dure_status collect_benchmarks(deduplication *state) {
  const dure_dedup_options *options = state->options;
  if (options->benchmark_count == 0) return NULL;
  const uint32_t width = options->overlap_width > 0 ? options->overlap_width : OVERLAP_WIDTH;
  DURE_TRY(dure_contamination_create(width, &state->contamination));
  collecting pass = {.contamination = state->contamination};
  const dure_document_reading reading = {.stage = "reading benchmarks", .visit = collect_document, .context = &pass};
  dure_document_counts counts;
  dure_status status = dure_documents_visit(&reading, options->benchmarks, options->benchmark_count, &counts);
  dure_text_words_free(&pass.words);
  if (status != NULL || dure_contamination_count(state->contamination) > 0) return status;
  return dure_fail(DURE_INVALID_ARGUMENT, "the benchmarks have no texts of 8 words or more");
}

// ---- what the result depends on ----

static dure_status find_key(const deduplication *state, uint64_t *out_key) {
  const dure_dedup_options *options = state->options;
  const dure_semantic_options *semantic = options->semantic;
  const uint64_t numbers[] = {
      3,  // raised when records on disk change
      (uint64_t)options->format,
      options->document_limit,
      options->line_limit,
      options->paragraph_limit,
      options->overlap_width,
      options->pairs != NULL,
      state->ranks.count,
      options->near != NULL ? (uint64_t)options->near->shingle : 0,
      options->near != NULL ? options->near->width : 0,
      options->near != NULL ? options->near->seed : 0,
      state->minhash != NULL ? dure_minhash_bands(state->minhash) : 0,
      state->minhash != NULL ? dure_minhash_rows(state->minhash) : 0,
      semantic != NULL ? semantic->identity : 0,
      semantic != NULL ? semantic->width : 0,
      semantic != NULL ? semantic->clusters : 0,
      semantic != NULL ? semantic->seed : 0,
      semantic != NULL && semantic->is_centred,
      semantic != NULL ? (uint64_t)(semantic->threshold * 1e9) : 0,
      semantic != NULL ? state->memory : 0,
  };
  uint64_t key = XXH3_64bits(numbers, sizeof(numbers));
  DURE_TRY(dure_inputs_key(options->benchmarks, options->benchmark_count, key, &key));
  return dure_inputs_key(state->inputs, state->input_count, key, out_key);
}

// ---- standard input ----

// It can be read once only, and the passes are several: it goes to a file first.
static dure_status copy_standard_input(const char *path) {
  dure_output *output = NULL;
  DURE_TRY(dure_output_open(path, &output));
  dure_status status = NULL;
  char bytes[COPY_BYTES];
  for (size_t size = 1; size > 0 && status == NULL;) {
    size = fread(bytes, 1, sizeof(bytes), stdin);
    status = dure_output_write(output, bytes, size);
    if (status == NULL && dure_os_interrupted()) status = dure_fail(DURE_CANCELLED, "stopped; nothing was written");
  }
  if (status == NULL && ferror(stdin)) status = dure_fail_errno("cannot read standard input");
  return dure_output_close(output, status);
}

static bool is_standard_input(const char *input) { return strcmp(input, "-") == 0; }

// ---- the passes ----

typedef dure_status pass_function(deduplication *state);

// A pass of every rank: nobody goes on before all have done their part.
static dure_status run_shared(deduplication *state, const char *name, pass_function *run) {
  if (!dure_scratch_has_own(state->scratch, name)) {
    DURE_TRY(run(state));
    DURE_TRY(dure_scratch_mark_own(state->scratch, name));
  } else {
    state->summary->is_resumed = true;
  }
  return dure_scratch_wait_all(state->scratch, name);
}

static dure_status run_semantic(deduplication *state) {
  DURE_TRY(run_shared(state, "embedded", dedup_scan_meaning));
  if (state->ranks.rank == 0 && !dure_scratch_has(state->scratch, "clustered")) {
    DURE_TRY(dedup_learn_clusters(state));
    DURE_TRY(dure_scratch_mark(state->scratch, "clustered"));
  }
  DURE_TRY(dure_scratch_wait(state->scratch, "clustered"));
  DURE_TRY(run_shared(state, "assigned", dedup_assign_clusters));
  return run_shared(state, "compared", dedup_compare_clusters);
}

static dure_status run_passes(deduplication *state) {
  const dure_dedup_options *options = state->options;
  DURE_TRY(run_shared(state, "scanned", dedup_scan));
  DURE_TRY(run_shared(state, "merged", dedup_merge));
  if (state->ranks.rank == 0 && !dure_scratch_has(state->scratch, "joined")) {
    DURE_TRY(dedup_join(state));
    DURE_TRY(dure_scratch_mark(state->scratch, "joined"));
  }
  DURE_TRY(dure_scratch_wait(state->scratch, "joined"));
  if (options->semantic != NULL) DURE_TRY(run_semantic(state));
  if (options->line_limit > 0 || options->paragraph_limit > 0) {
    DURE_TRY(run_shared(state, "lines-scanned", dedup_scan_lines));
    DURE_TRY(run_shared(state, "lines-merged", dedup_merge_lines));
  }
  if (state->ranks.rank > 0) return NULL;
  if (options->pairs != NULL) DURE_TRY(dedup_write_pairs(state));
  return dedup_write(state);
}

static dure_status open_scratch(deduplication *state, bool is_repeatable) {
  const dure_dedup_options *options = state->options;
  char directory[PATH_SIZE];
  if (options->scratch != NULL) {
    snprintf(directory, sizeof(directory), "%s", options->scratch);
  } else if (strcmp(options->output, "-") == 0) {
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof(directory), "%s/dure-dedup-%llu.part", base != NULL ? base : "/tmp",
             (unsigned long long)dure_os_process_id());
  } else {
    snprintf(directory, sizeof(directory), "%s.part", options->output);
  }
  uint64_t key = 0;
  DURE_TRY(find_key(state, &key));
  if (!is_repeatable) key ^= dure_os_nanoseconds() + dure_os_process_id();
  DURE_TRY(dure_scratch_open(directory, key, state->ranks, &state->scratch));
  state->directory = dure_scratch_directory(state->scratch);
  return NULL;
}

static dure_status run(deduplication *state) {
  const dure_dedup_options *options = state->options;
  char spool[PATH_SIZE + 32];
  const char **inputs = calloc(state->input_count + 1, sizeof(*inputs));
  if (inputs == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  bool has_standard_input = false;
  for (size_t i = 0; i < state->input_count; i++) {
    has_standard_input = has_standard_input || is_standard_input(state->inputs[i]);
    inputs[i] = state->inputs[i];
  }
  dure_status status = NULL;
  if (has_standard_input && state->ranks.count > 1) {
    status = dure_fail(DURE_INVALID_ARGUMENT, "several ranks cannot share standard input: name files");
  }
  if (status == NULL && options->near != NULL) status = dure_minhash_create(options->near, &state->minhash);
  if (status == NULL && state->minhash != NULL) {
    state->summary->bands = dure_minhash_bands(state->minhash);
    state->summary->rows = dure_minhash_rows(state->minhash);
  }
  if (status == NULL) status = collect_benchmarks(state);
  if (status == NULL) status = open_scratch(state, !has_standard_input);
  if (status == NULL && has_standard_input) {
    snprintf(spool, sizeof(spool), "%s/standard-input", state->directory);
    status = copy_standard_input(spool);
  }
  for (size_t i = 0; i < state->input_count; i++) inputs[i] = is_standard_input(inputs[i]) ? spool : inputs[i];
  state->inputs = inputs;
  if (status == NULL) status = run_passes(state);
  const dure_code code = dure_status_code(status);
  const bool is_kept = !has_standard_input && (code == DURE_IO || code == DURE_CANCELLED);
  status = dure_status_join(status, dure_scratch_close(state->scratch, is_kept));
  free(inputs);
  return status;
}

dure_status dure_dedup(const char *const *inputs, size_t input_count, const dure_dedup_options *options,
                       dure_dedup_summary *out_summary) {
  *out_summary = (dure_dedup_summary){0};
  deduplication state = {
      .options = options,
      .inputs = inputs,
      .input_count = input_count,
      .summary = out_summary,
      .ranks = {options->ranks.rank, options->ranks.count > 0 ? options->ranks.count : 1},
      .memory = options->memory > 0 ? options->memory : DEFAULT_MEMORY,
  };
  if (state.memory < LEAST_MEMORY) return dure_fail(DURE_INVALID_ARGUMENT, "at least 1 MiB of memory is needed");
  dure_status status = run(&state);
  dure_minhash_destroy(state.minhash);
  dure_contamination_destroy(state.contamination);
  return status;
}
