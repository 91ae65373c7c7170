// Phi-3 (Abdin et al. 2024) and Phi-4: LLaMA's block whose files have queries, keys and values in one tensor, gate
// and up in another. The long variants' own scaling of positions ("longrope") is not there.
#include "model/family.h"

static const dure_config_keys keys = {
    DURE_CONFIG_USUAL_KEYS,  .norm_epsilon = "rms_norm_eps", .activation = "hidden_act",
    .default_context = 4096, .default_epsilon = 1e-5,        .default_activation = DURE_ACTIVATION_SILU,
};

static dure_status parse_phi3(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_heads(name, json, config));
  config->norm = DURE_NORM_RMS;
  config->is_gated = true;
  DURE_TRY(dure_config_windows(name, json, 0, NULL, 0, config));
  return dure_config_partial_rotary(name, json, 10000, 1, config);
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
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(QKV_WEIGHT, LAYER "self_attn.qkv_proj.weight", QKV, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.o_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_WEIGHT, LAYER "mlp.gate_up_proj.weight", GATED, WIDTH, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "mlp.down_proj.weight", WIDTH, INNER, NORMAL),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

DURE_DEFINE_FAMILY(phi3, "phi3", "Phi3ForCausalLM", rows, write, NULL);
