// GPT-Neo (Black et al. 2021): as GPT-2, but every second layer sees a window, scores are not scaled, and queries, keys
// and values have no bias.
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    .vocabulary = "vocab_size",
    .context = "max_position_embeddings",
    .width = "hidden_size",
    .layers = "num_layers",
    .heads = "num_heads",
    .inner = "intermediate_size",
    .norm_epsilon = "layer_norm_epsilon",
    .activation = "activation_function",
    .default_context = 2048,
    .default_epsilon = 1e-5,
    .default_activation = DURE_ACTIVATION_GELU_TANH,
    .default_tied = true,
};

// "attention_types": [[["global", "local"], 12]]: a list of kinds, repeated so often, one after the other. Without it
// all layers alternate, as in the released models.
static dure_status read_kinds(const char *name, const json_t *types, dure_model_config *config) {
  uint32_t layer = 0;
  if (types == NULL) {
    for (; layer < config->layer_count; layer++) config->is_local[layer] = layer % 2 == 1;
    return NULL;
  }
  for (size_t i = 0; i < json_array_size(types); i++) {
    const json_t *kinds = json_array_get(json_array_get(types, i), 0);
    const json_int_t repeats = json_integer_value(json_array_get(json_array_get(types, i), 1));
    for (json_int_t repeat = 0; repeat < repeats && layer < config->layer_count; repeat++) {
      for (size_t k = 0; k < json_array_size(kinds) && layer < config->layer_count; k++) {
        const char *kind = json_string_value(json_array_get(kinds, k));
        if (kind == NULL || (strcmp(kind, "local") != 0 && strcmp(kind, "global") != 0))
          return dure_fail(DURE_CORRUPT, "'%s': \"attention_types\" must name \"global\" and \"local\" layers", name);
        config->is_local[layer++] = kind[0] == 'l';
      }
    }
  }
  if (layer == config->layer_count) return NULL;
  return dure_fail(DURE_CORRUPT, "'%s': \"attention_types\" names %u layers of %u", name, layer, config->layer_count);
}

static dure_status parse(const char *name, const json_t *json, dure_model_config *config) {
  int64_t window;
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_integer(name, json, "window_size", 256, 1, 1 << 24, &window));
  config->window = (uint32_t)window;
  config->norm = DURE_NORM_LAYER;
  config->position = DURE_POSITION_LEARNED;
  config->scales_attention = false;
  return read_kinds(name, json_object_get(json, "attention_types"), config);
}

static dure_status write(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  json_object_set_new(json, "window_size", json_integer(config->window));
  return NULL;
}

#define LAYER "transformer.h.%u."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "transformer.wte.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_ROW(POSITION_EMBEDDING, "transformer.wpe.weight", POSITIONS, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "ln_1.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(ATTENTION_NORM_BIAS, LAYER "ln_1.bias", WIDTH, NONE, ZERO),
    {.role = DURE_ROLE_QKV_WEIGHT,
     DURE_THREE_PROJECTIONS(LAYER "attn.attention.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "attn.attention.out_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "attn.attention.out_proj.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "ln_2.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_BIAS, LAYER "ln_2.bias", WIDTH, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_WEIGHT, LAYER "mlp.c_fc.weight", INNER, WIDTH, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_INPUT_BIAS, LAYER "mlp.c_fc.bias", INNER, NONE, ZERO),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, LAYER "mlp.c_proj.weight", WIDTH, INNER, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_BIAS, LAYER "mlp.c_proj.bias", WIDTH, NONE, ZERO),
    DURE_ROW(FINAL_NORM_WEIGHT, "transformer.ln_f.weight", WIDTH, NONE, ONE),
    DURE_ROW(FINAL_NORM_BIAS, "transformer.ln_f.bias", WIDTH, NONE, ZERO),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

static bool is_ignored(const char *tensor_name) {
  return strstr(tensor_name, ".attn.attention.bias") != NULL ||
         strstr(tensor_name, ".attn.attention.masked_bias") != NULL;
}

const dure_family dure_family_gpt_neo = {
    .model_type = "gpt_neo",
    .architecture = "GPTNeoForCausalLM",
    .optional_prefix = "transformer.",
    .parse = parse,
    .write = write,
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .is_ignored = is_ignored,
};
