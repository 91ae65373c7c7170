// Learning-rate schedules: pure functions of the step with the values that their papers give.
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "model/optimizer.h"
#include "model/schedule.h"
#include "tests/suite.h"

static double rate(dure_schedule_kind kind, uint64_t step) {
  const dure_schedule schedule = {
      .kind = kind, .peak = 1e-3, .minimum = 1e-4, .warmup = 10, .total = 110, .decay_steps = 20};
  return dure_schedule_learning_rate(&schedule, step);
}

START_TEST(warmup_is_linear_and_reaches_the_peak) {
  for (int kind = 0; kind < DURE_SCHEDULE_COUNT; kind++) {
    ck_assert_double_eq_tol(rate((dure_schedule_kind)kind, 1), 1e-4, 1e-18);
    ck_assert_double_eq_tol(rate((dure_schedule_kind)kind, 5), 5e-4, 1e-18);
    ck_assert_double_eq_tol(rate((dure_schedule_kind)kind, 10), 1e-3, 1e-18);
  }
}
END_TEST

START_TEST(each_kind_ends_where_it_should) {
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_COSINE, 60), 5.5e-4, 1e-15);  // half way: the mean of peak and minimum
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_COSINE, 110), 1e-4, 1e-15);
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_LINEAR, 35), 1e-3 - 0.25 * 9e-4, 1e-15);
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_LINEAR, 110), 1e-4, 1e-15);
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_CONSTANT, 110), 1e-3, 1e-18);
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_WSD, 90), 1e-3, 1e-15);
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_WSD, 100), 5.5e-4, 1e-15);
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_WSD, 110), 1e-4, 1e-15);
  ck_assert_double_eq_tol(rate(DURE_SCHEDULE_COSINE, 1000), 1e-4, 1e-15);  // beyond the end: stays
}
END_TEST

START_TEST(no_schedule_rises_after_its_warmup) {
  for (int kind = 0; kind < DURE_SCHEDULE_COUNT; kind++) {
    for (uint64_t step = 10; step < 120; step++) {
      ck_assert_double_le(rate((dure_schedule_kind)kind, step + 1), rate((dure_schedule_kind)kind, step));
    }
  }
}
END_TEST

START_TEST(a_warmup_longer_than_the_run_and_none_at_all_are_fine) {
  dure_schedule schedule = {.kind = DURE_SCHEDULE_COSINE, .peak = 1, .warmup = 100, .total = 10};
  ck_assert_double_eq_tol(dure_schedule_learning_rate(&schedule, 10), 0.1, 1e-15);
  schedule.warmup = 0;
  ck_assert_double_le(dure_schedule_learning_rate(&schedule, 1), 1);
  ck_assert_double_gt(dure_schedule_learning_rate(&schedule, 1), 0.9);
}
END_TEST

START_TEST(names_are_found_and_others_not) {
  dure_schedule_kind kind;
  for (int i = 0; i < DURE_SCHEDULE_COUNT; i++) {
    ck_assert(dure_schedule_find(dure_schedule_name((dure_schedule_kind)i), &kind));
    ck_assert_int_eq((int)kind, i);
  }
  ck_assert(!dure_schedule_find("cosin", &kind));
}
END_TEST

START_TEST(bias_corrections_are_those_of_adam) {
  const dure_adamw_options options = {.beta1 = 0.9, .beta2 = 0.999, .clip = 1};
  float values[DURE_STEP_COUNT];
  dure_adamw_step_values(&options, 1, 3e-4, values);
  ck_assert_float_eq(values[DURE_STEP_LEARNING_RATE], 3e-4f);
  ck_assert_float_eq(values[DURE_STEP_CORRECTION1], 10.0f);
  ck_assert_float_eq_tol(values[DURE_STEP_CORRECTION2], 1000.0f, 1e-3f);  // a float's 1 - 0.999 errs by 1e-4
  dure_adamw_step_values(&options, 1000000, 3e-4, values);
  ck_assert_float_eq(values[DURE_STEP_CORRECTION1], 1.0f);
  ck_assert_float_eq(values[DURE_STEP_CORRECTION2], 1.0f);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_schedule");
  TCase *tests = tcase_create("schedule");
  tcase_add_test(tests, warmup_is_linear_and_reaches_the_peak);
  tcase_add_test(tests, each_kind_ends_where_it_should);
  tcase_add_test(tests, no_schedule_rises_after_its_warmup);
  tcase_add_test(tests, a_warmup_longer_than_the_run_and_none_at_all_are_fine);
  tcase_add_test(tests, names_are_found_and_others_not);
  tcase_add_test(tests, bias_corrections_are_those_of_adam);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
