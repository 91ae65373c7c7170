// Planning: what is chosen is the fastest that fits, sizes are those of the programs, and the shapes that people ask
// about fit their cards. On the reference device, since nothing is run.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/training_plan.h"
#include "tests/suite.h"

static dure_device *device;
static dure_model_config config;
static dure_parameter_layout layout;

static void set_up(void) { require(dure_device_open("reference", &device)); }

static void tear_down(void) {
  dure_parameter_layout_clear(&layout);
  dure_model_config_clear(&config);
  dure_device_close(device);
}

static const char tiny[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 999, \"n_positions\": 64, \"n_embd\": 32, \"n_layer\": 6, \"n_head\": "
    "2}";

static void use_tiny(void) {
  require(dure_model_config_parse("tiny", tiny, strlen(tiny), &config));
  require(dure_parameter_layout_create(&config, &layout));
}

static void use_example(const char *name) {
  char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/examples/%s", source != NULL ? source : ".", name);
  require(dure_model_config_read(path, &config));
  require(dure_parameter_layout_create(&config, &layout));
}

typedef struct question {
  uint32_t batch_size, context, accumulate;
  const char *dtype, *recompute, *offload;
  uint64_t budget;
} question;

static dure_status ask(const question *q, dure_plan_request *out_request) {
  dure_train_options options;
  dure_train_options_default(&options);
  options.batch_size = q->batch_size;
  options.context = q->context;
  options.accumulate = q->accumulate > 0 ? q->accumulate : 1;
  options.dtype = q->dtype != NULL ? q->dtype : "f32";
  options.recompute = q->recompute != NULL ? q->recompute : "auto";
  options.offload = q->offload != NULL ? q->offload : "auto";
  options.device_memory = q->budget;
  dure_status status = dure_plan_request_fill(&options, &config, &layout, device, out_request);
  dure_train_options_clear(&options);
  return status;
}

static dure_training_plan plan(const question *q) {
  dure_plan_request request;
  dure_training_plan made;
  require(ask(q, &request));
  require(dure_training_plan_make(&request, &made));
  return made;
}

static const dure_training_footprint *chosen(const dure_training_plan *p) { return &p->tried[p->chosen]; }

// What is taken with `recompute` said outright.
static uint64_t bytes_with(const char *recompute) {
  dure_training_plan p = plan(&(question){.batch_size = 2, .recompute = recompute, .offload = "none"});
  ck_assert_uint_eq(p.tried_count, 1);
  const uint64_t bytes = p.tried[0].device_total;
  dure_training_plan_clear(&p);
  return bytes;
}

START_TEST(recomputing_more_takes_less_memory_and_more_time) {
  use_tiny();
  dure_plan_request request;
  require(ask(&(question){.batch_size = 2, .recompute = "none", .offload = "none"}, &request));
  dure_training_footprint before;
  require(dure_training_footprint_measure(&request, &request.options, &before));
  for (uint32_t blocks = 1; blocks <= 6; blocks++) {
    dure_training_options options = request.options;
    options.recompute = DURE_RECOMPUTE_BLOCK;
    options.recompute_blocks = blocks;
    dure_training_footprint now;
    require(dure_training_footprint_measure(&request, &options, &now));
    ck_assert_uint_le(now.device_total, before.device_total);
    ck_assert(now.seconds > before.seconds);
    before = now;
  }
  ck_assert_uint_lt(bytes_with("activations"), bytes_with("none"));
  ck_assert_uint_lt(bytes_with("block"), bytes_with("activations"));
  ck_assert_uint_lt(bytes_with("block"), bytes_with("block:3"));
}
END_TEST

START_TEST(without_need_nothing_is_changed) {
  use_tiny();
  dure_training_plan p = plan(&(question){.batch_size = 2, .budget = UINT64_C(1) << 30});
  ck_assert(p.fits);
  ck_assert_uint_eq(p.tried_count, 1);
  ck_assert_int_eq(chosen(&p)->options.recompute, DURE_RECOMPUTE_NONE);
  ck_assert(!chosen(&p)->options.fuses_loss && !chosen(&p)->options.offloads_optimizer);
  dure_training_plan_clear(&p);
}
END_TEST

START_TEST(under_every_budget_the_fastest_that_fits_is_chosen) {
  use_tiny();
  const uint64_t most = bytes_with("none");
  uint32_t fitting = 0;
  for (uint64_t percent = 120; percent >= 20; percent -= 4) {
    const uint64_t budget = most * percent / 100;
    dure_training_plan p = plan(&(question){.batch_size = 2, .budget = budget});
    ck_assert_uint_eq(p.aim, budget - budget / 8);
    if (!p.fits) {
      ck_assert_uint_gt(p.tried[p.smallest].device_total, budget);
      ck_assert_uint_eq(p.chosen, p.smallest);
    } else {
      fitting++;
      ck_assert_uint_le(chosen(&p)->device_total, budget);
      const uint64_t limit = chosen(&p)->device_total <= p.aim ? p.aim : budget;
      for (size_t i = 0; i < p.tried_count; i++) {
        const bool is_as_good = p.tried[i].options.offloads_optimizer == chosen(&p)->options.offloads_optimizer;
        ck_assert_msg(p.tried[i].device_total > limit || !is_as_good || p.tried[i].seconds >= chosen(&p)->seconds,
                      "%d %%: choice %zu fits and is faster", (int)percent, i);
        ck_assert_uint_ge(p.tried[i].device_total, p.tried[p.smallest].device_total);
      }
    }
    dure_training_plan_clear(&p);
  }
  printf("%u of 26 budgets were enough\n", fitting);
  ck_assert_uint_gt(fitting, 8);
  ck_assert_uint_lt(fitting, 26);
}
END_TEST

START_TEST(as_few_blocks_as_possible_are_recomputed) {
  use_tiny();
  const uint64_t all = bytes_with("block"), half = bytes_with("block:3"), aim = (all + half) / 2;
  dure_plan_request request;
  require(ask(&(question){.batch_size = 2, .offload = "none", .budget = aim * 8 / 7}, &request));
  request.may_fuse_loss = false;
  dure_training_plan p;
  require(dure_training_plan_make(&request, &p));
  ck_assert(p.fits);
  dure_training_options options = chosen(&p)->options;
  ck_assert_int_eq(options.recompute, DURE_RECOMPUTE_BLOCK);
  ck_assert_uint_gt(options.recompute_blocks, 3);
  options.recompute_blocks--;
  dure_training_footprint fewer;
  require(dure_training_footprint_measure(&request, &options, &fewer));
  ck_assert_uint_gt(fewer.device_total, p.aim);
  dure_training_plan_clear(&p);
}
END_TEST

START_TEST(the_classes_add_up) {
  use_tiny();
  dure_training_plan p = plan(&(question){.batch_size = 2, .dtype = "bf16", .offload = "optimizer"});
  for (size_t i = 0; i < p.tried_count; i++) {
    uint64_t on_device = 0, on_host = 0;
    for (int k = 0; k < DURE_PLAN_CLASS_COUNT; k++) {
      on_device += p.tried[i].device_bytes[k];
      on_host += p.tried[i].host_bytes[k];
      ck_assert_uint_gt(strlen(dure_plan_class_name((dure_plan_class)k)), 0);
    }
    ck_assert_uint_eq(on_device, p.tried[i].device_total);
    ck_assert_uint_eq(on_host, p.tried[i].host_total);
  }
  uint64_t padded = 0;
  for (size_t i = 0; i < layout.pool_count; i++) padded += layout.pools[i].count;
  ck_assert_uint_eq(chosen(&p)->device_bytes[DURE_PLAN_PARAMETERS], 2 * padded);
  ck_assert_uint_eq(chosen(&p)->host_bytes[DURE_PLAN_MASTERS], 4 * padded);
  ck_assert_uint_eq(chosen(&p)->host_bytes[DURE_PLAN_OPTIMIZER], 8 * padded);
  ck_assert(chosen(&p)->host_seconds > 0);
  dure_training_plan_clear(&p);
}
END_TEST

START_TEST(sixteen_bit_gradients_are_not_accumulated) {
  use_tiny();
  dure_training_plan p = plan(&(question){.batch_size = 1, .accumulate = 4, .dtype = "bf16", .budget = 1});
  ck_assert(!p.fits);
  for (size_t i = 0; i < p.tried_count; i++)
    ck_assert_int_eq(dure_training_set_dtype(&p.tried[i].options, DURE_TRAINING_GRADIENTS), DURE_DTYPE_F32);
  dure_training_plan_clear(&p);
  p = plan(&(question){.batch_size = 1, .dtype = "bf16", .budget = 1});
  const dure_training_options *least = &p.tried[p.smallest].options;
  ck_assert_int_eq(dure_training_set_dtype(least, DURE_TRAINING_GRADIENTS), DURE_DTYPE_BF16);
  ck_assert(least->offloads_optimizer);
  dure_training_plan_clear(&p);
}
END_TEST

START_TEST(words_that_mean_nothing_are_refused) {
  use_tiny();
  static const question wrong[] = {
      {.batch_size = 1, .recompute = "blocks"},
      {.batch_size = 1, .recompute = "block:"},
      {.batch_size = 1, .recompute = "block:0"},
      {.batch_size = 1, .recompute = "block:x"},
      {.batch_size = 1, .recompute = ""},
      {.batch_size = 1, .offload = "everything"},
      {.batch_size = 1, .dtype = "f8"},
      {.batch_size = 1, .context = 65},
      {.batch_size = 0},
  };
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    dure_plan_request request;
    dure_status status = ask(&wrong[i], &request);
    ck_assert_msg(dure_status_code(status) == DURE_INVALID_ARGUMENT, "question %zu was taken", i);
    dure_status_free(status);
  }
}
END_TEST

START_TEST(a_model_of_1300_million_parameters_fits_an_8_GiB_card) {
  use_example("gpt2-1.3b.json");
  dure_training_plan p =
      plan(&(question){.batch_size = 1, .context = 2048, .dtype = "bf16", .budget = UINT64_C(8) << 30});
  char text[160];
  dure_training_choice_describe(&chosen(&p)->options, config.layer_count, text, sizeof(text));
  printf("%.2f GiB: %s\n", (double)chosen(&p)->device_total * 0x1p-30, text);
  ck_assert(p.fits);
  ck_assert_uint_le(chosen(&p)->device_total, UINT64_C(7) << 30);
  ck_assert_uint_gt(layout.element_count, 1300000000);
  dure_training_plan_clear(&p);
}
END_TEST

START_TEST(gpt2_124M_fits_6_GiB_without_offload) {
  use_example("gpt2-small.json");
  static const char *const dtypes[] = {"f32", "bf16"};
  for (size_t i = 0; i < 2; i++) {
    dure_training_plan p = plan(&(question){
        .batch_size = 4, .context = 1024, .dtype = dtypes[i], .offload = "none", .budget = UINT64_C(6) << 30});
    ck_assert(p.fits);
    printf("%s: %.2f GiB\n", dtypes[i], (double)chosen(&p)->device_total * 0x1p-30);
    ck_assert(!chosen(&p)->options.offloads_optimizer);
    ck_assert_uint_le(chosen(&p)->device_total, UINT64_C(6) << 30);
    dure_training_plan_clear(&p);
  }
}
END_TEST

// The head of a model with a large vocabulary, forward and backward; what it takes besides its inputs and outputs.
static uint64_t head_bytes(dure_dtype dtype, bool fused) {
  enum { V = 151642, C = 896, R = 8192 };
  dure_program *p = dure_program_create();
  const dure_tensor hidden =
      dure_tensor_external(p, "hidden", dtype, 2, (const uint64_t[]){R, C}, DURE_LIFETIME_PARAMETER);
  const dure_tensor hidden_gradient =
      dure_tensor_external(p, "hidden gradient", dtype, 2, (const uint64_t[]){R, C}, DURE_LIFETIME_GRADIENT);
  const dure_tensor weight =
      dure_tensor_external(p, "weight", dtype, 2, (const uint64_t[]){V, C}, DURE_LIFETIME_PARAMETER);
  const dure_tensor gradient =
      dure_tensor_external(p, "gradient", DURE_DTYPE_F32, 2, (const uint64_t[]){V, C}, DURE_LIFETIME_GRADIENT);
  const dure_tensor labels =
      dure_tensor_external(p, "labels", DURE_DTYPE_U32, 1, (const uint64_t[]){R}, DURE_LIFETIME_INPUT);
  const dure_tensor seed =
      dure_tensor_external(p, "seed", DURE_DTYPE_F32, 1, (const uint64_t[]){1}, DURE_LIFETIME_INPUT);
  const dure_tensor loss =
      fused ? dure_linear_cross_entropy(p, hidden, weight, labels, 0)
            : dure_cross_entropy(p, dure_matmul(p, hidden, weight, DURE_ABSENT, false, true), labels);
  const dure_gradient_target targets[2] = {{hidden, hidden_gradient}, {weight, gradient}};
  require(dure_program_gradient(p, loss, seed, targets, 2, NULL));
  dure_program_memory memory;
  require(dure_program_measure(p, device, &memory));
  dure_program_destroy(p);
  return memory.activation_bytes;
}

START_TEST(the_fused_loss_takes_a_twentieth_of_the_logits) {
  static const dure_dtype dtypes[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16};
  for (size_t i = 0; i < 2; i++) {
    const uint64_t logits = UINT64_C(151642) * 8192 * dure_dtype_size(dtypes[i]);
    const uint64_t whole = head_bytes(dtypes[i], false), fused = head_bytes(dtypes[i], true);
    printf("%s: logits %.1f MiB, fused %.1f MiB, 1/%.1f\n", dure_dtype_name(dtypes[i]), (double)logits * 0x1p-20,
           (double)fused * 0x1p-20, (double)logits / (double)fused);
    ck_assert_uint_ge(whole, logits);
    ck_assert_uint_le(fused, logits / 20);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("plan");
  TCase *tests = tcase_create("choices");
  tcase_add_checked_fixture(tests, set_up, tear_down);
  tcase_set_timeout(tests, 300);
  tcase_add_test(tests, recomputing_more_takes_less_memory_and_more_time);
  tcase_add_test(tests, without_need_nothing_is_changed);
  tcase_add_test(tests, under_every_budget_the_fastest_that_fits_is_chosen);
  tcase_add_test(tests, as_few_blocks_as_possible_are_recomputed);
  tcase_add_test(tests, the_classes_add_up);
  tcase_add_test(tests, sixteen_bit_gradients_are_not_accumulated);
  tcase_add_test(tests, words_that_mean_nothing_are_refused);
  tcase_add_test(tests, a_model_of_1300_million_parameters_fits_an_8_GiB_card);
  tcase_add_test(tests, gpt2_124M_fits_6_GiB_without_offload);
  tcase_add_test(tests, the_fused_loss_takes_a_twentieth_of_the_logits);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
