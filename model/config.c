#include "model/config.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"
#include "model/tensor_parallel.h"
#include "model/gguf_family.h"
#include "runtime/log.h"
#include "runtime/nearest.h"
#include "runtime/os.h"

static const dure_family *const families[] = {
#define DURE_FAMILY(suffix, model_type, about) &dure_family_##suffix,
#include "model/families.def"
#undef DURE_FAMILY
};
static const char *const family_types[] = {
#define DURE_FAMILY(suffix, model_type, about) model_type,
#include "model/families.def"
#undef DURE_FAMILY
};
static const char *const family_texts[] = {
#define DURE_FAMILY(suffix, model_type, about) about,
#include "model/families.def"
#undef DURE_FAMILY
};
enum { family_count = sizeof(families) / sizeof(families[0]), max_config_bytes = 16 << 20 };

// ---- keys --------------------------------------------------------------------------------------------------------

// What stands there, for messages; `out_text` [48] where it is a number.
static const char *describe(const json_t *value, char out_text[48]) {
  switch (value == NULL ? JSON_NULL : json_typeof(value)) {
    case JSON_INTEGER: snprintf(out_text, 48, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); return out_text;
    case JSON_REAL: snprintf(out_text, 48, "%g", json_real_value(value)); return out_text;
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: break;
  }
  return "nothing";
}

dure_status dure_config_integer(const char *name, const json_t *json, const char *key, int64_t fallback,
                                int64_t minimum, int64_t maximum, int64_t *out_value) {
  *out_value = fallback;
  const json_t *value = json_object_get(json, key);
  if ((value == NULL || json_is_null(value)) && fallback >= 0) return NULL;
  if (!json_is_integer(value) || json_integer_value(value) < minimum || json_integer_value(value) > maximum) {
    return dure_fail(DURE_CORRUPT, "'%s': \"%s\" must be a whole number from %" PRId64 " to %" PRId64 "; found %s",
                     name, key, minimum, maximum, describe(value, (char[48]){0}));
  }
  *out_value = json_integer_value(value);
  return NULL;
}

dure_status dure_config_number(const char *name, const json_t *json, const char *key, double fallback, double minimum,
                               double maximum, double *out_value) {
  *out_value = fallback;
  const json_t *value = json_object_get(json, key);
  if (value == NULL || json_is_null(value)) return NULL;
  double number = json_number_value(value);
  if (!json_is_number(value) || !(number >= minimum && number <= maximum)) {
    return dure_fail(DURE_CORRUPT, "'%s': \"%s\" must be a number from %g to %g; found %s", name, key, minimum, maximum,
                     describe(value, (char[48]){0}));
  }
  *out_value = number;
  return NULL;
}

dure_status dure_config_boolean(const char *name, const json_t *json, const char *key, bool fallback, bool *out_value) {
  *out_value = fallback;
  const json_t *value = json_object_get(json, key);
  if (value == NULL || json_is_null(value)) return NULL;
  if (!json_is_boolean(value)) {
    return dure_fail(DURE_CORRUPT, "'%s': \"%s\" must be true or false; found %s", name, key,
                     describe(value, (char[48]){0}));
  }
  *out_value = json_is_true(value);
  return NULL;
}

dure_status dure_config_token(const char *name, const json_t *json, const char *key, uint32_t vocabulary_size,
                              int64_t *out_id) {
  *out_id = -1;
  const json_t *value = json_object_get(json, key);
  if (json_is_array(value)) value = json_array_get(value, 0);
  if (value == NULL || json_is_null(value)) return NULL;
  if (!json_is_integer(value))
    return dure_fail(DURE_CORRUPT, "'%s': \"%s\" must be a token; found %s", name, key, describe(value, (char[48]){0}));
  if (json_integer_value(value) < 0 || json_integer_value(value) >= (json_int_t)vocabulary_size) {
    // Common: small configurations made from a family's defaults keep the defaults' tokens.
    dure_log(DURE_LOG_WARNING,
             "'%s': \"%s\" is %" JSON_INTEGER_FORMAT
             ", which is no token below vocab_size (%u): "
             "taken as none",
             name, key, json_integer_value(value), vocabulary_size);
    return NULL;
  }
  *out_id = json_integer_value(value);
  return NULL;
}

static const struct {
  const char *name;
  dure_activation kind;
} activations[] = {
    {"gelu_new", DURE_ACTIVATION_GELU_TANH},
    {"gelu_pytorch_tanh", DURE_ACTIVATION_GELU_TANH},
    {"gelu_fast", DURE_ACTIVATION_GELU_TANH},
    {"gelu_python_tanh", DURE_ACTIVATION_GELU_TANH},
    {"gelu_accurate", DURE_ACTIVATION_GELU_TANH},
    {"gelu", DURE_ACTIVATION_GELU_ERF},
    {"gelu_python", DURE_ACTIVATION_GELU_ERF},
    {"relu", DURE_ACTIVATION_RELU},
    {"silu", DURE_ACTIVATION_SILU},
    {"swish", DURE_ACTIVATION_SILU},
};
enum { activation_count = sizeof(activations) / sizeof(activations[0]) };

dure_status dure_config_activation(const char *name, const json_t *json, const char *key, dure_activation fallback,
                                   dure_activation *out_kind) {
  *out_kind = fallback;
  const json_t *value = json_object_get(json, key);
  if (value == NULL || json_is_null(value)) return NULL;
  const char *text = json_string_value(value);
  if (text == NULL)
    return dure_fail(DURE_CORRUPT, "'%s': \"%s\" must be a name; found %s", name, key, describe(value, (char[48]){0}));
  const char *names[activation_count];
  for (size_t i = 0; i < activation_count; i++) {
    names[i] = activations[i].name;
    if (strcmp(text, names[i]) != 0) continue;
    *out_kind = activations[i].kind;
    return NULL;
  }
  return dure_fail(DURE_UNSUPPORTED, "'%s': the activation \"%.40s\" is not supported; the nearest that is: \"%s\"",
                   name, text, dure_nearest_name(text, names, activation_count, NULL));
}

const char *dure_config_activation_name(dure_activation kind) {
  for (size_t i = 0; i < activation_count; i++) {
    if (activations[i].kind == kind) return activations[i].name;
  }
  return "";
}

bool dure_model_family(size_t index, dure_family_description *out_family) {
  memset(out_family, 0, sizeof(*out_family));
  if (index >= family_count) return false;
  *out_family =
      (dure_family_description){families[index]->model_type, families[index]->architecture, family_texts[index]};
  return true;
}

// ---- files -------------------------------------------------------------------------------------------------------

static dure_status find_family(const char *name, const json_t *json, const dure_family **out_family) {
  *out_family = NULL;
  const char *type = json_string_value(json_object_get(json, "model_type"));
  if (type == NULL) {
    return dure_fail(DURE_CORRUPT, "'%s' has no \"model_type\"; it should be one of those supported, such as \"%s\"",
                     name, family_types[0]);
  }
  for (size_t i = 0; i < family_count; i++) {
    if (strcmp(type, family_types[i]) == 0) *out_family = families[i];
  }
  if (*out_family != NULL) return NULL;
  return dure_fail(DURE_UNSUPPORTED, "'%s': model type \"%.40s\" is not supported; the nearest that is: \"%s\"", name,
                   type, dure_nearest_name(type, family_types, family_count, NULL));
}

dure_status dure_model_config_parse(const char *name, const char *text, size_t length, dure_model_config *out_config) {
  memset(out_config, 0, sizeof(*out_config));
  json_error_t error;
  json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
  if (json == NULL) {
    return dure_fail(DURE_CORRUPT, "'%s' is not JSON: line %d, column %d: %s", name, error.line, error.column,
                     error.text);
  }
  dure_model_config config = {.source = json};
  dure_status status = json_is_object(json) ? find_family(name, json, &config.family)
                                            : dure_fail(DURE_CORRUPT, "'%s' must be a JSON object", name);
  if (status == NULL) status = config.family->parse(name, json, &config);
  if (status != NULL) {
    json_decref(json);
    return status;
  }
  *out_config = config;
  return NULL;
}

static dure_status read_gguf(const char *path, dure_model_config *out_config) {
  dure_gguf *file = NULL;
  DURE_TRY(dure_gguf_open(path, &file));
  dure_status status = dure_gguf_config(file, out_config);
  dure_gguf_close(file);
  return status;
}

dure_status dure_model_config_read(const char *file_or_directory, dure_model_config *out_config) {
  memset(out_config, 0, sizeof(*out_config));
  if (dure_gguf_is_file(file_or_directory)) return read_gguf(file_or_directory, out_config);
  bool is_directory = dure_os_is_directory(file_or_directory);
  char *path = is_directory ? dure_os_path_join(file_or_directory, "config.json") : strdup(file_or_directory);
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", file_or_directory);
  char *text = NULL;
  size_t length = 0;
  dure_status status = dure_os_read_file(path, max_config_bytes, &text, &length);
  if (status == NULL) status = dure_model_config_parse(path, text, length, out_config);
  free(text);
  free(path);
  return status;
}

void dure_model_config_clear(dure_model_config *config) {
  json_decref(config->source);
  memset(config, 0, sizeof(*config));
}

static const char *type_name(dure_dtype dtype) {
  if (dtype == DURE_DTYPE_BF16) return "bfloat16";
  return dtype == DURE_DTYPE_F16 ? "float16" : "float32";
}

static dure_status fill_json(const dure_model_config *config, dure_dtype dtype, json_t *json) {
  json_object_del(json, "torch_dtype");  // the old spelling of dtype
  json_object_set_new(json, "model_type", json_string(config->family->model_type));
  json_object_set_new(json, "architectures", json_pack("[s]", config->family->architecture));
  json_object_set_new(json, "dtype", json_string(type_name(dtype)));
  return config->family->write(config, json);
}

// Replaces the text's terminating NUL by a newline.
static dure_status write_with_newline(const char *path, char *text) {
  size_t length = strlen(text);
  text[length] = '\n';
  return dure_os_write_file(path, text, length + 1);
}

dure_status dure_model_config_write(const dure_model_config *config, dure_dtype dtype, const char *path) {
  json_t *json = config->source != NULL ? json_deep_copy(config->source) : json_object();
  if (json == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  const char *quantised =
      json_string_value(json_object_get(json_object_get(json, "quantization_config"), "quant_method"));
  if (quantised != NULL && strcmp(quantised, "dure") == 0) json_object_del(json, "quantization_config");
  const dure_model_config whole = dure_model_config_whole(config);
  dure_status status = fill_json(&whole, dtype, json);
  char *text = status == NULL ? json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
  json_decref(json);
  if (status == NULL && text == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  if (status == NULL) status = write_with_newline(path, text);
  free(text);
  return status;
}

bool dure_model_config_leaves_out(const dure_model_config *config, const char *tensor_name) {
  static const char layer[] = "model.layers.";
  const dure_family *family = config->family;
  if (family->is_ignored != NULL && family->is_ignored(tensor_name)) return true;
  if (config->extra_layers == 0 || strncmp(tensor_name, layer, strlen(layer)) != 0) return false;
  const unsigned long number = strtoul(tensor_name + strlen(layer), NULL, 10);
  return number >= config->layer_count && number - config->layer_count < config->extra_layers;
}

bool dure_model_config_has(const dure_model_config *config, dure_trait trait) {
  return trait == DURE_TRAIT_NONE || (config->traits & trait) != 0;
}

uint32_t dure_model_config_window(const dure_model_config *config, uint32_t layer) {
  return config->is_local[layer] ? config->window : 0;
}

float dure_model_config_attention_scale(const dure_model_config *config, uint32_t layer) {
  double scale = config->scales_attention
                     ? 1.0 / sqrt(config->query_scalar > 0 ? config->query_scalar : (double)config->head_width)
                     : 1.0;
  if (config->scales_by_layer) scale /= (double)layer + 1.0;
  return (float)scale;
}
