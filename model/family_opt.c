// OPT (Zhang et al. 2022): learned positions that begin at row 2, ReLU; the 350M model has its norms after each block
// and narrower embeddings.
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    .vocabulary = "vocab_size",
    .context = "max_position_embeddings",
    .width = "hidden_size",
    .layers = "num_hidden_layers",
    .heads = "num_attention_heads",
    .inner = "ffn_dim",
    .activation = "activation_function",
    .default_context = 2048,
    .default_epsilon = 1e-5,
    .default_activation = DURE_ACTIVATION_RELU,
    .default_tied = true,
    .deviation = "init_std",
    .default_deviation = 0.006,
};

static dure_status parse(const char *name, const json_t *json, dure_model_config *config) {
  bool norms_first, has_bias, has_weights, lacks_final_norm;
  int64_t embedding;
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_boolean(name, json, "do_layer_norm_before", true, &norms_first));
  DURE_TRY(dure_config_boolean(name, json, "enable_bias", true, &has_bias));
  DURE_TRY(dure_config_boolean(name, json, "layer_norm_elementwise_affine", true, &has_weights));
  DURE_TRY(dure_config_boolean(name, json, "_remove_final_layer_norm", false, &lacks_final_norm));
  DURE_TRY(dure_config_integer(name, json, "word_embed_proj_dim", config->width, 1, 1 << 20, &embedding));
  config->norm = DURE_NORM_LAYER;
  config->residual = norms_first ? DURE_RESIDUAL_SEQUENTIAL : DURE_RESIDUAL_POST_NORM;
  config->position = DURE_POSITION_LEARNED;
  config->position_offset = 2;
  config->embedding_width = (uint32_t)embedding;
  if (config->embedding_width != config->width) config->traits |= DURE_TRAIT_EMBEDDING_PROJECTION;
  if (!norms_first || lacks_final_norm) config->traits &= ~(uint32_t)DURE_TRAIT_FINAL_NORM;
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS | DURE_TRAIT_ATTENTION_OUTPUT_BIAS | DURE_TRAIT_FEED_FORWARD_BIAS;
  if (!has_weights) return dure_fail(DURE_UNSUPPORTED, "'%s': norms without weights are not supported", name);
  return NULL;
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  json_object_set_new(json, "do_layer_norm_before", json_boolean(config->residual != DURE_RESIDUAL_POST_NORM));
  json_object_set_new(json, "enable_bias", json_boolean(dure_model_config_has(config, DURE_TRAIT_QKV_BIAS)));
  json_object_set_new(json, "word_embed_proj_dim", json_integer(config->embedding_width));
  return NULL;
}

#define LAYER "model.decoder.layers.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.decoder.embed_tokens.weight", VOCABULARY, EMBEDDING, NORMAL),
    DURE_ROW(POSITION_EMBEDDING, "model.decoder.embed_positions.weight", POSITIONS, WIDTH, NORMAL),
    DURE_ROW(EMBEDDING_INPUT, "model.decoder.project_in.weight", WIDTH, EMBEDDING, NORMAL,
             .needs = DURE_TRAIT_EMBEDDING_PROJECTION),
    DURE_ROW(EMBEDDING_OUTPUT, "model.decoder.project_out.weight", EMBEDDING, WIDTH, NORMAL,
             .needs = DURE_TRAIT_EMBEDDING_PROJECTION),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    {.role = DURE_ROLE_QKV_BIAS, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".bias"),
     .needs = DURE_TRAIT_QKV_BIAS, .shape = {DURE_DIMENSION_QKV}, .init = DURE_INIT_ZERO},
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.out_proj.weight", WIDTH, HEADS, NORMAL_RESIDUAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "self_attn.out_proj.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_ATTENTION_OUTPUT_BIAS),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "self_attn_layer_norm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(ATTENTION_NORM_BIAS, LAYER "self_attn_layer_norm.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_WEIGHT, LAYER "fc1.weight", INNER, WIDTH, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_BIAS, LAYER "fc1.bias", INNER, NONE, ZERO, .needs = DURE_TRAIT_FEED_FORWARD_BIAS),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "fc2.weight", WIDTH, INNER, NORMAL_RESIDUAL),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_BIAS, LAYER "fc2.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_FEED_FORWARD_BIAS),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "final_layer_norm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_BIAS, LAYER "final_layer_norm.bias", WIDTH, NONE, ZERO),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.decoder.final_layer_norm.weight", WIDTH, NONE, ONE,
             .needs = DURE_TRAIT_FINAL_NORM),
    DURE_ROW(FINAL_NORM_BIAS, "model.decoder.final_layer_norm.bias", WIDTH, NONE, ZERO, .needs = DURE_TRAIT_FINAL_NORM),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, EMBEDDING, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

const dure_family dure_family_opt = {
    .model_type = "opt",
    .architecture = "OPTForCausalLM",
    .optional_prefix = "model.",
    .parse = parse,
    .write = write,
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};
