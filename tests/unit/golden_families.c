// Every decoder family against fixtures that transformers made (tests/golden/make_family_fixtures.py): logits whole and
// token by token, gradients, and a saved model; on the reference device or the one that DURE_TEST_DEVICE names.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/inference.h"
#include "model/safetensors.h"
#include "model/training.h"
#include "runtime/os.h"
#include "tests/amount.h"
#include "tests/device.h"
#include "tests/suite.h"

static const char *const folders[] = {
    "gpt2",
    "gpt_neo",
    "gptj",
    "gpt_neox",
    "gpt_neox_sequential",
    "opt",
    "opt_350m",
    "bloom",
    "mpt",
    "falcon_7b",
    "falcon_40b",
    "llama",
    "llama_3_1",
    "llama_linear",
    "llama_yarn",
    "mistral",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "smollm3",
    "olmo2",
    "phi3",
    "stablelm",
    "gemma2",
    "gemma3",
    "llama_dynamic",
    "mixtral",
    "mixtral_balanced",
    "deepseek_v2",
    "deepseek_v2_lite",
    "deepseek_v3",
    "deepseek_v3_balanced",
    "qwen2_moe",
    "qwen2_moe_normalised",
    "qwen3_moe",
    "falcon_rw",
};
enum { folder_count = sizeof(folders) / sizeof(folders[0]), EVERY_ON_DEVICES = 6 };

static dure_device *device;
static dure_stream *stream;
static dure_model *model;
static dure_safetensors *expected;
static char folder[4096];
static const uint32_t *tokens;
static uint32_t count, vocabulary;

static void open_fixture(const char *name) {
  char path[4200];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(folder, sizeof(folder), "%s/tests/golden/families/%s", source != NULL ? source : ".", name);
  snprintf(path, sizeof(path), "%s/expected.safetensors", folder);
  require(dure_device_open(device_of_test(), &device));
  require(dure_stream_create(device, &stream));
  require(dure_safetensors_open(path, &expected));
  require(dure_model_open(folder, device, stream, &model));
  const dure_safetensors_tensor *ids = dure_safetensors_find(expected, "tokens");
  count = (uint32_t)ids->count;
  vocabulary = model->config.vocabulary_size;
  uint32_t *copy = malloc(count * sizeof(*copy));
  memcpy(copy, ids->data, count * sizeof(*copy));  // i32, little-endian
  tokens = copy;
}

static void close_fixture(void) {
  free((void *)(uintptr_t)tokens);
  dure_safetensors_close(expected);
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

static float *read_values(const dure_safetensors_tensor *tensor) {
  float *values = malloc(tensor->count * sizeof(*values));
  require(dure_safetensors_read(tensor, 0, tensor->count, values));
  return values;
}

// Over max(1, largest magnitude).
static double logits_difference(const float *found) {
  const dure_safetensors_tensor *tensor = dure_safetensors_find(expected, "logits");
  float *values = read_values(tensor);
  double largest = 1, difference = 0;
  for (uint64_t i = 0; i < tensor->count; i++) {
    ck_assert_msg(isfinite(found[i]), "logit %d is not finite", (int)i);
    largest = fmax(largest, fabs((double)values[i]));
    difference = fmax(difference, fabs((double)found[i] - (double)values[i]));
  }
  free(values);
  return difference / largest;
}

START_TEST(logits_are_those_of_transformers) {
  open_fixture(folders[_i]);
  float *logits = malloc((size_t)count * vocabulary * sizeof(*logits));
  require(dure_model_logits(model, tokens, count, logits));
  const double whole = logits_difference(logits);
  const dure_session_options options = {.capacity = 50, .chunk = 7, .block_size = 5};
  dure_session *session = NULL;
  require(dure_session_create(model, &options, &session));
  for (uint32_t i = 0; i < count; i++) {
    require(dure_session_append(session, &tokens[i], 1));
    require(dure_session_logits(session, logits + (size_t)i * vocabulary));
  }
  const double decoded = logits_difference(logits);
  dure_session_reset(session);
  require(dure_session_append(session, tokens, count));
  require(dure_session_logits(session, logits + (size_t)(count - 1) * vocabulary));
  const double chunked = logits_difference(logits);
  printf("%s: largest difference %.1e whole, %.1e token by token, %.1e in chunks (limit 1e-4)\n", folders[_i], whole,
         decoded, chunked);
  ck_assert_double_le(fmax(whole, fmax(decoded, chunked)), 1e-4);
  free(logits);
  dure_session_destroy(session);
  close_fixture();
}
END_TEST

static double norm_of(const float *values, uint64_t size) {
  double sum = 0;
  for (uint64_t i = 0; i < size; i++) sum += (double)values[i] * (double)values[i];
  return sqrt(sum);
}

// Saves a set of buffers under the parameters' public names into a file that is unlinked once it is open.
static dure_safetensors *save_and_open(const dure_parameter_buffers *buffers) {
  char path[] = "/tmp/dure-families-XXXXXX";
  const int handle = mkstemp(path);
  ck_assert_int_ge(handle, 0);
  close(handle);
  const dure_named_buffers set = {buffers, "", NULL};
  require(dure_parameters_save(&set, 1, &model->layout, stream, path));
  dure_safetensors *file = NULL;
  require(dure_safetensors_open(path, &file));
  unlink(path);
  return file;
}

START_TEST(gradients_are_those_of_pytorch) {
  open_fixture(folders[_i]);
  // Every second model without keeping what its layers make.
  const dure_training_options options = {.batch_size = 1,
                                         .context = count,
                                         .accumulate = 1,
                                         .balances_experts = model->config.experts.adds_balance,
                                         .recompute = _i % 2 == 1 ? DURE_RECOMPUTE_BLOCK : DURE_RECOMPUTE_NONE,
                                         .recompute_blocks = model->config.layer_count,
                                         .adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8}};
  uint32_t *labels = malloc(count * sizeof(*labels));
  for (uint32_t i = 0; i + 1 < count; i++) labels[i] = tokens[i + 1];
  labels[count - 1] = DURE_IGNORE_LABEL;
  dure_training *training = NULL;
  require(dure_training_create(model, &options, &training));
  double loss = 0;
  require(dure_training_gradients(training, tokens, labels, &loss));
  float *expected_loss = read_values(dure_safetensors_find(expected, "loss"));
  ck_assert_double_eq_tol(loss, (double)expected_loss[0], 1e-5 * loss);
  free(expected_loss);
  free(labels);

  dure_safetensors *found = save_and_open(dure_training_buffers(training, DURE_TRAINING_GRADIENTS));
  double worst = 0, largest = 0;
  for (int pass = 0; pass < 2; pass++) {  // first the largest norm: gradients that are zero in truth are noise
    size_t compared = 0;
    for (size_t i = 0; i < dure_safetensors_count(found); i++) {
      const dure_safetensors_tensor *tensor = dure_safetensors_get(found, i);
      char name[200];
      snprintf(name, sizeof(name), "gradient.%s", tensor->name);
      const dure_safetensors_tensor *wanted = dure_safetensors_find(expected, name);
      ck_assert_msg(wanted != NULL && wanted->count == tensor->count, "%s is not recorded", name);
      float *a = read_values(tensor), *b = read_values(wanted);
      const double norm = norm_of(b, wanted->count);
      if (pass == 0) largest = fmax(largest, norm);
      for (uint64_t k = 0; k < wanted->count; k++) a[k] -= b[k];
      const double error = norm_of(a, wanted->count);
      free(a);
      free(b);
      compared++;
      if (pass == 0) continue;
      ck_assert_msg(error <= 1e-4 * norm + 1e-7 * largest, "%s: off by %g of %g", tensor->name, error, norm);
      if (norm > 1e-3 * largest) worst = fmax(worst, error / norm);
    }
    size_t recorded = 0;
    for (size_t i = 0; i < dure_safetensors_count(expected); i++)
      recorded += strncmp(dure_safetensors_get(expected, i)->name, "gradient.", 9) == 0;
    ck_assert_uint_eq(compared, recorded);
  }
  printf("%s: gradients off by at most %.1e of their norm (limit 1e-4)\n", folders[_i], worst);
  dure_safetensors_close(found);
  dure_training_destroy(training);
  close_fixture();
}
END_TEST

START_TEST(a_saved_model_has_the_bits_of_the_one_it_was_read_from) {
  open_fixture(folders[_i]);
  dure_safetensors *original = NULL, *saved = save_and_open(&model->weights);
  require(dure_safetensors_open(folder, &original));
  ck_assert_uint_eq(dure_safetensors_count(saved), dure_safetensors_count(original));
  for (size_t i = 0; i < dure_safetensors_count(original); i++) {
    const dure_safetensors_tensor *before = dure_safetensors_get(original, i);
    const dure_safetensors_tensor *after = dure_safetensors_find(saved, before->name);
    ck_assert_msg(after != NULL && after->rank == before->rank, "%s was not saved", before->name);
    for (uint32_t k = 0; k < before->rank; k++) ck_assert_uint_eq(after->shape[k], before->shape[k]);
    float *a = read_values(before), *b = read_values(after);
    ck_assert_mem_eq(a, b, before->count * sizeof(*a));
    free(a);
    free(b);
  }
  // The configuration means the same when it has been written and read again.
  char path[] = "/tmp/dure-config-XXXXXX";
  close(mkstemp(path));
  require(dure_model_config_write(&model->config, DURE_DTYPE_F32, path));
  dure_model_config again;
  require(dure_model_config_read(path, &again));
  unlink(path);
  const dure_model_config mine = model->config;
  ck_assert_mem_eq(&again.vocabulary_size, &mine.vocabulary_size,
                   offsetof(dure_model_config, source) - offsetof(dure_model_config, vocabulary_size));
  dure_model_config_clear(&again);
  dure_safetensors_close(saved);
  dure_safetensors_close(original);
  close_fixture();
}
END_TEST

// The reference takes every family; other devices, whose kernels have cases of their own, one of DURE_TEST_EVERY, drawn
// by name (DURE_TEST_PART says which), or all with DURE_FULL=1. They compile three programs a family.
static bool is_drawn(const char *name) {
  if (strcmp(device_of_test(), "reference") == 0 || is_full()) return true;
  const uint32_t every = number_from("DURE_TEST_EVERY", EVERY_ON_DEVICES);
  if (every == 0) return true;
  uint32_t hash = 2166136261;  // FNV-1a
  for (const char *c = name; *c != '\0'; c++) hash = (hash ^ (uint8_t)*c) * 16777619;
  return (hash >> 8) % every == number_from("DURE_TEST_PART", 0) % every;
}

int main(void) {
  if (is_device_missing()) return SKIPPED;
  Suite *suite = suite_create("golden_families");
  TCase *tests = tcase_create("families");
  for (int i = 0; i < folder_count; i++) {
    if (!is_drawn(folders[i])) continue;
    tcase_add_loop_test(tests, logits_are_those_of_transformers, i, i + 1);
    tcase_add_loop_test(tests, gradients_are_those_of_pytorch, i, i + 1);
    tcase_add_loop_test(tests, a_saved_model_has_the_bits_of_the_one_it_was_read_from, i, i + 1);
  }
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
