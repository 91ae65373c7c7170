#include "model/model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "runtime/os.h"

static dure_status create(const char *config_path, dure_device *device, dure_stream *stream, dure_model **out_model) {
  *out_model = NULL;
  dure_model *model = calloc(1, sizeof(*model));
  if (model == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", config_path);
  model->device = device;
  model->stream = stream;
  dure_status status = dure_model_config_read(config_path, &model->config);
  if (status == NULL) status = dure_parameter_layout_create(&model->config, &model->layout);
  if (status == NULL) status = dure_parameter_buffers_create(device, &model->layout, "parameters", &model->weights);
  if (status != NULL) {
    dure_model_destroy(model);
    return status;
  }
  *out_model = model;
  return NULL;
}

void dure_model_destroy(dure_model *model) {
  if (model == NULL) return;
  // Uploads may still be on their way when opening or compiling failed.
  if (model->stream != NULL) dure_status_free(dure_stream_wait(model->stream, 0));
  dure_parameter_buffers_clear(&model->weights);
  dure_parameter_layout_clear(&model->layout);
  if (model->config.family != NULL) dure_model_config_clear(&model->config);
  free(model);
}

dure_status dure_model_open(const char *directory, dure_device *device, dure_stream *stream, dure_model **out_model) {
  *out_model = NULL;
  if (!dure_os_is_directory(directory)) {
    return dure_fail(DURE_NOT_FOUND, "'%s' is not a model directory (with config.json and model.safetensors)",
                     directory);
  }
  dure_model *model = NULL;
  DURE_TRY(create(directory, device, stream, &model));
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(directory, &file);
  if (status == NULL) {
    status = dure_parameters_load(&model->weights, &model->layout, &model->config, file, directory, "", stream);
  }
  dure_safetensors_close(file);
  if (status != NULL) {
    dure_model_destroy(model);
    return status;
  }
  *out_model = model;
  return NULL;
}

static dure_status initialise(const dure_model *model, uint64_t seed) {
  enum { piece_elements = 1 << 16 };
  float *piece = malloc(piece_elements * sizeof(*piece));
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory initialising a model");
  dure_status status = NULL;
  for (size_t i = 0; i < model->layout.count && status == NULL; i++) {
    const dure_parameter *parameter = &model->layout.parameters[i];
    for (uint64_t first = 0; first < parameter->count && status == NULL; first += piece_elements) {
      uint64_t count = parameter->count - first < piece_elements ? parameter->count - first : piece_elements;
      dure_parameter_initial(&model->layout, i, &model->config, seed, first, count, piece);
      status = dure_parameter_upload(&model->weights, parameter, model->stream, first, count, piece);
    }
  }
  free(piece);
  return status;
}

dure_status dure_model_create(const char *config_or_directory, uint64_t seed, dure_device *device, dure_stream *stream,
                              dure_model **out_model) {
  *out_model = NULL;
  dure_model *model = NULL;
  DURE_TRY(create(config_or_directory, device, stream, &model));
  dure_status status = initialise(model, seed);
  if (status != NULL) {
    dure_model_destroy(model);
    return status;
  }
  *out_model = model;
  return NULL;
}

bool dure_model_has_weights(const char *path) {
  bool found = false;
  static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    char *file = dure_os_path_join(path, names[i]);
    found = found || (file != NULL && dure_os_is_file(file));
    free(file);
  }
  return found;
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
  json_t *json = json_object();
  const int64_t ids[2] = {model->config.beginning_id, model->config.end_id};
  static const char *const keys[2] = {"bos_token_id", "eos_token_id"};
  for (size_t i = 0; json != NULL && i < 2; i++) {
    if (ids[i] >= 0) json_object_set_new(json, keys[i], json_integer(ids[i]));
  }
  return write_json(json, directory, "generation_config.json");
}

dure_status dure_model_save(const dure_model *model, const char *directory) {
  char *config_path = dure_os_path_join(directory, "config.json");
  char *weights_path = dure_os_path_join(directory, "model.safetensors");
  dure_status status = NULL;
  if (config_path == NULL || weights_path == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory saving into '%s'", directory);
  }
  if (status == NULL) status = dure_model_config_write(&model->config, config_path);
  if (status == NULL) status = write_generation_config(model, directory);
  if (status == NULL) {
    const dure_named_buffers weights = {&model->weights, ""};
    status = dure_parameters_save(&weights, 1, &model->layout, model->stream, weights_path);
  }
  free(config_path);
  free(weights_path);
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
  json_t *json =
      json_pack("{s:s, s:b, s:I}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0,
                "model_max_length", (json_int_t)model->config.context_length);
  if (json != NULL && end_of_text != NULL) {
    json_object_set_new(json, "bos_token", json_string(end_of_text));
    json_object_set_new(json, "eos_token", json_string(end_of_text));
  }
  return write_json(json, directory, "tokenizer_config.json");
}
