// How pools are divided among ranks, and when a micro-step has which of them whole: carried out step by step on paper,
// no call may touch a pool that is not there, or one that is on its way to the other ranks.
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/exchange_plan.h"
#include "model/staging.h"
#include "tests/suite.h"

static dure_model_config config;
static dure_parameter_layout layout;

static const char tied[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 300, \"n_positions\": 32, \"n_embd\": 32, \"n_layer\": 5, \"n_head\": "
    "2}";
static const char untied[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 500, \"max_position_embeddings\": 32, \"hidden_size\": 32, "
    "\"num_hidden_layers\": 4, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"intermediate_size\": 80}";

static void use(const char *json) {
  require(dure_model_config_parse("test", json, strlen(json), &config));
  require(dure_parameter_layout_create(&config, &layout));
}

static void forget(void) {
  dure_parameter_layout_clear(&layout);
  dure_model_config_clear(&config);
}

START_TEST(pools_end_at_layers_and_have_equal_parts) {
  const uint32_t shards = (uint32_t)_i;
  use(tied);
  dure_parameter_layout whole;
  require(dure_parameter_layout_create(&config, &whole));
  dure_parameter_layout_divide(&layout, shards);
  ck_assert_uint_gt(layout.pool_count, whole.pool_count);
  uint64_t natural[2] = {0, 0};
  for (size_t i = 0; i < layout.pool_count; i++) {
    ck_assert_uint_eq(layout.pools[i].count % (shards * (uint64_t)DURE_SHARD_ALIGNMENT), 0);
    natural[0] += layout.pools[i].count - layout.pools[i].padding;
  }
  for (size_t i = 0; i < whole.pool_count; i++) natural[1] += whole.pools[i].count;
  ck_assert_uint_eq(natural[0], natural[1]);
  for (size_t i = 0; i < layout.count; i++) {
    const dure_parameter *parameter = &layout.parameters[i];
    const dure_parameter_pool *pool = &layout.pools[parameter->pool];
    ck_assert_uint_le(parameter->offset + parameter->count, pool->count - pool->padding);
    ck_assert_int_eq(pool->decays, parameter->decays);
  }
  dure_parameter_layout_clear(&whole);
  forget();
}
END_TEST

START_TEST(one_rank_divides_nothing) {
  use(tied);
  const size_t pools = layout.pool_count;
  for (uint32_t shards = 0; shards < 2; shards++) {
    dure_parameter_layout_divide(&layout, shards);
    ck_assert_uint_eq(layout.pool_count, pools);
    ck_assert_uint_eq(layout.pools[0].padding, 0);
  }
  forget();
}
END_TEST

// A micro-step carried out on paper.
enum { most_pools = 64 };
typedef struct paper {
  const dure_training_tensors *tensors;
  const dure_staging *staging;
  bool shards_parameters, shards_gradients, awaits_parameters;
  bool has_come[most_pools];                                 // of parameters that an update has sent
  uint32_t first, end;                                       // calls that run now
  size_t parameter_in[most_pools], gradient_in[most_pools];  // by slot: whose values lie there; SIZE_MAX: on their way
  uint32_t sums[most_pools], finished[most_pools];           // by pool
  bool was_forward_done;
  size_t meetings;
} paper;

static void check_use(void *context, uint32_t call, dure_tensor external, dure_access access) {
  const paper *p = context;
  if (call < p->first || call >= p->end) return;
  for (size_t i = 0; i < layout.pool_count; i++) {
    if (p->tensors->sets[DURE_TRAINING_PARAMETERS][i].index == external.index && p->shards_parameters) {
      ck_assert_msg(p->parameter_in[p->staging->parameters.of_pool[i]] == i,
                    "call %u reads the parameters of pool %zu, which are not there", call, i);
      ck_assert_int_eq(access, DURE_READ);
    }
    if (p->tensors->sets[DURE_TRAINING_PARAMETERS][i].index == external.index && p->awaits_parameters)
      ck_assert_msg(p->has_come[i], "call %u reads the parameters of pool %zu, which are on their way", call, i);
    if (p->tensors->sets[DURE_TRAINING_GRADIENTS][i].index != external.index) continue;
    ck_assert_msg(p->sums[i] == 0, "call %u touches the gradient of pool %zu, which is being summed", call, i);
    if (p->shards_gradients)
      ck_assert_msg(p->gradient_in[p->staging->gradients.of_pool[i]] == i,
                    "call %u touches the gradient of pool %zu, whose slot is another's", call, i);
  }
}

static void act(paper *p, const dure_program *program, const dure_staging_action *action) {
  const size_t pool = action->pool;
  switch (action->kind) {
    case DURE_STAGING_RUN:
      ck_assert_uint_eq(action->first, p->end);
      p->first = action->first;
      p->end = action->end;
      dure_program_visit_uses(program, check_use, p);
      break;
    case DURE_STAGING_MEET:
      ck_assert_uint_eq(p->end, p->staging->meetings[action->first].call + 1);
      p->meetings++;
      break;
    case DURE_STAGING_GATHER: p->parameter_in[p->staging->parameters.of_pool[pool]] = SIZE_MAX; break;
    case DURE_STAGING_NEED:
      p->has_come[pool] = true;
      if (p->awaits_parameters) break;
      ck_assert_uint_eq(p->parameter_in[p->staging->parameters.of_pool[pool]], SIZE_MAX);
      p->parameter_in[p->staging->parameters.of_pool[pool]] = pool;
      break;
    case DURE_STAGING_FORWARD:
      ck_assert_uint_eq(p->end, p->tensors->forward_calls);
      p->was_forward_done = true;
      break;
    case DURE_STAGING_CLEAR: {
      size_t *held = &p->gradient_in[p->staging->gradients.of_pool[pool]];
      ck_assert_msg(*held == SIZE_MAX || p->finished[*held] == 1, "pool %zu is still on its way", *held);
      *held = pool;
      break;
    }
    case DURE_STAGING_REDUCE: p->sums[pool]++; break;
    case DURE_STAGING_FINISH:
      ck_assert_uint_eq(p->sums[pool], 1);
      p->finished[pool]++;
      break;
  }
}

static void check_staging(const dure_training_options *options) {
  dure_program *program = dure_program_create();
  dure_training_tensors tensors;
  dure_staging staging;
  require(dure_training_program_record(DURE_TRAINING_MICRO_STEP, &config, &layout, options, program, &tensors));
  require(dure_staging_make(program, &tensors, &layout, options, &staging));
  ck_assert_uint_le(layout.pool_count, most_pools);
  paper p = {.tensors = &tensors,
             .staging = &staging,
             .shards_parameters = options->sharding == DURE_SHARDING_PARAMETERS,
             .shards_gradients = options->sharding >= DURE_SHARDING_GRADIENTS,
             .awaits_parameters =
                 options->sharding == DURE_SHARDING_OPTIMIZER || options->sharding == DURE_SHARDING_GRADIENTS};
  for (size_t i = 0; i < most_pools; i++) p.parameter_in[i] = p.gradient_in[i] = SIZE_MAX;
  for (size_t i = 0; i < staging.action_count; i++) act(&p, program, &staging.actions[i]);
  ck_assert_uint_eq(p.end, dure_program_call_count(program));
  ck_assert_int_eq(p.was_forward_done, p.shards_parameters || dure_training_meets(options));
  ck_assert_uint_eq(p.meetings, staging.meeting_count);
  ck_assert_int_eq(staging.meeting_count > 0, dure_training_meets(options));
  for (size_t i = 0; i < layout.pool_count; i++) {
    ck_assert_uint_eq(p.sums[i], 1);
    ck_assert_uint_eq(p.finished[i], 1);
  }
  for (size_t i = 1; i < staging.cut_count; i++) ck_assert_uint_lt(staging.cuts[i - 1], staging.cuts[i]);
  uint64_t whole = 0;
  for (size_t i = 0; i < layout.pool_count; i++) whole += layout.pools[i].count * sizeof(float);
  const uint64_t sets = (uint64_t)p.shards_parameters + p.shards_gradients;
  if (sets > 0) ck_assert_uint_lt(dure_staging_bytes(&staging, options), sets * whole);
  dure_staging_clear(&staging);
  dure_training_tensors_clear(&tensors);
  dure_program_destroy(program);
}

START_TEST(no_call_touches_a_pool_that_is_not_there) {
  const char *const models[] = {tied, untied};
  const uint32_t parts[] = {2, 1};  // the second has one key head
  for (size_t m = 0; m < 2; m++) {
    use(models[m]);
    dure_parameter_layout_divide(&layout, 3);
    for (int k = 0; k < 8; k++) {
      check_staging(&(dure_training_options){.batch_size = 2,
                                             .context = 16,
                                             .accumulate = k & 1 ? 3 : 1,
                                             .recompute = k & 2 ? DURE_RECOMPUTE_BLOCK : DURE_RECOMPUTE_NONE,
                                             .recompute_blocks = 5,
                                             .fuses_loss = (k & 4) != 0,
                                             .sequence_parts = k & 1 ? 1 : parts[m],
                                             .sharding = (dure_sharding)_i,
                                             .shards = 3,
                                             .shard = 1});
    }
    forget();
  }
}
END_TEST

START_TEST(networks_are_read_by_rate_and_by_name) {
  static const struct {
    const char *text;
    double rate;
  } rows[] = {{"1Gbit", 125e6}, {"100mbit", 12.5e6}, {"12.5GB", 12.5e9}, {"NVLink4", 450e9}, {"pcie4", 25e9}};
  double rate;
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    require(dure_network_parse(rows[i].text, &rate));
    ck_assert_double_eq_tol(rate, rows[i].rate, 1);
  }
  static const char *const wrong[] = {"", "fast", "Gbit", "-1Gbit", "1", "nanGbit", "1Gbits"};
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    dure_status status = dure_network_parse(wrong[i], &rate);
    ck_assert_int_eq(dure_status_code(status), DURE_INVALID_ARGUMENT);
    dure_status_free(status);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sharding");
  TCase *tests = tcase_create("parts");
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, pools_end_at_layers_and_have_equal_parts, 2, 9);
  tcase_add_test(tests, one_rank_divides_nothing);
  tcase_add_loop_test(tests, no_call_touches_a_pool_that_is_not_there, 0, DURE_SHARDING_COUNT);
  tcase_add_test(tests, networks_are_read_by_rate_and_by_name);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
