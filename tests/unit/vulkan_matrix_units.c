// Matrix units: which are tried, and that every kernel that uses them multiplies rightly on every device here that has
// some. On drivers without them only the table is tested.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/hal.h"
#include "runtime/vulkan/loader.h"
#include "runtime/vulkan/matmul_selftest.h"
#include "tests/suite.h"

// ---- the table ----

static bool is_allowed(VkDriverId driver, uint32_t device_id) {
  const dure_vulkan_caps caps = {.driver_id = driver, .device_id = device_id};
  const char *reason = NULL;
  const bool allowed = dure_vulkan_matrix_units_allowed(&caps, &reason);
  ck_assert(allowed == (reason[0] == '\0'));
  return allowed;
}

START_TEST(matrix_units_known_as_broken_or_unknown_are_not_tried) {
  unsetenv("DURE_VULKAN_MATRIX_UNITS");
  ck_assert(is_allowed(VK_DRIVER_ID_NVIDIA_PROPRIETARY, 0x2882));   // RTX 4060
  ck_assert(!is_allowed(VK_DRIVER_ID_NVIDIA_PROPRIETARY, 0x1f08));  // RTX 2060
  ck_assert(is_allowed(VK_DRIVER_ID_MESA_RADV, 0x7480));            // RX 7600
  ck_assert(!is_allowed(VK_DRIVER_ID_AMD_PROPRIETARY, 0x7480));
  ck_assert(!is_allowed(VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA, 0x56a0));  // Arc A770
  ck_assert(is_allowed(VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA, 0xe20b));   // Arc B580
  ck_assert(!is_allowed((VkDriverId)12345, 1));
  setenv("DURE_VULKAN_MATRIX_UNITS", "all", 1);
  ck_assert(is_allowed((VkDriverId)12345, 1));
  unsetenv("DURE_VULKAN_MATRIX_UNITS");
}
END_TEST

// ---- chunks ----

START_TEST(long_sums_of_few_tiles_are_cut_by_their_shape) {
  ck_assert_uint_eq(dure_vulkan_matmul_chunk(4096, 4096, 4096, 1), 4096);  // tiles enough
  ck_assert_uint_eq(dure_vulkan_matmul_chunk(64, 64, 1000, 1), 1000);      // too short
  for (uint32_t m = 1; m < 2000; m = 3 * m + 1) {
    for (uint32_t k = 1; k < 3000000; k = 5 * k + 3) {
      const uint32_t chunk = dure_vulkan_matmul_chunk(m, 96, k, 1);
      ck_assert_uint_ge(chunk, 1);
      ck_assert_uint_le(chunk, k);
      ck_assert_msg(chunk == k || chunk % 512 == 0, "K %u: chunks of %u", k, chunk);
      ck_assert_uint_le((k + chunk - 1) / chunk, 16);
    }
  }
}
END_TEST

// ---- devices ----

static uint32_t test_device(dure_device *device) {
  uint32_t tested = 0;
  for (size_t i = 0;; i++) {
    const dure_vulkan_matmul_variant *variant = dure_vulkan_matmul_variant_at(i);
    if (variant == NULL) break;
    if (variant->gpu == NULL || variant->gpu->units == DURE_MATMUL_ORDINARY) continue;
    for (uint32_t bits = 0; bits < 8; bits++) {
      const dure_vulkan_matmul_problem problem = {.M = 512,
                                                  .N = 512,
                                                  .K = 512,
                                                  .batch = 1,
                                                  .transpose_a = (bits & 2) != 0,
                                                  .transpose_b = (bits & 1) != 0,
                                                  .is_16_bit = true,
                                                  .is_bfloat16 = (bits & 4) != 0};
      if (!dure_vulkan_matmul_gpu_fits(device, variant->gpu, &problem)) continue;
      char name[64];
      dure_vulkan_matmul_kernel_name(variant, &problem, name);
      ck_assert_msg(dure_vulkan_matmul_is_trusted(device, variant, &problem), "%s, %s", variant->name, name);
      tested++;
    }
  }
  return tested;
}

// Without matrix units: each tile with two of the orientations and types.
static void test_register_tiles(dure_device *device) {
  for (size_t i = 0;; i++) {
    const dure_vulkan_matmul_variant *variant = dure_vulkan_matmul_variant_at(i);
    if (variant == NULL) break;
    if (variant->gpu == NULL || variant->gpu->units != DURE_MATMUL_ORDINARY) continue;
    for (int turn = 0; turn < 2; turn++) {
      const bool is_odd = (i + (size_t)turn) % 2 != 0;
      const dure_vulkan_matmul_problem problem = {.M = 512,
                                                  .N = 512,
                                                  .K = 512,
                                                  .batch = 1,
                                                  .transpose_a = turn != 0,
                                                  .transpose_b = is_odd,
                                                  .is_16_bit = true,
                                                  .is_bfloat16 = is_odd};
      if (!dure_vulkan_matmul_gpu_fits(device, variant->gpu, &problem)) continue;
      require(dure_status_prefix(dure_vulkan_matmul_test(device, variant, &problem), "%s", variant->name));
    }
  }
}

START_TEST(kernels_for_gpus_multiply_rightly_wherever_they_run) {
  dure_device_info *infos = NULL;
  size_t count = 0;
  require(dure_devices_list(&infos, &count, NULL));
  for (size_t i = 0; i < count; i++) {
    if (infos[i].backend[0] != 'v') continue;
    dure_device *device = NULL;
    require(dure_device_open(infos[i].identifier, &device));
    printf("%s (%s): %u kernels tested\n", infos[i].identifier, infos[i].name, test_device(device));
    test_register_tiles(device);
    dure_device_close(device);
  }
  free(infos);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("vulkan_matrix_units");
  TCase *tests = tcase_create("matrix_units");
  tcase_add_test(tests, matrix_units_known_as_broken_or_unknown_are_not_tried);
  tcase_add_test(tests, long_sums_of_few_tiles_are_cut_by_their_shape);
  tcase_add_test(tests, kernels_for_gpus_multiply_rightly_wherever_they_run);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
