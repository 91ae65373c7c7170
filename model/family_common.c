// What most families spell alike in config.json.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/family.h"
#include "runtime/nearest.h"

// Sizes beyond these are mistakes, and keep every product of two within 64 bits with room to spare.
enum { max_width = 1 << 20, max_vocabulary = 1 << 24 };

void dure_config_set_default(json_t *json, const char *key, json_t *value) {
  if (json_object_get(json, key) == NULL) {
    json_object_set_new(json, key, value);
  } else {
    json_decref(value);
  }
}

dure_status dure_config_require(const char *name, const json_t *json, const char *key, bool fallback, bool expected) {
  bool value;
  DURE_TRY(dure_config_boolean(name, json, key, fallback, &value));
  if (value == expected) return NULL;
  return dure_fail(DURE_UNSUPPORTED, "'%s': \"%s\" is %s; only models where it is %s are supported", name, key,
                   value ? "true" : "false", expected ? "true" : "false");
}

static dure_status read_sizes(const char *name, const json_t *json, const dure_config_keys *keys,
                              dure_model_config *config) {
  int64_t vocabulary, context, width, layers, heads, inner = 0;
  DURE_TRY(dure_config_integer(name, json, keys->vocabulary, -1, 1, max_vocabulary, &vocabulary));
  DURE_TRY(dure_config_integer(name, json, keys->context, keys->default_context, 1, max_vocabulary, &context));
  DURE_TRY(dure_config_integer(name, json, keys->width, -1, 1, max_width, &width));
  DURE_TRY(dure_config_integer(name, json, keys->layers, -1, 1, DURE_LAYERS_MOST, &layers));
  DURE_TRY(dure_config_integer(name, json, keys->heads, -1, 1, max_width, &heads));
  if (keys->inner != NULL) DURE_TRY(dure_config_integer(name, json, keys->inner, 4 * width, 1, 4 * max_width, &inner));
  config->vocabulary_size = (uint32_t)vocabulary;
  config->context_length = (uint32_t)context;
  config->width = config->embedding_width = (uint32_t)width;
  config->layer_count = (uint32_t)layers;
  config->head_count = config->key_head_count = (uint32_t)heads;
  config->head_width = (uint32_t)(width / heads);
  config->inner_width = (uint32_t)(keys->inner != NULL ? inner : 4 * width);
  return NULL;
}

static const char *deviation_key(const dure_config_keys *keys) {
  return keys->deviation != NULL ? keys->deviation : "initializer_range";
}

dure_status dure_config_common(const char *name, const json_t *json, const dure_config_keys *keys,
                               dure_model_config *config) {
  DURE_TRY(read_sizes(name, json, keys, config));
  config->norm_epsilon = keys->default_epsilon;
  if (keys->norm_epsilon != NULL)
    DURE_TRY(
        dure_config_number(name, json, keys->norm_epsilon, keys->default_epsilon, 1e-12, 1, &config->norm_epsilon));
  if (keys->activation != NULL)
    DURE_TRY(dure_config_activation(name, json, keys->activation, keys->default_activation, &config->activation));
  DURE_TRY(dure_config_number(name, json, deviation_key(keys),
                              keys->default_deviation > 0 ? keys->default_deviation : 0.02, 0, 10,
                              &config->initializer_range));
  DURE_TRY(dure_config_boolean(name, json, "tie_word_embeddings", keys->default_tied, &config->tied_head));
  DURE_TRY(dure_config_token(name, json, "bos_token_id", config->vocabulary_size, &config->beginning_id));
  DURE_TRY(dure_config_token(name, json, "eos_token_id", config->vocabulary_size, &config->end_id));
  config->scales_attention = true;
  config->traits |= DURE_TRAIT_FINAL_NORM;
  if (!config->tied_head) config->traits |= DURE_TRAIT_UNTIED_HEAD;
  return NULL;
}

static json_t *token_or_null(int64_t id) { return id < 0 ? json_null() : json_integer(id); }

void dure_config_common_write(const dure_model_config *config, const dure_config_keys *keys, json_t *json) {
  json_object_set_new(json, keys->vocabulary, json_integer(config->vocabulary_size));
  if (json_object_get(json, keys->context) != NULL || (int64_t)config->context_length != keys->default_context)
    json_object_set_new(json, keys->context, json_integer(config->context_length));
  json_object_set_new(json, keys->width, json_integer(config->width));
  json_object_set_new(json, keys->layers, json_integer(config->layer_count));
  json_object_set_new(json, keys->heads, json_integer(config->head_count));
  // What is null stays so where it means the same.
  const bool is_usual = config->inner_width == 4 * config->width;
  if (keys->inner != NULL && !(is_usual && json_is_null(json_object_get(json, keys->inner))))
    json_object_set_new(json, keys->inner, json_integer(config->inner_width));
  if (keys->activation != NULL)
    dure_config_set_default(json, keys->activation, json_string(dure_config_activation_name(config->activation)));
  json_object_set_new(json, "tie_word_embeddings", json_boolean(config->tied_head));
  json_object_set_new(json, "bos_token_id", token_or_null(config->beginning_id));
  // A list of tokens that end a text stays as it was read.
  if (!json_is_array(json_object_get(json, "eos_token_id")))
    json_object_set_new(json, "eos_token_id", token_or_null(config->end_id));
  if (keys->norm_epsilon != NULL) dure_config_set_default(json, keys->norm_epsilon, json_real(config->norm_epsilon));
  dure_config_set_default(json, deviation_key(keys), json_real(config->initializer_range));
  dure_config_set_default(json, "use_cache", json_true());
}

// ---- rotary embeddings -------------------------------------------------------------------------------------------

static dure_status read_scaling(const char *name, const json_t *scaling, const char *type,
                                const dure_model_config *config, dure_rotary_config *r) {
  int64_t original;
  DURE_TRY(dure_config_integer(name, scaling, "original_max_position_embeddings", config->context_length, 1, 1 << 24,
                               &original));
  // A factor that is missing is the ratio of the two lengths.
  const double ratio = (double)config->context_length / (double)original;
  DURE_TRY(dure_config_number(name, scaling, "factor", fmin(fmax(ratio, 1), 1e6), 1e-3, 1e6, &r->factor));
  r->original_context = (uint32_t)original;
  if (strcmp(type, "linear") == 0) {
    r->scaling = DURE_ROTARY_LINEAR;
    return NULL;
  }
  if (strcmp(type, "dynamic") == 0) return NULL;  // changes the base beyond context_length alone, where Dure never goes
  if (strcmp(type, "llama3") == 0) {
    r->scaling = DURE_ROTARY_LLAMA3;
    DURE_TRY(dure_config_number(name, scaling, "low_freq_factor", 1, 1e-6, 1e6, &r->low_frequency_factor));
    DURE_TRY(dure_config_number(name, scaling, "high_freq_factor", 4, 1e-6, 1e6, &r->high_frequency_factor));
    if (r->high_frequency_factor > r->low_frequency_factor) return NULL;
    return dure_fail(DURE_CORRUPT, "'%s': \"high_freq_factor\" must be above \"low_freq_factor\"", name);
  }
  if (strcmp(type, "yarn") == 0) {
    double magnitude, magnitude_of_all;
    r->scaling = DURE_ROTARY_YARN;
    DURE_TRY(dure_config_number(name, scaling, "beta_fast", 32, 1e-6, 1e6, &r->beta_fast));
    DURE_TRY(dure_config_number(name, scaling, "beta_slow", 1, 1e-6, 1e6, &r->beta_slow));
    DURE_TRY(dure_config_number(name, scaling, "attention_factor", 0, 0, 1e6, &r->attention_factor));
    DURE_TRY(dure_config_number(name, scaling, "mscale", 0, 0, 1e6, &magnitude));
    DURE_TRY(dure_config_number(name, scaling, "mscale_all_dim", 0, 0, 1e6, &magnitude_of_all));
    if (r->attention_factor <= 0 && magnitude > 0 && magnitude_of_all > 0)
      r->attention_factor =
          dure_config_yarn_magnitude(r->factor, magnitude) / dure_config_yarn_magnitude(r->factor, magnitude_of_all);
    return dure_config_boolean(name, scaling, "truncate", true, &r->truncates);
  }
  static const char *const types[] = {"default", "linear", "dynamic", "llama3", "yarn"};
  return dure_fail(DURE_UNSUPPORTED,
                   "'%s': the rope type \"%.40s\" is not supported; the nearest that is: \"%s\" (of default, linear, "
                   "dynamic, llama3, yarn)",
                   name, type, dure_nearest_name(type, types, sizeof(types) / sizeof(types[0]), NULL));
}

double dure_config_yarn_magnitude(double factor, double weight) {
  return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

dure_status dure_config_rotary_from(const char *name, const json_t *parameters, double default_base,
                                    const dure_model_config *config, dure_rotary_config *out_rotary) {
  dure_rotary_config *r = out_rotary;
  r->scaling = DURE_ROTARY_PLAIN;
  r->base = default_base;
  if (parameters == NULL || json_is_null(parameters)) return NULL;
  if (!json_is_object(parameters)) {
    return dure_fail(DURE_CORRUPT, "'%s': \"rope_scaling\" must be null or an object with a \"rope_type\"", name);
  }
  DURE_TRY(dure_config_number(name, parameters, "rope_theta", default_base, 1, 1e12, &r->base));
  const json_t *kind = json_object_get(parameters, "rope_type");
  if (kind == NULL) kind = json_object_get(parameters, "type");
  const char *type = json_string_value(kind);
  if (kind != NULL && !json_is_null(kind) && type == NULL)
    return dure_fail(DURE_CORRUPT, "'%s': \"rope_type\" must be a name such as \"llama3\"", name);
  if (type == NULL || strcmp(type, "default") == 0) return NULL;
  return read_scaling(name, parameters, type, config, r);
}

dure_status dure_config_rotary(const char *name, const json_t *json, double default_base, dure_model_config *config) {
  config->position = DURE_POSITION_ROTARY;
  const json_t *parameters = json_object_get(json, "rope_parameters");
  if (parameters == NULL || json_is_null(parameters)) parameters = json_object_get(json, "rope_scaling");
  double base;
  DURE_TRY(dure_config_number(name, json, "rope_theta", default_base, 1, 1e12, &base));
  return dure_config_rotary_from(name, parameters, base, config, &config->rotary);
}

dure_status dure_config_partial_rotary(const char *name, const json_t *json, double default_base, double default_share,
                                       dure_model_config *config) {
  double share;
  DURE_TRY(dure_config_number(name, json, "partial_rotary_factor", default_share, 0, 1, &share));
  DURE_TRY(
      dure_config_number(name, json_object_get(json, "rope_parameters"), "partial_rotary_factor", share, 0, 1, &share));
  config->rotary.width = (uint32_t)((double)config->head_width * share);
  if (config->rotary.width == 0 || config->rotary.width % 2 != 0)
    return dure_fail(DURE_CORRUPT,
                     "'%s': \"partial_rotary_factor\" must leave an even number of elements of a head; found %u", name,
                     config->rotary.width);
  return dure_config_rotary(name, json, default_base, config);
}

// ---- heads, windows ----------------------------------------------------------------------------------------------

dure_status dure_config_heads(const char *name, const json_t *json, dure_model_config *config) {
  int64_t key_heads, head_width;
  DURE_TRY(
      dure_config_integer(name, json, "num_key_value_heads", config->head_count, 1, config->head_count, &key_heads));
  DURE_TRY(dure_config_integer(name, json, "head_dim", config->head_width, 1, 1 << 16, &head_width));
  config->key_head_count = (uint32_t)key_heads;
  config->head_width = (uint32_t)head_width;
  if (config->head_count % config->key_head_count != 0) {
    return dure_fail(DURE_CORRUPT,
                     "'%s': \"num_attention_heads\" (%u) must be a multiple of \"num_key_value_heads\" (%u)", name,
                     config->head_count, config->key_head_count);
  }
  if (config->head_width % 2 != 0)
    return dure_fail(DURE_CORRUPT, "'%s': heads of %u elements cannot be rotated in pairs", name, config->head_width);
  return NULL;
}

dure_status dure_config_experts(const char *name, const json_t *json, const char *key, int64_t default_count,
                                int64_t default_chosen, dure_model_config *config) {
  int64_t count, chosen;
  DURE_TRY(dure_config_integer(name, json, key, default_count, 1, 1 << 16, &count));
  DURE_TRY(dure_config_integer(name, json, "num_experts_per_tok", default_chosen, 1, count, &chosen));
  config->experts.count = (uint32_t)count;
  config->experts.route = (dure_route_attributes){.count = (uint32_t)chosen, .factor = 1};
  return NULL;
}

dure_status dure_config_balance(const char *name, const json_t *json, const char *key, double default_weight,
                                dure_balance_scope scope, dure_model_config *config) {
  config->experts.balance_scope = scope;
  DURE_TRY(dure_config_number(name, json, key, default_weight, 0, 1e6, &config->experts.balance_weight));
  return dure_config_boolean(name, json, "output_router_logits", false, &config->experts.adds_balance);
}

// "layer_types", where it is there: a known name for every layer.
static dure_status check_layer_types(const char *name, const json_t *types, uint32_t layers) {
  static const char *const known[] = {"full_attention", "sliding_attention"};
  if (types == NULL || json_is_null(types)) return NULL;
  if (!json_is_array(types) || json_array_size(types) != layers)
    return dure_fail(DURE_CORRUPT, "'%s': \"layer_types\" must be a list with a name for each of the %u layers", name,
                     layers);
  for (uint32_t layer = 0; layer < layers; layer++) {
    const char *type = json_string_value(json_array_get(types, layer));
    if (type != NULL && (strcmp(type, known[0]) == 0 || strcmp(type, known[1]) == 0)) continue;
    return dure_fail(DURE_UNSUPPORTED, "'%s': layer %u is of type \"%.40s\"; the nearest that is supported: \"%s\"",
                     name, layer, type != NULL ? type : "",
                     dure_nearest_name(type != NULL ? type : "", known, 2, NULL));
  }
  return NULL;
}

dure_status dure_config_windows(const char *name, const json_t *json, int64_t default_window,
                                bool (*is_local)(uint32_t layer, int64_t argument), int64_t argument,
                                dure_model_config *config) {
  int64_t window;
  DURE_TRY(dure_config_integer(name, json, "sliding_window", default_window, 0, 1 << 24, &window));
  if (json_is_null(json_object_get(json, "sliding_window"))) window = 0;  // null, unlike missing: no layer is local
  config->window = (uint32_t)window;
  const json_t *types = json_object_get(json, "layer_types");
  DURE_TRY(check_layer_types(name, types, config->layer_count));
  for (uint32_t layer = 0; layer < config->layer_count && window > 0; layer++) {
    const char *type = json_string_value(json_array_get(types, layer));
    if (type != NULL) {
      config->is_local[layer] = strcmp(type, "sliding_attention") == 0;
    } else {
      config->is_local[layer] = is_local == NULL || is_local(layer, argument);
    }
  }
  return NULL;
}

void dure_config_grouped_write(const dure_model_config *config, json_t *json) {
  json_object_set_new(json, "num_key_value_heads", json_integer(config->key_head_count));
  if (json_object_get(json, "rope_parameters") == NULL)
    dure_config_set_default(json, "rope_theta", json_real(config->rotary.base));
}
