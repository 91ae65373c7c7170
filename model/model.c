#include "model/model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "model/packed.h"
#include "model/parameter_hash.h"
#include "model/tensor_parallel.h"
#include "model/weights.h"
#include "runtime/workers.h"
#include "runtime/log.h"
#include "runtime/os.h"

static dure_status open_weights(dure_model *model, const char *path) {
  model->path = strdup(path);
  if (model->path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  DURE_TRY(dure_weights_open(path, &model->file));
  dure_safetensors_read_ahead(model->file);
  return NULL;
}

static void close_weights(dure_model *model) {
  dure_safetensors_close(model->file);
  free(model->path);
  model->file = NULL;
  model->path = NULL;
}

static dure_status create_buffers(dure_model *model, const dure_model_options *options) {
  const dure_parameter_storage weights = {
      .label = "parameters",
      .dtype = options->dtype != DURE_DTYPE_NONE ? options->dtype : DURE_DTYPE_F32,
      .block = 1,
      .home = options->home,
      .shard = options->shards_weights ? options->shard : 0,
      .shards = options->shards_weights ? options->shards : 0,
  };
  DURE_TRY(dure_parameter_buffers_create(model->device, &model->layout, &weights, &model->weights));
  if (!options->has_master || weights.dtype == DURE_DTYPE_F32) return NULL;
  const dure_parameter_storage masters = {
      .label = "f32 masters",
      .dtype = DURE_DTYPE_F32,
      .block = 1,
      .home = options->master_home,
      .shard = options->shards_masters ? options->shard : 0,
      .shards = options->shards_masters ? options->shards : 0,
  };
  return dure_parameter_buffers_create(model->device, &model->layout, &masters, &model->masters);
}

// is_stored: a model that has weights; their file is opened, for dure_model_load.
static dure_status create(const char *config_path, bool is_stored, const dure_model_options *options,
                          dure_device *device, dure_stream *stream, dure_model **out_model) {
  *out_model = NULL;
  dure_model *model = calloc(1, sizeof(*model));
  if (model == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", config_path);
  model->device = device;
  model->stream = stream;
  dure_status status = dure_model_config_read(config_path, &model->config);
  if (status == NULL) status = dure_model_config_divide(&model->config, options->tensor_part, options->tensor_parts);
  if (status == NULL) status = dure_parameter_layout_create(&model->config, &model->layout);
  if (status == NULL) dure_parameter_layout_divide(&model->layout, options->shards);
  if (status == NULL && is_stored) status = open_weights(model, config_path);
  if (status == NULL && is_stored && options->keeps_packed)
    dure_packed_choose(&model->layout, &model->config, model->file, options->rounds_activations);
  if (status == NULL) status = create_buffers(model, options);
  if (status != NULL) {
    dure_model_destroy(model);
    return status;
  }
  *out_model = model;
  return NULL;
}

void dure_model_destroy(dure_model *model) {
  if (model == NULL) return;
  close_weights(model);
  // Uploads may still be on their way when opening or compiling failed.
  if (model->stream != NULL) dure_status_free(dure_stream_wait(model->stream, 0));
  dure_parameter_buffers_clear(&model->masters);
  dure_parameter_buffers_clear(&model->weights);
  dure_parameter_layout_clear(&model->layout);
  if (model->config.family != NULL) dure_model_config_clear(&model->config);
  dure_companions_clear(&model->companions);
  free(model);
}

// The sets that hold the parameters: weights, and masters where there are some.
static size_t list_sets(const dure_model *model, const dure_parameter_buffers *out_sets[2]) {
  out_sets[0] = &model->weights;
  out_sets[1] = &model->masters;
  return model->masters.count > 0 ? 2 : 1;
}

dure_status dure_model_open(const char *directory, dure_device *device, dure_stream *stream, dure_model **out_model) {
  return dure_model_open_as(directory, &(dure_model_options){.dtype = DURE_DTYPE_F32}, device, stream, out_model);
}

static dure_status load(dure_model *model) {
  const dure_safetensors *file = model->file;
  const char *path = model->path;
  const dure_parameter_buffers *sets[2];
  const size_t count = list_sets(model, sets);
  const uint64_t begun = dure_os_nanoseconds();
  DURE_TRY(
      dure_parameters_load(sets, count, &model->layout, &model->config, file, path, "", DURE_POOLS_ALL, model->stream));
  DURE_TRY(dure_packed_load(&model->weights, &model->layout, &model->config, file, path, model->stream));
  dure_log(DURE_LOG_DEBUG, "loaded the weights in %.2f s", (double)(dure_os_nanoseconds() - begun) / 1e9);
  return NULL;
}

dure_status dure_model_load(dure_model *model) {
  if (model->file == NULL) return NULL;
  dure_status status = load(model);
  if (status == NULL) close_weights(model);  // else nothing may run without them
  return status;
}

static bool is_packed(const dure_model *model) {
  for (size_t i = 0; i < model->layout.count; i++)
    if (model->layout.parameters[i].bits > 0) return true;
  return false;
}

static dure_status load_pool(dure_model *model, size_t pool) {
  const dure_parameter_buffers *sets[2];
  const size_t count = list_sets(model, sets);
  if (model->pools_loaded++ == 0)
    DURE_TRY(dure_parameters_check(&model->layout, &model->config, model->file, model->path, ""));
  return dure_parameters_load(sets, count, &model->layout, &model->config, model->file, model->path, "", pool,
                              model->stream);
}

dure_status dure_model_load_pool(dure_model *model, size_t pool) {
  if (model->file == NULL) return NULL;
  if (is_packed(model)) return dure_model_load(model);
  const uint64_t begun = dure_os_nanoseconds();
  dure_status status = load_pool(model, pool);
  model->loading_nanoseconds += dure_os_nanoseconds() - begun;
  if (status != NULL || model->pools_loaded < model->layout.pool_count) return status;
  dure_log(DURE_LOG_DEBUG, "loaded the weights in %.2f s", (double)model->loading_nanoseconds / 1e9);
  close_weights(model);
  return NULL;
}

dure_status dure_model_compile(dure_model *model, const dure_program *program, const dure_place *places,
                               size_t place_count, const dure_compile_options *options,
                               dure_executable **out_executable) {
  DURE_TRY(dure_program_compile(program, model->device, places, place_count, options, out_executable));
  dure_status status = dure_model_load(model);
  if (status == NULL) return NULL;
  dure_executable_destroy(*out_executable);
  *out_executable = NULL;
  return status;
}

dure_status dure_model_open_as(const char *directory, const dure_model_options *options, dure_device *device,
                               dure_stream *stream, dure_model **out_model) {
  *out_model = NULL;
  if (!dure_os_is_directory(directory) && !dure_gguf_is_file(directory)) {
    return dure_fail(DURE_NOT_FOUND,
                     "'%s' is neither a model directory (with config.json and model.safetensors) nor a GGUF file",
                     directory);
  }
  dure_model *model = NULL;
  dure_status status = create(directory, true, options, device, stream, &model);
  if (status == NULL && !options->loads_later) status = dure_model_load(model);
  if (status != NULL) {
    dure_model_destroy(model);
    return status;
  }
  *out_model = model;
  status = dure_companions_read(directory, &model->companions);  // a model without readable ones is still a model
  if (status != NULL) dure_log(DURE_LOG_WARNING, "%s", dure_status_message(status));
  dure_status_free(status);
  return NULL;
}

// A piece of a parameter that is being made.
typedef struct initial_piece {
  const dure_model *model;
  size_t parameter;
  uint64_t seed, first;
  float *values;
} initial_piece;

static void make_values(void *context, uint64_t first, uint64_t count) {
  const initial_piece *piece = context;
  dure_parameter_initial(&piece->model->layout, piece->parameter, &piece->model->config, piece->seed,
                         piece->first + first, count, piece->values + first);
}

enum { piece_elements = 1 << 20, grain_elements = 1 << 12, most_makers = 32 };

static dure_status initialise_pieces(const dure_model *model, initial_piece *piece, dure_workers *workers) {
  const dure_parameter_buffers *sets[2];
  const size_t set_count = list_sets(model, sets);
  for (size_t i = 0; i < model->layout.count; i++) {
    const dure_parameter *parameter = &model->layout.parameters[i];
    piece->parameter = i;
    for (piece->first = 0; piece->first < parameter->count; piece->first += piece_elements) {
      const uint64_t left = parameter->count - piece->first, count = left < piece_elements ? left : piece_elements;
      dure_workers_start(workers, make_values, piece, count, grain_elements);
      dure_workers_wait(workers);
      for (size_t k = 0; k < set_count; k++)
        DURE_TRY(dure_parameter_upload(sets[k], parameter, model->stream, piece->first, count, piece->values));
    }
  }
  return NULL;
}

// Each value is a function of its place alone, so that any number of threads makes the same ones.
static dure_status initialise(const dure_model *model, uint64_t seed) {
  initial_piece piece = {.model = model, .seed = seed, .values = malloc(piece_elements * sizeof(*piece.values))};
  if (piece.values == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory initialising a model");
  const uint32_t cores = dure_os_core_count();
  dure_workers *workers = NULL;
  dure_status status = dure_workers_create(cores < most_makers ? cores : most_makers, &workers);
  if (status == NULL) status = initialise_pieces(model, &piece, workers);
  dure_workers_destroy(workers);
  free(piece.values);
  return status;
}

dure_status dure_model_create(const char *config_or_directory, uint64_t seed, dure_device *device, dure_stream *stream,
                              dure_model **out_model) {
  return dure_model_create_as(config_or_directory, seed, &(dure_model_options){.dtype = DURE_DTYPE_F32}, device, stream,
                              out_model);
}

dure_status dure_model_create_as(const char *config_or_directory, uint64_t seed, const dure_model_options *options,
                                 dure_device *device, dure_stream *stream, dure_model **out_model) {
  *out_model = NULL;
  dure_model *model = NULL;
  DURE_TRY(create(config_or_directory, false, options, device, stream, &model));
  dure_status status = initialise(model, seed);
  if (status != NULL) {
    dure_model_destroy(model);
    return status;
  }
  *out_model = model;
  return NULL;
}

bool dure_model_has_weights(const char *path) { return dure_weights_exist(path); }

dure_status dure_model_hash(const dure_model *model, bool undivided_alone, uint64_t *out_hash) {
  return dure_parameters_hash(&model->layout, &model->weights, undivided_alone, model->stream, out_hash);
}

dure_dtype dure_model_dtype(const dure_model *model) { return model->weights.storage.dtype; }

dure_dtype dure_model_file_dtype(const char *directory) {
  dure_safetensors *file = NULL;
  dure_status status = dure_weights_open(directory, &file);
  if (status != NULL) {
    dure_status_free(status);
    return DURE_DTYPE_NONE;
  }
  static const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16, DURE_DTYPE_F64};
  enum { type_count = sizeof(types) / sizeof(types[0]) };
  uint64_t counts[type_count] = {0};
  dure_dtype most = DURE_DTYPE_NONE;
  for (size_t i = 0; i < dure_safetensors_count(file); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(file, i);
    // Quantised weights are read as f32; f16 keeps what they say.
    const dure_dtype dtype = tensor->type[0] == 'Q' ? DURE_DTYPE_F16 : tensor->dtype;
    for (size_t k = 0; k < type_count; k++) counts[k] += dtype == types[k] ? tensor->count : 0;
  }
  uint64_t largest = 0;
  for (size_t k = 0; k < type_count; k++) {
    if (counts[k] <= largest) continue;
    largest = counts[k];
    most = types[k];
  }
  dure_safetensors_close(file);
  return most;
}

dure_status dure_model_parse_type(const char *option, const char *word, dure_dtype *out_dtype) {
  static const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16};
  *out_dtype = DURE_DTYPE_NONE;
  if (word == NULL || strcmp(word, "auto") == 0) return NULL;
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    if (strcmp(word, dure_dtype_name(types[i])) == 0) *out_dtype = types[i];
  }
  if (*out_dtype != DURE_DTYPE_NONE) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "%s must be one of auto, f32, bf16, f16; found '%.40s'", option, word);
}

dure_status dure_model_parse_cache_type(const char *word, dure_dtype *out_dtype) {
  if (word != NULL && strcmp(word, "q8_0") == 0) {
    *out_dtype = DURE_DTYPE_U8;
    return NULL;
  }
  dure_status status = dure_model_parse_type("--cache-type", word, out_dtype);
  if (status == NULL) return NULL;
  dure_status_free(status);
  return dure_fail(DURE_INVALID_ARGUMENT, "--cache-type must be one of auto, f32, bf16, f16, q8_0; found '%.40s'",
                   word);
}

dure_status dure_model_parse_dtype(const char *word, dure_dtype *out_dtype) {
  return dure_model_parse_type("--dtype", word, out_dtype);
}

dure_status dure_model_choose_dtype(const char *word, const dure_device *device, const char *directory,
                                    dure_dtype *out_dtype) {
  DURE_TRY(dure_model_parse_dtype(word, out_dtype));
  if (*out_dtype == DURE_DTYPE_NONE) {
    *out_dtype = DURE_DTYPE_F32;
    const dure_device_kind kind = dure_device_get_info(device)->kind;
    if (kind == DURE_DEVICE_CPU || kind == DURE_DEVICE_REFERENCE) return NULL;
    const dure_dtype stored = dure_model_file_dtype(directory);
    if (stored == DURE_DTYPE_BF16 || stored == DURE_DTYPE_F16) *out_dtype = stored;
    return NULL;
  }
  return NULL;
}

// Takes the reference to `json`.
static dure_status write_json(json_t *json, const char *directory, const char *name) {
  char *path = dure_os_path_join(directory, name);
  char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(2));
  dure_status status = path == NULL || text == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", name)
                                                    : dure_os_write_file(path, text, strlen(text));
  free(text);
  free(path);
  json_decref(json);
  return status;
}

static dure_status write_generation_config(const dure_model *model, const char *directory) {
  json_t *json =
      model->companions.generation_config != NULL ? json_deep_copy(model->companions.generation_config) : json_object();
  const int64_t ids[2] = {model->config.beginning_id, model->config.end_id};
  static const char *const keys[2] = {"bos_token_id", "eos_token_id"};
  for (size_t i = 0; json != NULL && i < 2; i++) {
    if (ids[i] >= 0 && json_object_get(json, keys[i]) == NULL) json_object_set_new(json, keys[i], json_integer(ids[i]));
  }
  return write_json(json, directory, "generation_config.json");
}

dure_status dure_model_save(const dure_model *model, const char *directory) {
  return dure_model_save_copy(model, model->masters.count > 0 ? &model->masters : &model->weights, directory);
}

static dure_status save_configs(const dure_model *model, dure_dtype dtype, const char *directory) {
  char *path = dure_os_path_join(directory, "config.json");
  dure_status status = path == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory saving into '%s'", directory)
                                    : dure_model_config_write(&model->config, dtype, path);
  free(path);
  return status != NULL ? status : write_generation_config(model, directory);
}

dure_status dure_model_save_description(const dure_model *model, const char *directory) {
  return save_configs(model, model->masters.count > 0 ? DURE_DTYPE_F32 : model->weights.storage.dtype, directory);
}

dure_status dure_model_save_copy(const dure_model *model, const dure_parameter_buffers *weights,
                                 const char *directory) {
  DURE_TRY(save_configs(model, weights->storage.dtype, directory));
  char *path = dure_os_path_join(directory, "model.safetensors");
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory saving into '%s'", directory);
  const dure_named_buffers named = {weights, "", NULL};
  dure_status status = dure_parameters_save(&named, 1, &model->layout, model->stream, path);
  free(path);
  return status;
}

dure_status dure_model_save_tokenizer(const dure_model *model, const char *tokenizer_path, const char *end_of_text,
                                      const char *directory) {
  char *target = dure_os_path_join(directory, "tokenizer.json");
  if (target == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory saving into '%s'", directory);
  const void *bytes = NULL;
  uint64_t size = 0;
  dure_status status = dure_os_map_file(tokenizer_path, &bytes, &size);
  if (status == NULL) status = dure_os_write_file(target, bytes, (size_t)size);
  dure_os_unmap(bytes, size);
  free(target);
  DURE_TRY(status);
  dure_companions kept = model->companions;
  kept.tokenizer_config = kept.tokenizer_config != NULL ? json_deep_copy(kept.tokenizer_config) : json_object();
  if (end_of_text != NULL && dure_companions_token(&kept, "eos_token") == NULL) {
    json_object_set_new(kept.tokenizer_config, "bos_token", json_string(end_of_text));
    json_object_set_new(kept.tokenizer_config, "eos_token", json_string(end_of_text));
  }
  status = dure_companions_write(&kept, model->config.context_length, directory);
  json_decref(kept.tokenizer_config);
  return status;
}
