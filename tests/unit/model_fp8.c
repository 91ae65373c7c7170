// Matrices in FP8 with a scale for each block of 128 x 128, as DeepSeek V3's files have them.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/safetensors.h"

enum { ROWS = 130, COLUMNS = 257 };

// A file with `w` [ROWS, COLUMNS], whose bytes count up, and its scales; its path is written to `path`.
static void write_file(char *path, uint32_t scale_columns) {
  char header[512];
  const size_t bytes = (size_t)ROWS * COLUMNS, scale_bytes = (size_t)2 * scale_columns * sizeof(float);
  snprintf(header, sizeof(header),
           "{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]},"
           "\"w_scale_inv\":{\"dtype\":\"F32\",\"shape\":[2,%u],\"data_offsets\":[0,%zu]}}",
           ROWS, COLUMNS, scale_bytes, scale_bytes + bytes, scale_columns, scale_bytes);
  FILE *file = fdopen(mkstemp(path), "wb");
  ck_assert_ptr_nonnull(file);
  const uint64_t length = strlen(header);
  fwrite(&length, sizeof(length), 1, file);
  fwrite(header, 1, length, file);
  for (uint32_t i = 0; i < 2 * scale_columns; i++) {
    const float scale = 0.5f + (float)i;
    fwrite(&scale, sizeof(scale), 1, file);
  }
  for (size_t i = 0; i < bytes; i++) fputc((int)(i % 256), file);
  fclose(file);
}

// By the format's definition.
static double value_of(uint32_t bits) {
  const double sign = bits >= 128 ? -1 : 1;
  const uint32_t exponent = bits / 8 % 16, fraction = bits % 8;
  return sign * (exponent == 0 ? ldexp(fraction, -9) : ldexp(8 + fraction, (int)exponent - 10));
}

START_TEST(every_element_is_its_value_times_its_blocks_scale) {
  char path[] = "/tmp/dure-fp8-XXXXXX";
  write_file(path, 3);
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(path, &file);
  unlink(path);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  const dure_safetensors_tensor *tensor = dure_safetensors_find(file, "w");
  ck_assert_int_eq(tensor->dtype, DURE_DTYPE_BF16);
  float *values = malloc(tensor->count * sizeof(*values));
  ck_assert_ptr_null(dure_safetensors_read(tensor, 0, tensor->count, values));
  for (uint64_t i = 0; i < tensor->count; i++) {
    const uint64_t block = i / COLUMNS / 128 * 3 + i % COLUMNS / 128;
    if (i % 256 % 128 == 127) {
      ck_assert(isnan(values[i]));
    } else {
      ck_assert_double_eq((double)values[i], (double)(float)(value_of(i % 256) * (0.5 + (double)block)));
    }
  }
  float part[5];
  ck_assert_ptr_null(dure_safetensors_read(tensor, 33000, 5, part));
  ck_assert_mem_eq(part, values + 33000, sizeof(part));
  free(values);
  dure_safetensors_close(file);
}
END_TEST

START_TEST(scales_of_another_shape_are_refused) {
  char path[] = "/tmp/dure-fp8-XXXXXX";
  write_file(path, 2);
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(path, &file);
  unlink(path);
  ck_assert_int_eq(dure_status_code(status), DURE_CORRUPT);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "w_scale_inv"));
  dure_status_free(status);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_fp8");
  TCase *tests = tcase_create("fp8");
  tcase_add_test(tests, every_element_is_its_value_times_its_blocks_scale);
  tcase_add_test(tests, scales_of_another_shape_are_refused);
  suite_add_tcase(suite, tests);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  const int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
