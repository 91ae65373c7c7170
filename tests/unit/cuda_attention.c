// The CUDA backend's kernels of attention, each kind by itself, on the emulation (which has all of them) and on the
// devices of the plugin that was built: the conformance cases of several tiles, and the test that the kernels for sm_90
// must pass before they are trusted.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/conformance/conformance.h"
#include "runtime/hal.h"
#include "runtime/log.h"
#include "tests/amount.h"
#include "tests/suite.h"

static const char *const plugins[] = {"DURE_CUDA_EMULATED", "DURE_CUDA_BUILT"};

// NULL where there is no such plugin, or no device.
static dure_device *open_device(int which) {
  const char *plugin = getenv(plugins[which]);
  if (plugin == NULL || plugin[0] == '\0') return NULL;
  setenv("DURE_CUDA_PLUGIN", plugin, 1);
  dure_device *device = NULL;
  dure_status status = dure_device_open("cuda", &device);
  if (status != NULL && which == 0) ck_abort_msg("%s", dure_status_message(status));
  dure_status_free(status);
  return device;
}

static size_t failures, trusted, distrusted;

static void count_result(void *context, const dure_conformance_result *result) {
  if (result->outcome == DURE_CONFORMANCE_PASS) return;
  printf("%s: %s: %s\n", (const char *)context, result->name, result->message);
  failures++;
}

// Every `step`th of the cases that are made for tiles.
static void run_cases(dure_device *device, const char *op, const char *kernels, size_t step) {
  static const char *const cases[] = {"b=1,t=390,h=3,g=1,d=64/fused,bf16",
                                      "b=1,t=300,h=2,g=2,d=128,window=150/documents=90/fused,f16",
                                      "b=2,t=200,h=2,g=1,d=96/documents=60/slopes/soft_cap=3/fused,bf16",
                                      "b=1,t=280,h=2,g=1,d=64/documents=70/fused,f16/nan",
                                      "b=1,t=150,h=2,g=1,d=256/fused,bf16",
                                      "b=1,t=200,h=1,g=1,d=80,window=150/documents=70/fused,f16/nan"};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i += step) {
    char name[128];
    snprintf(name, sizeof(name), "%s/%s", op, cases[i]);
    const dure_conformance_options options = {.case_name = name};
    dure_conformance_summary summary;
    require(dure_conformance_run(device, &options, count_result, (void *)(uintptr_t)kernels, &summary));
    ck_assert_uint_eq(summary.counts[DURE_CONFORMANCE_PASS], 1);
  }
}

START_TEST(every_kind_of_kernel_agrees_with_the_reference) {
  static const char *const kinds[] = {"plain", "mma", "hopper"};
  dure_device *device = open_device(_i);
  if (device == NULL) return;
  failures = 0;
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
    setenv("DURE_CUDA_ATTENTION", kinds[i], 1);
    const size_t step = is_full() ? 1 : is_sparing() ? 6 : 3;
    run_cases(device, "attention", kinds[i], step);  // all by the kernels for sm_90 in the test that follows
    run_cases(device, "attention_gradient", kinds[i], step);
  }
  unsetenv("DURE_CUDA_ATTENTION");
  dure_device_close(device);
  ck_assert_uint_eq(failures, 0);
}
END_TEST

static void listen(void *context, dure_log_level level, const char *message) {
  (void)context, (void)level;
  if (strstr(message, "by warpgroups") == NULL) return;
  printf("%s\n", message);
  if (strstr(message, "computes rightly") != NULL)
    trusted++;
  else
    distrusted++;
}

// Elsewhere than on sm_90 nothing is tried.
START_TEST(kernels_for_sm_90_are_tried_once_and_trusted) {
  dure_device *device = open_device(_i);
  if (device == NULL) return;
  failures = trusted = distrusted = 0;
  dure_log_set_sink(listen, NULL);
  dure_log_set_level(DURE_LOG_DEBUG);
  const bool all = is_full();
  run_cases(device, "attention", "by itself", 1);
  run_cases(device, "attention_gradient", "by itself", all ? 1 : 5);
  dure_log_set_level(DURE_LOG_WARNING);
  dure_log_set_sink(NULL, NULL);
  dure_device_close(device);
  ck_assert_uint_eq(failures, 0);
  ck_assert_uint_eq(distrusted, 0);
  // Forward: all sizes of heads; gradient: two passes of all but 256, or those that the drawn cases have.
  if (_i == 0) ck_assert_uint_eq(trusted, 6 + 2 * (all ? 5 : 2));
}
END_TEST

int main(void) {
  if (getenv("DURE_CUDA_EMULATED") == NULL && getenv("DURE_CUDA_BUILT") == NULL) {
    printf("SKIPPED: no C++ compiler for the emulation, no nvcc\n");
    return 77;
  }
  Suite *suite = suite_create("cuda attention");
  TCase *group = tcase_create("emulation, built");
  tcase_set_timeout(group, 300);
  tcase_add_loop_test(group, every_kind_of_kernel_agrees_with_the_reference, 0, 2);
  tcase_add_loop_test(group, kernels_for_sm_90_are_tried_once_and_trusted, 0, 2);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_NOFORK);
}
