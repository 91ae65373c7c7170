// The suite itself: it must notice whatever a broken kernel may do, in every case, and its cases must be well named.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/conformance/cases.h"
#include "runtime/conformance/conformance.h"
#include "tests/amount.h"
#include "tests/suite.h"

typedef struct unnoticed {
  size_t count;
  size_t skipped;  // cases without anything to damage: in place, or without inputs
} unnoticed;

static void count_unnoticed(void *context, const dure_conformance_result *result) {
  unnoticed *u = context;
  if (result->outcome == DURE_CONFORMANCE_FAIL) return;
  if (result->outcome == DURE_CONFORMANCE_SKIPPED) {
    u->skipped++;
    return;
  }
  u->count++;
  printf("not noticed: %s\n", result->name);
}

static void expect_noticed(dure_conformance_damage damage) {
  dure_device *device = NULL;
  dure_status status = dure_device_open("reference", &device);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  dure_conformance_options options = {.damage = damage, .every = number_from("DURE_TEST_EVERY", is_full() ? 0 : 2)};
  dure_conformance_summary summary;
  unnoticed u = {0, 0};
  status = dure_conformance_run(device, &options, count_unnoticed, &u, &summary);
  dure_device_close(device);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  ck_assert_uint_eq(u.count, 0);
  ck_assert_uint_gt(summary.counts[DURE_CONFORMANCE_FAIL], 20 * u.skipped);
  if (damage != DURE_CONFORMANCE_TOUCHED_INPUT) ck_assert_uint_eq(u.skipped, 0);
}

START_TEST(a_wrong_value_is_noticed) { expect_noticed(DURE_CONFORMANCE_WRONG_VALUE); }
END_TEST
START_TEST(a_misplaced_nan_is_noticed) { expect_noticed(DURE_CONFORMANCE_FALSE_NAN); }
END_TEST
START_TEST(a_touched_input_is_noticed) { expect_noticed(DURE_CONFORMANCE_TOUCHED_INPUT); }
END_TEST
START_TEST(a_write_before_an_operand_is_noticed) { expect_noticed(DURE_CONFORMANCE_BROKEN_GUARD); }
END_TEST
START_TEST(results_that_differ_between_runs_are_noticed) { expect_noticed(DURE_CONFORMANCE_NOT_REPEATABLE); }
END_TEST

START_TEST(every_op_has_cases_and_every_case_its_own_name) {
  dure_case_list list;
  dure_status status = dure_cases_collect(true, &list);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  size_t counts[DURE_OP_COUNT] = {0}, repeated = 0;
  for (size_t i = 0; i < list.count; i++) {
    counts[list.cases[i].op]++;
    ck_assert_uint_lt(strlen(list.cases[i].name), sizeof(list.cases[i].name) - 1);
    for (size_t j = 0; j < i; j++) {
      if (strcmp(list.cases[i].name, list.cases[j].name) != 0) continue;
      printf("two cases are named %s\n", list.cases[i].name);
      repeated++;
    }
  }
  dure_cases_free(&list);
  ck_assert_uint_eq(repeated, 0);
  for (size_t i = 0; i < DURE_OP_COUNT; i++) {
    ck_assert_msg(counts[i] >= 10, "%s has only %zu cases", dure_op_get((dure_op)i)->name, counts[i]);
  }
}
END_TEST

START_TEST(one_case_runs_alone_by_its_name) {
  dure_device *device = NULL;
  dure_status status = dure_device_open("reference", &device);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  dure_conformance_options options = {.case_name = "matmul/nt/m=257,n=63,k=129/accumulate"};
  dure_conformance_summary summary;
  status = dure_conformance_run(device, &options, NULL, NULL, &summary);
  dure_conformance_options unknown = {.case_name = "matmul/no/such/case"};
  dure_status missing = dure_conformance_run(device, &unknown, NULL, NULL, &(dure_conformance_summary){0});
  dure_device_close(device);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  ck_assert_uint_eq(summary.counts[DURE_CONFORMANCE_PASS], 1);
  ck_assert_int_eq(dure_status_code(missing), DURE_NOT_FOUND);
  dure_status_free(missing);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("conformance suite");
  TCase *tests = tcase_create("damage");
  tcase_set_timeout(tests, 300);
  tcase_add_test(tests, a_wrong_value_is_noticed);
  tcase_add_test(tests, a_misplaced_nan_is_noticed);
  tcase_add_test(tests, a_touched_input_is_noticed);
  tcase_add_test(tests, a_write_before_an_operand_is_noticed);
  tcase_add_test(tests, results_that_differ_between_runs_are_noticed);
  tcase_add_test(tests, every_op_has_cases_and_every_case_its_own_name);
  tcase_add_test(tests, one_case_runs_alone_by_its_name);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_NOFORK);
}
