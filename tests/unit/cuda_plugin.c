// The CUDA plugin when it, the driver or the device is missing or wrong: a note says what, and everything else works.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "tests/suite.h"

// The list with these notes; the reference is always in it, and no CUDA device where there is a note.
static void expect_note(const char *const *words, size_t count) {
  dure_device_info *infos = NULL;
  size_t device_count = 0;
  char *notes = NULL;
  dure_status status = dure_devices_list(&infos, &device_count, &notes);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  bool has_reference = false;
  for (size_t i = 0; i < device_count; i++) {
    has_reference = has_reference || strcmp(infos[i].backend, "reference") == 0;
    ck_assert_str_ne(infos[i].backend, "cuda");
  }
  ck_assert(has_reference);
  ck_assert_msg(notes != NULL, "a note was expected");
  for (size_t i = 0; i < count; i++) ck_assert_msg(strstr(notes, words[i]) != NULL, "'%s' lacks '%s'", notes, words[i]);
  free(infos);
  free(notes);
}
#define EXPECT_NOTE(...) \
  expect_note((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static const char *path_of(const char *variable) {
  const char *path = getenv(variable);
  ck_assert_msg(path != NULL, "%s names a plugin to test with", variable);
  return path;
}

// This program lies in a folder without a plugin.
START_TEST(a_missing_plugin_is_a_note) {
  unsetenv("DURE_CUDA_PLUGIN");
  EXPECT_NOTE("libdure_cuda.so", "nvcc", "DURE_CUDA_PLUGIN");
}
END_TEST

START_TEST(a_wrong_path_is_named) {
  setenv("DURE_CUDA_PLUGIN", "/nonexistent/libdure_cuda.so", 1);
  EXPECT_NOTE("DURE_CUDA_PLUGIN", "/nonexistent/libdure_cuda.so", "No such file");
  setenv("DURE_CUDA_PLUGIN", getenv("DURE_PROGRAM"), 1);  // a file, but no library
  EXPECT_NOTE("DURE_CUDA_PLUGIN", getenv("DURE_PROGRAM"));
}
END_TEST

START_TEST(a_library_that_is_no_plugin_is_named) {
  setenv("DURE_CUDA_PLUGIN", "libm.so.6", 1);
  EXPECT_NOTE("libm.so.6", "no CUDA plugin", "dure_cuda_plugin_get");
}
END_TEST

START_TEST(a_plugin_of_another_build_is_refused) {
  static const struct {
    const char *differs, *word;
  } cases[] = {{"version", "version"}, {"ops", "number of ops"}, {"names", "table of ops"}, {"size", "dure_op_call"}};
  setenv("DURE_CUDA_PLUGIN", path_of("DURE_CUDA_OTHER_BUILD"), 1);
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    setenv("DURE_TEST_DIFFERS", cases[i].differs, 1);
    EXPECT_NOTE("another build", cases[i].word, "rebuild");
  }
}
END_TEST

START_TEST(asking_for_cuda_without_it_says_what_is_missing) {
  setenv("DURE_CUDA_PLUGIN", "/nonexistent/libdure_cuda.so", 1);
  dure_device *device = NULL;
  dure_status status = dure_device_open("cuda", &device);
  ck_assert_int_eq(dure_status_code(status), DURE_NOT_FOUND);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "/nonexistent/libdure_cuda.so"));
  ck_assert_ptr_null(device);
  dure_status_free(status);
}
END_TEST

START_TEST(it_can_be_turned_off) {
  setenv("DURE_CUDA_OFF", "1", 1);
  EXPECT_NOTE("DURE_CUDA_OFF");
}
END_TEST

// The emulation answers as a machine's CUDA would.
START_TEST(a_driver_that_does_not_answer_is_a_note) {
  static const struct {
    const char *error, *words[2];
  } cases[] = {
      {"35", {"NVIDIA's driver", "install"}},       // cudaErrorInsufficientDriver
      {"100", {"no GPU", "CUDA_VISIBLE_DEVICES"}},  // cudaErrorNoDevice
      {"803", {"starting CUDA", "restart the machine"}},
      {"46", {"starting CUDA", "another process"}},
      {"999", {"starting CUDA", "cudaErrorUnknown"}},
  };
  setenv("DURE_CUDA_PLUGIN", path_of("DURE_CUDA_EMULATED"), 1);
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    setenv("DURE_CUDA_EMULATION_ERROR", cases[i].error, 1);
    EXPECT_NOTE(cases[i].words[0], cases[i].words[1]);
  }
}
END_TEST

// The plugin for NVIDIA's cards, on a machine with none: the driver's library is missing.
START_TEST(a_missing_driver_is_a_note) {
  setenv("DURE_CUDA_PLUGIN", path_of("DURE_CUDA_BUILT"), 1);
  dure_device_info *infos = NULL;
  size_t count = 0;
  char *notes = NULL;
  dure_status status = dure_devices_list(&infos, &count, &notes);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  bool has_cuda = false;
  for (size_t i = 0; i < count; i++) has_cuda = has_cuda || strcmp(infos[i].backend, "cuda") == 0;
  free(infos);
  if (!has_cuda) {
    ck_assert_ptr_nonnull(notes);
    ck_assert_msg(strstr(notes, "no CUDA") != NULL, "%s", notes);
  }
  free(notes);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("cuda plugin");
  TCase *group = tcase_create("missing parts");  // each test in a process of its own: environment and plugin
  tcase_add_test(group, a_missing_plugin_is_a_note);
  tcase_add_test(group, a_wrong_path_is_named);
  tcase_add_test(group, a_library_that_is_no_plugin_is_named);
  tcase_add_test(group, a_plugin_of_another_build_is_refused);
  tcase_add_test(group, asking_for_cuda_without_it_says_what_is_missing);
  tcase_add_test(group, it_can_be_turned_off);
  if (getenv("DURE_CUDA_EMULATED") != NULL) {
    tcase_add_test(group, a_driver_that_does_not_answer_is_a_note);
  } else {
    printf("SKIPPED: the driver's answers; the emulation needs a C++ compiler\n");
  }
  if (getenv("DURE_CUDA_BUILT") != NULL) {
    tcase_add_test(group, a_missing_driver_is_a_note);
  } else {
    printf("SKIPPED: libdure_cuda.so without a driver; there is no nvcc\n");
  }
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
