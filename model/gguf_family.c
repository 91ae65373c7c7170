#include "model/gguf_family.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/nearest.h"

// A key of the metadata and of config.json; a public name and GGUF's.
#define KEY(gguf_key_, config_key_, ...) \
  { .gguf_key = gguf_key_, .config_key = config_key_, __VA_ARGS__ }
#define NAME(public_name_, gguf_name_, ...) \
  { .public_name = public_name_, .gguf_name = gguf_name_, __VA_ARGS__ }

// ---- what families have in common --------------------------------------------------------------------------------

static bool has_tensor(const dure_gguf *file, const char *name) { return dure_gguf_tensor_find(file, name) != NULL; }

static int64_t integer_of(const json_t *json, const char *key) {
  return json_integer_value(json_object_get(json, key));
}

// ---- LLaMA and its kin -------------------------------------------------------------------------------------------

// clang-format off
#define LLAMA_KEYS                                                               \
    KEY("context_length", "max_position_embeddings", .is_required = true),                  \
    KEY("embedding_length", "hidden_size", .is_required = true),                            \
    KEY("block_count", "num_hidden_layers", .is_required = true),                           \
    KEY("feed_forward_length", "intermediate_size", .is_required = true),                   \
    KEY("attention.head_count", "num_attention_heads", .is_required = true),                \
    KEY("attention.head_count_kv", "num_key_value_heads"),            \
    KEY("attention.key_length", "head_dim"),                          \
    KEY("attention.layer_norm_rms_epsilon", "rms_norm_eps", .is_number = true, .is_required = true),            \
    KEY("rope.freq_base", "rope_theta", .is_number = true)

#define LLAMA_NAMES(query_order, key_order)                                      \
    NAME("model.embed_tokens", "token_embd"),                        \
    NAME("model.norm", "output_norm"),                               \
    NAME("lm_head", "output"),                                       \
    NAME("model.layers.%u.input_layernorm", "blk.%u.attn_norm"),     \
    NAME("model.layers.%u.self_attn.q_proj", "blk.%u.attn_q", .order = query_order),          \
    NAME("model.layers.%u.self_attn.k_proj", "blk.%u.attn_k", .order = key_order),            \
    NAME("model.layers.%u.self_attn.v_proj", "blk.%u.attn_v"),       \
    NAME("model.layers.%u.self_attn.o_proj", "blk.%u.attn_output"),  \
    NAME("model.layers.%u.post_attention_layernorm", "blk.%u.ffn_norm"), \
    NAME("model.layers.%u.mlp.gate_proj", "blk.%u.ffn_gate"),        \
    NAME("model.layers.%u.mlp.up_proj", "blk.%u.ffn_up"),            \
    NAME("model.layers.%u.mlp.down_proj", "blk.%u.ffn_down")
// clang-format on

static const dure_gguf_key llama_keys[] = {LLAMA_KEYS, KEY("attention.sliding_window", "sliding_window")};
static const dure_gguf_key qwen2_keys[] = {LLAMA_KEYS};
static const dure_gguf_name llama_names[] = {LLAMA_NAMES(DURE_GGUF_ROTARY_QUERY, DURE_GGUF_ROTARY_KEY)};
static const dure_gguf_name mixtral_names[] = {
    LLAMA_NAMES(DURE_GGUF_ROTARY_QUERY, DURE_GGUF_ROTARY_KEY),
    NAME("model.layers.%u.block_sparse_moe.gate", "blk.%u.ffn_gate_inp"),
    NAME("model.layers.%u.block_sparse_moe.experts.%u.w1", "blk.%u.ffn_gate_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.block_sparse_moe.experts.%u.w3", "blk.%u.ffn_up_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.block_sparse_moe.experts.%u.w2", "blk.%u.ffn_down_exps", .order = DURE_GGUF_EXPERTS),
};
static const dure_gguf_key mixtral_keys[] = {
    LLAMA_KEYS,
    KEY("expert_count", "num_local_experts", .is_required = true, .is_own = true),
    KEY("expert_used_count", "num_experts_per_tok", .is_required = true, .is_own = true),
};
static const dure_gguf_key qwen2_moe_keys[] = {
    LLAMA_KEYS,
    KEY("expert_count", "num_experts", .is_required = true, .is_own = true),
    KEY("expert_used_count", "num_experts_per_tok", .is_required = true, .is_own = true),
    KEY("expert_feed_forward_length", "moe_intermediate_size", .is_required = true, .is_own = true),
    KEY("expert_shared_feed_forward_length", "shared_expert_intermediate_size", .is_required = true, .is_own = true),
};
static const dure_gguf_name qwen2_moe_names[] = {
    LLAMA_NAMES(DURE_GGUF_SAME, DURE_GGUF_SAME),
    NAME("model.layers.%u.mlp.gate", "blk.%u.ffn_gate_inp"),
    NAME("model.layers.%u.mlp.experts.%u.gate_proj", "blk.%u.ffn_gate_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.mlp.experts.%u.up_proj", "blk.%u.ffn_up_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.mlp.experts.%u.down_proj", "blk.%u.ffn_down_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.mlp.shared_expert.gate_proj", "blk.%u.ffn_gate_shexp"),
    NAME("model.layers.%u.mlp.shared_expert.up_proj", "blk.%u.ffn_up_shexp"),
    NAME("model.layers.%u.mlp.shared_expert.down_proj", "blk.%u.ffn_down_shexp"),
    NAME("model.layers.%u.mlp.shared_expert_gate", "blk.%u.ffn_gate_inp_shexp", .order = DURE_GGUF_ONE_ROW),
};
static const dure_gguf_name qwen2_names[] = {LLAMA_NAMES(DURE_GGUF_SAME, DURE_GGUF_SAME)};
static const dure_gguf_name qwen3_names[] = {
    LLAMA_NAMES(DURE_GGUF_SAME, DURE_GGUF_SAME),
    NAME("model.layers.%u.self_attn.q_norm", "blk.%u.attn_q_norm"),
    NAME("model.layers.%u.self_attn.k_norm", "blk.%u.attn_k_norm"),
};

static const dure_gguf_key qwen3_moe_keys[] = {
    LLAMA_KEYS,
    KEY("expert_count", "num_experts", .is_required = true, .is_own = true),
    KEY("expert_used_count", "num_experts_per_tok", .is_required = true, .is_own = true),
    KEY("expert_feed_forward_length", "moe_intermediate_size", .is_required = true, .is_own = true),
};
static const dure_gguf_name qwen3_moe_names[] = {
    LLAMA_NAMES(DURE_GGUF_SAME, DURE_GGUF_SAME),
    NAME("model.layers.%u.self_attn.q_norm", "blk.%u.attn_q_norm"),
    NAME("model.layers.%u.self_attn.k_norm", "blk.%u.attn_k_norm"),
    NAME("model.layers.%u.mlp.gate", "blk.%u.ffn_gate_inp"),
    NAME("model.layers.%u.mlp.experts.%u.gate_proj", "blk.%u.ffn_gate_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.mlp.experts.%u.up_proj", "blk.%u.ffn_up_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.mlp.experts.%u.down_proj", "blk.%u.ffn_down_exps", .order = DURE_GGUF_EXPERTS),
};
static const dure_gguf_name olmo2_names[] = {
    NAME("model.embed_tokens", "token_embd"),
    NAME("model.norm", "output_norm"),
    NAME("lm_head", "output"),
    NAME("model.layers.%u.self_attn.q_proj", "blk.%u.attn_q"),
    NAME("model.layers.%u.self_attn.k_proj", "blk.%u.attn_k"),
    NAME("model.layers.%u.self_attn.v_proj", "blk.%u.attn_v"),
    NAME("model.layers.%u.self_attn.q_norm", "blk.%u.attn_q_norm"),
    NAME("model.layers.%u.self_attn.k_norm", "blk.%u.attn_k_norm"),
    NAME("model.layers.%u.self_attn.o_proj", "blk.%u.attn_output"),
    NAME("model.layers.%u.post_attention_layernorm", "blk.%u.post_attention_norm"),
    NAME("model.layers.%u.post_feedforward_layernorm", "blk.%u.post_ffw_norm"),
    NAME("model.layers.%u.mlp.gate_proj", "blk.%u.ffn_gate"),
    NAME("model.layers.%u.mlp.up_proj", "blk.%u.ffn_up"),
    NAME("model.layers.%u.mlp.down_proj", "blk.%u.ffn_down"),
};
static const dure_gguf_key phi3_keys[] = {LLAMA_KEYS, KEY("attention.sliding_window", "sliding_window")};
static const dure_gguf_name phi3_names[] = {
    NAME("model.embed_tokens", "token_embd"),
    NAME("model.norm", "output_norm"),
    NAME("lm_head", "output"),
    NAME("model.layers.%u.input_layernorm", "blk.%u.attn_norm"),
    NAME("model.layers.%u.self_attn.qkv_proj", "blk.%u.attn_qkv"),
    NAME("model.layers.%u.self_attn.o_proj", "blk.%u.attn_output"),
    NAME("model.layers.%u.post_attention_layernorm", "blk.%u.ffn_norm"),
    NAME("model.layers.%u.mlp.gate_up_proj", "blk.%u.ffn_up"),
    NAME("model.layers.%u.mlp.down_proj", "blk.%u.ffn_down"),
};

static dure_status finish_llama(const dure_gguf *file, json_t *json) {
  int64_t experts, chosen;
  if (dure_gguf_integer(dure_gguf_value_find(file, "llama.expert_count"), 0, &experts) && experts > 0) {
    if (!dure_gguf_integer(dure_gguf_value_find(file, "llama.expert_used_count"), 0, &chosen))
      return dure_fail(DURE_CORRUPT, "'%s': the key llama.expert_used_count is missing", dure_gguf_path(file));
    json_object_set_new(json, "model_type", json_string("mixtral"));
    json_object_set_new(json, "num_local_experts", json_integer((json_int_t)experts));
    json_object_set_new(json, "num_experts_per_tok", json_integer((json_int_t)chosen));
    return NULL;
  }
  if (integer_of(json, "sliding_window") > 0) json_object_set_new(json, "model_type", json_string("mistral"));
  json_object_set_new(json, "attention_bias", json_boolean(has_tensor(file, "blk.0.attn_q.bias")));
  json_object_set_new(json, "mlp_bias", json_boolean(has_tensor(file, "blk.0.ffn_up.bias")));
  return NULL;
}

// Layers without a router are dense.
static dure_status finish_qwen2_moe(const dure_gguf *file, json_t *json) {
  json_t *dense = json_array();
  for (int64_t layer = 0; layer < integer_of(json, "num_hidden_layers") && layer < DURE_LAYERS_MOST; layer++) {
    char name[64];
    snprintf(name, sizeof(name), "blk.%lld.ffn_gate_inp.weight", (long long)layer);
    if (!has_tensor(file, name)) json_array_append_new(dense, json_integer((json_int_t)layer));
  }
  json_object_set_new(json, "mlp_only_layers", dense);
  return NULL;
}

// The architecture always divides the weights of the chosen experts by their sum.
static dure_status finish_qwen3_moe(const dure_gguf *file, json_t *json) {
  json_object_set_new(json, "norm_topk_prob", json_true());
  return finish_qwen2_moe(file, json);
}

static dure_status finish_phi3(const dure_gguf *file, json_t *json) {
  int64_t rotated;
  const int64_t heads = integer_of(json, "num_attention_heads"), width = integer_of(json, "hidden_size");
  if (has_tensor(file, "rope_factors_long.weight"))
    return dure_fail(DURE_UNSUPPORTED, "'%s': the scaling of positions \"longrope\" is not supported",
                     dure_gguf_path(file));
  if (dure_gguf_integer(dure_gguf_value_find(file, "phi3.rope.dimension_count"), 0, &rotated) && heads > 0 &&
      rotated > 0 && rotated < width / heads)
    json_object_set_new(json, "partial_rotary_factor", json_real((double)rotated / (double)(width / heads)));
  return NULL;
}

// ---- DeepSeek V2 and V3 ------------------------------------------------------------------------------------------

static const dure_gguf_key deepseek_keys[] = {
    KEY("context_length", "max_position_embeddings", .is_required = true),
    KEY("embedding_length", "hidden_size", .is_required = true),
    KEY("block_count", "num_hidden_layers", .is_required = true),
    KEY("feed_forward_length", "intermediate_size", .is_required = true),
    KEY("attention.head_count", "num_attention_heads", .is_required = true),
    KEY("attention.layer_norm_rms_epsilon", "rms_norm_eps", .is_number = true, .is_required = true),
    KEY("attention.q_lora_rank", "q_lora_rank"),
    KEY("attention.kv_lora_rank", "kv_lora_rank", .is_required = true),
    KEY("rope.freq_base", "rope_theta", .is_number = true),
    KEY("rope.dimension_count", "qk_rope_head_dim", .is_required = true),
    KEY("leading_dense_block_count", "first_k_dense_replace"),
    KEY("expert_count", "n_routed_experts", .is_required = true),
    KEY("expert_used_count", "num_experts_per_tok", .is_required = true),
    KEY("expert_shared_count", "n_shared_experts", .is_required = true),
    KEY("expert_feed_forward_length", "moe_intermediate_size", .is_required = true),
    KEY("expert_weights_scale", "routed_scaling_factor", .is_number = true),
    KEY("expert_group_count", "n_group"),
    KEY("expert_group_used_count", "topk_group"),
};
// Keys' and values' parts of kv_b_proj are one tensor in older files, as they are written, two in newer ones.
static const dure_gguf_name deepseek_names[] = {
    LLAMA_NAMES(DURE_GGUF_SAME, DURE_GGUF_SAME),
    NAME("model.layers.%u.self_attn.q_a_proj", "blk.%u.attn_q_a"),
    NAME("model.layers.%u.self_attn.q_a_layernorm", "blk.%u.attn_q_a_norm"),
    NAME("model.layers.%u.self_attn.q_b_proj", "blk.%u.attn_q_b"),
    NAME("model.layers.%u.self_attn.kv_a_proj_with_mqa", "blk.%u.attn_kv_a_mqa"),
    NAME("model.layers.%u.self_attn.kv_a_layernorm", "blk.%u.attn_kv_a_norm"),
    NAME("model.layers.%u.self_attn.kv_b_proj", "blk.%u.attn_kv_b"),
    NAME("model.layers.%u.self_attn.kv_b_proj", "blk.%u.attn_k_b", .order = DURE_GGUF_KEY_UP),
    NAME("model.layers.%u.self_attn.kv_b_proj", "blk.%u.attn_v_b", .order = DURE_GGUF_VALUE_UP),
    NAME("model.layers.%u.mlp.gate", "blk.%u.ffn_gate_inp"),
    NAME("model.layers.%u.mlp.gate.e_score_correction_bias", "blk.%u.exp_probs_b.bias", .is_whole = true),
    NAME("model.layers.%u.mlp.experts.%u.gate_proj", "blk.%u.ffn_gate_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.mlp.experts.%u.up_proj", "blk.%u.ffn_up_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.mlp.experts.%u.down_proj", "blk.%u.ffn_down_exps", .order = DURE_GGUF_EXPERTS),
    NAME("model.layers.%u.mlp.shared_experts.gate_proj", "blk.%u.ffn_gate_shexp"),
    NAME("model.layers.%u.mlp.shared_experts.up_proj", "blk.%u.ffn_up_shexp"),
    NAME("model.layers.%u.mlp.shared_experts.down_proj", "blk.%u.ffn_down_shexp"),
};

// Newer files tell the widths of heads as attention's "mla" lengths; the plain ones are then those of latent vectors.
static dure_status read_deepseek_heads(const dure_gguf *file, json_t *json) {
  const int64_t rotated = integer_of(json, "qk_rope_head_dim");
  int64_t key, value;
  if (!(dure_gguf_integer(dure_gguf_value_find(file, "deepseek2.attention.key_length_mla"), 0, &key) &&
        dure_gguf_integer(dure_gguf_value_find(file, "deepseek2.attention.value_length_mla"), 0, &value)) &&
      !(dure_gguf_integer(dure_gguf_value_find(file, "deepseek2.attention.key_length"), 0, &key) &&
        dure_gguf_integer(dure_gguf_value_find(file, "deepseek2.attention.value_length"), 0, &value)))
    return dure_fail(DURE_CORRUPT, "'%s' does not tell the lengths of keys and values", dure_gguf_path(file));
  if (key <= rotated || key > 1 << 20)
    return dure_fail(DURE_CORRUPT, "'%s': keys of %lld elements, of which %lld are rotated", dure_gguf_path(file),
                     (long long)key, (long long)rotated);
  json_object_set_new(json, "qk_nope_head_dim", json_integer((json_int_t)(key - rotated)));
  json_object_set_new(json, "v_head_dim", json_integer((json_int_t)value));
  return NULL;
}

static dure_status finish_deepseek(const dure_gguf *file, json_t *json) {
  enum { SIGMOID = 2 };
  int64_t gating = has_tensor(file, "blk.0.exp_probs_b.bias") ? SIGMOID : 0;
  bool is_normalised = false;
  double weight;
  DURE_TRY(read_deepseek_heads(file, json));
  (void)dure_gguf_integer(dure_gguf_value_find(file, "deepseek2.expert_gating_func"), 0, &gating);
  (void)dure_gguf_boolean(dure_gguf_value_find(file, "deepseek2.expert_weights_norm"), 0, &is_normalised);
  json_object_set_new(json, "model_type", json_string(gating == SIGMOID ? "deepseek_v3" : "deepseek_v2"));
  json_object_set_new(json, "norm_topk_prob", json_boolean(is_normalised));
  json_object_set_new(json, "topk_method",
                      json_string(gating == SIGMOID                 ? "noaux_tc"
                                  : integer_of(json, "n_group") > 1 ? "group_limited_greedy"
                                                                    : "greedy"));
  json_object_set_new(json, "num_nextn_predict_layers", json_integer(0));
  json_object_set_new(json, "attention_bias", json_boolean(has_tensor(file, "blk.0.attn_kv_a_mqa.bias")));
  if (json_object_get(json, "q_lora_rank") == NULL) json_object_set_new(json, "q_lora_rank", json_null());
  json_t *scaling = json_object_get(json, "rope_scaling");
  // What is added to the magnitude for each factor of e: a tenth of "mscale_all_dim".
  if (scaling != NULL &&
      dure_gguf_number(dure_gguf_value_find(file, "deepseek2.rope.scaling.yarn_log_multiplier"), 0, &weight) &&
      weight > 0 && weight < 1e6) {
    char text[32];
    snprintf(text, sizeof(text), "%.6g", weight * 10);
    json_object_set_new(scaling, "mscale", json_real(strtod(text, NULL)));
    json_object_set_new(scaling, "mscale_all_dim", json_real(strtod(text, NULL)));
  }
  return NULL;
}

// ---- Gemma 2 and 3 -----------------------------------------------------------------------------------------------

// clang-format off
static const dure_gguf_name gemma_names[] = {
    NAME("model.embed_tokens", "token_embd"),
    NAME("lm_head", "output"),
    NAME("model.norm", "output_norm", .order = DURE_GGUF_PLUS_ONE),
    NAME("model.layers.%u.input_layernorm", "blk.%u.attn_norm", .order = DURE_GGUF_PLUS_ONE),
    NAME("model.layers.%u.self_attn.q_proj", "blk.%u.attn_q"),
    NAME("model.layers.%u.self_attn.k_proj", "blk.%u.attn_k"),
    NAME("model.layers.%u.self_attn.v_proj", "blk.%u.attn_v"),
    NAME("model.layers.%u.self_attn.o_proj", "blk.%u.attn_output"),
    NAME("model.layers.%u.self_attn.q_norm", "blk.%u.attn_q_norm", .order = DURE_GGUF_PLUS_ONE),
    NAME("model.layers.%u.self_attn.k_norm", "blk.%u.attn_k_norm", .order = DURE_GGUF_PLUS_ONE),
    NAME("model.layers.%u.post_attention_layernorm", "blk.%u.post_attention_norm", .order = DURE_GGUF_PLUS_ONE),
    NAME("model.layers.%u.pre_feedforward_layernorm", "blk.%u.ffn_norm", .order = DURE_GGUF_PLUS_ONE),
    NAME("model.layers.%u.post_feedforward_layernorm", "blk.%u.post_ffw_norm", .order = DURE_GGUF_PLUS_ONE),
    NAME("model.layers.%u.mlp.gate_proj", "blk.%u.ffn_gate"),
    NAME("model.layers.%u.mlp.up_proj", "blk.%u.ffn_up"),
    NAME("model.layers.%u.mlp.down_proj", "blk.%u.ffn_down"),
};
// clang-format on

static const dure_gguf_key gemma2_keys[] = {
    LLAMA_KEYS,
    KEY("attention.sliding_window", "sliding_window"),
    KEY("attn_logit_softcapping", "attn_logit_softcapping", .is_number = true, .is_own = true),
    KEY("final_logit_softcapping", "final_logit_softcapping", .is_number = true, .is_own = true),
};
static const dure_gguf_key gemma3_keys[] = {LLAMA_KEYS, KEY("attention.sliding_window", "sliding_window")};

// The largest models scale scores by the width of a head that the others' sizes would give; nothing in the file says
// so but their number of layers.
static dure_status finish_gemma(const dure_gguf *file, json_t *json) {
  (void)file;
  const int64_t layers = integer_of(json, "num_hidden_layers"), heads = integer_of(json, "num_attention_heads");
  const int64_t head_width = json_object_get(json, "head_dim") != NULL ? integer_of(json, "head_dim") : 256;
  const bool is_largest = layers == 46 || layers == 62;
  const int64_t scalar = is_largest && heads > 0 ? integer_of(json, "hidden_size") / heads : head_width;
  json_object_set_new(json, "query_pre_attn_scalar", json_integer(scalar));
  json_object_set_new(json, "head_dim", json_integer(head_width));
  return NULL;
}

// ---- GPT-2 -------------------------------------------------------------------------------------------------------

static const dure_gguf_key gpt2_keys[] = {
    KEY("context_length", "n_positions", .is_required = true),
    KEY("embedding_length", "n_embd", .is_required = true),
    KEY("block_count", "n_layer", .is_required = true),
    KEY("feed_forward_length", "n_inner", .is_required = true),
    KEY("attention.head_count", "n_head", .is_required = true),
    KEY("attention.layer_norm_epsilon", "layer_norm_epsilon", .is_number = true, .is_required = true),
};
static const dure_gguf_name gpt2_names[] = {
    NAME("transformer.wte", "token_embd"),
    NAME("transformer.wpe", "position_embd"),
    NAME("transformer.h.%u.ln_1", "blk.%u.attn_norm"),
    NAME("transformer.h.%u.attn.c_attn", "blk.%u.attn_qkv", .order = DURE_GGUF_TRANSPOSED),
    NAME("transformer.h.%u.attn.c_proj", "blk.%u.attn_output", .order = DURE_GGUF_TRANSPOSED),
    NAME("transformer.h.%u.ln_2", "blk.%u.ffn_norm"),
    NAME("transformer.h.%u.mlp.c_fc", "blk.%u.ffn_up", .order = DURE_GGUF_TRANSPOSED),
    NAME("transformer.h.%u.mlp.c_proj", "blk.%u.ffn_down", .order = DURE_GGUF_TRANSPOSED),
    NAME("transformer.ln_f", "output_norm"),
    NAME("lm_head", "output"),
};

// ---- GPT-NeoX ----------------------------------------------------------------------------------------------------

static const dure_gguf_key neox_keys[] = {
    KEY("context_length", "max_position_embeddings", .is_required = true),
    KEY("embedding_length", "hidden_size", .is_required = true),
    KEY("block_count", "num_hidden_layers", .is_required = true),
    KEY("feed_forward_length", "intermediate_size", .is_required = true),
    KEY("attention.head_count", "num_attention_heads", .is_required = true),
    KEY("attention.layer_norm_epsilon", "layer_norm_eps", .is_number = true, .is_required = true),
    KEY("rope.freq_base", "rotary_emb_base", .is_number = true),
};
static const dure_gguf_name neox_names[] = {
    NAME("gpt_neox.embed_in", "token_embd"),
    NAME("gpt_neox.layers.%u.input_layernorm", "blk.%u.attn_norm"),
    NAME("gpt_neox.layers.%u.post_attention_layernorm", "blk.%u.ffn_norm"),
    NAME("gpt_neox.layers.%u.attention.query_key_value", "blk.%u.attn_qkv", .order = DURE_GGUF_BY_KIND),
    NAME("gpt_neox.layers.%u.attention.dense", "blk.%u.attn_output"),
    NAME("gpt_neox.layers.%u.mlp.dense_h_to_4h", "blk.%u.ffn_up"),
    NAME("gpt_neox.layers.%u.mlp.dense_4h_to_h", "blk.%u.ffn_down"),
    NAME("gpt_neox.final_layer_norm", "output_norm"),
    NAME("embed_out", "output"),
};

static dure_status finish_neox(const dure_gguf *file, json_t *json) {
  int64_t rotated;
  bool is_parallel;
  const int64_t heads = integer_of(json, "num_attention_heads"), width = integer_of(json, "hidden_size");
  if (dure_gguf_integer(dure_gguf_value_find(file, "gptneox.rope.dimension_count"), 0, &rotated) && heads > 0 &&
      width >= heads) {
    // Rounded down to whole elements again when it is read.
    json_object_set_new(json, "rotary_pct", json_real(((double)rotated + 0.25) / (double)(width / heads)));
    if (rotated == width / heads) json_object_set_new(json, "rotary_pct", json_real(1));
  }
  if (dure_gguf_boolean(dure_gguf_value_find(file, "gptneox.use_parallel_residual"), 0, &is_parallel))
    json_object_set_new(json, "use_parallel_residual", json_boolean(is_parallel));
  json_object_set_new(json, "attention_bias", json_boolean(has_tensor(file, "blk.0.attn_qkv.bias")));
  return NULL;
}

// ---- Falcon ------------------------------------------------------------------------------------------------------

static const dure_gguf_key falcon_keys[] = {
    KEY("context_length", "max_position_embeddings", .is_required = true),
    KEY("embedding_length", "hidden_size", .is_required = true),
    KEY("block_count", "num_hidden_layers", .is_required = true),
    KEY("feed_forward_length", "ffn_hidden_size"),
    KEY("attention.head_count", "num_attention_heads", .is_required = true),
    KEY("attention.head_count_kv", "num_kv_heads"),
    KEY("attention.layer_norm_epsilon", "layer_norm_epsilon", .is_number = true, .is_required = true),
    KEY("rope.freq_base", "rope_theta", .is_number = true),
};
// The 40B kind's attention has the second norm, its feed-forward block the first.
static const dure_gguf_name falcon_names[] = {
    NAME("transformer.word_embeddings", "token_embd"),
    NAME("transformer.h.%u.self_attention.query_key_value", "blk.%u.attn_qkv", .order = DURE_GGUF_BY_KIND),
    NAME("transformer.h.%u.self_attention.dense", "blk.%u.attn_output"),
    NAME("transformer.h.%u.mlp.dense_h_to_4h", "blk.%u.ffn_up"),
    NAME("transformer.h.%u.mlp.dense_4h_to_h", "blk.%u.ffn_down"),
    NAME("transformer.ln_f", "output_norm"),
    NAME("lm_head", "output"),
    NAME("transformer.h.%u.input_layernorm", "blk.%u.attn_norm", .needs = DURE_TRAIT_ONE_NORM),
    NAME("transformer.h.%u.ln_mlp", "blk.%u.attn_norm", .needs = DURE_TRAIT_TWO_NORMS),
    NAME("transformer.h.%u.ln_attn", "blk.%u.attn_norm_2", .needs = DURE_TRAIT_TWO_NORMS),
};

static dure_status finish_falcon(const dure_gguf *file, json_t *json) {
  const int64_t heads = integer_of(json, "num_attention_heads");
  const int64_t key_heads = json_object_get(json, "num_kv_heads") != NULL ? integer_of(json, "num_kv_heads") : heads;
  const bool has_two_norms = has_tensor(file, "blk.0.attn_norm_2.weight");
  const bool is_new = has_two_norms || (key_heads > 1 && key_heads < heads);
  json_object_set_new(json, "new_decoder_architecture", json_boolean(is_new));
  json_object_set_new(json, "multi_query", json_boolean(key_heads == 1));
  json_object_set_new(json, "num_ln_in_parallel_attn", json_integer(has_two_norms ? 2 : 1));
  json_object_set_new(json, "num_kv_heads", json_integer(key_heads));
  json_object_set_new(json, "bias", json_false());
  json_object_set_new(json, "alibi", json_false());
  json_object_set_new(json, "parallel_attn", json_true());
  return NULL;
}

// ---- BLOOM and MPT -----------------------------------------------------------------------------------------------

static const dure_gguf_key bloom_keys[] = {
    KEY("context_length", "seq_length", .is_required = true),
    KEY("embedding_length", "hidden_size", .is_required = true),
    KEY("block_count", "n_layer", .is_required = true),
    KEY("attention.head_count", "n_head", .is_required = true),
    KEY("attention.layer_norm_epsilon", "layer_norm_epsilon", .is_number = true, .is_required = true),
};
static const dure_gguf_name bloom_names[] = {
    NAME("transformer.word_embeddings", "token_embd"),
    NAME("transformer.word_embeddings_layernorm", "token_embd_norm"),
    NAME("transformer.h.%u.input_layernorm", "blk.%u.attn_norm"),
    NAME("transformer.h.%u.self_attention.query_key_value", "blk.%u.attn_qkv", .order = DURE_GGUF_BY_KIND),
    NAME("transformer.h.%u.self_attention.dense", "blk.%u.attn_output"),
    NAME("transformer.h.%u.post_attention_layernorm", "blk.%u.ffn_norm"),
    NAME("transformer.h.%u.mlp.dense_h_to_4h", "blk.%u.ffn_up"),
    NAME("transformer.h.%u.mlp.dense_4h_to_h", "blk.%u.ffn_down"),
    NAME("transformer.ln_f", "output_norm"),
    NAME("lm_head", "output"),
};

static const dure_gguf_key mpt_keys[] = {
    KEY("context_length", "max_seq_len", .is_required = true),
    KEY("embedding_length", "d_model", .is_required = true),
    KEY("block_count", "n_layers", .is_required = true),
    KEY("attention.head_count", "n_heads", .is_required = true),
    KEY("attention.layer_norm_epsilon", "layer_norm_epsilon", .is_number = true, .is_required = true),
};
static const dure_gguf_name mpt_names[] = {
    NAME("transformer.wte", "token_embd"),
    NAME("transformer.blocks.%u.norm_1", "blk.%u.attn_norm"),
    NAME("transformer.blocks.%u.attn.Wqkv", "blk.%u.attn_qkv"),
    NAME("transformer.blocks.%u.attn.out_proj", "blk.%u.attn_output"),
    NAME("transformer.blocks.%u.norm_2", "blk.%u.ffn_norm"),
    NAME("transformer.blocks.%u.ffn.up_proj", "blk.%u.ffn_up"),
    NAME("transformer.blocks.%u.ffn.down_proj", "blk.%u.ffn_down"),
    NAME("transformer.norm_f", "output_norm"),
    NAME("lm_head", "output"),
};

static dure_status finish_mpt(const dure_gguf *file, json_t *json) {
  double largest = 8, clamp = 0;
  dure_gguf_number(dure_gguf_value_find(file, "mpt.attention.max_alibi_bias"), 0, &largest);
  json_t *attention = json_pack("{s:b}", "alibi", largest > 0);
  if (largest > 0 && largest < 1e6) json_object_set_new(attention, "alibi_bias_max", json_integer((json_int_t)largest));
  if (dure_gguf_number(dure_gguf_value_find(file, "mpt.attention.clamp_kqv"), 0, &clamp) && clamp > 0)
    json_object_set_new(attention, "clip_qkv", json_real(clamp));
  json_object_set_new(json, "attn_config", attention);
  json_object_set_new(json, "no_bias", json_boolean(!has_tensor(file, "blk.0.attn_qkv.bias")));
  return NULL;
}

// ---- the table ---------------------------------------------------------------------------------------------------

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FAMILY(architecture, model_type, keys, names, finish) \
  { architecture, model_type, keys, COUNT(keys), names, COUNT(names), finish }

// The first row of a model type writes it.
static const dure_gguf_family families[] = {
    FAMILY("llama", "llama", llama_keys, llama_names, finish_llama),
    FAMILY("llama", "mistral", llama_keys, llama_names, finish_llama),
    FAMILY("llama", "mixtral", mixtral_keys, mixtral_names, finish_llama),
    FAMILY("qwen2", "qwen2", qwen2_keys, qwen2_names, NULL),
    FAMILY("qwen3", "qwen3", qwen2_keys, qwen3_names, NULL),
    FAMILY("qwen2moe", "qwen2_moe", qwen2_moe_keys, qwen2_moe_names, finish_qwen2_moe),
    FAMILY("qwen3moe", "qwen3_moe", qwen3_moe_keys, qwen3_moe_names, finish_qwen3_moe),
    FAMILY("smollm3", "smollm3", qwen2_keys, llama_names, NULL),
    FAMILY("olmo2", "olmo2", qwen2_keys, olmo2_names, NULL),
    FAMILY("phi3", "phi3", phi3_keys, phi3_names, finish_phi3),
    FAMILY("deepseek2", "deepseek_v2", deepseek_keys, deepseek_names, finish_deepseek),
    FAMILY("deepseek2", "deepseek_v3", deepseek_keys, deepseek_names, finish_deepseek),
    FAMILY("gemma2", "gemma2", gemma2_keys, gemma_names, finish_gemma),
    FAMILY("gemma3", "gemma3_text", gemma3_keys, gemma_names, finish_gemma),
    FAMILY("gpt2", "gpt2", gpt2_keys, gpt2_names, NULL),
    FAMILY("gptneox", "gpt_neox", neox_keys, neox_names, finish_neox),
    FAMILY("falcon", "falcon", falcon_keys, falcon_names, finish_falcon),
    FAMILY("bloom", "bloom", bloom_keys, bloom_names, NULL),
    FAMILY("mpt", "mpt", mpt_keys, mpt_names, finish_mpt),
};
enum { family_count = COUNT(families) };

dure_status dure_gguf_family_find(const char *path, const char *architecture, const dure_gguf_family **out_family) {
  const char *names[family_count];
  for (size_t i = 0; i < family_count; i++) {
    names[i] = families[i].architecture;
    if (strcmp(names[i], architecture) != 0) continue;
    *out_family = &families[i];
    return NULL;
  }
  *out_family = NULL;
  return dure_fail(DURE_UNSUPPORTED, "'%s': the architecture \"%.60s\" is not supported; the nearest that is: \"%s\"",
                   path, architecture, dure_nearest_name(architecture, names, family_count, NULL));
}

const dure_gguf_family *dure_gguf_family_writing(const char *model_type) {
  for (size_t i = 0; i < family_count; i++) {
    if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
  }
  return NULL;
}

// ---- names -------------------------------------------------------------------------------------------------------

static const char *const suffixes[] = {".weight", ".bias"};

// Writes `to` for a `name` that is `from` with a layer's number and, unless it is whole, a suffix.
static bool translate(const char *name, const char *from, const char *to, bool is_whole, char *out_name, size_t size) {
  const char *mark = strstr(from, "%u");
  unsigned long layer = 0;
  const char *rest;
  if (mark == NULL) {
    if (strncmp(name, from, strlen(from)) != 0) return false;
    rest = name + strlen(from);
  } else {
    const size_t head = (size_t)(mark - from);
    if (strncmp(name, from, head) != 0 || name[head] < '0' || name[head] > '9') return false;
    char *end;
    layer = strtoul(name + head, &end, 10);
    if (layer >= DURE_LAYERS_MOST || strncmp(end, mark + 2, strlen(mark + 2)) != 0) return false;
    rest = end + strlen(mark + 2);
  }
  if (is_whole ? *rest != '\0' : strcmp(rest, suffixes[0]) != 0 && strcmp(rest, suffixes[1]) != 0) return false;
  const char *to_mark = strstr(to, "%u");
  const int written = to_mark == NULL
                          ? snprintf(out_name, size, "%s%s", to, rest)
                          : snprintf(out_name, size, "%.*s%lu%s%s", (int)(to_mark - to), to, layer, to_mark + 2, rest);
  return written > 0 && (size_t)written < size;
}

// A bias is one row: transposing it means nothing.
static dure_gguf_order order_of(const dure_gguf_name *row, const char *name) {
  const size_t length = strlen(name), ending = strlen(suffixes[1]);
  const bool is_bias = length > ending && strcmp(name + length - ending, suffixes[1]) == 0;
  return is_bias && row->order == DURE_GGUF_TRANSPOSED ? DURE_GGUF_SAME : row->order;
}

bool dure_gguf_name_to_public(const dure_gguf_family *family, const dure_model_config *config, const char *name,
                              char *out_name, size_t size, dure_gguf_order *out_order) {
  for (size_t i = 0; i < family->name_count; i++) {
    const dure_gguf_name *row = &family->names[i];
    if (!dure_model_config_has(config, row->needs) || row->order == DURE_GGUF_EXPERTS) continue;
    if (!translate(name, row->gguf_name, row->public_name, row->is_whole, out_name, size)) continue;
    *out_order = order_of(row, name);
    return true;
  }
  return false;
}

bool dure_gguf_name_from_public(const dure_gguf_family *family, const char *optional_prefix, const char *name,
                                char *out_name, size_t size, dure_gguf_order *out_order) {
  const size_t prefix = strlen(optional_prefix);
  for (size_t i = 0; i < family->name_count; i++) {
    const dure_gguf_name *row = &family->names[i];
    if (row->order == DURE_GGUF_EXPERTS) continue;
    const bool has_prefix = prefix > 0 && strncmp(row->public_name, optional_prefix, prefix) == 0;
    if (!translate(name, row->public_name, row->gguf_name, row->is_whole, out_name, size) &&
        !(has_prefix && translate(name, row->public_name + prefix, row->gguf_name, row->is_whole, out_name, size)))
      continue;
    *out_order = order_of(row, name);
    return true;
  }
  return false;
}

// A public name with the expert's number in its place, the layer's still open.
static void put_expert(const char *pattern, uint64_t expert, char *out_pattern, size_t size) {
  const char *mark = strstr(strstr(pattern, "%u") + 2, "%u");
  snprintf(out_pattern, size, "%.*s%llu%s", (int)(mark - pattern), pattern, (unsigned long long)expert, mark + 2);
}

bool dure_gguf_name_of_expert(const dure_gguf_family *family, const char *name, uint64_t expert, char *out_name,
                              size_t size) {
  char pattern[160];
  for (size_t i = 0; i < family->name_count; i++) {
    const dure_gguf_name *row = &family->names[i];
    if (row->order != DURE_GGUF_EXPERTS) continue;
    put_expert(row->public_name, expert, pattern, sizeof(pattern));
    if (translate(name, row->gguf_name, pattern, false, out_name, size)) return true;
  }
  return false;
}

bool dure_gguf_name_from_expert(const dure_gguf_family *family, const char *name, char *out_name, size_t size,
                                uint64_t *out_expert) {
  char pattern[160];
  const char *number = strstr(name, ".experts.");
  *out_expert = 0;
  if (number == NULL || number[9] < '0' || number[9] > '9') return false;
  *out_expert = strtoul(number + 9, NULL, 10);
  for (size_t i = 0; i < family->name_count; i++) {
    const dure_gguf_name *row = &family->names[i];
    if (row->order != DURE_GGUF_EXPERTS) continue;
    put_expert(row->public_name, *out_expert, pattern, sizeof(pattern));
    if (translate(name, pattern, row->gguf_name, false, out_name, size)) return true;
  }
  return false;
}

static uint64_t row_by_kind(const dure_model_config *config, uint64_t row) {
  const uint64_t D = config->head_width, groups = config->key_head_count, queries = config->head_count / groups * D;
  const uint64_t group = row / (queries + 2 * D), within = row % (queries + 2 * D);
  if (within < queries) return group * queries + within;
  const bool is_value = within >= queries + D;
  return groups * queries + (is_value ? groups * D : 0) + group * D + (within - queries - (is_value ? D : 0));
}

uint64_t dure_gguf_row(dure_gguf_order order, const dure_model_config *config, uint64_t row) {
  const uint64_t D = config->head_width, half = D / 2;
  switch (order) {
    case DURE_GGUF_ROTARY_QUERY:
    case DURE_GGUF_ROTARY_KEY: return row / D * D + row % half * 2 + row % D / half;
    case DURE_GGUF_BY_KIND: return row_by_kind(config, row);
    case DURE_GGUF_SAME:
    case DURE_GGUF_TRANSPOSED:
    case DURE_GGUF_PLUS_ONE:
    case DURE_GGUF_EXPERTS:
    case DURE_GGUF_ONE_ROW:
    case DURE_GGUF_KEY_UP:
    case DURE_GGUF_VALUE_UP: break;
  }
  return row;
}
