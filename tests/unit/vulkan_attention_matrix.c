// Attention by matrix units: every row of the table that fits computes rightly on every device here that has some, for
// heads of all kinds of sizes; and the arithmetic of what fits.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "runtime/vulkan/attention_selftest.h"
#include "tests/suite.h"

START_TEST(rows_of_the_table_are_whole_matrices_and_have_names_of_their_own) {
  for (uint32_t i = 0; i < DURE_ATTENTION_MATRIX_COUNT; i++) {
    const dure_vulkan_attention_matrix *matrix = &dure_vulkan_attention_matrices[i];
    ck_assert_uint_eq(matrix->part_rows % 16, 0);  // the units' usual shape
    ck_assert_uint_eq(matrix->others % 16, 0);
    ck_assert_uint_le(matrix->most_head_gradient, matrix->most_head);
    ck_assert_uint_le((i + 1) * 4, DURE_VULKAN_ATTENTION_TRUST);  // a verdict for each pass and type
    for (uint32_t j = 0; j < i; j++) ck_assert_str_ne(matrix->name, dure_vulkan_attention_matrices[j].name);
  }
}
END_TEST

static uint32_t test_device(dure_device *device) {
  static const uint32_t heads[] = {16, 24, 31, 64, 80, 128, 256};
  const char *only = getenv("DURE_VULKAN_ATTENTION");
  uint32_t tested = 0;
  for (uint32_t i = 0; i < DURE_ATTENTION_MATRIX_COUNT; i++) {
    const dure_vulkan_attention_matrix *matrix = &dure_vulkan_attention_matrices[i];
    if (only != NULL && strcmp(only, matrix->name) != 0) continue;
    for (uint32_t bits = 0; bits < 4 * sizeof(heads) / sizeof(heads[0]); bits++) {
      dure_vulkan_attention_problem problem = {
          .pass = bits % 2 != 0 ? DURE_VULKAN_ATTENTION_GRADIENT_K_V : DURE_VULKAN_ATTENTION_FORWARD,
          .is_bfloat16 = bits / 2 % 2 != 0,
          .head_size = heads[bits / 4]};
      if (!dure_vulkan_attention_matrix_fits(device, matrix, &problem)) continue;
      require(dure_status_prefix(dure_vulkan_attention_test(device, matrix, &problem), "%s, %s, heads of %u",
                                 matrix->name, dure_vulkan_attention_matrix_kernel(&problem).text, problem.head_size));
      tested++;
    }
  }
  return tested;
}

START_TEST(kernels_for_matrix_units_compute_rightly_wherever_they_run) {
  dure_device_info *infos = NULL;
  size_t count = 0;
  require(dure_devices_list(&infos, &count, NULL));
  for (size_t i = 0; i < count; i++) {
    if (infos[i].backend[0] != 'v') continue;
    dure_device *device = NULL;
    require(dure_device_open(infos[i].identifier, &device));
    printf("%s (%s): %u kernels tested\n", infos[i].identifier, infos[i].name, test_device(device));
    dure_device_close(device);
  }
  free(infos);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("vulkan_attention_matrix");
  TCase *tests = tcase_create("attention_matrix");
  tcase_set_timeout(tests, 300);
  tcase_add_test(tests, rows_of_the_table_are_whole_matrices_and_have_names_of_their_own);
  tcase_add_test(tests, kernels_for_matrix_units_compute_rightly_wherever_they_run);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
