// Falcon (Almazrouei et al. 2023): attention and feed-forward beside each other. The 7B kind has one key head and one
// norm a layer, the 40B kind groups of key heads and two norms; those of RefinedWeb (Penedo et al. 2023) have ALiBi,
// the halves one after the other, and biases.
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    .vocabulary = "vocab_size",
    .context = "max_position_embeddings",
    .width = "hidden_size",
    .layers = "num_hidden_layers",
    .heads = "num_attention_heads",
    .inner = "ffn_hidden_size",
    .norm_epsilon = "layer_norm_epsilon",
    .activation = "activation",
    .default_context = 2048,
    .default_epsilon = 1e-5,
    .default_activation = DURE_ACTIVATION_GELU_ERF,
    .default_tied = true,
};

static dure_status parse(const char *name, const json_t *json, dure_model_config *config) {
  bool is_new, is_multi_query, is_parallel, has_alibi, has_bias;
  int64_t key_heads, norms;
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_boolean(name, json, "new_decoder_architecture", false, &is_new));
  DURE_TRY(dure_config_boolean(name, json, "multi_query", true, &is_multi_query));
  DURE_TRY(dure_config_boolean(name, json, "parallel_attn", true, &is_parallel));
  DURE_TRY(dure_config_boolean(name, json, "alibi", false, &has_alibi));
  DURE_TRY(dure_config_boolean(name, json, "bias", false, &has_bias));
  DURE_TRY(dure_config_integer(name, json, "num_kv_heads", config->head_count, 1, config->head_count, &key_heads));
  DURE_TRY(dure_config_integer(name, json, "num_ln_in_parallel_attn", is_new ? 2 : 1, 1, 2, &norms));
  config->key_head_count = is_new ? (uint32_t)key_heads : is_multi_query ? 1 : config->head_count;
  if (config->head_count % config->key_head_count != 0)
    return dure_fail(DURE_CORRUPT, "'%s': the heads (%u) must be a multiple of \"num_kv_heads\" (%u)", name,
                     config->head_count, config->key_head_count);
  config->norm = DURE_NORM_LAYER;
  config->residual = is_new || is_parallel ? DURE_RESIDUAL_PARALLEL : DURE_RESIDUAL_SEQUENTIAL;
  config->traits |= is_new || !is_multi_query ? DURE_TRAIT_QKV_BY_GROUP : DURE_TRAIT_QKV_BY_KIND;
  // Names of the norms: ln_attn and ln_mlp where there are two beside each other, else input_layernorm, and
  // post_attention_layernorm where the halves come one after the other.
  config->traits |= is_new && norms == 2 ? DURE_TRAIT_TWO_NORMS : DURE_TRAIT_ONE_NORM;
  if (config->residual == DURE_RESIDUAL_SEQUENTIAL) config->traits |= DURE_TRAIT_SEQUENTIAL;
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS | DURE_TRAIT_ATTENTION_OUTPUT_BIAS | DURE_TRAIT_FEED_FORWARD_BIAS;
  config->position = has_alibi ? DURE_POSITION_ALIBI : DURE_POSITION_ROTARY;
  config->alibi_largest = 8;
  config->alibi_is_scaled = true;
  config->rotary.width = config->head_width;
  if (has_alibi) return NULL;
  if (config->head_width % 2 != 0)
    return dure_fail(DURE_CORRUPT, "'%s': heads of %u elements cannot be rotated in pairs", name, config->head_width);
  return dure_config_rotary(name, json, 10000, config);
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  // Older ones have as many key heads as "multi_query" says, whatever this is.
  if (json_is_true(json_object_get(json, "new_decoder_architecture")))
    json_object_set_new(json, "num_kv_heads", json_integer(config->key_head_count));
  return NULL;
}

#define LAYER "transformer.h.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "transformer.word_embeddings.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "ln_attn.weight", WIDTH, NONE, ONE, .needs = DURE_TRAIT_TWO_NORMS),
    DURE_LAYER_ROW(ATTENTION_NORM_BIAS, LAYER "ln_attn.bias", WIDTH, NONE, ZERO, .needs = DURE_TRAIT_TWO_NORMS),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "ln_mlp.weight", WIDTH, NONE, ONE, .needs = DURE_TRAIT_TWO_NORMS),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_BIAS, LAYER "ln_mlp.bias", WIDTH, NONE, ZERO, .needs = DURE_TRAIT_TWO_NORMS),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE,
                   .needs = DURE_TRAIT_ONE_NORM),
    DURE_LAYER_ROW(ATTENTION_NORM_BIAS, LAYER "input_layernorm.bias", WIDTH, NONE, ZERO, .needs = DURE_TRAIT_ONE_NORM),
    DURE_LAYER_ROW(QKV_WEIGHT, LAYER "self_attention.query_key_value.weight", QKV, WIDTH, NORMAL, .order = DURE_ORDER_BY_GROUP,
                   .needs = DURE_TRAIT_QKV_BY_GROUP),
    DURE_LAYER_ROW(QKV_WEIGHT, LAYER "self_attention.query_key_value.weight", QKV, WIDTH, NORMAL,
                   .needs = DURE_TRAIT_QKV_BY_KIND),
    DURE_LAYER_ROW(QKV_BIAS, LAYER "self_attention.query_key_value.bias", QKV, NONE, ZERO, .order = DURE_ORDER_BY_GROUP,
                   .needs = DURE_TRAIT_QKV_BY_GROUP, .needs_too = DURE_TRAIT_QKV_BIAS),
    DURE_LAYER_ROW(QKV_BIAS, LAYER "self_attention.query_key_value.bias", QKV, NONE, ZERO,
                   .needs = DURE_TRAIT_QKV_BY_KIND, .needs_too = DURE_TRAIT_QKV_BIAS),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attention.dense.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "self_attention.dense.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_ATTENTION_OUTPUT_BIAS),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE,
                   .needs = DURE_TRAIT_SEQUENTIAL),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_BIAS, LAYER "post_attention_layernorm.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_SEQUENTIAL),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_WEIGHT, LAYER "mlp.dense_h_to_4h.weight", INNER, WIDTH, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_BIAS, LAYER "mlp.dense_h_to_4h.bias", INNER, NONE, ZERO,
                   .needs = DURE_TRAIT_FEED_FORWARD_BIAS),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "mlp.dense_4h_to_h.weight", WIDTH, INNER, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_BIAS, LAYER "mlp.dense_4h_to_h.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_FEED_FORWARD_BIAS),
    DURE_ROW(FINAL_NORM_WEIGHT, "transformer.ln_f.weight", WIDTH, NONE, ONE),
    DURE_ROW(FINAL_NORM_BIAS, "transformer.ln_f.bias", WIDTH, NONE, ZERO),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

const dure_family dure_family_falcon = {
    .model_type = "falcon",
    .architecture = "FalconForCausalLM",
    .optional_prefix = "transformer.",
    .parse = parse,
    .write = write,
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};
