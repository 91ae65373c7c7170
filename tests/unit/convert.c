// dure_convert: every family that GGUF has to one file and back, in every type; shards; what is refused.
#include <check.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/config.h"
#include "model/convert.h"
#include "model/inspect.h"
#include "runtime/os.h"
#include "tests/suite.h"

static char folder[64];

static void setup(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-convert-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void) { require(dure_os_remove_tree(folder)); }

static const char *golden(const char *family) {
  static char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/%s", source != NULL ? source : ".", family);
  return path;
}

static const char *inside(int slot, const char *name) {
  static char paths[3][160];
  snprintf(paths[slot], sizeof(paths[slot]), "%s/%s", folder, name);
  return paths[slot];
}

// Largest difference of any element over the largest magnitude of its tensor; every tensor must be there.
static double difference(const char *found_path, const char *wanted_path) {
  dure_safetensors *found = NULL, *wanted = NULL;
  double worst = 0;
  require(dure_weights_open(found_path, &found));
  require(dure_weights_open(wanted_path, &wanted));
  ck_assert_uint_eq(dure_safetensors_count(found), dure_safetensors_count(wanted));
  for (size_t i = 0; i < dure_safetensors_count(wanted); i++) {
    const dure_safetensors_tensor *a = dure_safetensors_get(wanted, i);
    const dure_safetensors_tensor *b = dure_safetensors_find(found, a->name);
    ck_assert_msg(b != NULL && b->count == a->count && b->rank == a->rank, "'%s' is not there", a->name);
    for (uint32_t k = 0; k < a->rank; k++) ck_assert_uint_eq(a->shape[k], b->shape[k]);
    float *left = malloc(a->count * sizeof(*left)), *right = malloc(a->count * sizeof(*right));
    require(dure_safetensors_read(a, 0, a->count, left));
    require(dure_safetensors_read(b, 0, a->count, right));
    double largest = 0, off = 0;
    for (uint64_t k = 0; k < a->count; k++) {
      largest = fmax(largest, fabs((double)left[k]));
      off = fmax(off, fabs((double)left[k] - (double)right[k]));
    }
    if (off > 0) worst = fmax(worst, off / largest);
    free(left);
    free(right);
  }
  dure_safetensors_close(found);
  dure_safetensors_close(wanted);
  return worst;
}

static void require_same_config(const char *found_path, const char *wanted_path) {
  dure_model_config a, b;
  require(dure_model_config_read(found_path, &a));
  require(dure_model_config_read(wanted_path, &b));
  struct json_t *sources[2] = {a.source, b.source};
  a.source = b.source = NULL;
  const uint8_t *left = (const uint8_t *)&a, *right = (const uint8_t *)&b;
  for (size_t i = 0; i < offsetof(dure_model_config, source); i++)
    ck_assert_msg(left[i] == right[i], "%s: the configuration differs at byte %zu", found_path, i);
  a.source = sources[0];
  b.source = sources[1];
  dure_model_config_clear(&a);
  dure_model_config_clear(&b);
}

static dure_convert_summary convert(const char *in, const char *out, const char *type, uint64_t shard_size) {
  const dure_convert_options options = {.type = type, .shard_size = shard_size};
  dure_convert_summary summary;
  require(dure_convert(in, out, &options, &summary));
  return summary;
}

static const char *const families[] = {
    "llama",     "llama_3_1",   "llama_linear", "llama_yarn", "mistral", "qwen2",  "gpt2",   "gpt_neox_sequential",
    "falcon_7b", "falcon_40b",  "gpt_neox",     "bloom",      "mpt",     "gemma2", "gemma3", "mixtral",
    "qwen2_moe", "deepseek_v2", "deepseek_v3",  "qwen3",      "smollm3", "olmo2",  "phi3",   "qwen3_moe"};
enum { family_count = sizeof(families) / sizeof(families[0]) };

START_TEST(a_model_comes_back_from_gguf_as_it_was) {
  char name[64];
  snprintf(name, sizeof(name), "families/%s", families[_i]);
  const char *original = golden(name), *file = inside(0, "model.gguf"), *back = inside(1, "back");
  convert(original, file, NULL, 0);
  // Gemma's norms have 1 added and taken away again.
  const double allowed = strncmp(families[_i], "gemma", 5) == 0 ? 1e-6 : 0;
  ck_assert_double_le(difference(file, original), allowed);
  require_same_config(file, original);
  convert(file, back, "bf16", 0);
  ck_assert_double_le(difference(back, original), allowed);
  require_same_config(back, original);
  ck_assert(dure_os_is_file(inside(2, "back/config.json")));
  ck_assert(!dure_os_is_file(inside(2, "model.gguf.part")) && !dure_os_is_directory(inside(2, "back.part")));
}
END_TEST

START_TEST(types_round_within_their_step) {
  static const struct {
    const char *type;
    double allowed;
  } types[] = {{"f32", 0}, {"bf16", 0}, {"f16", 1.0 / 2048}, {"q8_0", 1.0 / 250}, {"q4_0", 1.0 / 7}};
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    const dure_convert_summary s = convert(golden("families/llama_linear"), inside(0, "m.gguf"), types[i].type, 0);
    const double found = difference(inside(0, "m.gguf"), golden("families/llama_linear"));
    ck_assert_msg(found <= types[i].allowed, "%s: off by %g", types[i].type, found);
    if (i < 3) {
      require(dure_os_remove_tree(inside(1, "directory")));
      convert(inside(0, "m.gguf"), inside(1, "directory"), types[i].type, 0);
      ck_assert_double_le(difference(inside(1, "directory"), golden("families/llama_linear")), types[i].allowed);
    }
    if (i >= 3) ck_assert_uint_eq(s.kept, 2);  // mlp.down_proj of two layers: rows of 40 elements
  }
}
END_TEST

START_TEST(shards_hold_the_same_model) {
  const dure_convert_summary s = convert(golden("families/gpt2"), inside(0, "sharded"), NULL, 20000);
  ck_assert_uint_gt(s.files, 2);
  ck_assert(dure_os_is_file(inside(1, "sharded/model.safetensors.index.json")));
  ck_assert_double_eq(difference(inside(0, "sharded"), golden("families/gpt2")), 0);
  convert(inside(0, "sharded"), inside(1, "one"), NULL, 0);
  ck_assert_double_eq(difference(inside(1, "one"), golden("families/gpt2")), 0);
}
END_TEST

START_TEST(the_tokenizer_goes_both_ways) {
  convert(golden("gpt2/even"), inside(0, "even.gguf"), "f16", 0);
  convert(inside(0, "even.gguf"), inside(1, "even"), NULL, 0);
  dure_tokenizer *tokenizers[3] = {NULL};
  require(dure_weights_tokenizer(golden("gpt2/even"), &tokenizers[0]));
  require(dure_weights_tokenizer(inside(0, "even.gguf"), &tokenizers[1]));
  require(dure_weights_tokenizer(inside(1, "even"), &tokenizers[2]));
  for (int i = 1; i < 3; i++) {
    size_t length[2];
    const char *a = dure_tokenizer_json(tokenizers[0], &length[0]), *b = dure_tokenizer_json(tokenizers[i], &length[1]);
    ck_assert_uint_eq(length[0], length[1]);
    ck_assert_mem_eq(a, b, length[0]);
  }
  for (int i = 0; i < 3; i++) dure_tokenizer_close(tokenizers[i]);
}
END_TEST

static void expect(const char *in, const char *out, const char *type, dure_code code, const char *words) {
  const dure_convert_options options = {.type = type};
  dure_convert_summary summary;
  dure_status status = dure_convert(in, out, &options, &summary);
  ck_assert_msg(
      status != NULL && dure_status_code(status) == code && strstr(dure_status_message(status), words) != NULL,
      "expected '%s', found '%s'", words, status != NULL ? dure_status_message(status) : "success");
  dure_status_free(status);
}

START_TEST(what_cannot_be_is_refused) {
  expect(golden("families/llama"), inside(0, "x"), "q8_0", DURE_INVALID_ARGUMENT, "--type must be");
  expect(golden("families/llama"), inside(0, "x.gguf"), "q2_k", DURE_INVALID_ARGUMENT, "--type must be");
  expect(golden("families/opt"), inside(0, "x.gguf"), NULL, DURE_UNSUPPORTED, "no architecture for the model type");
  expect(inside(1, "nothing"), inside(0, "x"), NULL, DURE_NOT_FOUND, "no model at");
  require(dure_os_make_directories(inside(1, "full/of")));
  expect(golden("families/llama"), inside(1, "full"), NULL, DURE_INVALID_ARGUMENT, "with files in it");
  ck_assert(!dure_os_is_file(inside(0, "x.gguf")) && !dure_os_is_directory(inside(0, "x")));
  ck_assert(!dure_os_is_file(inside(0, "x.gguf.part")));
}
END_TEST

START_TEST(inspecting_tells_what_is_missing_and_left_over) {
  dure_model_config config;
  dure_safetensors *file = NULL;
  dure_disagreement *rows = NULL;
  size_t count = 0;
  require(dure_model_config_read(golden("families/llama"), &config));
  require(dure_weights_open(golden("families/llama"), &file));
  require(dure_inspect_agreement(&config, file, &rows, &count));
  ck_assert_uint_eq(count, 0);
  free(rows);
  dure_safetensors_close(file);
  require(dure_weights_open(golden("families/llama_linear"), &file));  // tied, without biases, other sizes
  require(dure_inspect_agreement(&config, file, &rows, &count));
  size_t kinds[4] = {0};
  for (size_t i = 0; i < count; i++) kinds[rows[i].kind]++;
  ck_assert_uint_eq(kinds[DURE_TENSOR_MISSING], 1 + 2 * 7);  // lm_head; biases of 2 layers
  ck_assert_uint_gt(kinds[DURE_TENSOR_OTHER_SHAPE], 10);
  free(rows);
  dure_safetensors_close(file);
  dure_model_config_clear(&config);
}
END_TEST

START_TEST(statistics_are_those_of_the_elements) {
  static const float values[] = {1, 2, NAN, 3, INFINITY, -2};
  const uint64_t shape[1] = {6};
  dure_safetensors_writer *writer = NULL;
  require(dure_safetensors_writer_create(inside(0, "s"), &writer));
  require(dure_safetensors_writer_declare(writer, "t", DURE_DTYPE_F32, 1, shape));
  require(dure_safetensors_writer_append(writer, values, sizeof(values)));
  require(dure_safetensors_writer_finish(writer));
  dure_safetensors_writer_destroy(writer);
  dure_safetensors *file = NULL;
  dure_tensor_statistics s;
  require(dure_safetensors_open(inside(0, "s"), &file));
  require(dure_inspect_tensor(dure_safetensors_get(file, 0), &s));
  dure_safetensors_close(file);
  ck_assert_double_eq(s.minimum, -2);
  ck_assert_double_eq(s.maximum, 3);
  ck_assert_double_eq(s.mean, 1);
  ck_assert_double_eq_tol(s.deviation, sqrt(3.5), 1e-12);
  ck_assert_uint_eq(s.nan_count, 1);
  ck_assert_uint_eq(s.infinite_count, 1);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("convert");
  TCase *tests = tcase_create("convert");
  tcase_add_checked_fixture(tests, setup, teardown);
  tcase_add_loop_test(tests, a_model_comes_back_from_gguf_as_it_was, 0, family_count);
  tcase_add_test(tests, types_round_within_their_step);
  tcase_add_test(tests, shards_hold_the_same_model);
  tcase_add_test(tests, the_tokenizer_goes_both_ways);
  tcase_add_test(tests, what_cannot_be_is_refused);
  tcase_add_test(tests, inspecting_tells_what_is_missing_and_left_over);
  tcase_add_test(tests, statistics_are_those_of_the_elements);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
