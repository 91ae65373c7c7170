// `dure plan` end to end on the reference device: what it prints, and its exit status.
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/suite.h"

// Runs `dure plan` for an example's config; returns the exit status. Standard output and error are one text.
static int run(const char *arguments, char *out_output, size_t size) {
  char line[8192];
  const char *program = getenv("DURE_PROGRAM"), *source = getenv("DURE_SOURCE_DIR");
  ck_assert_msg(program != NULL && source != NULL, "DURE_PROGRAM and DURE_SOURCE_DIR are not set; run under ctest");
  snprintf(line, sizeof(line), "cd '%s/examples' && '%s' plan --device reference %s 2>&1", source, program, arguments);
  FILE *pipe = popen(line, "r");
  ck_assert_ptr_nonnull(pipe);
  size_t length = fread(out_output, 1, size - 1, pipe);
  out_output[length] = '\0';
  int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *arguments, int status, const char *part) {
  char output[16384];
  int found = run(arguments, output, sizeof(output));
  ck_assert_msg(found == status, "exit status %d, expected %d, of: %s\n%s", found, status, arguments, output);
  ck_assert_msg(strstr(output, part) != NULL, "'%s' is not in what '%s' said:\n%s", part, arguments, output);
}

#define SMALL "--model gpt2-small.json --batch-size 4 --context 1024 "

START_TEST(what_fits_is_shown_by_class_with_its_speed) {
  expect(SMALL "--device-memory 24GiB", 0, "fits: nothing recomputed");
  expect(SMALL "--device-memory 24GiB", 0, "gradients         474.7 MiB");
  expect(SMALL "--device-memory 24GiB --rates rtx4060", 0, "rtx4060, predicted from published figures");
  expect(SMALL "--device-memory 4GiB", 0, "<- chosen");
  expect(SMALL "--device-memory 2GiB --offload none --dtype bf16 --optimizer-states auto", 0, "8-bit moments");
  expect(SMALL "--rates 'RTX 4060'", 0, "needs ");
  expect("--recipe gpt2-small.yaml --device-memory 8GiB", 0, "4 x 1024 tokens, 128 times");
  expect("--help", 0, "example:");
}
END_TEST

START_TEST(what_does_not_fit_says_what_would) {
  expect(SMALL "--device-memory 1GiB --offload none", 1, "DOES NOT FIT: the least is");
  expect(SMALL "--device-memory 1GiB --offload none", 1, "--dtype bf16");
  expect(SMALL "--device-memory 5GiB --recompute none --offload none", 1, "(nothing recomputed)");
}
END_TEST

START_TEST(mistakes_have_their_exit_status_and_reason) {
  expect("", 2, "--model is missing");
  expect(SMALL "--batch-sise 2", 2, "'--batch-size'");
  expect(SMALL "--batch-size 0", 2, "--batch-size must be from 1");
  expect(SMALL "--recompute some", 2, "auto, none, activations, block");
  expect(SMALL "--offload some", 2, "auto, none, optimizer");
  expect(SMALL "--rates rtx9999", 1, "rx7600");
  expect("--model gpt2-small.json --context 4096", 1, "use --context 1024");
  expect("--model none.json", 1, "none.json");
}
END_TEST

START_TEST(machines_get_the_same_as_json) {
  char output[65536];
  ck_assert_int_eq(run(SMALL "--device-memory 5GiB --json", output, sizeof(output)), 0);
  json_t *json = json_loads(output, 0, NULL);
  ck_assert_msg(json != NULL, "%s", output);
  ck_assert(json_is_true(json_object_get(json, "fits")));
  const json_t *chosen = json_object_get(json, "chosen"), *device = json_object_get(chosen, "device");
  json_int_t sum = 0;
  const char *name;
  json_t *bytes;
  json_object_foreach((json_t *)device, name, bytes) sum += json_integer_value(bytes);
  ck_assert_int_eq(sum, json_integer_value(json_object_get(chosen, "device_bytes")));
  ck_assert_int_le(sum, json_integer_value(json_object_get(json, "budget_bytes")));
  ck_assert_uint_gt(json_array_size(json_object_get(json, "tried")), 1);
  ck_assert(json_real_value(json_object_get(chosen, "tokens_per_second")) > 0);
  json_decref(json);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("plan_command");
  TCase *cases = tcase_create("command");
  tcase_set_timeout(cases, 120);
  tcase_add_test(cases, what_fits_is_shown_by_class_with_its_speed);
  tcase_add_test(cases, what_does_not_fit_says_what_would);
  tcase_add_test(cases, mistakes_have_their_exit_status_and_reason);
  tcase_add_test(cases, machines_get_the_same_as_json);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
