// Measured choices: classes of shapes, the file and what it survives, and that the choice of kernels follows it.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/os.h"
#include "runtime/program.h"
#include "runtime/vulkan/attention_common.h"
#include "runtime/vulkan/internal.h"
#include "tests/suite.h"

static void expect_ok(dure_status status) { ck_assert_msg(status == NULL, "%s", dure_status_message(status)); }

static const char good[] =
    "{\"format\": 1, \"measured\": 5, \"later\": [1], \"rates\": {\"matmul_flops\": 2e9, \"matmul16_flops\": 3e9,"
    " \"attention_flops\": 1e9, \"bandwidth\": 5e9, \"transfer\": 1e9},"
    " \"matmul\": {\"nt/f32/m1/n512/k512\": {\"variant\": \"matmul_plain\", \"speedup\": 1.5}},"
    " \"attention\": {\"attention/f32/gradient/d64\": {\"variant\": \"plain\", \"speedup\": 2}}}";

START_TEST(a_shape_has_one_class) {
  ck_assert_str_eq(vulkan_tuning_class_of(1, 512, 513, false, true, false).text, "nt/f32/m1/n512/k2048");
  ck_assert_str_eq(vulkan_tuning_class_of(129, 2049, 1, true, false, true).text, "tn/16/mmore/nmore/k512");
  ck_assert_str_eq(vulkan_tuning_class_of(16, 1, UINT32_MAX, true, true, false).text, "tt/f32/m16/n512/kmore");
  ck_assert_str_eq(vulkan_tuning_class_of_attention(DURE_OP_attention, 33, true).text, "attention/16/forward/d64");
  ck_assert_str_eq(vulkan_tuning_class_of_attention(DURE_OP_attention_gradient, 129, false).text,
                   "attention/f32/gradient/dmore");
}
END_TEST

START_TEST(what_is_written_is_read_again) {
  vulkan_tuning tuning, again;
  expect_ok(vulkan_tuning_parse(good, strlen(good), &tuning));
  ck_assert(tuning.rates.is_measured && tuning.rates.bandwidth == 5e9);
  for (int i = 0; i < 200; i++) {
    char name[40];
    snprintf(name, sizeof(name), "nn/f32/m%d", i * 7 % 200);
    expect_ok(vulkan_tuning_set(&tuning, name, i % 2 == 0 ? "matmul_vec4" : "matmul_quad", 1 + i));
  }
  expect_ok(vulkan_tuning_set(&tuning, "nn/f32/m7", "matmul_vec4", 2));  // replaces
  char *text = NULL;
  expect_ok(vulkan_tuning_format(&tuning, "a device", "a driver", &text));
  expect_ok(vulkan_tuning_parse(text, strlen(text), &again));
  ck_assert_uint_eq(again.count, 202);
  ck_assert_str_eq(vulkan_tuning_find(&again, "attention/f32/gradient/d64"), "plain");
  ck_assert_str_eq(vulkan_tuning_find(&again, "nn/f32/m7"), "matmul_vec4");
  ck_assert_str_eq(vulkan_tuning_find(&again, "nt/f32/m1/n512/k512"), "matmul_plain");
  ck_assert_ptr_null(vulkan_tuning_find(&again, "nn/f32/m201"));
  ck_assert(again.rates.transfer == 1e9 && again.measured == 5);
  free(text);
  vulkan_tuning_release(&tuning);
  vulkan_tuning_release(&again);
}
END_TEST

START_TEST(hostile_files_are_refused_whole) {
  const char *const bad[] = {
      "",
      "{",
      "[]",
      "null",
      "{\"format\": 2, \"matmul\": {}}",
      "{\"format\": 1}",
      "{\"format\": 1, \"matmul\": []}",
      "{\"format\": 1, \"matmul\": {}, \"attention\": 5}",
      "{\"format\": 1, \"rates\": 5, \"matmul\": {}}",
      "{\"format\": 1, \"rates\": {}, \"matmul\": {}}",
      "{\"format\": 1, \"rates\": {\"matmul_flops\": -1}, \"matmul\": {}}",
      "{\"format\": 1, \"rates\": {\"matmul_flops\": 1e300}, \"matmul\": {}}",
      "{\"format\": 1, \"matmul\": {\"nn\": 5}}",
      "{\"format\": 1, \"matmul\": {\"nn\": {\"variant\": 5}}}",
      "{\"format\": 1, \"matmul\": {\"nn\": {\"variant\": \"\", \"speedup\": 1}}}",
      "{\"format\": 1, \"matmul\": {\"nn\": {\"variant\": \"%s%n\", \"speedup\": 1}}}",
      "{\"format\": 1, \"matmul\": {\"nn\": {\"variant\": \"a\", \"speedup\": 1}, \"nn\": {\"variant\": \"b\"}}}",
      "{\"format\": 1, \"matmul\": {\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": {\"variant\": \"a\"}}}",
  };
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    vulkan_tuning tuning;
    dure_status status = vulkan_tuning_parse(bad[i], strlen(bad[i]), &tuning);
    ck_assert_msg(dure_status_code(status) == DURE_CORRUPT, "accepted: %s", bad[i]);
    ck_assert(tuning.count == 0 && tuning.rows == NULL && !tuning.rates.is_measured);
    dure_status_free(status);
  }
  for (size_t cut = 0; cut < strlen(good); cut++) {
    vulkan_tuning tuning;
    dure_status status = vulkan_tuning_parse(good, cut, &tuning);
    ck_assert_msg(status != NULL, "accepted when cut to %zu bytes", cut);
    dure_status_free(status);
  }
}
END_TEST

// ---- on a device ----

static char folder[] = "/tmp/dure-tuning-XXXXXX";

static vulkan_device *open_device(void) {
  dure_device *device = NULL;
  dure_status status = dure_device_open("vulkan:0", &device);
  if (status != NULL) printf("skipped: %s\n", dure_status_message(status));
  dure_status_free(status);
  return device != NULL ? vulkan_device_of(device) : NULL;
}

static const char *chosen(const vulkan_device *device, uint32_t M, bool transpose_b) {
  dure_vulkan_matmul_problem problem = {.M = M,
                                        .N = 256,
                                        .K = 256,
                                        .batch = 1,
                                        .transpose_b = transpose_b,
                                        .a_stride = 256,
                                        .b_stride = 256,
                                        .a_in_quads = true,
                                        .b_in_quads = true,
                                        .c_in_quads = true,
                                        .a_bytes = 4 * 256 * M,
                                        .b_bytes = 4 * 256 * 256};
  return dure_vulkan_matmul_choose(&device->head, &problem)->name;
}

static const char *attention_chosen(const vulkan_device *device, dure_vulkan_attention_pass pass) {
  return dure_vulkan_attention_choose(&device->head, DURE_DTYPE_F32, 64, pass)->name;
}

START_TEST(the_choice_follows_the_file_and_nothing_else_changes) {
  vulkan_device *device = open_device();
  if (device == NULL) return;
  const char *usual = chosen(device, 1, true), *other = chosen(device, 64, true);
  const char *usual_attention = attention_chosen(device, DURE_VULKAN_ATTENTION_FORWARD);
  ck_assert_str_ne(usual, "matmul_plain");
  ck_assert_str_ne(usual_attention, "plain");
  ck_assert_str_eq(attention_chosen(device, DURE_VULKAN_ATTENTION_GRADIENT_Q), usual_attention);
  char *path = vulkan_tuning_path(&device->capabilities, &device->plan);
  dure_device_close(&device->head);
  expect_ok(dure_os_write_file(path, good, strlen(good)));
  device = open_device();
  ck_assert_str_eq(chosen(device, 1, true), "matmul_plain");
  ck_assert_str_eq(chosen(device, 64, true), other);
  ck_assert_str_eq(attention_chosen(device, DURE_VULKAN_ATTENTION_GRADIENT_Q), "plain");
  ck_assert_str_eq(attention_chosen(device, DURE_VULKAN_ATTENTION_FORWARD), usual_attention);
  dure_device_rates rates = dure_device_get_rates(&device->head);
  ck_assert(rates.is_measured && rates.matmul_flops == 2e9);
  dure_device_close(&device->head);

  setenv("DURE_VULKAN_TUNING", "0", 1);
  device = open_device();
  unsetenv("DURE_VULKAN_TUNING");
  ck_assert_str_eq(chosen(device, 1, true), usual);
  ck_assert(!dure_device_get_rates(&device->head).is_measured);
  dure_device_close(&device->head);

  setenv("DURE_VULKAN_PROFILE", "rtx4060", 1);  // another device's file and rates
  device = open_device();
  unsetenv("DURE_VULKAN_PROFILE");
  ck_assert(!dure_device_get_rates(&device->head).is_measured);
  dure_device_close(&device->head);

  expect_ok(dure_os_write_file(path, good, 40));  // damaged: as if there were none
  device = open_device();
  ck_assert_str_eq(chosen(device, 1, true), usual);
  dure_device_close(&device->head);
  expect_ok(dure_os_remove_tree(path));
  free(path);
}
END_TEST

// A variant that cannot run a shape, or that later builds do not have, must not be a failure.
START_TEST(a_choice_that_cannot_run_falls_back_to_the_table) {
  vulkan_device *device = open_device();
  if (device == NULL) return;
  const char *usual = chosen(device, 1, true);
  const char *usual_attention = attention_chosen(device, DURE_VULKAN_ATTENTION_FORWARD);
  expect_ok(vulkan_tuning_set(&device->tuning, "nt/f32/m1/n512/k512", "matmul_of_yesterday", 2));
  expect_ok(vulkan_tuning_set(&device->tuning, "attention/f32/forward/d64", "cooperative_64x64", 2));
  ck_assert_str_eq(chosen(device, 1, true), usual);
  ck_assert_str_eq(attention_chosen(device, DURE_VULKAN_ATTENTION_FORWARD), usual_attention);
  dure_device_close(&device->head);
}
END_TEST

int main(void) {
  if (mkdtemp(folder) == NULL) return EXIT_FAILURE;
  setenv("XDG_CACHE_HOME", folder, 1);
  Suite *suite = suite_create("vulkan tuning");
  TCase *group = tcase_create("tuning");
  tcase_add_test(group, a_shape_has_one_class);
  tcase_add_test(group, what_is_written_is_read_again);
  tcase_add_test(group, hostile_files_are_refused_whole);
  tcase_add_test(group, the_choice_follows_the_file_and_nothing_else_changes);
  tcase_add_test(group, a_choice_that_cannot_run_falls_back_to_the_table);
  suite_add_tcase(suite, group);
  const int result = run_suite(suite, CK_NOFORK);
  dure_status_free(dure_os_remove_tree(folder));
  return result;
}
