// Every op on every device found, against the reference: about one case in three, drawn by name, so that compiling
// kernels takes two minutes and not six. DURE_FULL=1 or DURE_TEST_EVERY=1 asks for all, DURE_TEST_EVERY=N for one case
// in N (DURE_TEST_PART says which of the N parts), DURE_TEST_DEVICE for one device.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/conformance/conformance.h"
#include "tests/amount.h"
#include "tests/suite.h"

static void print_result(void *context, const dure_conformance_result *result) {
  const char *device = context;
  if (result->outcome == DURE_CONFORMANCE_PASS) return;
  printf("%s  %s: %s\n", dure_conformance_outcome_name(result->outcome), result->name, result->message);
  if (result->outcome == DURE_CONFORMANCE_FAIL) {
    printf("      again: dure selftest --device %s --case '%s'\n", device, result->name);
  }
}

enum { QUICK_EVERY = 3, QUICK_PART = 2 };  // checks of the whole tree draw other parts

static size_t failures_on(const char *identifier) {
  dure_device *device = NULL;
  dure_conformance_summary summary = {0};
  dure_conformance_options options = {.every = number_from("DURE_TEST_EVERY", QUICK_EVERY)};
  options.part = number_from("DURE_TEST_PART", QUICK_PART % (options.every > 0 ? options.every : 1));
  if (is_full()) options.every = options.part = 0;
  dure_status status = dure_device_open(identifier, &device);
  if (status == NULL) {
    const dure_device_info *info = dure_device_get_info(device);
    printf("%s: %s (%s)\n", info->identifier, info->name, info->driver);
    char name[32];
    snprintf(name, sizeof(name), "%s", info->identifier);
    status = dure_conformance_run(device, &options, print_result, name, &summary);
  }
  // No device of this program is without a kernel: what is unsupported was forgotten.
  size_t failures = summary.counts[DURE_CONFORMANCE_FAIL] + summary.counts[DURE_CONFORMANCE_UNSUPPORTED];
  if (status != NULL) {
    printf("%s: %s\n", identifier, dure_status_message(status));
    dure_status_free(status);
    failures++;
  }
  printf("%s: %zu passed, %zu failed, %zu skipped, %zu unsupported, %zu expected failures in %.1f s\n", identifier,
         summary.counts[DURE_CONFORMANCE_PASS], failures, summary.counts[DURE_CONFORMANCE_SKIPPED],
         summary.counts[DURE_CONFORMANCE_UNSUPPORTED], summary.counts[DURE_CONFORMANCE_EXPECTED_FAILURE],
         summary.seconds);
  dure_device_close(device);
  return failures;
}

START_TEST(every_op_agrees_with_the_reference_on_every_device) {
  size_t failures = 0;
  const char *only = getenv("DURE_TEST_DEVICE");
  if (only != NULL && only[0] != '\0') {
    failures = failures_on(only);
  } else {
    dure_device_info *infos = NULL;
    size_t count = 0;
    dure_status status = dure_devices_list(&infos, &count, NULL);
    ck_assert_msg(status == NULL, "%s", dure_status_message(status));
    for (size_t i = 0; i < count; i++) {
      if (infos[i].usable) failures += failures_on(infos[i].identifier);
    }
    free(infos);
  }
  ck_assert_uint_eq(failures, 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("conformance");
  TCase *tests = tcase_create("devices");
  tcase_set_timeout(tests, 850);
  tcase_add_test(tests, every_op_agrees_with_the_reference_on_every_device);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_NOFORK);
}
