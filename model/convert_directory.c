// Any model to a Hugging Face directory, its tensors in one file or several.
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/companions.h"
#include "model/config.h"
#include "model/convert.h"
#include "model/convert_grouped.h"
#include "model/gguf_family.h"
#include "runtime/log.h"
#include "runtime/os.h"

enum { piece_elements = 1 << 20 };

typedef struct writing {
  const char *in, *out;
  const dure_convert_options *options;
  dure_convert_summary *summary;
  dure_safetensors *weights;
  float *values;   // [piece_elements]
  uint16_t *bits;  // the same, rounded
  size_t *shards;  // [tensor_count]: the file of each, or LEFT_OUT
  dure_model_config config;
  dure_parameter_layout layout;  // with options->grouping
} writing;

static const size_t LEFT_OUT = SIZE_MAX;

static dure_group_plan plan_of(const writing *w, const dure_safetensors_tensor *tensor) {
  return dure_group_plan_of(w->options->grouping, &w->config, &w->layout, tensor, NULL);
}

// NONE: as it is, bit by bit.
static dure_dtype target_type(const writing *w, const dure_safetensors_tensor *tensor) {
  if (w->options->type != NULL && dure_dtype_is_float(tensor->dtype)) {
    const dure_gguf_type *type = dure_gguf_type_named(w->options->type);
    if (type->dtype != tensor->dtype || tensor->read != NULL) return type->dtype;
  }
  return tensor->read != NULL ? tensor->dtype : DURE_DTYPE_NONE;
}

static uint64_t target_size(const writing *w, const dure_safetensors_tensor *tensor) {
  const dure_group_plan plan = plan_of(w, tensor);
  if (plan.type.bits > 0) return dure_group_plan_bytes(&plan);
  const dure_dtype dtype = target_type(w, tensor);
  return dtype == DURE_DTYPE_NONE ? tensor->size : tensor->count * dure_dtype_size(dtype);
}

static dure_status append(const writing *w, dure_safetensors_writer *writer, const dure_safetensors_tensor *tensor) {
  const dure_dtype dtype = target_type(w, tensor);
  w->summary->tensors++;
  w->summary->elements += tensor->count;
  w->summary->bytes += target_size(w, tensor);
  bool is_too_narrow;
  const dure_group_plan plan = dure_group_plan_of(w->options->grouping, &w->config, &w->layout, tensor, &is_too_narrow);
  if (is_too_narrow) w->summary->kept++;
  if (plan.type.bits > 0) return dure_group_plan_append(&plan, w->options->rounded, tensor, writer);
  if (dtype == DURE_DTYPE_NONE) return dure_safetensors_writer_append(writer, tensor->data, tensor->size);
  for (uint64_t done = 0; done < tensor->count;) {
    const uint64_t size = tensor->count - done < piece_elements ? tensor->count - done : piece_elements;
    DURE_TRY(dure_safetensors_read(tensor, done, size, w->values));
    if (dtype == DURE_DTYPE_F16) DURE_TRY(dure_convert_check_f16(tensor->name, w->values, size));
    for (uint64_t i = 0; i < size && dtype != DURE_DTYPE_F32; i++)
      w->bits[i] = dtype == DURE_DTYPE_BF16 ? dure_bf16_from_float(w->values[i]) : dure_f16_from_float(w->values[i]);
    const void *bytes = dtype == DURE_DTYPE_F32 ? (const void *)w->values : w->bits;
    DURE_TRY(dure_safetensors_writer_append(writer, bytes, size * dure_dtype_size(dtype)));
    done += size;
  }
  return NULL;
}

static dure_status fill_shard(const writing *w, dure_safetensors_writer *writer, size_t shard) {
  const size_t count = dure_safetensors_count(w->weights);
  for (size_t i = 0; i < count; i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(w->weights, i);
    if (w->shards[i] != shard) continue;
    const dure_dtype dtype = target_type(w, tensor);
    const dure_group_plan plan = plan_of(w, tensor);
    if (plan.type.bits > 0) {
      DURE_TRY(dure_group_plan_declare(&plan, tensor->name, writer));
    } else if (dtype == DURE_DTYPE_NONE) {
      DURE_TRY(dure_safetensors_writer_declare_alike(writer, tensor));
    } else {
      DURE_TRY(dure_safetensors_writer_declare(writer, tensor->name, dtype, tensor->rank, tensor->shape));
    }
  }
  for (size_t i = 0; i < count; i++) {
    if (w->shards[i] == shard) DURE_TRY(append(w, writer, dure_safetensors_get(w->weights, i)));
  }
  return dure_safetensors_writer_finish(writer);
}

static void shard_name(size_t shard, size_t shard_count, char *out_name, size_t size) {
  if (shard_count == 1) {
    snprintf(out_name, size, "model.safetensors");
  } else {
    snprintf(out_name, size, "model-%05zu-of-%05zu.safetensors", shard + 1, shard_count);
  }
}

static dure_status write_shard(const writing *w, size_t shard, size_t shard_count) {
  char name[64];
  shard_name(shard, shard_count, name, sizeof(name));
  char *path = dure_os_path_join(w->out, name);
  dure_safetensors_writer *writer = NULL;
  dure_status status = path == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", name)
                                    : dure_safetensors_writer_create(path, &writer);
  if (status == NULL) status = fill_shard(w, writer, shard);
  dure_safetensors_writer_destroy(writer);
  free(path);
  return status;
}

// Takes the reference to `json`.
static dure_status write_json(const writing *w, const char *name, json_t *json) {
  char *path = dure_os_path_join(w->out, name);
  char *text = json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
  dure_status status = path == NULL || text == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", name)
                                                    : dure_os_write_file(path, text, strlen(text));
  free(text);
  free(path);
  json_decref(json);
  return status;
}

static dure_status write_index(const writing *w, size_t shard_count) {
  json_t *map = json_object();
  for (size_t i = 0; i < dure_safetensors_count(w->weights); i++) {
    char name[64];
    if (w->shards[i] == LEFT_OUT) continue;
    shard_name(w->shards[i], shard_count, name, sizeof(name));
    json_object_set_new(map, dure_safetensors_get(w->weights, i)->name, json_string(name));
  }
  return write_json(
      w, "model.safetensors.index.json",
      json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->summary->bytes, "weight_map", map));
}

static dure_status write_weights(const writing *w) {
  uint64_t filled = 0;
  size_t shard = 0;
  for (size_t i = 0; i < dure_safetensors_count(w->weights); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(w->weights, i);
    if (dure_model_config_leaves_out(&w->config, tensor->name)) {
      w->shards[i] = LEFT_OUT;
      continue;
    }
    const uint64_t size = target_size(w, tensor);
    if (w->options->shard_size > 0 && filled > 0 && filled + size > w->options->shard_size) {
      shard++;
      filled = 0;
    }
    filled += size;
    w->shards[i] = shard;
  }
  for (size_t i = 0; i <= shard; i++) DURE_TRY(write_shard(w, i, shard + 1));
  w->summary->files = shard + 1;
  return shard > 0 ? write_index(w, shard + 1) : NULL;
}

// ---- what is not tensors -----------------------------------------------------------------------------------------

static dure_dtype most_written(const writing *w) {
  uint64_t counts[DURE_DTYPE_U8 + 1] = {0};
  dure_dtype most = DURE_DTYPE_F32;
  for (size_t i = 0; i < dure_safetensors_count(w->weights); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(w->weights, i);
    const dure_dtype dtype = target_type(w, tensor);
    counts[dtype == DURE_DTYPE_NONE ? tensor->dtype : dtype] += tensor->count;
  }
  if (counts[DURE_DTYPE_BF16] > counts[most]) most = DURE_DTYPE_BF16;
  if (counts[DURE_DTYPE_F16] > counts[most]) most = DURE_DTYPE_F16;
  return most;
}

// What a reader that knows nothing of these tensors is told.
static dure_status add_quantisation(const writing *w, const char *path) {
  const dure_group_type *type = &w->options->grouping->type;
  json_t *config = json_load_file(path, 0, NULL);
  if (config == NULL) return dure_fail(DURE_IO, "'%s' could not be read again", path);
  json_object_set_new(config, "quantization_config",
                      json_pack("{ss si si sb}", "quant_method", "dure", "bits", (int)type->bits, "group_size",
                                (int)type->group, "minima", type->has_minima));
  return write_json(w, "config.json", config);
}

static dure_status write_config(const writing *w) {
  char *path = dure_os_path_join(w->out, "config.json");
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing 'config.json'");
  dure_status status = dure_model_config_write(&w->config, most_written(w), path);
  if (status == NULL && w->options->grouping != NULL) status = add_quantisation(w, path);
  free(path);
  return status;
}

static dure_status write_text(const writing *w, const char *name, const char *text, size_t length) {
  char *path = dure_os_path_join(w->out, name);
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", name);
  dure_status status = dure_os_write_file(path, text, length);
  free(path);
  return status;
}

// From a directory: as they are.
static dure_status copy_companions(const writing *w) {
  static const char *const names[] = {
      "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model",       "vocab.json",
      "merges.txt",     "added_tokens.json",     "chat_template.jinja",     "generation_config.json"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    char *text;
    size_t length;
    DURE_TRY(dure_convert_read(w->in, names[i], &text, &length));
    dure_status status = text != NULL ? write_text(w, names[i], text, length) : NULL;
    free(text);
    DURE_TRY(status);
  }
  return NULL;
}

static dure_status write_companions(const writing *w, const dure_gguf *file) {
  dure_model_config config;
  dure_companions companions;
  dure_tokenizer *tokenizer = NULL;
  char *json = NULL;
  size_t length;
  DURE_TRY(dure_gguf_config(file, &config));
  dure_status status = dure_companions_of_gguf(file, &companions);
  if (status == NULL) status = dure_gguf_tokenizer(file, &json, &length);
  if (status == NULL) status = dure_tokenizer_parse(json, length, &tokenizer);
  if (status != NULL) {
    dure_log(DURE_LOG_WARNING, "without a tokenizer: %s", dure_status_message(status));
    dure_status_free(status);
    status = NULL;
  } else {
    status = write_text(w, "tokenizer.json", json, length);
  }
  if (status == NULL) status = write_json(w, "generation_config.json", json_incref(companions.generation_config));
  if (status == NULL && tokenizer != NULL) status = dure_companions_write(&companions, config.context_length, w->out);
  free(json);
  dure_companions_clear(&companions);
  dure_tokenizer_close(tokenizer);
  dure_model_config_clear(&config);
  return status;
}

static dure_status make_companions(const writing *w) {
  dure_gguf *file = NULL;
  if (!dure_gguf_is_file(w->in)) return copy_companions(w);
  DURE_TRY(dure_gguf_open(w->in, &file));
  dure_status status = write_companions(w, file);
  dure_gguf_close(file);
  return status;
}

dure_status dure_convert_to_directory(const char *in, const char *out, const dure_convert_options *options,
                                      dure_convert_summary *summary) {
  writing w = {.in = in, .out = out, .options = options, .summary = summary};
  dure_status status = dure_weights_open(in, &w.weights);
  if (status == NULL) {
    w.values = malloc(piece_elements * sizeof(*w.values));
    w.bits = malloc(piece_elements * sizeof(*w.bits));
    w.shards = calloc(dure_safetensors_count(w.weights) + 1, sizeof(*w.shards));
    if (w.values == NULL || w.bits == NULL || w.shards == NULL)
      status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory converting '%s'", in);
  }
  if (status == NULL) status = dure_model_config_read(in, &w.config);
  if (status == NULL && options->grouping != NULL) status = dure_parameter_layout_create(&w.config, &w.layout);
  if (status == NULL) status = write_config(&w);
  if (status == NULL) status = make_companions(&w);
  if (status == NULL) status = write_weights(&w);
  free(w.values);
  free(w.bits);
  free(w.shards);
  dure_parameter_layout_clear(&w.layout);
  if (w.config.family != NULL) dure_model_config_clear(&w.config);
  dure_safetensors_close(w.weights);
  return status;
}
