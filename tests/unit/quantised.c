// 8-bit rows on the reference device: what quantize_rows leaves, float activations against 8-bit weights, what is
// refused.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "runtime/random.h"
#include "tests/suite.h"

enum { ROWS = 3, COLUMNS = 5, WIDTH = 96, BLOCKS = WIDTH / DURE_QUANTIZED_BLOCK };
static const uint64_t seed = 20261121;

static dure_device *device;
static dure_stream *stream;

static void set_up(void) {
  ck_assert_ptr_null(dure_device_open("reference", &device));
  ck_assert_ptr_null(dure_stream_create(device, &stream));
}

static void tear_down(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
}

static dure_tensor input(dure_program *program, const char *label, dure_dtype dtype, uint64_t rows, uint64_t columns) {
  uint64_t shape[2] = {rows, columns};
  return dure_tensor_external(program, label, dtype, 2, shape, DURE_LIFETIME_INPUT);
}

static dure_executable *compile(const dure_program *program) {
  dure_executable *executable = NULL;
  dure_status status = dure_program_compile(program, device, NULL, 0, NULL, &executable);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  return executable;
}

START_TEST(a_block_is_its_scale_times_its_integers) {
  dure_program *program = dure_program_create();
  dure_tensor x = input(program, "x", DURE_DTYPE_F32, 1, 2 * DURE_QUANTIZED_BLOCK);
  dure_quantized rows = dure_quantize_rows(program, x);
  dure_executable *executable = compile(program);
  float values[2 * DURE_QUANTIZED_BLOCK] = {254, -254, 2,  -2,
                                            1,   3,    -1, -3};  // the scale is 2; halves go to the even one
  static const int8_t expected[8] = {127, -127, 1, -1, 0, 2, 0, -2};
  int8_t q[2 * DURE_QUANTIZED_BLOCK];
  float scales[2];
  ck_assert_ptr_null(dure_executable_write(executable, stream, x, values, sizeof(values)));
  ck_assert_ptr_null(dure_executable_submit(executable, stream));
  ck_assert_ptr_null(dure_executable_read(executable, stream, rows.q, q, sizeof(q)));
  ck_assert_ptr_null(dure_executable_read(executable, stream, rows.scales, scales, sizeof(scales)));
  ck_assert_mem_eq(q, expected, sizeof(expected));
  ck_assert_float_eq_tol(scales[0], 2, 1e-6f);
  ck_assert_float_eq(scales[1], 0);  // a block of zeros
  for (size_t i = 8; i < sizeof(q); i++) ck_assert_int_eq(q[i], 0);
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}
END_TEST

static void fill(float *values, size_t count, uint32_t stream_number) {
  for (size_t i = 0; i < count; i++) values[i] = (float)dure_random_normal(seed, 0, stream_number, i);
}

// Each factor errs by half a step of its block: the product's error adds up like a random walk over K.
START_TEST(float_activations_times_8_bit_weights_come_near_the_float_product) {
  static float x_data[ROWS * WIDTH], w_data[COLUMNS * WIDTH], bias_data[COLUMNS], c_data[ROWS * COLUMNS];
  fill(x_data, ROWS * WIDTH, 1);
  fill(w_data, COLUMNS * WIDTH, 2);
  fill(bias_data, COLUMNS, 3);
  uint64_t columns = COLUMNS;
  dure_program *program = dure_program_create();
  dure_tensor x = input(program, "x", DURE_DTYPE_F32, ROWS, WIDTH);
  dure_tensor w = input(program, "w", DURE_DTYPE_F32, COLUMNS, WIDTH);
  dure_tensor bias = dure_tensor_external(program, "bias", DURE_DTYPE_F32, 1, &columns, DURE_LIFETIME_INPUT);
  dure_quantized activations = dure_quantize_rows(program, x), weight = dure_quantize_rows(program, w);
  dure_tensor c = dure_quantized_matmul(program, activations, weight, bias, DURE_DTYPE_F32);
  dure_executable *executable = compile(program);
  ck_assert_ptr_null(dure_executable_write(executable, stream, x, x_data, sizeof(x_data)));
  ck_assert_ptr_null(dure_executable_write(executable, stream, w, w_data, sizeof(w_data)));
  ck_assert_ptr_null(dure_executable_write(executable, stream, bias, bias_data, sizeof(bias_data)));
  ck_assert_ptr_null(dure_executable_submit(executable, stream));
  ck_assert_ptr_null(dure_executable_read(executable, stream, c, c_data, sizeof(c_data)));
  const double step = 3.0 / 127;  // of a block whose largest value is about 3
  const double tolerance = 6 * step / sqrt(12) * sqrt(2.0 * WIDTH);
  for (int m = 0; m < ROWS; m++) {
    for (int n = 0; n < COLUMNS; n++) {
      double sum = (double)bias_data[n];
      for (int k = 0; k < WIDTH; k++) sum += (double)x_data[m * WIDTH + k] * (double)w_data[n * WIDTH + k];
      ck_assert_double_eq_tol((double)c_data[m * COLUMNS + n], sum, tolerance);
    }
  }
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}
END_TEST

START_TEST(the_result_has_the_type_that_was_asked_for) {
  dure_program *program = dure_program_create();
  dure_quantized x = {input(program, "x", DURE_DTYPE_U8, ROWS, WIDTH),
                      input(program, "x_scales", DURE_DTYPE_F32, ROWS, BLOCKS)};
  dure_quantized w = {input(program, "w", DURE_DTYPE_U8, COLUMNS, WIDTH),
                      input(program, "w_scales", DURE_DTYPE_F32, COLUMNS, BLOCKS)};
  dure_tensor c = dure_quantized_matmul(program, x, w, DURE_ABSENT, DURE_DTYPE_BF16);
  ck_assert_ptr_null(dure_program_check(program));
  ck_assert_int_eq(dure_tensor_dtype(program, c), DURE_DTYPE_BF16);
  dure_program_destroy(program);
}
END_TEST

static void expect_refusal(dure_program *program, const char *text) {
  dure_status status = dure_program_check(program);
  ck_assert_int_eq(dure_status_code(status), DURE_INVALID_ARGUMENT);
  ck_assert_msg(strstr(dure_status_message(status), text) != NULL, "%s", dure_status_message(status));
  dure_status_free(status);
  dure_program_destroy(program);
}

START_TEST(rows_that_are_no_whole_blocks_are_refused) {
  dure_program *program = dure_program_create();
  dure_quantize_rows(program, input(program, "x", DURE_DTYPE_F32, 2, 33));
  expect_refusal(program, "whole blocks of 32");
}
END_TEST

START_TEST(inner_dimensions_must_agree) {
  dure_program *program = dure_program_create();
  dure_quantized x = dure_quantize_rows(program, input(program, "x", DURE_DTYPE_F32, 2, 64));
  dure_quantized w = dure_quantize_rows(program, input(program, "w", DURE_DTYPE_F32, 4, 96));
  dure_quantized_matmul(program, x, w, DURE_ABSENT, DURE_DTYPE_F32);
  expect_refusal(program, "the inner dimensions disagree: 64 in 'a', 96 in 'b'");
}
END_TEST

START_TEST(floats_are_no_8_bit_operands) {
  dure_program *program = dure_program_create();
  dure_quantized x = dure_quantize_rows(program, input(program, "x", DURE_DTYPE_F32, 2, 64));
  dure_quantized w = {input(program, "w", DURE_DTYPE_F32, 4, 64), input(program, "w_scales", DURE_DTYPE_F32, 4, 2)};
  dure_quantized_matmul(program, x, w, DURE_ABSENT, DURE_DTYPE_F32);
  expect_refusal(program, "operand 'b' is f32, expected u8");
}
END_TEST

START_TEST(operands_begin_at_multiples_of_16_bytes) {
  dure_program *program = dure_program_create();
  dure_quantized x = dure_quantize_rows(program, input(program, "x", DURE_DTYPE_F32, 2, 64));
  const uint64_t shape[2] = {1, 64}, stride[2] = {64, 1};
  x.q = dure_tensor_view(program, x.q, 2, shape, stride, 4);
  dure_quantized w = dure_quantize_rows(program, input(program, "w", DURE_DTYPE_F32, 4, 64));
  dure_quantized_matmul(program, x, w, DURE_ABSENT, DURE_DTYPE_F32);
  expect_refusal(program, "does not begin at a multiple of 16 bytes");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("8-bit rows");
  TCase *group = tcase_create("on the reference device");
  tcase_add_checked_fixture(group, set_up, tear_down);
  tcase_add_test(group, a_block_is_its_scale_times_its_integers);
  tcase_add_test(group, float_activations_times_8_bit_weights_come_near_the_float_product);
  tcase_add_test(group, the_result_has_the_type_that_was_asked_for);
  tcase_add_test(group, rows_that_are_no_whole_blocks_are_refused);
  tcase_add_test(group, inner_dimensions_must_agree);
  tcase_add_test(group, floats_are_no_8_bit_operands);
  tcase_add_test(group, operands_begin_at_multiples_of_16_bytes);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
