// generate with many prompts, bench of a model, compare, quantize: what they print, on the reference device.
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/os.h"
#include "tests/suite.h"

static char folder[64];

static void make_folder(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-commands-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) { require(dure_os_remove_tree(folder)); }

static void write_file(const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  require(dure_os_write_file(path, text, strlen(text)));
}

static const char *model_name = "gpt2/even";  // among the golden ones

// Runs `dure COMMAND MODEL REST`; %s in REST is the folder. Its standard output, free(); the exit status is checked.
static char *run(const char *command, const char *rest, int expected) {
  char arguments[512], line[2048];
  const char *program = getenv("DURE_PROGRAM"), *source = getenv("DURE_SOURCE_DIR");
  snprintf(arguments, sizeof(arguments), rest, folder, folder, folder);
  snprintf(line, sizeof(line), "%s %s %s/tests/golden/%s %s 2>%s/errors", program, command, source, model_name,
           arguments, folder);
  FILE *output = popen(line, "r");
  ck_assert_ptr_nonnull(output);
  char *text = calloc(1, 1 << 16);
  const size_t length = fread(text, 1, (1 << 16) - 1, output);
  text[length] = '\0';
  const int status = pclose(output);
  ck_assert_msg(status == expected << 8, "%s: status %d", line, status >> 8);
  return text;
}

static json_t *parse(const char *text) {
  json_error_t error;
  json_t *json = json_loads(text, JSON_DISABLE_EOF_CHECK, &error);
  ck_assert_msg(json != NULL, "%s in '%.200s'", error.text, text);
  return json;
}

START_TEST(many_prompts_come_back_in_their_order_whatever_runs_together) {
  write_file("prompts", "first\n{\"prompt\": \"second one\"}\n\nthird\r\n");
  char *alone = run("generate", "--prompts %s/prompts --max-tokens 6 --seed 3 --batch 1 --device reference", 0);
  char *together = run("generate", "--prompts %s/prompts --max-tokens 6 --seed 3 --batch 3 --device reference", 0);
  const char *const expected[] = {"first", "second one", "third"};
  const char *a = alone, *b = together;
  for (int i = 0; i < 3; i++) {
    json_t *one = parse(a), *other = parse(b);
    ck_assert_str_eq(json_string_value(json_object_get(one, "prompt")), expected[i]);
    ck_assert(json_equal(json_object_get(one, "tokens"), json_object_get(other, "tokens")));
    json_decref(one);
    json_decref(other);
    a = strchr(a, '\n') + 1;
    b = strchr(b, '\n') + 1;
  }
  free(alone);
  free(together);
  write_file("prompts", "fine\n{\"prompt\": 7}\n");
  free(run("generate", "--prompts %s/prompts --device reference", 1));
}
END_TEST

START_TEST(guesses_and_beams) {
  const char *const prompt = "--prompt abcabcabcabcabc --max-tokens 24 --seed 3 --json --device reference";
  char plain[256], guessing[256], drafted[512];
  snprintf(plain, sizeof(plain), "%s --temperature 0.3", prompt);
  snprintf(guessing, sizeof(guessing), "%s --temperature 0.3 --speculate --proposals 3", prompt);
  snprintf(drafted, sizeof(drafted), "%s --temperature 0.3 --draft %s/tests/golden/gpt2/odd", prompt,
           getenv("DURE_SOURCE_DIR"));
  const char *const ways[] = {guessing, drafted};
  char *text = run("generate", plain, 0);
  json_t *expected = parse(text);
  free(text);
  for (int i = 0; i < 2; i++) {
    text = run("generate", ways[i], 0);
    json_t *found = parse(text);
    ck_assert(json_equal(json_object_get(found, "tokens"), json_object_get(expected, "tokens")));
    ck_assert(json_is_integer(json_object_get(found, "proposed")) &&
              json_is_integer(json_object_get(found, "accepted")));
    ck_assert_int_ge(json_integer_value(json_object_get(found, "proposed")),
                     json_integer_value(json_object_get(found, "accepted")));
    json_decref(found);
    free(text);
  }
  json_decref(expected);
  text = run("generate", "--prompt abc --beams 3 --length-penalty 0.5 --max-tokens 6 --json --device reference", 0);
  json_t *found = parse(text);
  ck_assert_uint_eq(json_array_size(json_object_get(found, "tokens")), 6);
  ck_assert_double_lt(json_real_value(json_object_get(found, "score")), 0);
  json_decref(found);
  free(text);
  free(run("generate", "--prompt a --beams 3 --temperature 0.5", 2));
  free(run("generate", "--prompt a --beams 33", 2));
  free(run("generate", "--prompt a --beams 2 --speculate", 2));
  free(run("generate", "--prompt a --early-stopping", 2));
  free(run("generate", "--prompt a --proposals 3", 2));
  free(run("generate", "--prompt a --device reference --draft %s/nothing", 1));
}
END_TEST

START_TEST(a_model_is_measured_and_compared) {
  char *text =
      run("bench", "--prompt 8 --generate 4 --parallel 1,2 --train 6 --repeats 2 --device reference -o json", 0);
  json_t *tests = parse(text);
  const char *const names[] = {"pp8", "tg4", "tg4 x 2", "train6"};
  ck_assert_uint_eq(json_array_size(tests), 4);
  for (size_t i = 0; i < 4; i++) {
    const json_t *test = json_array_get(tests, i);
    ck_assert_str_eq(json_string_value(json_object_get(test, "test")), names[i]);
    ck_assert_double_gt(json_number_value(json_object_get(test, "avg_ts")), 0);
    ck_assert_uint_eq(json_array_size(json_object_get(test, "samples_ts")), 2);
  }
  json_decref(tests);
  write_file("a.json", text);
  free(text);
  char line[512];
  snprintf(line, sizeof(line), "%s bench compare %s/a.json %s/a.json", getenv("DURE_PROGRAM"), folder, folder);
  FILE *output = popen(line, "r");
  char table[4096] = "";
  ck_assert_uint_gt(fread(table, 1, sizeof(table) - 1, output), 0);
  ck_assert_int_eq(pclose(output), 0);
  ck_assert_ptr_nonnull(strstr(table, "| tg4 x 2 |"));
  ck_assert_ptr_nonnull(strstr(table, "| 1.000 | no |"));
  snprintf(line, sizeof(line), "%s bench report %s/a.json %s/a.json", getenv("DURE_PROGRAM"), folder, folder);
  output = popen(line, "r");
  static char page[1 << 16];
  page[fread(page, 1, sizeof(page) - 1, output)] = '\0';
  ck_assert_int_eq(pclose(output), 0);
  size_t plots = 0, rows = 0;
  for (const char *at = page; (at = strstr(at, "<svg")) != NULL; at++) plots++;
  for (const char *at = page; (at = strstr(at, "<tr>")) != NULL; at++) rows++;
  ck_assert_uint_eq(plots, 4);
  ck_assert_uint_eq(rows, 9);  // with the headings
  ck_assert_ptr_null(strstr(page, "://"));
  free(run("bench", "--cache-type q9 --device reference", 2));
  free(run("bench", "--parallel 1,65 --device reference", 2));
}
END_TEST

START_TEST(quantizing_reports_the_perplexity_on_both_sides) {
  write_file("text", "Some text that the model is measured by, a little of it.");
  char *text = run("quantize", "%s/model.gguf --type q8_0 --text %s/text --context 16 --device reference --json", 0);
  json_t *report = parse(text);
  const double before = json_number_value(json_object_get(report, "perplexity_before"));
  const double after = json_number_value(json_object_get(report, "perplexity_after"));
  ck_assert_double_gt(before, 1);
  ck_assert_double_eq_tol(after / before, 1, 0.01);  // rows of 48 are no whole blocks: f16
  ck_assert_uint_gt(json_integer_value(json_object_get(report, "kept_f16")), 0);
  const double error = json_number_value(json_object_get(report, "increase_standard_error"));
  ck_assert(error > 0 && error < 1);
  json_decref(report);
  free(text);
  free(run("quantize", "%s/model.safetensors", 2));
  free(run("quantize", "%s/model.gguf --type int4", 2));
  free(run("quantize", "%s/model --type int4 --group 48", 2));
  free(run("quantize", "%s/model.gguf --type q4_0 --minima on", 2));
  free(run("quantize", "%s/model.gguf --type q4_0 --activations int8 --text x", 2));
  free(run("quantize", "%s/model.gguf --activations int8", 2));
  free(run("quantize", "%s/model.gguf --activations int4 --text x", 2));
}
END_TEST

START_TEST(activations_in_8_bits_are_reported_beside_weights) {
  write_file("text", "Some text that the model is measured by, a little of it.");
  char *text = run("quantize",
                   "%s/small8 --type int8 --calibrate %s/text --windows 1 --text %s/text --activations int8 "
                   "--context 16 --device reference --json",
                   0);
  json_t *report = parse(text);
  const double before = json_number_value(json_object_get(report, "perplexity_before"));
  const double weights = json_number_value(json_object_get(report, "perplexity_after"));
  const double both = json_number_value(json_object_get(report, "perplexity_after_int8_activations"));
  const double increase = json_number_value(json_object_get(report, "increase_percent_int8_activations"));
  ck_assert_double_eq_tol(weights / before, 1, 0.02);
  ck_assert_double_eq_tol(both / before, 1, 0.05);
  ck_assert(both != weights);
  ck_assert_double_eq_tol(increase, 100 * (both / before - 1), 1e-3);
  json_decref(report);
  free(text);
}
END_TEST

START_TEST(groups_are_written_to_a_directory_that_runs) {
  model_name = "families/qwen2";
  char *text = run("quantize", "%s/small --type int4 --group 32 --json", 0);
  json_t *report = parse(text);
  ck_assert_uint_le(json_integer_value(json_object_get(report, "kept_f16")), 2);  // rows of no whole groups
  json_decref(report);
  free(text);
  char path[128];
  snprintf(path, sizeof(path), "%s/small/config.json", folder);
  json_t *config = json_load_file(path, 0, NULL);
  const json_t *quantisation = json_object_get(config, "quantization_config");
  ck_assert_str_eq(json_string_value(json_object_get(quantisation, "quant_method")), "dure");
  ck_assert_int_eq(json_integer_value(json_object_get(quantisation, "group_size")), 32);
  json_decref(config);
  char line[512];
  snprintf(line, sizeof(line), "%s bench %s/small --prompt 4 --generate 2 --repeats 1 --device reference -o json",
           getenv("DURE_PROGRAM"), folder);
  FILE *output = popen(line, "r");
  static char measured[1 << 14];
  measured[fread(measured, 1, sizeof(measured) - 1, output)] = '\0';
  ck_assert_int_eq(pclose(output), 0);
  ck_assert_ptr_nonnull(strstr(measured, "bits a packed weight"));
  model_name = "gpt2/even";
}
END_TEST

int main(void) {
  Suite *suite = suite_create("inference_commands");
  TCase *tests = tcase_create("inference_commands");
  tcase_add_checked_fixture(tests, make_folder, remove_folder);
  tcase_add_test(tests, many_prompts_come_back_in_their_order_whatever_runs_together);
  tcase_add_test(tests, guesses_and_beams);
  tcase_add_test(tests, a_model_is_measured_and_compared);
  tcase_add_test(tests, activations_in_8_bits_are_reported_beside_weights);
  tcase_add_test(tests, groups_are_written_to_a_directory_that_runs);
  tcase_add_test(tests, quantizing_reports_the_perplexity_on_both_sides);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
