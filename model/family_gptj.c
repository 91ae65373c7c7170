// GPT-J (Wang and Komatsuzaki 2021): attention and feed-forward beside each other after one norm, rotary positions in
// pairs of neighbours, a head with a bias.
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    .vocabulary = "vocab_size",
    .context = "n_positions",
    .width = "n_embd",
    .layers = "n_layer",
    .heads = "n_head",
    .inner = "n_inner",
    .norm_epsilon = "layer_norm_epsilon",
    .activation = "activation_function",
    .default_context = 2048,
    .default_epsilon = 1e-5,
    .default_activation = DURE_ACTIVATION_GELU_TANH,
};

static dure_status parse(const char *name, const json_t *json, dure_model_config *config) {
  int64_t width;
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_integer(name, json, "rotary_dim", 64, 2, config->head_width, &width));
  if (width % 2 != 0) return dure_fail(DURE_CORRUPT, "'%s': \"rotary_dim\" must be even", name);
  config->norm = DURE_NORM_LAYER;
  config->residual = DURE_RESIDUAL_PARALLEL;
  config->position = DURE_POSITION_ROTARY;
  config->rotary = (dure_rotary_config){.width = (uint32_t)width, .is_interleaved = true, .base = 10000};
  return NULL;
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  json_object_set_new(json, "rotary_dim", json_integer(config->rotary.width));
  return NULL;
}

#define LAYER "transformer.h.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "transformer.wte.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "ln_1.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(ATTENTION_NORM_BIAS, LAYER "ln_1.bias", WIDTH, NONE, ZERO),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "attn.out_proj.weight", WIDTH, HEADS, NORMAL_WANG),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_WEIGHT, LAYER "mlp.fc_in.weight", INNER, WIDTH, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_BIAS, LAYER "mlp.fc_in.bias", INNER, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "mlp.fc_out.weight", WIDTH, INNER, NORMAL_WANG),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_BIAS, LAYER "mlp.fc_out.bias", WIDTH, NONE, ZERO),
    DURE_ROW(FINAL_NORM_WEIGHT, "transformer.ln_f.weight", WIDTH, NONE, ONE),
    DURE_ROW(FINAL_NORM_BIAS, "transformer.ln_f.bias", WIDTH, NONE, ZERO),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
    DURE_ROW(HEAD_BIAS, "lm_head.bias", VOCABULARY, NONE, ZERO),
};
// clang-format on

static bool is_ignored(const char *tensor_name) {
  return strstr(tensor_name, ".attn.bias") != NULL || strstr(tensor_name, ".attn.masked_bias") != NULL;
}

const dure_family dure_family_gptj = {
    .model_type = "gptj",
    .architecture = "GPTJForCausalLM",
    .optional_prefix = "transformer.",
    .parse = parse,
    .write = write,
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .is_ignored = is_ignored,
};
