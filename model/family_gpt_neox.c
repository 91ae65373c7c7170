// GPT-NeoX (Black et al. 2022), Pythia, Polyglot-ko: attention and feed-forward beside each other, rotary positions
// over a part of each head, one tensor of projections in the order of the heads.
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    DURE_CONFIG_USUAL_KEYS,  .norm_epsilon = "layer_norm_eps", .activation = "hidden_act",
    .default_context = 2048, .default_epsilon = 1e-5,          .default_activation = DURE_ACTIVATION_GELU_ERF,
};

static dure_status parse(const char *name, const json_t *json, dure_model_config *config) {
  bool is_parallel, has_bias;
  double share;
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_boolean(name, json, "use_parallel_residual", true, &is_parallel));
  DURE_TRY(dure_config_boolean(name, json, "attention_bias", true, &has_bias));
  DURE_TRY(dure_config_number(name, json, "rotary_pct", 0.25, 0, 1, &share));
  DURE_TRY(
      dure_config_number(name, json_object_get(json, "rope_parameters"), "partial_rotary_factor", share, 0, 1, &share));
  double base;
  DURE_TRY(dure_config_number(name, json, "rotary_emb_base", 10000, 1, 1e12, &base));
  config->norm = DURE_NORM_LAYER;
  config->residual = is_parallel ? DURE_RESIDUAL_PARALLEL : DURE_RESIDUAL_SEQUENTIAL;
  config->traits |= DURE_TRAIT_TWO_NORMS;
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS | DURE_TRAIT_ATTENTION_OUTPUT_BIAS;
  config->rotary.width = (uint32_t)((double)config->head_width * share);
  if (config->rotary.width == 0 || config->rotary.width % 2 != 0)
    return dure_fail(DURE_CORRUPT, "'%s': \"rotary_pct\" must leave an even number of elements of a head", name);
  return dure_config_rotary(name, json, base, config);
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  json_object_set_new(json, "use_parallel_residual", json_boolean(config->residual == DURE_RESIDUAL_PARALLEL));
  json_object_set_new(json, "attention_bias", json_boolean(dure_model_config_has(config, DURE_TRAIT_QKV_BIAS)));
  if (json_object_get(json, "rope_parameters") == NULL) {
    dure_config_set_default(json, "rotary_pct", json_real((double)config->rotary.width / config->head_width));
    dure_config_set_default(json, "rotary_emb_base", json_real(config->rotary.base));
  }
  return NULL;
}

#define LAYER "gpt_neox.layers.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "gpt_neox.embed_in.weight", VOCABULARY, WIDTH, NORMAL_SMALL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(ATTENTION_NORM_BIAS, LAYER "input_layernorm.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_BIAS, LAYER "post_attention_layernorm.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(QKV_WEIGHT, LAYER "attention.query_key_value.weight", QKV, WIDTH, NORMAL_SMALL,
                   .order = DURE_ORDER_BY_GROUP),
    DURE_LAYER_ROW(QKV_BIAS, LAYER "attention.query_key_value.bias", QKV, NONE, ZERO, .order = DURE_ORDER_BY_GROUP,
                   .needs = DURE_TRAIT_QKV_BIAS),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "attention.dense.weight", WIDTH, HEADS, NORMAL_WANG),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "attention.dense.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_ATTENTION_OUTPUT_BIAS),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_WEIGHT, LAYER "mlp.dense_h_to_4h.weight", INNER, WIDTH, NORMAL_SMALL),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_BIAS, LAYER "mlp.dense_h_to_4h.bias", INNER, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "mlp.dense_4h_to_h.weight", WIDTH, INNER, NORMAL_WANG),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_BIAS, LAYER "mlp.dense_4h_to_h.bias", WIDTH, NONE, ZERO),
    DURE_ROW(FINAL_NORM_WEIGHT, "gpt_neox.final_layer_norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(FINAL_NORM_BIAS, "gpt_neox.final_layer_norm.bias", WIDTH, NONE, ZERO),
    DURE_ROW(HEAD, "embed_out.weight", VOCABULARY, WIDTH, NORMAL_SMALL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

static bool is_ignored(const char *tensor_name) {
  return strstr(tensor_name, ".attention.bias") != NULL || strstr(tensor_name, ".attention.masked_bias") != NULL ||
         strstr(tensor_name, ".attention.rotary_emb.inv_freq") != NULL;
}

const dure_family dure_family_gpt_neox = {
    .model_type = "gpt_neox",
    .architecture = "GPTNeoXForCausalLM",
    .optional_prefix = "",
    .parse = parse,
    .write = write,
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .is_ignored = is_ignored,
};
