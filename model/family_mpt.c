// MPT (MosaicML 2023): ALiBi, norms and projections without biases. The feed-forward block is 4 times as wide as the
// model whatever "expansion_ratio" says, as in transformers.
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    .vocabulary = "vocab_size",
    .context = "max_seq_len",
    .width = "d_model",
    .layers = "n_layers",
    .heads = "n_heads",
    .norm_epsilon = "layer_norm_epsilon",
    .default_context = 2048,
    .default_epsilon = 1e-5,
    .default_tied = true,
};

static dure_status parse(const char *name, const json_t *json, dure_model_config *config) {
  const json_t *attention = json_object_get(json, "attn_config");
  int64_t largest;
  double scale, clip;
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_require(name, json, "no_bias", true, true));
  DURE_TRY(dure_config_require(name, attention, "alibi", true, true));
  DURE_TRY(dure_config_require(name, attention, "qk_ln", false, false));
  DURE_TRY(dure_config_require(name, attention, "prefix_lm", false, false));
  DURE_TRY(dure_config_integer(name, attention, "alibi_bias_max", 8, 1, 1024, &largest));
  DURE_TRY(dure_config_number(name, attention, "softmax_scale", 0, 0, 1e6, &scale));
  DURE_TRY(dure_config_number(name, attention, "clip_qkv", 0, 0, 1e9, &clip));
  if (scale != 0 || clip != 0)
    return dure_fail(DURE_UNSUPPORTED, "'%s': \"softmax_scale\" and \"clip_qkv\" are not supported", name);
  config->norm = DURE_NORM_LAYER;
  config->position = DURE_POSITION_ALIBI;
  config->alibi_largest = (double)largest;
  config->alibi_is_interleaved = true;
  config->activation = DURE_ACTIVATION_GELU_ERF;
  return NULL;
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  if (!json_is_object(json_object_get(json, "attn_config")))
    json_object_set_new(json, "attn_config",
                        json_pack("{s:b, s:i}", "alibi", 1, "alibi_bias_max", (int)config->alibi_largest));
  return NULL;
}

#define LAYER "transformer.blocks.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "transformer.wte.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "norm_1.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(QKV_WEIGHT, LAYER "attn.Wqkv.weight", QKV, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "attn.out_proj.weight", WIDTH, HEADS, NORMAL_RESIDUAL),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "norm_2.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_WEIGHT, LAYER "ffn.up_proj.weight", INNER, WIDTH, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "ffn.down_proj.weight", WIDTH, INNER, NORMAL_RESIDUAL),
    DURE_ROW(FINAL_NORM_WEIGHT, "transformer.norm_f.weight", WIDTH, NONE, ONE),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

const dure_family dure_family_mpt = {
    .model_type = "mpt",
    .architecture = "MptForCausalLM",
    .optional_prefix = "transformer.",
    .parse = parse,
    .write = write,
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};
