// LLaMA (Touvron et al. 2023), and the families that differ from it in options only: Mistral (Jiang et al. 2023),
// Qwen 2 (Yang et al. 2024), Qwen 3 (Yang et al. 2025), SmolLM3 (Bakouch et al. 2025). RMS norm before each block,
// rotary positions, grouped queries, SwiGLU.
#include <stdio.h>
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    DURE_CONFIG_USUAL_KEYS,  .norm_epsilon = "rms_norm_eps", .activation = "hidden_act",
    .default_context = 2048, .default_epsilon = 1e-6,        .default_activation = DURE_ACTIVATION_SILU,
};

// `default_head`: the width of a head where "head_dim" is missing; 0: what the heads divide the model's width into.
static dure_status parse_base(const char *name, const json_t *json, const dure_config_keys *own, uint32_t default_head,
                              double default_base, dure_model_config *config) {
  DURE_TRY(dure_config_common(name, json, own, config));
  if (default_head > 0) config->head_width = default_head;
  DURE_TRY(dure_config_heads(name, json, config));
  config->norm = DURE_NORM_RMS;
  config->is_gated = true;
  config->rotary.width = config->head_width;
  return dure_config_rotary(name, json, default_base, config);
}

static dure_status read_attention_bias(const char *name, const json_t *json, dure_model_config *config) {
  bool has_bias;
  DURE_TRY(dure_config_boolean(name, json, "attention_bias", false, &has_bias));
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS | DURE_TRAIT_ATTENTION_OUTPUT_BIAS;
  return NULL;
}

static dure_status read_biases(const char *name, const json_t *json, dure_model_config *config) {
  bool feed_forward_bias;
  DURE_TRY(read_attention_bias(name, json, config));
  DURE_TRY(dure_config_boolean(name, json, "mlp_bias", false, &feed_forward_bias));
  if (feed_forward_bias) config->traits |= DURE_TRAIT_FEED_FORWARD_BIAS;
  return NULL;
}

static dure_status parse_llama(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(parse_base(name, json, &keys, 0, 10000, config));
  return read_biases(name, json, config);
}

static bool is_from(uint32_t layer, int64_t first) { return (int64_t)layer >= first; }

static dure_status parse_mistral(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(parse_base(name, json, &keys, 0, 10000, config));
  return dure_config_windows(name, json, 4096, NULL, 0, config);
}

// Layers from "max_window_layers" on.
static dure_status read_late_windows(const char *name, const json_t *json, dure_model_config *config) {
  bool uses_window;
  int64_t first;
  DURE_TRY(dure_config_boolean(name, json, "use_sliding_window", false, &uses_window));
  DURE_TRY(dure_config_integer(name, json, "max_window_layers", config->layer_count, 0, DURE_LAYERS_MOST, &first));
  return uses_window ? dure_config_windows(name, json, 4096, is_from, first, config) : NULL;
}

static dure_status parse_qwen2(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(parse_base(name, json, &keys, 0, 10000, config));
  config->traits |= DURE_TRAIT_QKV_BIAS;
  return read_late_windows(name, json, config);
}

static dure_status parse_qwen3(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(parse_base(name, json, &keys, 128, 10000, config));
  config->traits |= DURE_TRAIT_QUERY_KEY_NORM;
  DURE_TRY(read_attention_bias(name, json, config));
  return read_late_windows(name, json, config);
}

// "no_rope_layers" has 0 for layers that are not rotated; without it they are every "no_rope_layer_interval"-th.
static dure_status read_unrotated_layers(const char *name, const json_t *json, dure_model_config *config) {
  int64_t interval;
  const json_t *rotated = json_object_get(json, "no_rope_layers");
  DURE_TRY(dure_config_integer(name, json, "no_rope_layer_interval", 4, 1, DURE_LAYERS_MOST, &interval));
  for (uint32_t layer = 0; layer < config->layer_count; layer++) {
    const json_t *entry = json_array_get(rotated, layer);
    config->is_unrotated[layer] =
        entry != NULL ? json_integer_value(entry) == 0 : (layer + 1) % (uint32_t)interval == 0;
    if (rotated == NULL || json_is_null(rotated) || json_is_integer(entry)) continue;
    return dure_fail(DURE_CORRUPT, "'%s': \"no_rope_layers\" must be a list with 0 or 1 for each of the %u layers",
                     name, config->layer_count);
  }
  return NULL;
}

static dure_status parse_smollm3(const char *name, const json_t *json, dure_model_config *config) {
  bool uses_window;
  dure_config_keys own = keys;
  own.default_tied = true;
  own.default_context = 32768;
  DURE_TRY(parse_base(name, json, &own, 0, 2e6, config));
  DURE_TRY(read_biases(name, json, config));
  DURE_TRY(read_unrotated_layers(name, json, config));
  DURE_TRY(dure_config_boolean(name, json, "use_sliding_window", false, &uses_window));
  if (!uses_window) return NULL;
  DURE_TRY(dure_config_windows(name, json, 0, NULL, 0, config));
  const bool says_which = json_is_array(json_object_get(json, "layer_types"));
  for (uint32_t layer = 0; layer < config->layer_count && !says_which; layer++)
    config->is_local[layer] = config->is_local[layer] && config->is_unrotated[layer];
  return NULL;
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  dure_config_grouped_write(config, json);
  json_object_set_new(json, "head_dim", json_integer(config->head_width));
  return NULL;
}

// Whose configurations need not have the key.
static dure_status write_smollm3(const dure_model_config *config, json_t *json) {
  const bool has_width = json_object_get(json, "head_dim") != NULL;
  DURE_TRY(write(config, json));
  if (!has_width && config->head_width * config->head_count == config->width) json_object_del(json, "head_dim");
  return NULL;
}

#define LAYER "model.layers.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.embed_tokens.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    {.role = DURE_ROLE_QKV_BIAS, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".bias"),
     .needs = DURE_TRAIT_QKV_BIAS, .shape = {DURE_DIMENSION_QKV}, .init = DURE_INIT_ZERO},
    DURE_LAYER_ROW(QUERY_NORM_WEIGHT, LAYER "self_attn.q_norm.weight", HEAD, NONE, ONE,
                   .needs = DURE_TRAIT_QUERY_KEY_NORM),
    DURE_LAYER_ROW(KEY_NORM_WEIGHT, LAYER "self_attn.k_norm.weight", HEAD, NONE, ONE,
                   .needs = DURE_TRAIT_QUERY_KEY_NORM),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.o_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "self_attn.o_proj.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_ATTENTION_OUTPUT_BIAS),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    {.role = DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, .is_layered = true, .is_output_first = true,
     .names = {LAYER "mlp.gate_proj.weight", LAYER "mlp.up_proj.weight"},
     .stacked = {DURE_DIMENSION_INNER, DURE_DIMENSION_INNER},
     .shape = {DURE_DIMENSION_GATED, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    {.role = DURE_ROLE_FEED_FORWARD_INPUT_BIAS, .is_layered = true, .needs = DURE_TRAIT_FEED_FORWARD_BIAS,
     .names = {LAYER "mlp.gate_proj.bias", LAYER "mlp.up_proj.bias"},
     .stacked = {DURE_DIMENSION_INNER, DURE_DIMENSION_INNER}, .shape = {DURE_DIMENSION_GATED}, .init = DURE_INIT_ZERO},
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "mlp.down_proj.weight", WIDTH, INNER, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_BIAS, LAYER "mlp.down_proj.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_FEED_FORWARD_BIAS),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

// Old files keep the rotary frequencies of each layer.
static bool is_ignored(const char *tensor_name) { return strstr(tensor_name, ".rotary_emb.inv_freq") != NULL; }

DURE_DEFINE_FAMILY(llama, "llama", "LlamaForCausalLM", rows, write, is_ignored);
DURE_DEFINE_FAMILY(mistral, "mistral", "MistralForCausalLM", rows, write, is_ignored);
DURE_DEFINE_FAMILY(qwen2, "qwen2", "Qwen2ForCausalLM", rows, write, is_ignored);
DURE_DEFINE_FAMILY(qwen3, "qwen3", "Qwen3ForCausalLM", rows, write, is_ignored);
DURE_DEFINE_FAMILY(smollm3, "smollm3", "SmolLM3ForCausalLM", rows, write_smollm3, is_ignored);
