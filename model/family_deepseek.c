// DeepSeek V2 (DeepSeek-AI 2024) and V3 (DeepSeek-AI 2025): multi-head latent attention, and many small experts beside
// shared ones after the first dense layers. V2 chooses by softmax, V3 by sigmoids, a bias that corrects the choice
// alone, and groups. Published V3 weights are in FP8, with a scale for each block of 128 x 128 (parameter_files.c).
#include <string.h>

#include "model/family.h"

static const dure_config_keys keys = {
    DURE_CONFIG_USUAL_KEYS,     .norm_epsilon = "rms_norm_eps", .activation = "hidden_act",
    .default_context = 4096,    .default_epsilon = 1e-6,        .default_activation = DURE_ACTIVATION_SILU,
    .default_deviation = 0.006,
};

static dure_status read_size(const char *name, const json_t *json, const char *key, int64_t fallback, uint32_t *out) {
  int64_t value;
  DURE_TRY(dure_config_integer(name, json, key, fallback, 1, 1 << 20, &value));
  *out = (uint32_t)value;
  return NULL;
}

static dure_status read_attention(const char *name, const json_t *json, dure_model_config *config) {
  dure_latent_config *latent = &config->latent;
  bool has_bias;
  DURE_TRY(read_size(name, json, "kv_lora_rank", 512, &latent->key_rank));
  DURE_TRY(read_size(name, json, "qk_nope_head_dim", 128, &latent->plain_width));
  DURE_TRY(read_size(name, json, "v_head_dim", 128, &latent->value_width));
  DURE_TRY(read_size(name, json, "qk_rope_head_dim", 64, &config->rotary.width));
  if (!json_is_null(json_object_get(json, "q_lora_rank")))
    DURE_TRY(read_size(name, json, "q_lora_rank", 1536, &latent->query_rank));
  DURE_TRY(dure_config_boolean(name, json, "attention_bias", false, &has_bias));
  if (has_bias) config->traits |= DURE_TRAIT_QKV_BIAS | DURE_TRAIT_ATTENTION_OUTPUT_BIAS;
  config->traits |= latent->query_rank > 0 ? DURE_TRAIT_QUERY_LATENT : DURE_TRAIT_QUERY_DIRECT;
  config->head_width = latent->plain_width + config->rotary.width;
  if (config->rotary.width % 2 != 0) return dure_fail(DURE_CORRUPT, "'%s': \"qk_rope_head_dim\" must be even", name);
  if (latent->value_width <= config->head_width) return NULL;
  return dure_fail(DURE_UNSUPPORTED, "'%s': values (%u elements) wider than keys (%u) are not supported", name,
                   latent->value_width, config->head_width);
}

// YaRN multiplies scores by the square of its magnitude for "mscale_all_dim", besides what the table has.
static dure_status read_rotation(const char *name, const json_t *json, dure_model_config *config) {
  double weight;
  config->rotary.is_interleaved = true;
  DURE_TRY(dure_config_rotary(name, json, 10000, config));
  const json_t *parameters = json_object_get(json, "rope_parameters");
  if (!json_is_object(parameters)) parameters = json_object_get(json, "rope_scaling");
  config->query_scalar = config->head_width;
  if (config->rotary.scaling == DURE_ROTARY_PLAIN) return NULL;
  DURE_TRY(dure_config_number(name, parameters, "mscale_all_dim", 0, 0, 1e6, &weight));
  if (!(weight > 0)) return NULL;
  const double magnitude = dure_config_yarn_magnitude(config->rotary.factor, weight);
  config->query_scalar /= magnitude * magnitude * magnitude * magnitude;  // scores are divided by its root
  return NULL;
}

static dure_status read_experts(const char *name, const json_t *json, int64_t default_count, int64_t default_width,
                                int64_t default_shared, int64_t default_dense, double default_factor,
                                dure_model_config *config) {
  uint32_t shared;
  int64_t dense;
  double factor;
  DURE_TRY(dure_config_experts(name, json, "n_routed_experts", default_count, 8, config));
  DURE_TRY(read_size(name, json, "moe_intermediate_size", default_width, &config->experts.width));
  DURE_TRY(read_size(name, json, "n_shared_experts", default_shared, &shared));
  DURE_TRY(dure_config_integer(name, json, "first_k_dense_replace", default_dense, 0, DURE_LAYERS_MOST, &dense));
  DURE_TRY(dure_config_number(name, json, "routed_scaling_factor", default_factor, 1e-6, 1e6, &factor));
  config->experts.shared_width = shared * config->experts.width;
  config->experts.route.factor = (float)factor;
  config->traits |= DURE_TRAIT_SHARED_EXPERT;
  for (uint32_t layer = 0; layer < config->layer_count; layer++) config->is_sparse[layer] = layer >= dense;
  return NULL;
}

// Sequence by sequence unless "seq_aux" says otherwise.
static dure_status read_balance(const char *name, const json_t *json, double default_weight,
                                dure_model_config *config) {
  bool is_by_sequence;
  DURE_TRY(dure_config_boolean(name, json, "seq_aux", true, &is_by_sequence));
  return dure_config_balance(name, json, "aux_loss_alpha", default_weight,
                             is_by_sequence ? DURE_BALANCE_SEQUENCE : DURE_BALANCE_LAYER, config);
}

static dure_status read_groups(const char *name, const json_t *json, int64_t default_count, int64_t default_limit,
                               uint32_t best, dure_model_config *config) {
  dure_route_attributes *route = &config->experts.route;
  int64_t count, limit;
  DURE_TRY(dure_config_integer(name, json, "n_group", default_count, 1, 32, &count));
  DURE_TRY(dure_config_integer(name, json, "topk_group", default_limit, 1, count, &limit));
  const uint32_t each = config->experts.count / (uint32_t)count;
  if (config->experts.count % (uint32_t)count != 0 || each < best || route->count > (uint32_t)limit * each) {
    return dure_fail(DURE_CORRUPT,
                     "'%s': \"n_group\", \"topk_group\" and \"num_experts_per_tok\" do not go with %u experts", name,
                     config->experts.count);
  }
  if (count == 1) return NULL;  // one group is none
  route->group_count = (uint32_t)count;
  route->group_limit = (uint32_t)limit;
  route->group_best = best;
  return NULL;
}

static dure_status parse_base(const char *name, const json_t *json, dure_model_config *config) {
  DURE_TRY(dure_config_common(name, json, &keys, config));
  config->norm = DURE_NORM_RMS;
  config->is_gated = true;
  DURE_TRY(read_attention(name, json, config));
  return read_rotation(name, json, config);
}

static dure_status parse_deepseek_v2(const char *name, const json_t *json, dure_model_config *config) {
  const char *method = json_string_value(json_object_get(json, "topk_method"));
  DURE_TRY(parse_base(name, json, config));
  DURE_TRY(read_experts(name, json, 64, 1407, 2, 0, 1, config));
  DURE_TRY(read_balance(name, json, 0.001, config));
  DURE_TRY(dure_config_require(name, json, "mlp_bias", false, false));
  if (method == NULL || strcmp(method, "greedy") == 0) return NULL;
  if (strcmp(method, "group_limited_greedy") == 0) return read_groups(name, json, 1, 1, 1, config);
  return dure_fail(DURE_UNSUPPORTED, "'%s': \"topk_method\" is \"%.40s\"; expected greedy or group_limited_greedy",
                   name, method);
}

static dure_status parse_deepseek_v3(const char *name, const json_t *json, dure_model_config *config) {
  int64_t extra_layers;
  DURE_TRY(parse_base(name, json, config));
  DURE_TRY(dure_config_integer(name, json, "num_nextn_predict_layers", 1, 0, 64, &extra_layers));
  config->extra_layers = (uint32_t)extra_layers;
  DURE_TRY(read_experts(name, json, 256, 2048, 1, 3, 2.5, config));
  DURE_TRY(dure_config_boolean(name, json, "norm_topk_prob", true, &config->experts.route.is_normalised));
  DURE_TRY(dure_config_boolean(name, json, "rope_interleave", true, &config->rotary.is_interleaved));
  // DeepSeek-AI 2025, section 4.2: the bias does the work, the loss is there against extremes within a sequence.
  DURE_TRY(read_balance(name, json, 0.0001, config));
  DURE_TRY(dure_config_number(name, json, "router_bias_update_rate", 0.001, 0, 1, &config->experts.bias_rate));
  config->experts.route.is_sigmoid = true;
  config->traits |= DURE_TRAIT_ROUTER_BIAS;
  return read_groups(name, json, 8, 4, 2, config);
}

static dure_status write(const dure_model_config *config, json_t *json) {
  const dure_latent_config *latent = &config->latent;
  dure_config_common_write(config, &keys, json);
  json_object_set_new(json, "num_key_value_heads", json_integer(config->key_head_count));
  json_object_set_new(json, "kv_lora_rank", json_integer(latent->key_rank));
  json_object_set_new(json, "q_lora_rank", latent->query_rank > 0 ? json_integer(latent->query_rank) : json_null());
  json_object_set_new(json, "qk_nope_head_dim", json_integer(latent->plain_width));
  json_object_set_new(json, "qk_rope_head_dim", json_integer(config->rotary.width));
  json_object_set_new(json, "v_head_dim", json_integer(latent->value_width));
  json_object_set_new(json, "n_routed_experts", json_integer(config->experts.count));
  json_object_set_new(json, "num_experts_per_tok", json_integer(config->experts.route.count));
  json_object_set_new(json, "moe_intermediate_size", json_integer(config->experts.width));
  json_object_set_new(json, "n_shared_experts", json_integer(config->experts.shared_width / config->experts.width));
  if (config->extra_layers > 0) json_object_set_new(json, "num_nextn_predict_layers", json_integer(0));
  json_object_del(json, "quantization_config");  // of FP8 files: what is written is not
  return NULL;
}

#define LAYER "model.layers.%u."
#define ATTENTION LAYER "self_attn."
// clang-format off
static const dure_parameter_row rows[] = {
    DURE_ROW(TOKEN_EMBEDDING, "model.embed_tokens.weight", VOCABULARY, WIDTH, NORMAL),
    DURE_LAYER_ROW(ATTENTION_NORM_WEIGHT, LAYER "input_layernorm.weight", WIDTH, NONE, ONE),
    DURE_LAYER_ROW(QUERY_DOWN_WEIGHT, ATTENTION "q_a_proj.weight", QUERY_RANK, WIDTH, NORMAL,
                   .needs = DURE_TRAIT_QUERY_LATENT),
    DURE_LAYER_ROW(QUERY_DOWN_BIAS, ATTENTION "q_a_proj.bias", QUERY_RANK, NONE, ZERO,
                   .needs = DURE_TRAIT_QUERY_LATENT, .needs_too = DURE_TRAIT_QKV_BIAS),
    DURE_LAYER_ROW(QUERY_LATENT_NORM_WEIGHT, ATTENTION "q_a_layernorm.weight", QUERY_RANK, NONE, ONE,
                   .needs = DURE_TRAIT_QUERY_LATENT),
    DURE_LAYER_ROW(QUERY_UP_WEIGHT, ATTENTION "q_b_proj.weight", HEADS, QUERY_RANK, NORMAL,
                   .needs = DURE_TRAIT_QUERY_LATENT),
    DURE_LAYER_ROW(QUERY_UP_WEIGHT, ATTENTION "q_proj.weight", HEADS, WIDTH, NORMAL,
                   .needs = DURE_TRAIT_QUERY_DIRECT),
    DURE_LAYER_ROW(KEY_DOWN_WEIGHT, ATTENTION "kv_a_proj_with_mqa.weight", KEY_DOWN, WIDTH, NORMAL),
    DURE_LAYER_ROW(KEY_DOWN_BIAS, ATTENTION "kv_a_proj_with_mqa.bias", KEY_DOWN, NONE, ZERO,
                   .needs = DURE_TRAIT_QKV_BIAS),
    DURE_LAYER_ROW(KEY_LATENT_NORM_WEIGHT, ATTENTION "kv_a_layernorm.weight", KEY_RANK, NONE, ONE),
    DURE_LAYER_ROW(KEY_UP_WEIGHT, ATTENTION "kv_b_proj.weight", KEY_UP, KEY_RANK, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_WEIGHT, ATTENTION "o_proj.weight", WIDTH, VALUES, NORMAL),
    DURE_LAYER_ROW(ATTENTION_OUTPUT_BIAS, ATTENTION "o_proj.bias", WIDTH, NONE, ZERO,
                   .needs = DURE_TRAIT_ATTENTION_OUTPUT_BIAS),
    DURE_LAYER_ROW(FEED_FORWARD_NORM_WEIGHT, LAYER "post_attention_layernorm.weight", WIDTH, NONE, ONE),
    DURE_DENSE_GATED_ROWS(LAYER "mlp."),
    DURE_LAYER_ROW(ROUTER_WEIGHT, LAYER "mlp.gate.weight", EXPERTS, WIDTH, NORMAL, .layers = DURE_LAYERS_SPARSE),
    DURE_LAYER_ROW(ROUTER_BIAS, LAYER "mlp.gate.e_score_correction_bias", EXPERTS, NONE, ZERO,
                   .layers = DURE_LAYERS_SPARSE, .needs = DURE_TRAIT_ROUTER_BIAS),
    DURE_EXPERT_ROWS(LAYER "mlp.experts.%u.gate_proj.weight", LAYER "mlp.experts.%u.up_proj.weight",
                     LAYER "mlp.experts.%u.down_proj.weight"),
    DURE_SHARED_EXPERT_ROWS(LAYER "mlp.shared_experts."),
    DURE_ROW(FINAL_NORM_WEIGHT, "model.norm.weight", WIDTH, NONE, ONE),
    DURE_ROW(HEAD, "lm_head.weight", VOCABULARY, WIDTH, NORMAL, .needs = DURE_TRAIT_UNTIED_HEAD),
};
// clang-format on

static bool is_ignored(const char *tensor_name) {
  return strstr(tensor_name, ".rotary_emb.inv_freq") != NULL || strstr(tensor_name, "_scale_inv") != NULL;
}

DURE_DEFINE_FAMILY(deepseek_v2, "deepseek_v2", "DeepseekV2ForCausalLM", rows, write, is_ignored);
DURE_DEFINE_FAMILY(deepseek_v3, "deepseek_v3", "DeepseekV3ForCausalLM", rows, write, is_ignored);
