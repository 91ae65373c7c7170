// Training in 16 bits, with the optimizer on the host, with smaller optimizer states: on every device that is here (or
// the one that DURE_TEST_DEVICE names), on the small GPT-2 of tests/golden.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/training.h"
#include "model/training_choice.h"
#include "runtime/os.h"
#include "tests/amount.h"
#include "tests/suite.h"

enum { batch = 2, context = 24, steps = 20 };
static const dure_adamw_options adamw = {0.9, 0.95, 1e-8, 0.1, 1.0, 0};

static dure_device_info *infos;
static size_t info_count;
static dure_device *device;
static dure_stream *stream;

static void open_device(const char *name) {
  require(dure_device_open(name, &device));
  require(dure_stream_create(device, &stream));
  printf("on %s\n", dure_device_get_info(device)->name);
}

static void close_device(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
}

// ---- a run -------------------------------------------------------------------------------------------------------

typedef struct run {
  dure_model *model;
  dure_training *training;
  dure_training_options options;
} run;

static run start(dure_training_options options) {
  char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/gpt2/even", source != NULL ? source : ".");
  run r = {.options = options};
  r.options.batch_size = batch;
  r.options.context = context;
  if (r.options.accumulate == 0) r.options.accumulate = 1;
  r.options.adamw = adamw;
  r.options.seed = 7;
  const dure_model_options kept = dure_training_model_options(&r.options, device);
  require(dure_model_open_as(path, &kept, device, stream, &r.model));
  require(dure_training_create(r.model, &r.options, &r.training));
  return r;
}

static void stop(run *r) {
  dure_training_destroy(r->training);
  dure_model_destroy(r->model);
}

// The same few sequences every time, which are soon learnt.
static dure_training_result step(run *r, uint64_t number) {
  uint32_t tokens[2 * batch * context], labels[2 * batch * context];
  for (uint32_t i = 0; i < r->options.accumulate * batch * context; i++) {
    uint32_t position = i % context, sequence = i / context;
    tokens[i] = (position * position + 3 * position * sequence + sequence) % 251;
    labels[i] = ((position + 1) * (position + 1) + 3 * (position + 1) * sequence + sequence) % 251;
  }
  dure_training_result result;
  require(dure_training_submit(r->training, number, 1e-3, tokens, labels));
  require(dure_training_collect(r->training, &result));
  return result;
}

static void train(dure_training_options options, double out_losses[steps]) {
  run r = start(options);
  for (uint64_t s = 0; s < steps; s++) {
    const dure_training_result result = step(&r, s + 1);
    ck_assert_msg(result.is_finite, "step %d: loss %g, norm %g", (int)s + 1, result.loss, result.gradient_norm);
    out_losses[s] = result.loss;
  }
  stop(&r);
}

static dure_training_options in(dure_dtype dtype) {
  return (dure_training_options){.dtype = dtype, .has_master = dtype != DURE_DTYPE_F32};
}

// Activations are rounded about 12 times a layer and a few times besides, each by at most half a unit in the last
// place, and the loss (about 5) moves with the logits by at most twice their largest error; logits stay below 8. That
// bounds the first loss; training moves both runs by the same steps to about the same precision.
static double bound_of(dure_dtype dtype, double loss) {
  const double half_unit = dtype == DURE_DTYPE_BF16 ? 0x1p-9 : 0x1p-12;
  const double roundings = 2 * 12 + 6;
  return 2 * half_unit * roundings * fmax(1, loss) / sqrt(roundings);
}

static double largest_difference(const double *a, const double *b) {
  double largest = 0;
  for (int i = 0; i < steps; i++) largest = fmax(largest, fabs(a[i] - b[i]));
  return largest;
}

// Whether the device has every kernel for it; what it has not is refused when programs are compiled.
static bool is_supported(dure_training_options options) {
  options.batch_size = batch;
  options.context = context;
  options.accumulate = 1;
  options.adamw = adamw;
  char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/gpt2/even", source != NULL ? source : ".");
  const dure_model_options kept = dure_training_model_options(&options, device);
  dure_model *model = NULL;
  dure_training *training = NULL;
  require(dure_model_open_as(path, &kept, device, stream, &model));
  dure_status status = dure_training_create(model, &options, &training);
  const bool lacks = dure_status_code(status) == DURE_UNSUPPORTED;
  if (lacks) {
    printf("  left out: %s\n", dure_status_message(status));
    dure_status_free(status);
  } else {
    require(status);
  }
  dure_training_destroy(training);
  dure_model_destroy(model);
  return !lacks;
}

// ---- promises ----------------------------------------------------------------------------------------------------

static const dure_dtype types[] = {DURE_DTYPE_BF16, DURE_DTYPE_F16};

static void check_follows_f32(void) {
  double expected[steps], found[steps];
  train(in(DURE_DTYPE_F32), expected);
  ck_assert_double_lt(expected[steps - 1], expected[0] - 0.2);  // it learns
  for (size_t t = 0; t < 2; t++) {
    if (!is_supported(in(types[t]))) continue;
    train(in(types[t]), found);
    const double difference = largest_difference(expected, found), bound = bound_of(types[t], expected[0]);
    printf("  %s: within %.1e of f32 over %d steps (limit %.1e)\n", dure_dtype_name(types[t]), difference, steps,
           bound);
    ck_assert_double_le(difference, bound);
    ck_assert_double_gt(difference, 0);
  }
}

static void check_is_repeatable(void) {
  static const dure_training_options cases[] = {
      {.dtype = DURE_DTYPE_BF16, .has_master = true, .gradient_dtype = DURE_DTYPE_BF16},
      {.dtype = DURE_DTYPE_BF16, .has_master = false, .moment_dtype = DURE_DTYPE_BF16},
      {.dtype = DURE_DTYPE_BF16, .has_master = true, .moment_dtype = DURE_DTYPE_U8},
      {.dtype = DURE_DTYPE_F16, .has_master = true, .accumulate = 2},
  };
  for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c += is_sparing() ? 3 : 1) {
    double first[steps], again[steps];
    if (!is_supported(cases[c])) continue;
    train(cases[c], first);
    train(cases[c], again);
    ck_assert_mem_eq(first, again, sizeof(first));
    ck_assert_double_lt(first[steps - 1], first[0] - 0.2);
  }
}

static void check_offload_case(dure_training_options options) {
  double here[steps], there[steps];
  options.offloads_optimizer = false;
  train(options, here);
  options.offloads_optimizer = true;
  train(options, there);
  const double difference = largest_difference(here, there);
  printf("  %s, moments in %s: losses differ by %g with the optimizer on the host\n", dure_dtype_name(options.dtype),
         options.moment_dtype == DURE_DTYPE_U8 ? "8 bits" : "f32", difference);
  // The reference device sums in double: the same to rounding only.
  if (dure_device_get_info(device)->kind == DURE_DEVICE_REFERENCE) {
    ck_assert_double_le(difference, bound_of(options.dtype, here[0]));
  } else {
    ck_assert_mem_eq(here, there, sizeof(here));
  }
}

static void check_offload_is_identical(void) {
  static const dure_training_options cases[] = {
      {.dtype = DURE_DTYPE_F32},
      {.dtype = DURE_DTYPE_BF16, .has_master = true, .gradient_dtype = DURE_DTYPE_BF16},
      {.dtype = DURE_DTYPE_F16, .has_master = true},
      {.dtype = DURE_DTYPE_F32, .moment_dtype = DURE_DTYPE_U8},
  };
  for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c += is_sparing() ? 3 : 1) {
    if (is_supported(cases[c])) check_offload_case(cases[c]);
  }
}

static void check_overflow_is_survived(void) {
  if (!is_supported(in(DURE_DTYPE_F16))) return;
  run r = start(in(DURE_DTYPE_F16));
  // A scale that the largest f16 cannot hold: the first steps overflow, and each halves it.
  require(dure_training_set_scaling(r.training, &(dure_loss_scaling){.scale = 0x1p24}));
  const dure_parameter *watched = dure_parameter_find(&r.model->layout, DURE_ROLE_QKV_WEIGHT, 0);
  float before[16], after[16];
  require(dure_parameter_download(&r.model->masters, watched, stream, 0, 16, before));
  uint64_t number = 0;
  double scale = 0x1p24;
  dure_training_result result = step(&r, ++number);
  ck_assert_uint_eq(result.scaling.skipped, 1);
  while (result.scaling.skipped == number) {
    ck_assert(result.is_finite);
    ck_assert(!isfinite(result.gradient_norm));
    ck_assert_double_eq(result.scaling.scale, scale / 2);
    scale /= 2;
    require(dure_parameter_download(&r.model->masters, watched, stream, 0, 16, after));
    ck_assert_mem_eq(before, after, sizeof(before));
    ck_assert_uint_lt(number, 20);
    result = step(&r, ++number);
  }
  printf("  recovered after %d skipped steps at a scale of %g\n", (int)result.scaling.skipped, scale);
  ck_assert(isfinite(result.gradient_norm));
  require(dure_parameter_download(&r.model->masters, watched, stream, 0, 16, after));
  ck_assert_mem_ne(before, after, sizeof(before));
  stop(&r);
}

static void check_weights_are_rounded_masters(void) {
  for (size_t t = 0; t < 2; t++) {
    if (!is_supported(in(types[t]))) continue;
    run r = start(in(types[t]));
    for (uint64_t s = 1; s <= 3; s++) ck_assert(step(&r, s).is_finite);
    for (size_t i = 0; i < r.model->layout.count; i++) {
      const dure_parameter *parameter = &r.model->layout.parameters[i];
      float *master = malloc(parameter->count * sizeof(float)), *weight = malloc(parameter->count * sizeof(float));
      require(dure_parameter_download(&r.model->masters, parameter, stream, 0, parameter->count, master));
      require(dure_parameter_download(&r.model->weights, parameter, stream, 0, parameter->count, weight));
      for (uint64_t k = 0; k < parameter->count; k++) {
        const float rounded = types[t] == DURE_DTYPE_BF16 ? dure_bf16_to_float(dure_bf16_from_float(master[k]))
                                                          : dure_f16_to_float(dure_f16_from_float(master[k]));
        ck_assert_msg(weight[k] == rounded, "%s[%d]: %g is not %g rounded", parameter->name, (int)k, (double)weight[k],
                      (double)master[k]);
      }
      free(master);
      free(weight);
    }
    stop(&r);
  }
}

// ---- on every device ---------------------------------------------------------------------------------------------

typedef void (*promise)(void);

// Compiling takes SwiftShader minutes here, so that most is kept by the first driver and the reference device alone.
static void on_first_devices(promise check) {
  const char *backend = "";
  for (size_t i = 0; i < info_count; i++) {
    if (!infos[i].usable || strcmp(backend, infos[i].backend) == 0) continue;
    backend = infos[i].backend;
    open_device(infos[i].identifier);
    check();
    close_device();
  }
}

static void on_every_device(promise check) {
  const char *only = getenv("DURE_TEST_DEVICE");
  for (size_t i = 0; i < info_count; i++) {
    if (!infos[i].usable || (only != NULL && strcmp(only, infos[i].identifier) != 0)) continue;
    open_device(infos[i].identifier);
    check();
    close_device();
  }
}

static void on_most_devices(promise check) {
  if (is_full())
    on_every_device(check);
  else
    on_first_devices(check);
}

START_TEST(sixteen_bits_follow_the_losses_of_f32) { on_every_device(check_follows_f32); }
END_TEST
START_TEST(every_way_gives_the_same_bits_again) { on_first_devices(check_is_repeatable); }
END_TEST
START_TEST(the_optimizer_on_the_host_leaves_the_same_bits) { on_most_devices(check_offload_is_identical); }
END_TEST
// With another device's limits imposed its memory counts as out of reach, so gradients travel in chunks.
START_TEST(the_optimizer_on_the_host_gets_its_gradients_in_chunks) {
  ck_assert_int_eq(setenv("DURE_VULKAN_PROFILE", "rtx4060", 1), 0);
  for (size_t i = 0; i < info_count; i++) {
    if (!infos[i].usable || strcmp(infos[i].backend, "vulkan") != 0) continue;
    open_device(infos[i].identifier);
    ck_assert_str_eq(dure_device_get_info(device)->profile, "rtx4060");
    const dure_training_options options = {.dtype = DURE_DTYPE_F32, .offloads_optimizer = true};
    ck_assert_int_eq((int)dure_training_model_options(&options, device).home, DURE_HOME_DEVICE);
    check_offload_case(options);
    close_device();
    break;  // the first driver will do: nothing of this depends on it
  }
}
END_TEST
START_TEST(f16_skips_steps_that_overflow_and_halves_its_scale) { on_most_devices(check_overflow_is_survived); }
END_TEST
START_TEST(weights_are_their_masters_rounded) { on_first_devices(check_weights_are_rounded_masters); }
END_TEST

START_TEST(auto_is_f32_on_a_processor_and_16_bits_where_matrix_units_take_them) {
  dure_dtype dtype;
  char why[128];
  dure_device_info info = {.kind = DURE_DEVICE_CPU};
  dure_training_dtype_for(&info, &dtype, why, sizeof(why));
  ck_assert_int_eq((int)dtype, DURE_DTYPE_F32);
  info.kind = DURE_DEVICE_DISCRETE_GPU;
  dure_training_dtype_for(&info, &dtype, why, sizeof(why));
  ck_assert_int_eq((int)dtype, DURE_DTYPE_F32);
  info.feature_count = 2;
  info.features[0] = (dure_device_feature){.name = "cooperative_matrix", .state = DURE_FEATURE_ENABLED};
  info.features[1] = (dure_device_feature){.name = "bfloat16_matrix", .state = DURE_FEATURE_DISABLED};
  dure_training_dtype_for(&info, &dtype, why, sizeof(why));
  ck_assert_int_eq((int)dtype, DURE_DTYPE_F16);
  info.features[1].state = DURE_FEATURE_ENABLED;
  dure_training_dtype_for(&info, &dtype, why, sizeof(why));
  ck_assert_int_eq((int)dtype, DURE_DTYPE_BF16);
  ck_assert(why[0] != '\0');
}
END_TEST

int main(void) {
  dure_status status = dure_devices_list(&infos, &info_count, NULL);
  if (status != NULL) return EXIT_FAILURE;
  Suite *suite = suite_create("mixed_precision");
  TCase *tests = tcase_create("training");
  tcase_set_timeout(tests, 600);
  tcase_add_test(tests, sixteen_bits_follow_the_losses_of_f32);
  tcase_add_test(tests, every_way_gives_the_same_bits_again);
  tcase_add_test(tests, the_optimizer_on_the_host_leaves_the_same_bits);
  tcase_add_test(tests, the_optimizer_on_the_host_gets_its_gradients_in_chunks);
  tcase_add_test(tests, f16_skips_steps_that_overflow_and_halves_its_scale);
  tcase_add_test(tests, weights_are_their_masters_rounded);
  tcase_add_test(tests, auto_is_f32_on_a_processor_and_16_bits_where_matrix_units_take_them);
  suite_add_tcase(suite, tests);
  const int result = run_suite(suite, CK_FORK_GETENV);
  free(infos);
  return result;
}
