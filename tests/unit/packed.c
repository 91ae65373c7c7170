// Weights that stay quantised: the values of the file to the bit, and so the same logits as expanded, on the device
// that DURE_TEST_DEVICE names, else on the reference device and every Vulkan device.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/convert.h"
#include "model/engine.h"
#include "model/packed.h"
#include "runtime/os.h"

enum { MOST_DEVICES = 8, TOKENS = 40 };

static char device_names[MOST_DEVICES][32];
static int device_count;
static dure_device *device;
static dure_stream *stream;
static char folder[64];

static void require(dure_status status) {
  if (status == NULL) return;
  ck_abort_msg("%s", dure_status_message(status));
}

static const char *source_path(const char *name) {
  static char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/%s", source != NULL ? source : ".", name);
  return path;
}

static void make_folder(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-packed-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) { require(dure_os_remove_tree(folder)); }

static dure_model *open_model(const char *path, bool keeps_packed) {
  dure_model *model = NULL;
  const dure_model_options options = {.dtype = DURE_DTYPE_F32, .keeps_packed = keeps_packed};
  require(dure_model_open_as(path, &options, device, stream, &model));
  return model;
}

// ---- codes -------------------------------------------------------------------------------------------------------

START_TEST(codes_are_the_values_that_blocks_expand_to) {
  static const char *const names[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K"};
  const dure_gguf_type *type = dure_gguf_type_named(names[_i]);
  uint32_t state = 2463534242u;
  for (int round = 0; round < 200; round++) {
    uint8_t block[256];
    for (uint32_t i = 0; i < type->bytes; i++) {
      state ^= state << 13, state ^= state >> 17, state ^= state << 5;
      block[i] = (uint8_t)(state >> 11);
    }
    block[1] &= 0x3b;  // scales that are finite
    block[3] &= 0x3b;
    float expected[DURE_GGUF_BLOCK_MOST], scales[8], minima[8];
    int8_t codes[DURE_GGUF_BLOCK_MOST];
    dure_gguf_expand(type, block, 0, type->elements, expected);
    dure_gguf_block_codes(type, block, codes, scales, minima);
    for (uint32_t i = 0; i < type->elements; i++) {
      const float product = scales[i / 32] * (float)codes[i];
      ck_assert_msg(product + minima[i / 32] == expected[i], "%s, element %u", names[_i], i);
    }
  }
}
END_TEST

START_TEST(other_types_have_no_codes) {
  static const char *const names[] = {"F32", "F16", "BF16", "Q6_K", "Q2_K", "Q3_K"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
    ck_assert_uint_eq(dure_gguf_type_codes(dure_gguf_type_named(names[i])).bits, 0);
}
END_TEST

// ---- models ------------------------------------------------------------------------------------------------------

static void make_tokens(const dure_model *model, uint32_t *out_tokens) {
  for (uint32_t i = 0; i < TOKENS; i++) out_tokens[i] = (7 * i * i + 3 * i + 5) % model->config.vocabulary_size;
}

// Greedy tokens with their log-probabilities after a prompt: pieces of it go one way, tokens another.
static uint32_t generate(dure_model *model, const uint32_t *tokens, dure_scored_token *out_tokens) {
  dure_engine *engine = NULL;
  const dure_engine_options options = {.sequences = 1};
  require(dure_engine_create(model, &options, &engine));
  const dure_request request = {.tokens = tokens,
                                .count = TOKENS - 8,
                                .most_tokens = 8,
                                .sampling = {.top_p = 1},
                                .with_log_probabilities = true};
  uint64_t id = 0;
  uint32_t count = 0;
  dure_progress progress;
  require(dure_engine_submit(engine, &request, &id));
  for (bool is_busy = true; is_busy;) require(dure_engine_step(engine, &is_busy));
  require(dure_engine_poll(engine, id, 0, out_tokens, 8, &count, &progress));
  dure_engine_destroy(engine);
  return count;
}

static void compare_models(const char *source, const char *type) {
  char path[128];
  snprintf(path, sizeof(path), "%s/model.gguf", folder);
  dure_convert_summary summary;
  require(dure_convert(source_path(source), path, &(dure_convert_options){.type = type}, &summary));
  dure_model *expanded = open_model(path, false), *packed = open_model(path, true);
  const uint32_t V = expanded->config.vocabulary_size;
  uint64_t elements = 0, none = 0;
  ck_assert_uint_eq(dure_packed_bytes(&expanded->layout, &none), 0);
  ck_assert_uint_gt(dure_packed_bytes(&packed->layout, &elements), 0);
  ck_assert_uint_gt(elements * 2, expanded->layout.element_count);
  uint32_t tokens[TOKENS];
  make_tokens(expanded, tokens);
  float *a = malloc((size_t)TOKENS * V * sizeof(*a)), *b = malloc((size_t)TOKENS * V * sizeof(*b));
  require(dure_model_logits(expanded, tokens, TOKENS, a));
  require(dure_model_logits(packed, tokens, TOKENS, b));
  for (size_t i = 0; i < (size_t)TOKENS * V; i++)
    ck_assert_msg(a[i] == b[i], "%s %s: logit %zu is %.9g packed, %.9g expanded", source, type, i, (double)b[i],
                  (double)a[i]);
  dure_scored_token first[8], second[8];
  ck_assert_uint_eq(generate(expanded, tokens, first), generate(packed, tokens, second));
  for (int i = 0; i < 8; i++) {
    ck_assert_uint_eq(first[i].token, second[i].token);
    ck_assert_double_eq_tol((double)first[i].log_probability, (double)second[i].log_probability, 1e-5);
  }
  free(a);
  free(b);
  dure_model_destroy(packed);
  dure_model_destroy(expanded);
  require(dure_os_remove_tree(path));
}

START_TEST(packed_models_give_what_expanded_ones_do) {
  require(dure_device_open(device_names[_i], &device));
  require(dure_stream_create(device, &stream));
  compare_models("families/gpt2", "q8_0");  // matrices the other way round, activations and biases
  compare_models("families/qwen2", "q4_0");
  dure_stream_destroy(stream);
  dure_device_close(device);
}
END_TEST

// ---- running -----------------------------------------------------------------------------------------------------

static void find_devices(void) {
  const char *wanted = getenv("DURE_TEST_DEVICE"), *full = getenv("DURE_FULL");
  const int most = full != NULL && strcmp(full, "1") == 0 ? MOST_DEVICES : 2;
  snprintf(device_names[device_count++], sizeof(device_names[0]), "%s", wanted != NULL ? wanted : "reference");
  dure_device_info *infos = NULL;
  size_t count = 0;
  char *notes = NULL;
  require(dure_devices_list(&infos, &count, &notes));
  for (size_t i = 0; i < count && wanted == NULL && device_count < most; i++) {
    if (infos[i].usable && infos[i].kind == DURE_DEVICE_CPU)
      snprintf(device_names[device_count++], sizeof(device_names[0]), "%s", infos[i].identifier);
  }
  free(infos);
  free(notes);
}

int main(void) {
  find_devices();
  Suite *suite = suite_create("packed");
  TCase *codes = tcase_create("codes"), *models = tcase_create("models");
  tcase_add_loop_test(codes, codes_are_the_values_that_blocks_expand_to, 0, 7);
  tcase_add_test(codes, other_types_have_no_codes);
  tcase_add_checked_fixture(models, make_folder, remove_folder);
  tcase_add_loop_test(models, packed_models_give_what_expanded_ones_do, 0, device_count);
  suite_add_tcase(suite, codes);
  suite_add_tcase(suite, models);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
