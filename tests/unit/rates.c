// The shipped table of rates: every kind of device gets positive figures, a profile its own.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "tests/suite.h"

static void check_positive(dure_device_rates rates) {
  ck_assert(isfinite(rates.matmul_flops) && rates.matmul_flops > 0);
  ck_assert(isfinite(rates.attention_flops) && rates.attention_flops > 0);
  ck_assert(isfinite(rates.bandwidth) && rates.bandwidth > 0);
  ck_assert(isfinite(rates.transfer) && rates.transfer > 0);
  ck_assert(rates.matmul16_flops >= rates.matmul_flops);
  ck_assert(!rates.is_measured);
  ck_assert_uint_gt(strlen(rates.source), 0);
}

START_TEST(every_kind_of_device_has_rates) {
  for (int kind = DURE_DEVICE_DISCRETE_GPU; kind <= DURE_DEVICE_REFERENCE; kind++) {
    check_positive(dure_device_rates_shipped(NULL, "a card that nobody knows", (dure_device_kind)kind));
    check_positive(dure_device_rates_shipped("", NULL, (dure_device_kind)kind));
  }
}
END_TEST

START_TEST(a_known_name_gets_its_own_row) {
  dure_device_rates known = dure_device_rates_shipped(NULL, "NVIDIA GeForce RTX 4060", DURE_DEVICE_DISCRETE_GPU);
  dure_device_rates unknown = dure_device_rates_shipped(NULL, "some card", DURE_DEVICE_DISCRETE_GPU);
  ck_assert(known.matmul_flops > unknown.matmul_flops);
  ck_assert_ptr_nonnull(strstr(known.source, "RTX 4060"));
}
END_TEST

START_TEST(a_profile_has_the_rates_of_its_device_on_any_device) {
  dure_device_rates imposed = dure_device_rates_shipped("rtx4060", "llvmpipe", DURE_DEVICE_CPU);
  dure_device_rates own = dure_device_rates_shipped(NULL, "NVIDIA GeForce RTX 4060", DURE_DEVICE_DISCRETE_GPU);
  ck_assert(imposed.matmul_flops == own.matmul_flops && imposed.bandwidth == own.bandwidth);
  dure_device_rates nobody = dure_device_rates_shipped("minimum", "llvmpipe (LLVM)", DURE_DEVICE_CPU);
  ck_assert_ptr_nonnull(strstr(nobody.source, "llvmpipe"));
}
END_TEST

START_TEST(a_card_is_found_by_either_name_in_any_case) {
  static const char *const names[] = {"rtx4060", "RTX 4060", "rtx 4060", "RTX4060"};
  const dure_device_rates own = dure_device_rates_shipped("rtx4060", NULL, DURE_DEVICE_DISCRETE_GPU);
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    dure_device_rates found;
    dure_status status = dure_device_rates_find(names[i], &found);
    ck_assert_msg(status == NULL, "%s", dure_status_message(status));
    check_positive(found);
    ck_assert(found.matmul16_flops == own.matmul16_flops);
  }
  dure_device_rates none;
  dure_status status = dure_device_rates_find("rtx9999", &none);
  ck_assert_int_eq(dure_status_code(status), DURE_NOT_FOUND);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "rx7600"));
  dure_status_free(status);
}
END_TEST

START_TEST(an_open_device_answers) {
  dure_device *device = NULL;
  dure_status status = dure_device_open("reference", &device);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  check_positive(dure_device_get_rates(device));
  dure_device_close(device);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("rates");
  TCase *tests = tcase_create("shipped");
  tcase_add_test(tests, every_kind_of_device_has_rates);
  tcase_add_test(tests, a_known_name_gets_its_own_row);
  tcase_add_test(tests, a_profile_has_the_rates_of_its_device_on_any_device);
  tcase_add_test(tests, a_card_is_found_by_either_name_in_any_case);
  tcase_add_test(tests, an_open_device_answers);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
