// Gemma 2 (Gemma Team 2024) and the text model of Gemma 3 (Gemma Team 2025). Norms before and after each half of a
// block, whose weights are stored as what they differ from 1 by; embeddings multiplied by sqrt(C) and shared with the
// head; every second (Gemma 3: all but every sixth) layer sees a window only. Gemma 2 caps scores and logits softly;
// Gemma 3 normalises queries and keys instead, and its local layers rotate by a base of their own.
#include <math.h>
#include <stdio.h>

#include "model/family.h"

enum { GEMMA2_PERIOD = 2, GEMMA3_PERIOD = 6 };

static const dure_config_keys gemma2_keys = {
    DURE_CONFIG_USUAL_KEYS,  .norm_epsilon = "rms_norm_eps", .activation = "hidden_activation",
    .default_context = 8192, .default_epsilon = 1e-6,        .default_activation = DURE_ACTIVATION_GELU_TANH,
    .default_tied = true,
};

// All but every `period`-th.
static bool is_local(uint32_t layer, int64_t period) { return (layer + 1) % (uint32_t)period != 0; }

// A number above 0; null: `absent`.
static dure_status read_option(const char *name, const json_t *json, const char *key, double missing, double absent,
                               double *out_value) {
  *out_value = absent;
  if (json_is_null(json_object_get(json, key))) return NULL;
  return dure_config_number(name, json, key, missing, 1e-6, 1e9, out_value);
}

static dure_status parse_base(const char *name, const json_t *json, const dure_config_keys *keys,
                              dure_model_config *config) {
  bool has_bias, sees_both_ways;
  DURE_TRY(dure_config_common(name, json, keys, config));
  config->head_width = 256;  // whatever the width is
  DURE_TRY(dure_config_heads(name, json, config));
  DURE_TRY(dure_config_boolean(name, json, "attention_bias", false, &has_bias));
  DURE_TRY(dure_config_boolean(name, json, "use_bidirectional_attention", false, &sees_both_ways));
  if (sees_both_ways) return dure_fail(DURE_UNSUPPORTED, "'%s': attention to later tokens is not supported", name);
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS | DURE_TRAIT_ATTENTION_OUTPUT_BIAS;
  DURE_TRY(read_option(name, json, "query_pre_attn_scalar", 256, 256, &config->query_scalar));
  config->norm = DURE_NORM_RMS;
  config->norm_offset = 1;
  config->embedding_scale = sqrt((double)config->width);
  config->residual = DURE_RESIDUAL_BOTH_NORMS;
  config->is_gated = true;
  config->rotary.width = config->head_width;
  return NULL;
}

static dure_status parse_gemma2(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(parse_base(name, json, &gemma2_keys, config));
  DURE_TRY(read_option(name, json, "attn_logit_softcapping", 50, 0, &config->attention_soft_cap));
  DURE_TRY(read_option(name, json, "final_logit_softcapping", 30, 0, &config->logits_soft_cap));
  DURE_TRY(dure_config_windows(name, json, 4096, is_local, GEMMA2_PERIOD, config));
  return dure_config_rotary(name, json, 10000, config);
}

// "rope_parameters" has an object for each kind of layer; older files have "rope_theta", "rope_local_base_freq" and a
// "rope_scaling" of the global layers.
static dure_status read_rotations(const char *name, const json_t *json, dure_model_config *config) {
  const json_t *both = json_object_get(json, "rope_parameters");
  const json_t *global = json_object_get(both, "full_attention"), *local = json_object_get(both, "sliding_attention");
  double base, local_base;
  config->position = DURE_POSITION_ROTARY;
  config->has_local_rotary = true;
  config->local_rotary.width = config->head_width;
  DURE_TRY(dure_config_number(name, json, "rope_theta", 1e6, 1, 1e12, &base));
  DURE_TRY(dure_config_number(name, json, "rope_local_base_freq", 1e4, 1, 1e12, &local_base));
  if (!json_is_object(global)) global = json_object_get(json, "rope_scaling");
  DURE_TRY(dure_config_rotary_from(name, global, base, config, &config->rotary));
  return dure_config_rotary_from(name, local, local_base, config, &config->local_rotary);
}

static dure_status parse_gemma3(const char *name, const json_t *json, dure_model_config *config) {
  dure_config_keys keys = gemma2_keys;
  int64_t period;
  keys.default_context = 131072;
  DURE_TRY(parse_base(name, json, &keys, config));
  DURE_TRY(read_option(name, json, "attn_logit_softcapping", 0, 0, &config->attention_soft_cap));
  DURE_TRY(read_option(name, json, "final_logit_softcapping", 0, 0, &config->logits_soft_cap));
  DURE_TRY(dure_config_integer(name, json, "sliding_window_pattern", GEMMA3_PERIOD, 1, DURE_LAYERS_MOST, &period));
  DURE_TRY(dure_config_windows(name, json, 4096, is_local, period, config));
  config->traits |= DURE_TRAIT_QUERY_KEY_NORM;
  return read_rotations(name, json, config);
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &gemma2_keys, json);
  json_object_set_new(json, "num_key_value_heads", json_integer(config->key_head_count));
  json_object_set_new(json, "head_dim", json_integer(config->head_width));
  return NULL;
}

#define LAYER "model.layers.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.embed_tokens.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ZERO),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    {.role = DURE_ROLE_QKV_BIAS, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".bias"),
     .needs = DURE_TRAIT_QKV_BIAS, .shape = {DURE_DIMENSION_QKV}, .init = DURE_INIT_ZERO},
    DURE_LAYER_ROW(QUERY_NORM_WEIGHT, LAYER "self_attn.q_norm.weight", HEAD, NONE, ZERO,
                   .needs = DURE_TRAIT_QUERY_KEY_NORM),
    DURE_LAYER_ROW(KEY_NORM_WEIGHT, LAYER "self_attn.k_norm.weight", HEAD, NONE, ZERO,
                   .needs = DURE_TRAIT_QUERY_KEY_NORM),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.o_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "self_attn.o_proj.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_ATTENTION_OUTPUT_BIAS),
    DURE_LAYER_ROW(ATTENTION_POST_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "pre_feedforward_layernorm.weight", WIDTH, NONE, ZERO),
    {.role = DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, .is_layered = true, .is_output_first = true,
     .names = {LAYER "mlp.gate_proj.weight", LAYER "mlp.up_proj.weight"},
     .stacked = {DURE_DIMENSION_INNER, DURE_DIMENSION_INNER},
     .shape = {DURE_DIMENSION_GATED, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "mlp.down_proj.weight", WIDTH, INNER, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_POST_NORM_WEIGHT, LAYER "post_feedforward_layernorm.weight", WIDTH, NONE, ZERO),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ZERO),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

DURE_DEFINE_FAMILY(gemma2, "gemma2", "Gemma2ForCausalLM", rows, write, NULL);
DURE_DEFINE_FAMILY(gemma3, "gemma3_text", "Gemma3ForCausalLM", rows, write, NULL);
