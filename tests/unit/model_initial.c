// Weights from scratch have the deviations that docs/model.md's table says, family by family.
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "model/family.h"
#include "model/parameters.h"
#include "tests/suite.h"

// Of the matrices of a family: those that add to the residual stream, and all others.
typedef enum deviation { PLAIN, RESIDUAL, SMALL, WANG } deviation;
static const struct {
  const char *model_type;
  double range;  // where the configuration does not say
  deviation inner, output;
} wanted[] = {
    {"gpt2", 0.02, PLAIN, RESIDUAL},   {"gpt_neo", 0.02, PLAIN, PLAIN},      {"gptj", 0.02, PLAIN, WANG},
    {"gpt_neox", 0.02, SMALL, WANG},   {"opt", 0.006, PLAIN, RESIDUAL},      {"bloom", 0.02, PLAIN, RESIDUAL},
    {"mpt", 0.02, PLAIN, RESIDUAL},    {"falcon", 0.02, PLAIN, PLAIN},       {"llama", 0.02, PLAIN, PLAIN},
    {"mistral", 0.02, PLAIN, PLAIN},   {"qwen2", 0.02, PLAIN, PLAIN},        {"mixtral", 0.02, PLAIN, PLAIN},
    {"qwen2_moe", 0.02, PLAIN, PLAIN}, {"deepseek_v2", 0.006, PLAIN, PLAIN}, {"deepseek_v3", 0.006, PLAIN, PLAIN},
    {"gemma2", 0.02, PLAIN, PLAIN},    {"gemma3_text", 0.02, PLAIN, PLAIN},  {"qwen3", 0.02, PLAIN, PLAIN},
    {"stablelm", 0.02, PLAIN, PLAIN},  {"smollm3", 0.02, PLAIN, PLAIN},      {"olmo2", 0.02, PLAIN, PLAIN},
    {"phi3", 0.02, PLAIN, PLAIN},      {"qwen3_moe", 0.02, PLAIN, PLAIN},
};
enum { family_count = sizeof(wanted) / sizeof(wanted[0]), layers = 3, width = 40 };

// A small configuration of any family: its sizes in every spelling there is.
static const char sizes[] =
    "{\"vocab_size\": 101, \"n_positions\": 32, \"n_embd\": 40, \"n_layer\": 3, \"n_head\": 4, "
    "\"max_position_embeddings\": 32, \"hidden_size\": 40, \"num_hidden_layers\": 3, \"num_layers\": 3, "
    "\"num_attention_heads\": 4, \"num_heads\": 4, \"intermediate_size\": 96, \"ffn_dim\": 96, \"seq_length\": 32, "
    "\"d_model\": 40, \"n_heads\": 4, \"n_layers\": 3, \"max_seq_len\": 32, \"expansion_ratio\": 4, "
    "\"num_key_value_heads\": 2, \"attention_types\": [[[\"global\"], 3]], \"rotary_dim\": 4, \"rotary_pct\": 0.4, "
    "\"partial_rotary_factor\": 0.4, "
    "\"num_local_experts\": 4, \"num_experts\": 4, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 16, "
    "\"shared_expert_intermediate_size\": 24, \"n_routed_experts\": 4, \"n_shared_experts\": 1, \"n_group\": 2, "
    "\"topk_group\": 1, \"first_k_dense_replace\": 1, \"kv_lora_rank\": 16, \"q_lora_rank\": 24, "
    "\"qk_nope_head_dim\": 8, \"qk_rope_head_dim\": 4, \"v_head_dim\": 8, \"head_dim\": 10, "
    "\"query_pre_attn_scalar\": 10, \"sliding_window\": 8}";

static void parse(size_t index, double range, dure_model_config *out_config) {
  json_t *json = json_loads(sizes, 0, NULL);
  ck_assert_ptr_nonnull(json);
  json_object_set_new(json, "model_type", json_string(wanted[index].model_type));
  const bool is_opt = strcmp(wanted[index].model_type, "opt") == 0;
  if (range > 0) json_object_set_new(json, is_opt ? "init_std" : "initializer_range", json_real(range));
  char *text = json_dumps(json, 0);
  dure_status status = dure_model_config_parse(wanted[index].model_type, text, strlen(text), out_config);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  free(text);
  json_decref(json);
}

static double deviation_of(deviation kind, double range) {
  switch (kind) {
    case PLAIN: return range;
    case RESIDUAL: return range / sqrt(2.0 * layers);
    case SMALL: return sqrt(2.0 / (5 * width));
    case WANG: break;
  }
  return 2 / (layers * sqrt((double)width));
}

// Mean 0 and the deviation within six of their own.
static void check_normal(const dure_parameter *parameter, const float *values, double expected, const char *type) {
  double sum = 0, squares = 0;
  const double count = (double)parameter->count;
  for (uint64_t i = 0; i < parameter->count; i++) sum += values[i];
  for (uint64_t i = 0; i < parameter->count; i++)
    squares += ((double)values[i] - sum / count) * ((double)values[i] - sum / count);
  const double found = sqrt(squares / count);
  ck_assert_msg(fabs(sum / count) <= 6 * expected / sqrt(count), "%s, %s: mean %g", type, parameter->name, sum / count);
  ck_assert_msg(fabs(found - expected) <= 6 * expected / sqrt(2 * count), "%s, %s: deviation %g, expected %g", type,
                parameter->name, found, expected);
}

static void check_family(size_t index, double range) {
  dure_model_config config;
  dure_parameter_layout layout;
  parse(index, range, &config);
  dure_status status = dure_parameter_layout_create(&config, &layout);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  for (size_t i = 0; i < layout.count; i++) {
    const dure_parameter *parameter = &layout.parameters[i];
    const dure_role role = parameter->row->role;
    float *values = malloc(parameter->count * sizeof(*values));
    ck_assert_ptr_nonnull(values);
    dure_parameter_initial(&layout, i, &config, 11, 0, parameter->count, values);
    const bool is_output = role == DURE_ROLE_ATTENTION_OUTPUT_WEIGHT || role == DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT;
    const deviation kind = is_output ? wanted[index].output : wanted[index].inner;
    if (parameter->rank == 2) {
      check_normal(parameter, values, deviation_of(kind, range > 0 ? range : wanted[index].range),
                   wanted[index].model_type);
    } else {
      const float one = config.norm_offset == 0 && parameter->row->init == DURE_INIT_ONE ? 1.0f : 0.0f;
      for (uint64_t k = 0; k < parameter->count; k++) ck_assert_float_eq(values[k], one);
    }
    free(values);
  }
  dure_parameter_layout_clear(&layout);
  dure_model_config_clear(&config);
}

START_TEST(every_family_begins_as_documented) {
  check_family((size_t)_i, 0);
  check_family((size_t)_i, 0.05);
}
END_TEST

START_TEST(no_family_is_left_out) {
  dure_family_description family;
  for (size_t i = 0; dure_model_family(i, &family); i++) {
    bool is_there = false;
    for (size_t k = 0; k < family_count; k++)
      is_there = is_there || strcmp(wanted[k].model_type, family.model_type) == 0;
    ck_assert_msg(is_there, "%s has no row here", family.model_type);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_initial");
  TCase *cases = tcase_create("all");
  tcase_add_loop_test(cases, every_family_begins_as_documented, 0, family_count);
  tcase_add_test(cases, no_family_is_left_out);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
