// BLOOM (BigScience 2022): ALiBi instead of positions, a norm after the embedding, one tensor of projections in the
// order of the heads.
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    .vocabulary = "vocab_size",
    .context = "seq_length",
    .width = "hidden_size",
    .layers = "n_layer",
    .heads = "n_head",
    .norm_epsilon = "layer_norm_epsilon",
    .default_context = 2048,
    .default_epsilon = 1e-5,
    .default_tied = true,
};

static dure_status parse(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_require(name, json, "apply_residual_connection_post_layernorm", false, false));
  config->norm = DURE_NORM_LAYER;
  config->position = DURE_POSITION_ALIBI;
  config->alibi_largest = 8;
  config->activation = DURE_ACTIVATION_GELU_TANH;
  return NULL;
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  return NULL;
}

#define LAYER "transformer.h.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "transformer.word_embeddings.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_ROW(EMBEDDING_NORM_WEIGHT, "transformer.word_embeddings_layernorm.weight", WIDTH, NONE, ONE),
    DURE_ROW(EMBEDDING_NORM_BIAS, "transformer.word_embeddings_layernorm.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(ATTENTION_NORM_BIAS, LAYER "input_layernorm.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(QKV_WEIGHT, LAYER "self_attention.query_key_value.weight", QKV, WIDTH, NORMAL,
                   .order = DURE_ORDER_BY_GROUP),
    DURE_LAYER_ROW(QKV_BIAS, LAYER "self_attention.query_key_value.bias", QKV, NONE, ZERO,
                   .order = DURE_ORDER_BY_GROUP),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attention.dense.weight", WIDTH, HEADS, NORMAL_RESIDUAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "self_attention.dense.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_BIAS, LAYER "post_attention_layernorm.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_WEIGHT, LAYER "mlp.dense_h_to_4h.weight", INNER, WIDTH, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_BIAS, LAYER "mlp.dense_h_to_4h.bias", INNER, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "mlp.dense_4h_to_h.weight", WIDTH, INNER, NORMAL_RESIDUAL),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_BIAS, LAYER "mlp.dense_4h_to_h.bias", WIDTH, NONE, ZERO),
    DURE_ROW(FINAL_NORM_WEIGHT, "transformer.ln_f.weight", WIDTH, NONE, ONE),
    DURE_ROW(FINAL_NORM_BIAS, "transformer.ln_f.bias", WIDTH, NONE, ZERO),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

const dure_family dure_family_bloom = {
    .model_type = "bloom",
    .architecture = "BloomForCausalLM",
    .optional_prefix = "transformer.",
    .parse = parse,
    .write = write,
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};
