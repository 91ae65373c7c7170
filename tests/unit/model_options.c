// The options of train: recipes, checks, and their way through JSON.
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/train_options.h"
#include "runtime/os.h"
#include "tests/suite.h"

static char folder[64], path[128];

static void require_code(dure_status status, dure_code code, const char *part) {
  ck_assert_msg(dure_status_code(status) == code, "%s: '%s', expected %s", dure_code_name(dure_status_code(status)),
                dure_status_message(status), dure_code_name(code));
  ck_assert_msg(strstr(dure_status_message(status), part) != NULL, "'%s' lacks '%s'", dure_status_message(status),
                part);
  dure_status_free(status);
}

static dure_train_options options;

static void begin(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-recipe-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/recipe.yaml", folder);
  dure_train_options_default(&options);
}

static void end(void) {
  dure_train_options_clear(&options);
  require(dure_os_remove_tree(folder));
}

static dure_status read_recipe(const char *text) {
  require(dure_os_write_file(path, text, strlen(text)));
  return dure_train_options_read_recipe(&options, path);
}

START_TEST(a_recipe_sets_options_and_leaves_the_others) {
  require(
      read_recipe("# a comment\nsteps: 500\nbatch-size: 16\nmin_lr: 1e-5\nschedule: wsd\nfrom-scratch: yes\n"
                  "device-memory: 6GiB\nout: \"a run\"\n"));
  ck_assert_int_eq((int)options.steps, 500);
  ck_assert_int_eq((int)options.batch_size, 16);
  ck_assert_double_eq_tol(options.min_lr, 1e-5, 1e-20);
  ck_assert_str_eq(options.schedule, "wsd");
  ck_assert(options.from_scratch);
  ck_assert_uint_eq(options.device_memory, UINT64_C(6) << 30);
  ck_assert_str_eq(options.out, "a run");
  ck_assert_int_eq((int)options.keep, 3);
  ck_assert_ptr_null(options.model);
}
END_TEST

START_TEST(a_recipes_model_is_looked_for_beside_it_first) {
  char model[128];
  snprintf(model, sizeof(model), "%s/small.json", folder);
  require(dure_os_write_file(model, "{}", 2));
  require(read_recipe("model: small.json\ndata: elsewhere\n"));
  ck_assert_str_eq(options.model, model);
  ck_assert_str_eq(options.data, "elsewhere");
}
END_TEST

static const struct {
  const char *text;
  dure_code code;
  const char *part;
} mistakes[] = {
    {"batch-sise: 4\n", DURE_INVALID_ARGUMENT, "did you mean 'batch-size'"},
    {"steps: many\n", DURE_INVALID_ARGUMENT, "whole number"},
    {"steps: 1.5\n", DURE_INVALID_ARGUMENT, "whole number"},
    {"lr: .inf\n", DURE_INVALID_ARGUMENT, "a number"},
    {"from-scratch: maybe\n", DURE_INVALID_ARGUMENT, "true or false"},
    {"device-memory: -1GiB\n", DURE_INVALID_ARGUMENT, "8GiB"},
    {"steps: [1, 2]\n", DURE_CORRUPT, "single value"},
    {"optimizer:\n  lr: 1\n", DURE_CORRUPT, "single value"},
    {"steps: 1\nsteps: 2\n", DURE_CORRUPT, "twice"},
    {"steps:\n", DURE_CORRUPT, "no value"},
    {"- steps\n", DURE_CORRUPT, "mapping"},
    {"steps\n", DURE_CORRUPT, "mapping"},
    {"", DURE_CORRUPT, "mapping"},
    {"a: &x 1\n? [a, b]\n: 2\n", DURE_INVALID_ARGUMENT, "unknown option"},
    {"? [a, b]\n: 2\n", DURE_CORRUPT, "option's name"},
    {"steps: 1\n---\nsteps: 2\n", DURE_CORRUPT, "end of the file"},
    {"steps: \"1\n", DURE_CORRUPT, "not YAML"},
    {"\tsteps: 1\n", DURE_CORRUPT, "not YAML"},
};

START_TEST(a_mistake_in_a_recipe_is_explained) {
  require_code(read_recipe(mistakes[_i].text), mistakes[_i].code, mistakes[_i].part);
}
END_TEST

START_TEST(options_survive_json) {
  require(
      read_recipe("model: m\ndata: d\nout: o\nlr: 0.0006\nseed: 42\nshuffle: off\nfrom-scratch: true\nepochs: 2.5\n"));
  json_t *json = dure_train_options_to_json(&options);
  char *text = json_dumps(json, JSON_REAL_PRECISION(15));
  json_decref(json);
  json = json_loads(text, 0, NULL);
  dure_train_options again;
  dure_train_options_default(&again);
  require(dure_train_options_from_json(&again, "x", json));
  size_t count;
  const dure_train_option_row *rows = dure_train_option_rows(&count);
  for (size_t i = 0; i < count; i++) {
    char before[64], after[64];
    dure_train_option_text(&options, &rows[i], before, sizeof(before));
    dure_train_option_text(&again, &rows[i], after, sizeof(after));
    ck_assert_str_eq(before, after);
  }
  ck_assert_mem_eq(&again.lr, &options.lr, sizeof(options.lr));
  json_decref(json);
  free(text);
  dure_train_options_clear(&again);
}
END_TEST

static const struct {
  const char *name, *value;
  dure_code code;
  const char *part;
} refusals[] = {
    {"dtype", "f33", DURE_INVALID_ARGUMENT, "auto, f32, bf16, f16"},
    {"recompute", "layer", DURE_INVALID_ARGUMENT, "auto, none, activations, block"},
    {"recompute", "block:0", DURE_INVALID_ARGUMENT, "block:4"},
    {"recompute", "none:2", DURE_INVALID_ARGUMENT, "block:4"},
    {"offload", "activations", DURE_UNSUPPORTED, "--offload auto"},
    {"offload", "optimiser", DURE_INVALID_ARGUMENT, "auto, none, optimizer"},
    {"optimizer-states", "f16", DURE_INVALID_ARGUMENT, "f32, bf16, 8bit"},
    {"masters", "no", DURE_INVALID_ARGUMENT, "on, off"},
    {"dropout", "0.1", DURE_UNSUPPORTED, "without dropout"},
    {"schedule", "cosin", DURE_INVALID_ARGUMENT, "cosine, linear, constant, wsd"},
    {"shuffle", "maybe", DURE_INVALID_ARGUMENT, "on, off"},
    {"batch-size", "0", DURE_INVALID_ARGUMENT, "--batch-size"},
    {"beta2", "1", DURE_INVALID_ARGUMENT, "--beta2"},
    {"min-lr", "1", DURE_INVALID_ARGUMENT, "--min-lr"},
    {"epochs", "1", DURE_INVALID_ARGUMENT, "give one of them"},
    {"out", "", DURE_INVALID_ARGUMENT, "--out is missing"},
};

START_TEST(what_cannot_be_done_is_refused_not_ignored) {
  require(read_recipe("model: m\ndata: d\nout: o\nsteps: 10\n"));
  require(dure_train_options_check(&options));
  require(dure_train_options_set(&options, "test", refusals[_i].name, refusals[_i].value));
  require_code(dure_train_options_check(&options), refusals[_i].code, refusals[_i].part);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_options");
  TCase *tests = tcase_create("options");
  tcase_add_checked_fixture(tests, begin, end);
  tcase_add_test(tests, a_recipe_sets_options_and_leaves_the_others);
  tcase_add_test(tests, a_recipes_model_is_looked_for_beside_it_first);
  tcase_add_loop_test(tests, a_mistake_in_a_recipe_is_explained, 0, (int)(sizeof(mistakes) / sizeof(mistakes[0])));
  tcase_add_test(tests, options_survive_json);
  tcase_add_loop_test(tests, what_cannot_be_done_is_refused_not_ignored, 0,
                      (int)(sizeof(refusals) / sizeof(refusals[0])));
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
