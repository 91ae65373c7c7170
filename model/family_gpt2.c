// The GPT-2 family (Radford et al. 2019) as transformers spells it: layer norm before each block, learned positions,
// one fused query-key-value projection, matrices stored [in, out] ("Conv1D").
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/family.h"

// Sizes beyond these are mistakes, and keep every product of two within 64 bits with room to spare.
enum { max_width = 1 << 20, max_vocabulary = 1 << 24, max_layers = DURE_LAYERS_MOST };

static dure_status parse_sizes(const char *name, const json_t *json, dure_model_config *config) {
  int64_t vocabulary, positions, width, layers, heads, inner;
  DURE_TRY(dure_config_integer(name, json, "vocab_size", -1, 1, max_vocabulary, &vocabulary));
  DURE_TRY(dure_config_integer(name, json, "n_positions", -1, 1, max_vocabulary, &positions));
  DURE_TRY(dure_config_integer(name, json, "n_embd", -1, 1, max_width, &width));
  DURE_TRY(dure_config_integer(name, json, "n_layer", -1, 1, max_layers, &layers));
  DURE_TRY(dure_config_integer(name, json, "n_head", -1, 1, max_width, &heads));
  DURE_TRY(dure_config_integer(name, json, "n_inner", 4 * width, 1, 4 * max_width, &inner));
  if (width % heads != 0) {
    return dure_fail(DURE_CORRUPT, "'%s': \"n_embd\" (%" PRId64 ") must be a multiple of \"n_head\" (%" PRId64 ")",
                     name, width, heads);
  }
  config->vocabulary_size = (uint32_t)vocabulary;
  config->context_length = (uint32_t)positions;
  config->width = (uint32_t)width;
  config->layer_count = (uint32_t)layers;
  config->head_count = config->key_head_count = (uint32_t)heads;
  config->head_width = (uint32_t)(width / heads);
  config->inner_width = (uint32_t)inner;
  config->embedding_width = config->width;
  return NULL;
}

static dure_status parse_dropout(const char *name, const json_t *json, dure_model_config *config) {
  static const char *const keys[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop"};
  for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
    double probability;
    DURE_TRY(dure_config_number(name, json, keys[i], 0, 0, 1, &probability));
    if (probability > config->largest_dropout) config->largest_dropout = probability;
  }
  return NULL;
}

static dure_status parse(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(parse_sizes(name, json, config));
  DURE_TRY(parse_dropout(name, json, config));
  config->norm = DURE_NORM_LAYER;
  config->position = DURE_POSITION_LEARNED;
  config->traits |= DURE_TRAIT_FINAL_NORM;
  DURE_TRY(dure_config_number(name, json, "layer_norm_epsilon", 1e-5, 1e-12, 1, &config->norm_epsilon));
  DURE_TRY(dure_config_number(name, json, "initializer_range", 0.02, 0, 10, &config->initializer_range));
  DURE_TRY(dure_config_activation(name, json, "activation_function", DURE_ACTIVATION_GELU_TANH, &config->activation));
  DURE_TRY(dure_config_boolean(name, json, "tie_word_embeddings", true, &config->tied_head));
  if (!config->tied_head) config->traits |= DURE_TRAIT_UNTIED_HEAD;
  DURE_TRY(dure_config_boolean(name, json, "scale_attn_weights", true, &config->scales_attention));
  DURE_TRY(dure_config_boolean(name, json, "scale_attn_by_inverse_layer_idx", false, &config->scales_by_layer));
  DURE_TRY(dure_config_token(name, json, "bos_token_id", config->vocabulary_size, &config->beginning_id));
  DURE_TRY(dure_config_token(name, json, "eos_token_id", config->vocabulary_size, &config->end_id));
  bool crosses;
  DURE_TRY(dure_config_boolean(name, json, "add_cross_attention", false, &crosses));
  if (crosses) {
    return dure_fail(DURE_UNSUPPORTED, "'%s': \"add_cross_attention\" is set, but only plain decoders are supported",
                     name);
  }
  return NULL;
}

static json_t *token_or_null(int64_t id) { return id < 0 ? json_null() : json_integer(id); }

static dure_status write(const dure_model_config *config, json_t *json) {
  json_object_set_new(json, "vocab_size", json_integer(config->vocabulary_size));
  json_object_set_new(json, "n_positions", json_integer(config->context_length));
  json_object_set_new(json, "n_embd", json_integer(config->width));
  json_object_set_new(json, "n_layer", json_integer(config->layer_count));
  json_object_set_new(json, "n_head", json_integer(config->head_count));
  json_object_set_new(json, "n_inner",
                      config->inner_width == 4 * config->width ? json_null() : json_integer(config->inner_width));
  json_object_set_new(json, "activation_function", json_string(dure_config_activation_name(config->activation)));
  json_object_set_new(json, "tie_word_embeddings", json_boolean(config->tied_head));
  json_object_set_new(json, "scale_attn_weights", json_boolean(config->scales_attention));
  json_object_set_new(json, "scale_attn_by_inverse_layer_idx", json_boolean(config->scales_by_layer));
  json_object_set_new(json, "bos_token_id", token_or_null(config->beginning_id));
  json_object_set_new(json, "eos_token_id", token_or_null(config->end_id));
  // As read, else what Dure did: it trains without dropout.
  dure_config_set_default(json, "layer_norm_epsilon", json_real(config->norm_epsilon));
  dure_config_set_default(json, "initializer_range", json_real(config->initializer_range));
  dure_config_set_default(json, "resid_pdrop", json_real(0.0));
  dure_config_set_default(json, "embd_pdrop", json_real(0.0));
  dure_config_set_default(json, "attn_pdrop", json_real(0.0));
  dure_config_set_default(json, "use_cache", json_true());
  return NULL;
}

static bool is_ignored(const char *tensor_name) {
  static const char *const endings[] = {".attn.bias", ".attn.masked_bias"};
  size_t length = strlen(tensor_name);
  for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
    size_t ending = strlen(endings[i]);
    if (length >= ending && strcmp(tensor_name + length - ending, endings[i]) == 0) return true;
  }
  return false;
}

#define ONCE(role_, name_, first, second, init_)                                          \
  {                                                                                       \
    .role = DURE_ROLE_##role_, .names = {"transformer." name_},                           \
    .shape = {DURE_DIMENSION_##first, DURE_DIMENSION_##second}, .init = DURE_INIT_##init_ \
  }
#define LAYER(role_, name_, first, second, init_)                                         \
  {                                                                                       \
    .role = DURE_ROLE_##role_, .names = {"transformer.h.%u." name_}, .is_layered = true,  \
    .shape = {DURE_DIMENSION_##first, DURE_DIMENSION_##second}, .init = DURE_INIT_##init_ \
  }

// clang-format off
static const dure_parameter_row rows[] = {
    ONCE(TOKEN_EMBEDDING,     "wte.weight", VOCABULARY, WIDTH, NORMAL),
    ONCE(POSITION_EMBEDDING,  "wpe.weight", POSITIONS,  WIDTH, NORMAL),
    LAYER(ATTENTION_NORM_WEIGHT,      "ln_1.weight",        WIDTH, NONE,  ONE),
    LAYER(ATTENTION_NORM_BIAS,        "ln_1.bias",          WIDTH, NONE,  ZERO),
    LAYER(QKV_WEIGHT,                 "attn.c_attn.weight", WIDTH, QKV,   NORMAL),
    LAYER(QKV_BIAS,                   "attn.c_attn.bias",   QKV,   NONE,  ZERO),
    LAYER(ATTENTION_OUTPUT_WEIGHT,    "attn.c_proj.weight", HEADS, WIDTH, NORMAL_RESIDUAL),
    LAYER(ATTENTION_OUTPUT_BIAS,      "attn.c_proj.bias",   WIDTH, NONE,  ZERO),
    LAYER(FEED_FORWARD_NORM_WEIGHT,   "ln_2.weight",        WIDTH, NONE,  ONE),
    LAYER(FEED_FORWARD_NORM_BIAS,     "ln_2.bias",          WIDTH, NONE,  ZERO),
    LAYER(FEED_FORWARD_INPUT_WEIGHT,  "mlp.c_fc.weight",    WIDTH, INNER, NORMAL),
    LAYER(FEED_FORWARD_INPUT_BIAS,    "mlp.c_fc.bias",      INNER, NONE,  ZERO),
    LAYER(FEED_FORWARD_OUTPUT_WEIGHT, "mlp.c_proj.weight",  INNER, WIDTH, NORMAL_RESIDUAL),
    LAYER(FEED_FORWARD_OUTPUT_BIAS,   "mlp.c_proj.bias",    WIDTH, NONE,  ZERO),
    ONCE(FINAL_NORM_WEIGHT,   "ln_f.weight", WIDTH, NONE, ONE),
    ONCE(FINAL_NORM_BIAS,     "ln_f.bias",   WIDTH, NONE, ZERO),
    // torch.nn.Linear's orientation, as the embedding it is tied to.
    {.role = DURE_ROLE_HEAD, .names = {"lm_head.weight"}, .needs = DURE_TRAIT_UNTIED_HEAD, .is_output_first = true,
     .shape = {DURE_DIMENSION_VOCABULARY, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
};
// clang-format on

const dure_family dure_family_gpt2 = {
    .model_type = "gpt2",
    .architecture = "GPT2LMHeadModel",
    .optional_prefix = "transformer.",
    .parse = parse,
    .write = write,
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .is_ignored = is_ignored,
};
