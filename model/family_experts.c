// LLaMA's block with a mixture of experts for its feed-forward half: Mixtral (Jiang et al. 2024), whose layers all have
// experts, Qwen 2 MoE (Yang et al. 2024), with smaller experts and a shared one behind a gate, and Qwen 3 MoE (Yang et
// al. 2025), without the shared one and with norms of queries and keys.
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    DURE_CONFIG_USUAL_KEYS,   .norm_epsilon = "rms_norm_eps", .activation = "hidden_act",
    .default_context = 32768, .default_epsilon = 1e-6,        .default_activation = DURE_ACTIVATION_SILU,
};

static dure_status parse_base(const char *name, const json_t *json, double default_base, dure_model_config *config) {
  DURE_TRY(dure_config_common(name, json, &keys, config));
  DURE_TRY(dure_config_heads(name, json, config));
  config->norm = DURE_NORM_RMS;
  config->is_gated = true;
  config->rotary.width = config->head_width;
  return dure_config_rotary(name, json, default_base, config);
}

static dure_status parse_mixtral(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(parse_base(name, json, 1e6, config));
  DURE_TRY(dure_config_number(name, json, "rms_norm_eps", 1e-5, 1e-12, 1, &config->norm_epsilon));
  DURE_TRY(dure_config_experts(name, json, "num_local_experts", 8, 2, config));
  DURE_TRY(dure_config_balance(name, json, "router_aux_loss_coef", 0.001, DURE_BALANCE_ALL_LAYERS, config));
  config->experts.width = config->inner_width;
  config->experts.route.is_normalised = true;
  for (uint32_t layer = 0; layer < config->layer_count; layer++) config->is_sparse[layer] = true;
  if (json_object_get(json, "sliding_window") == NULL) return NULL;
  return dure_config_windows(name, json, 0, NULL, 0, config);
}

// Layers of "mlp_only_layers", and those between every "decoder_sparse_step", are dense.
static dure_status read_sparse_layers(const char *name, const json_t *json, dure_model_config *config) {
  int64_t step;
  DURE_TRY(dure_config_integer(name, json, "decoder_sparse_step", 1, 1, DURE_LAYERS_MOST, &step));
  for (uint32_t layer = 0; layer < config->layer_count; layer++)
    config->is_sparse[layer] = (layer + 1) % (uint32_t)step == 0;
  const json_t *dense = json_object_get(json, "mlp_only_layers");
  for (size_t i = 0; i < json_array_size(dense); i++) {
    const json_t *layer = json_array_get(dense, i);
    if (!json_is_integer(layer) || json_integer_value(layer) < 0 ||
        json_integer_value(layer) >= (json_int_t)config->layer_count)
      return dure_fail(DURE_CORRUPT, "'%s': \"mlp_only_layers\" must be numbers of layers, 0 to %u", name,
                       config->layer_count - 1);
    config->is_sparse[json_integer_value(layer)] = false;
  }
  return NULL;
}

static bool is_early_odd(uint32_t layer, int64_t end) { return layer % 2 == 0 && (int64_t)layer < end; }

static dure_status read_small_experts(const char *name, const json_t *json, int64_t default_count,
                                      int64_t default_chosen, int64_t default_width, dure_model_config *config) {
  int64_t width;
  // Newer files have the other spelling.
  const char *key = json_object_get(json, "num_experts") == NULL ? "num_local_experts" : "num_experts";
  DURE_TRY(dure_config_experts(name, json, key, default_count, default_chosen, config));
  DURE_TRY(dure_config_integer(name, json, "moe_intermediate_size", default_width, 1, 1 << 22, &width));
  DURE_TRY(dure_config_boolean(name, json, "norm_topk_prob", false, &config->experts.route.is_normalised));
  DURE_TRY(dure_config_balance(name, json, "router_aux_loss_coef", 0.001, DURE_BALANCE_ALL_LAYERS, config));
  config->experts.width = (uint32_t)width;
  return read_sparse_layers(name, json, config);
}

static dure_status parse_qwen3_moe(const char *name, const json_t *json, dure_model_config *config) {
  bool has_bias, uses_window;
  DURE_TRY(parse_base(name, json, 10000, config));
  DURE_TRY(read_small_experts(name, json, 128, 8, 768, config));
  DURE_TRY(dure_config_boolean(name, json, "attention_bias", false, &has_bias));
  DURE_TRY(dure_config_boolean(name, json, "use_sliding_window", false, &uses_window));
  config->traits |= DURE_TRAIT_QUERY_KEY_NORM;
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS | DURE_TRAIT_ATTENTION_OUTPUT_BIAS;
  return uses_window ? dure_config_windows(name, json, 4096, NULL, 0, config) : NULL;
}

static dure_status parse_qwen2_moe(const char *name, const json_t *json, dure_model_config *config) {
  int64_t shared, windowed;
  bool has_bias, uses_window;
  DURE_TRY(parse_base(name, json, 10000, config));
  DURE_TRY(read_small_experts(name, json, 60, 4, 1408, config));
  DURE_TRY(dure_config_integer(name, json, "shared_expert_intermediate_size", 5632, 1, 1 << 22, &shared));
  DURE_TRY(dure_config_boolean(name, json, "qkv_bias", true, &has_bias));
  DURE_TRY(dure_config_boolean(name, json, "use_sliding_window", false, &uses_window));
  DURE_TRY(dure_config_integer(name, json, "max_window_layers", 28, 0, DURE_LAYERS_MOST, &windowed));
  config->experts.shared_width = (uint32_t)shared;
  config->traits |= DURE_TRAIT_SHARED_EXPERT | DURE_TRAIT_SHARED_GATE;
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS;
  return uses_window ? dure_config_windows(name, json, 4096, is_early_odd, windowed, config) : NULL;
}

static dure_status write_base(const dure_model_config *config, json_t *json) {
  dure_config_common_write(config, &keys, json);
  json_object_set_new(json, "num_key_value_heads", json_integer(config->key_head_count));
  if (config->head_width * config->head_count != config->width || json_object_get(json, "head_dim") != NULL)
    json_object_set_new(json, "head_dim", json_integer(config->head_width));
  json_object_set_new(json, "num_experts_per_tok", json_integer(config->experts.route.count));
  if (json_object_get(json, "rope_parameters") == NULL)
    dure_config_set_default(json, "rope_theta", json_real(config->rotary.base));
  return NULL;
}

static dure_status write_mixtral(const dure_model_config *config, json_t *json) {
  json_object_set_new(json, "num_local_experts", json_integer(config->experts.count));
  return write_base(config, json);
}

static dure_status write_qwen3_moe(const dure_model_config *config, json_t *json) {
  json_object_del(json, "num_local_experts");
  json_object_set_new(json, "num_experts", json_integer(config->experts.count));
  json_object_set_new(json, "moe_intermediate_size", json_integer(config->experts.width));
  json_object_set_new(json, "norm_topk_prob", json_boolean(config->experts.route.is_normalised));
  return write_base(config, json);
}

static dure_status write_qwen2_moe(const dure_model_config *config, json_t *json) {
  json_object_set_new(json, "shared_expert_intermediate_size", json_integer(config->experts.shared_width));
  return write_qwen3_moe(config, json);
}

#define LAYER "model.layers.%u."
#define EXPERT LAYER "block_sparse_moe.experts.%u."
// clang-format off
static const dure_parameter_row mixtral_rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.embed_tokens.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.o_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(ROUTER_WEIGHT, LAYER "block_sparse_moe.gate.weight", EXPERTS, WIDTH, NORMAL),
    DURE_EXPERT_ROWS(EXPERT "w1.weight", EXPERT "w3.weight", EXPERT "w2.weight"),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};

static const dure_parameter_row qwen2_moe_rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.embed_tokens.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    {.role = DURE_ROLE_QKV_BIAS, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".bias"),
     .needs = DURE_TRAIT_QKV_BIAS, .shape = {DURE_DIMENSION_QKV}, .init = DURE_INIT_ZERO},
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.o_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    DURE_DENSE_GATED_ROWS(LAYER "mlp."),
    DURE_LAYER_ROW(ROUTER_WEIGHT, LAYER "mlp.gate.weight", EXPERTS, WIDTH, NORMAL, .layers = DURE_LAYERS_SPARSE),
    DURE_EXPERT_ROWS(LAYER "mlp.experts.%u.gate_proj.weight", LAYER "mlp.experts.%u.up_proj.weight",
                     LAYER "mlp.experts.%u.down_proj.weight"),
    DURE_SHARED_EXPERT_ROWS(LAYER "mlp.shared_expert."),
    DURE_LAYER_ROW(SHARED_GATE_WEIGHT, LAYER "mlp.shared_expert_gate.weight", ONE, WIDTH, NORMAL,
                   .layers = DURE_LAYERS_SPARSE),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};

static const dure_parameter_row qwen3_moe_rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.embed_tokens.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    {.role = DURE_ROLE_QKV_WEIGHT, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".weight"),
     .shape = {DURE_DIMENSION_QKV, DURE_DIMENSION_WIDTH}, .init = DURE_INIT_NORMAL},
    {.role = DURE_ROLE_QKV_BIAS, DURE_THREE_PROJECTIONS(LAYER "self_attn.", "q_proj", "k_proj", "v_proj", ".bias"),
     .needs = DURE_TRAIT_QKV_BIAS, .shape = {DURE_DIMENSION_QKV}, .init = DURE_INIT_ZERO},
    DURE_LAYER_ROW(QUERY_NORM_WEIGHT, LAYER "self_attn.q_norm.weight", HEAD, NONE, ONE),
    DURE_LAYER_ROW(KEY_NORM_WEIGHT, LAYER "self_attn.k_norm.weight", HEAD, NONE, ONE),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, LAYER "self_attn.o_proj.weight", WIDTH, HEADS, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, LAYER "self_attn.o_proj.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_ATTENTION_OUTPUT_BIAS),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    DURE_DENSE_GATED_ROWS(LAYER "mlp."),
    DURE_LAYER_ROW(ROUTER_WEIGHT, LAYER "mlp.gate.weight", EXPERTS, WIDTH, NORMAL, .layers = DURE_LAYERS_SPARSE),
    DURE_EXPERT_ROWS(LAYER "mlp.experts.%u.gate_proj.weight", LAYER "mlp.experts.%u.up_proj.weight",
                     LAYER "mlp.experts.%u.down_proj.weight"),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

DURE_DEFINE_FAMILY(mixtral, "mixtral", "MixtralForCausalLM", mixtral_rows, write_mixtral, NULL);
DURE_DEFINE_FAMILY(qwen2_moe, "qwen2_moe", "Qwen2MoeForCausalLM", qwen2_moe_rows, write_qwen2_moe, NULL);
DURE_DEFINE_FAMILY(qwen3_moe, "qwen3_moe", "Qwen3MoeForCausalLM", qwen3_moe_rows, write_qwen3_moe, NULL);
