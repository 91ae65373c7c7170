// dure inspect: what is in a model's files, and what is missing or left over.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "data/dataset.h"
#include "model/inspect.h"
#include "model/weights.h"
#include "runtime/os.h"

typedef struct inspect_options {
  bool statistics, as_json;
} inspect_options;

// What is printed, gathered as JSON first: {"keys": {}, "tensors": [], "agreement": {}}.

static json_t *describe_shape(uint32_t rank, const uint64_t *shape) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < rank; i++) json_array_append_new(list, json_integer((json_int_t)shape[i]));
  return list;
}

static dure_status describe_tensor(const inspect_options *options, const dure_safetensors_tensor *tensor,
                                   json_t *list) {
  json_t *row = json_pack("{ss* ss so sI sI}", "name", tensor->name, "type", tensor->type, "shape",
                          describe_shape(tensor->rank, tensor->shape), "elements", (json_int_t)tensor->count, "bytes",
                          (json_int_t)tensor->size);
  json_array_append_new(list, row);
  if (!options->statistics || !dure_dtype_is_float(tensor->dtype)) return NULL;
  dure_tensor_statistics s;
  DURE_TRY(dure_inspect_tensor(tensor, &s));
  json_object_set_new(row, "minimum", json_real(s.minimum));
  json_object_set_new(row, "maximum", json_real(s.maximum));
  json_object_set_new(row, "mean", json_real(s.mean));
  json_object_set_new(row, "deviation", json_real(s.deviation));
  json_object_set_new(row, "nan", json_integer((json_int_t)s.nan_count));
  json_object_set_new(row, "infinite", json_integer((json_int_t)s.infinite_count));
  return NULL;
}

// ---- GGUF's metadata ---------------------------------------------------------------------------------------------

static json_t *describe_value(const dure_gguf_value *value) {
  int64_t integer;
  double number;
  bool truth;
  const char *text;
  size_t length;
  if (value->kind == DURE_GGUF_LIST) {
    char words[64];
    snprintf(words, sizeof(words), "%" PRIu64 " %s", value->count,
             value->element_kind == DURE_GGUF_TEXT ? "texts" : "values");
    return json_string(words);
  }
  if (dure_gguf_integer(value, 0, &integer)) return json_integer((json_int_t)integer);
  if (dure_gguf_number(value, 0, &number)) return json_real(number);
  if (dure_gguf_boolean(value, 0, &truth)) return json_boolean(truth);
  if (dure_gguf_text(value, &text, &length)) return output_json_text(text, length);
  return json_null();
}

static dure_status describe_keys(const char *path, json_t *root) {
  dure_gguf *file = NULL;
  if (!dure_gguf_is_file(path)) return NULL;
  DURE_TRY(dure_gguf_open(path, &file));
  json_t *keys = json_object();
  for (size_t i = 0; i < dure_gguf_value_count(file); i++) {
    const dure_gguf_value *value = dure_gguf_value_at(file, i);
    json_object_set_new(keys, value->key, describe_value(value));
  }
  json_object_set_new(root, "keys", keys);
  dure_gguf_close(file);
  return NULL;
}

// ---- agreement with the configuration ----------------------------------------------------------------------------

static void describe_rows(const dure_disagreement *rows, size_t count, json_t *agreement) {
  static const char *const names[] = {"missing", "other_shape", "left_over", "not_needed"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) json_object_set_new(agreement, names[i], json_array());
  for (size_t i = 0; i < count; i++) {
    json_t *row = json_pack("{ss}", "name", rows[i].name);
    if (rows[i].rank > 0) json_object_set_new(row, "expected", describe_shape(rows[i].rank, rows[i].shape));
    json_array_append_new(json_object_get(agreement, names[rows[i].kind]), row);
  }
}

static dure_status compare(const char *config_path, const char *path, json_t *agreement) {
  dure_model_config config;
  dure_safetensors *file = NULL;
  dure_disagreement *rows = NULL;
  size_t count = 0;
  DURE_TRY(dure_model_config_read(config_path, &config));
  json_object_set_new(agreement, "model_type",
                      json_string(json_string_value(json_object_get(config.source, "model_type"))));
  dure_status status = dure_weights_open(path, &file);
  if (status == NULL) status = dure_inspect_agreement(&config, file, &rows, &count);
  if (status == NULL) describe_rows(rows, count, agreement);
  free(rows);
  dure_safetensors_close(file);
  dure_model_config_clear(&config);
  return status;
}

// The configuration of a single file is the one beside it. NULL: there is none.
static char *config_beside(const char *path) {
  const char *slash = strrchr(path, '/');
  char *folder = slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  char *config = folder != NULL ? dure_os_path_join(folder, "config.json") : NULL;
  free(folder);
  if (config != NULL && dure_os_is_file(config)) return config;
  free(config);
  return NULL;
}

// A configuration that cannot be read is told, and no failure: the tensors are listed all the same.
static void describe_agreement(const char *path, json_t *root) {
  const bool is_whole = dure_os_is_directory(path) || dure_gguf_is_file(path);
  char *config = is_whole ? strdup(path) : config_beside(path);
  json_t *agreement = json_object();
  if (config != NULL) {
    dure_status status = compare(config, path, agreement);
    if (status != NULL)
      json_object_set_new(agreement, "failure",
                          output_json_text(dure_status_message(status), strlen(dure_status_message(status))));
    dure_status_free(status);
  }
  free(config);
  json_object_set_new(root, "agreement", agreement);
}

// ---- for people --------------------------------------------------------------------------------------------------

static void print_shape(const json_t *shape, char *out_text, size_t size) {
  size_t used = 0, i;
  const json_t *dimension = NULL;
  used += (size_t)snprintf(out_text, size, "[");
  json_array_foreach(shape, i, dimension) {
    used += (size_t)snprintf(out_text + used, used < size ? size - used : 0, "%s%" JSON_INTEGER_FORMAT,
                             i > 0 ? ", " : "", json_integer_value(dimension));
    if (used >= size) return;
  }
  snprintf(out_text + used, size - used, "]");
}

static void print_tensors(const json_t *tensors, bool statistics) {
  const json_t *row = NULL;
  size_t i;
  json_int_t elements = 0, bytes = 0, bad = 0;
  json_array_foreach(tensors, i, row) {
    char shape[128];
    print_shape(json_object_get(row, "shape"), shape, sizeof(shape));
    const json_int_t nan = json_integer_value(json_object_get(row, "nan"));
    const json_int_t infinite = json_integer_value(json_object_get(row, "infinite"));
    printf("%-48s %-5s %-16s %12" JSON_INTEGER_FORMAT, json_string_value(json_object_get(row, "name")),
           json_string_value(json_object_get(row, "type")), shape, json_integer_value(json_object_get(row, "bytes")));
    if (statistics && json_object_get(row, "mean") != NULL) {
      printf("  min %10.4g  max %10.4g  mean %11.4g", json_number_value(json_object_get(row, "minimum")),
             json_number_value(json_object_get(row, "maximum")), json_number_value(json_object_get(row, "mean")));
    }
    if (nan + infinite > 0) printf("  %" JSON_INTEGER_FORMAT " NaN, %" JSON_INTEGER_FORMAT " infinite", nan, infinite);
    printf("\n");
    elements += json_integer_value(json_object_get(row, "elements"));
    bytes += json_integer_value(json_object_get(row, "bytes"));
    bad += nan + infinite;
  }
  printf("\n%zu tensors, %" JSON_INTEGER_FORMAT " elements, %.1f MiB", json_array_size(tensors), elements,
         (double)bytes / 1048576.0);
  if (statistics) printf(", %" JSON_INTEGER_FORMAT " NaN or infinite", bad);
  printf("\n");
}

static void print_rows(const json_t *agreement, const char *name, const char *words) {
  const json_t *row = NULL;
  size_t i;
  json_array_foreach(json_object_get(agreement, name), i, row) {
    char shape[128] = "";
    if (json_object_get(row, "expected") != NULL) print_shape(json_object_get(row, "expected"), shape, sizeof(shape));
    printf("%s: %s %s\n", words, json_string_value(json_object_get(row, "name")), shape);
  }
}

static void print_agreement(const json_t *agreement) {
  const char *type = json_string_value(json_object_get(agreement, "model_type"));
  const char *failure = json_string_value(json_object_get(agreement, "failure"));
  if (failure != NULL) printf("no configuration to compare with: %s\n", failure);
  if (type == NULL || failure != NULL) return;
  print_rows(agreement, "missing", "missing");
  print_rows(agreement, "other_shape", "another shape than expected");
  print_rows(agreement, "left_over", "left over");
  print_rows(agreement, "not_needed", "not needed");
  const size_t wrong = json_array_size(json_object_get(agreement, "missing")) +
                       json_array_size(json_object_get(agreement, "other_shape"));
  printf("as a model of type \"%s\": %zu missing or of another shape, %zu left over\n", type, wrong,
         json_array_size(json_object_get(agreement, "left_over")));
}

static dure_status print(const json_t *root, bool statistics) {
  const char *key = NULL;
  json_t *value = NULL;
  json_object_foreach(json_object_get(root, "keys"), key, value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    printf("%-44s %.100s%s\n", key, text != NULL ? text : "", text != NULL && strlen(text) > 100 ? "..." : "");
    free(text);
  }
  if (json_object_size(json_object_get(root, "keys")) > 0) printf("\n");
  print_tensors(json_object_get(root, "tensors"), statistics);
  print_agreement(json_object_get(root, "agreement"));
  return output_check();
}

// ---- the command -------------------------------------------------------------------------------------------------

static dure_status describe_dataset(const dure_dataset *dataset, json_t *root) {
  static const char *const names[DURE_SPLIT_COUNT] = {"train", "held_out"};
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) {
    const dure_split_counts counts = dure_dataset_counts(dataset, (dure_split)i);
    json_object_set_new(root, names[i],
                        json_pack("{s:I, s:I, s:I}", "documents", (json_int_t)counts.documents, "tokens",
                                  (json_int_t)counts.tokens, "text_bytes", (json_int_t)counts.text_bytes));
  }
  json_object_set_new(root, "vocabulary_size", json_integer(dure_dataset_vocabulary_size(dataset)));
  return dure_dataset_verify(dataset);
}

// A dataset: its counts, and every shard against its checksum.
static dure_status run_dataset(const inspect_options *options, const char *path) {
  dure_dataset *dataset = NULL;
  DURE_TRY(dure_dataset_open(path, &dataset));
  json_t *root = json_pack("{ss*}", "path", path);
  dure_status status = describe_dataset(dataset, root);
  dure_dataset_close(dataset);
  if (status == NULL && options->as_json) return output_json(root);
  for (int i = 0; i < DURE_SPLIT_COUNT && status == NULL; i++) {
    const json_t *split = json_object_get(root, i == DURE_SPLIT_TRAIN ? "train" : "held_out");
    printf("%-9s %12" JSON_INTEGER_FORMAT " documents %14" JSON_INTEGER_FORMAT " tokens %14" JSON_INTEGER_FORMAT
           " bytes of text\n",
           i == DURE_SPLIT_TRAIN ? "training" : "held out", json_integer_value(json_object_get(split, "documents")),
           json_integer_value(json_object_get(split, "tokens")),
           json_integer_value(json_object_get(split, "text_bytes")));
  }
  json_decref(root);
  if (status != NULL) return status;
  printf("every shard is as it was packed\n");
  return output_check();
}

static bool is_dataset(const char *path) {
  char *description = dure_os_path_join(path, DURE_DATASET_DESCRIPTION);
  const bool has_description = description != NULL && dure_os_is_file(description);
  free(description);
  return has_description;
}

static dure_status run(const inspect_options *options, const char *path) {
  if (is_dataset(path)) return run_dataset(options, path);
  dure_safetensors *file = NULL;
  DURE_TRY(dure_weights_open_as_stored(path, &file));
  json_t *root = json_pack("{ss*}", "path", path), *tensors = json_array();
  json_object_set_new(root, "tensors", tensors);
  dure_status status = describe_keys(path, root);
  for (size_t i = 0; i < dure_safetensors_count(file) && status == NULL; i++)
    status = describe_tensor(options, dure_safetensors_get(file, i), tensors);
  if (status == NULL) describe_agreement(path, root);
  if (status == NULL && options->as_json) {
    status = output_json(root);
    root = NULL;  // released
  } else if (status == NULL) {
    status = print(root, options->statistics);
  }
  json_decref(root);
  dure_safetensors_close(file);
  return status;
}

int command_inspect(int argc, char **argv) {
  inspect_options options = {.statistics = true};
  const option_row rows[] = {
      {"statistics", OPTION_FLAG, &options.statistics, NULL, "read every element; --no-statistics only lists (on)"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "everything as one JSON object"},
  };
  const command_usage usage = {
      "dure inspect FILE_OR_DIR [options]",
      "Lists the tensors of a model directory, a safetensors file or a GGUF file with their types, shapes, sizes and\n"
      "statistics, a GGUF file's keys, and what its configuration misses or has no place for. Of a dataset, counts "
      "its\n"
      "documents and tokens and checks every shard against its checksum.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure inspect model.gguf --no-statistics",
      1,
      1};
  const char *const *positional;
  int status = command_parse(&usage, argc, argv, &positional, NULL);
  if (status < 0) status = command_finish(argv[0], run(&options, positional[0]));
  return status;
}
