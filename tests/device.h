// Tests that run on the device that DURE_TEST_DEVICE names ("reference" without it), and are skipped where a Vulkan one
// is not installed.
#ifndef DURE_TESTS_DEVICE_H_
#define DURE_TESTS_DEVICE_H_

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "tests/suite.h"

static inline const char *device_of_test(void) {
  const char *name = getenv("DURE_TEST_DEVICE");
  return name != NULL ? name : "reference";
}

static inline bool is_device_missing(void) {
  if (strncmp(device_of_test(), "vulkan", 6) != 0) return false;
  dure_device *found = NULL;
  dure_status status = dure_device_open(device_of_test(), &found);
  const bool missing = status != NULL && dure_status_code(status) == DURE_NOT_FOUND;
  if (missing) printf("skipped: %s\n", dure_status_message(status));
  dure_status_free(status);
  dure_device_close(found);
  return missing;
}

#endif
