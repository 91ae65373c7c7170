// OLMo 2 (OLMo Team 2024, section 3.2): LLaMA's block with norms after each half instead of before it, and norms of all
// queries and all keys of a token together.
#include "model/family.h"

static const dure_config_keys keys = {
    DURE_CONFIG_USUAL_KEYS,  .norm_epsilon = "rms_norm_eps", .activation = "hidden_act",
    .default_context = 2048, .default_epsilon = 1e-5,        .default_activation = DURE_ACTIVATION_SILU,
};

static dure_status parse_olmo2(const char *name, const json_t *json, dure_model_config *config) {
  bool has_bias;
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_heads(name, json, config));
  DURE_TRY(dure_config_boolean(name, json, "attention_bias", false, &has_bias));
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS | DURE_TRAIT_ATTENTION_OUTPUT_BIAS;
  config->traits |= DURE_TRAIT_WHOLE_QUERY_KEY_NORM;
  config->norm = DURE_NORM_RMS;
  config->residual = DURE_RESIDUAL_NORMS_AFTER;
  config->is_gated = true;
  config->rotary.width = config->head_width;
  return dure_config_rotary(name, json, 10000, config);
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  dure_config_grouped_write(config, json);
  return NULL;
}

#define LAYER "model.layers.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.embed_tokens.weight", VOCABULARY, WIDTH, NORMAL),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    {.role = DURE_ROLE_QKV_BIAS, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".bias"),
     .needs = DURE_TRAIT_QKV_BIAS, .shape = {DURE_DIMENSION_QKV}, .init = DURE_INIT_ZERO},
    DURE_LAYER_ROW(QUERY_NORM_WEIGHT, LAYER "self_attn.q_norm.weight", HEADS, NONE, ONE),
    DURE_LAYER_ROW(KEY_NORM_WEIGHT, LAYER "self_attn.k_norm.weight", KEYS, NONE, ONE),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.o_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "self_attn.o_proj.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_ATTENTION_OUTPUT_BIAS),
    DURE_LAYER_ROW(ATTENTION_POST_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    DURE_DENSE_GATED_ROWS(LAYER "mlp."),
    DURE_LAYER_ROW(FEED_FORWARD_POST_NORM_WEIGHT, LAYER "post_feedforward_layernorm.weight", WIDTH, NONE, ONE),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

DURE_DEFINE_FAMILY(olmo2, "olmo2", "Olmo2ForCausalLM", rows, write, NULL);
