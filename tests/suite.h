// What the tests in C begin and end with: failures that nobody expects end a test with their message, those that are
// expected are looked at, and a suite is run.
#ifndef DURE_TESTS_SUITE_H
#define DURE_TESTS_SUITE_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "runtime/status.h"

static inline void require(dure_status status) {
  if (status != NULL) ck_abort_msg("%s", dure_status_message(status));
}

// A failure with this code and this word in its message.
static inline void require_failure(dure_status status, dure_code code, const char *word) {
  ck_assert_msg(status != NULL, "a failure (%s) was expected", dure_code_name(code));
  ck_assert_msg(dure_status_code(status) == code && strstr(dure_status_message(status), word) != NULL,
                "%s was expected, with '%s' in its message; found %s: '%s'", dure_code_name(code), word,
                dure_code_name(dure_status_code(status)), dure_status_message(status));
  dure_status_free(status);
}

enum { SKIPPED = 77 };  // main's result where nothing could be tested, as CMake knows it

// The identifiers of the Vulkan devices that can be used; says so where there is none. At most `most`.
static inline int find_vulkan_devices(char identifiers[][32], int most) {
  dure_device_info *infos = NULL;
  size_t count = 0;
  int found = 0;
  require(dure_devices_list(&infos, &count, NULL));
  for (size_t i = 0; i < count && found < most; i++) {
    if (!infos[i].usable || strcmp(infos[i].backend, "vulkan") != 0) continue;
    snprintf(identifiers[found++], sizeof(identifiers[0]), "%s", infos[i].identifier);
    printf("%s: %s\n", infos[i].identifier, infos[i].name);
  }
  if (found == 0) printf("no Vulkan device: nothing to test\n");
  free(infos);
  return found;
}

// Runs and frees the suite; main's result. A process for each test (CK_FORK), so that one that crashes is one failure,
// unless drivers are used: their threads do not survive a fork (CK_NOFORK; leaks are looked for at the end).
static inline int run_suite(Suite *suite, enum fork_status forks) {
  SRunner *runner = srunner_create(suite);
  srunner_set_fork_status(runner, forks);
  srunner_run_all(runner, CK_ENV);
  const int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
