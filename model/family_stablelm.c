// StableLM (Bellagente et al. 2024): LLaMA's block with layer norms, rotary positions over a part of each head.
#include "model/family.h"

static const dure_config_keys keys = {
    DURE_CONFIG_USUAL_KEYS,  .norm_epsilon = "layer_norm_eps", .activation = "hidden_act",
    .default_context = 4096, .default_epsilon = 1e-5,          .default_activation = DURE_ACTIVATION_SILU,
};

static dure_status parse_stablelm(const char *name, const json_t *json, dure_model_config *config) {
  bool is_parallel, has_bias;
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_heads(name, json, config));
  DURE_TRY(dure_config_require(name, json, "qk_layernorm", false, false));
  DURE_TRY(dure_config_boolean(name, json, "use_parallel_residual", false, &is_parallel));
  DURE_TRY(dure_config_boolean(name, json, "use_qkv_bias", false, &has_bias));
  config->norm = DURE_NORM_LAYER;
  config->is_gated = true;
  config->residual = is_parallel ? DURE_RESIDUAL_PARALLEL : DURE_RESIDUAL_SEQUENTIAL;
  if (!is_parallel) config->traits |= DURE_TRAIT_TWO_NORMS;
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS;
  return dure_config_partial_rotary(name, json, 10000, 0.25, config);
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  json_object_set_new(json, "num_key_value_heads", json_integer(config->key_head_count));
  json_object_set_new(json, "use_qkv_bias", json_boolean(dure_model_config_has(config, DURE_TRAIT_QKV_BIAS)));
  json_object_set_new(json, "use_parallel_residual", json_boolean(config->residual == DURE_RESIDUAL_PARALLEL));
  if (json_object_get(json, "rope_parameters") == NULL) {
    dure_config_set_default(json, "partial_rotary_factor",
                            json_real((double)config->rotary.width / config->head_width));
    dure_config_set_default(json, "rope_theta", json_real(config->rotary.base));
  }
  return NULL;
}

#define LAYER "model.layers.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.embed_tokens.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(ATTENTION_NORM_BIAS, LAYER "input_layernorm.bias", WIDTH, NONE, ZERO),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    {.role = DURE_ROLE_QKV_BIAS, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".bias"),
     .needs = DURE_TRAIT_QKV_BIAS, .shape = {DURE_DIMENSION_QKV}, .init = DURE_INIT_ZERO},
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.o_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE,
                   .needs = DURE_TRAIT_TWO_NORMS),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_BIAS, LAYER "post_attention_layernorm.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_TWO_NORMS),
    DURE_DENSE_GATED_ROWS(LAYER "mlp."),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(FINAL_NORM_BIAS, "model.norm.bias", WIDTH, NONE, ZERO),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

DURE_DEFINE_FAMILY(stablelm, "stablelm", "StableLmForCausalLM", rows, write, NULL);
