// Predicted times: each call is limited by its class's rate or by bandwidth, whichever takes longer.
#include "runtime/estimate.h"
#include "tests/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

static const dure_device_rates rates = {
    .matmul_flops = 1e9, .matmul16_flops = 4e9, .attention_flops = 5e8, .bandwidth = 1e10, .transfer = 1e9};

static dure_tensor input(dure_program *program, dure_dtype dtype, uint32_t rank, const uint64_t *shape) {
  return dure_tensor_external(program, "input", dtype, rank, shape, DURE_LIFETIME_INPUT);
}

static void expect(double found, double expected) {
  ck_assert_msg(fabs(found - expected) <= 1e-9 * expected, "found %g, expected %g", found, expected);
}

static dure_estimate estimate_matmul(dure_dtype dtype, uint64_t rows, uint64_t inner, uint64_t columns, double times) {
  dure_program *program = dure_program_create();
  dure_tensor a = input(program, dtype, 2, (const uint64_t[]){rows, inner});
  dure_tensor b = input(program, dtype, 2, (const uint64_t[]){inner, columns});
  dure_matmul(program, a, b, DURE_ABSENT, false, false);
  ck_assert_ptr_null(dure_program_check(program));
  dure_estimate estimate = {0};
  dure_program_estimate(program, &rates, times, &estimate);
  dure_program_destroy(program);
  return estimate;
}

START_TEST(a_large_product_takes_its_operations_by_the_rate_of_its_type) {
  const double flops = 2.0 * 256 * 256 * 256;
  expect(estimate_matmul(DURE_DTYPE_F32, 256, 256, 256, 1).seconds[DURE_TIME_MATMUL], flops / 1e9);
  expect(estimate_matmul(DURE_DTYPE_BF16, 256, 256, 256, 1).seconds[DURE_TIME_MATMUL], flops / 4e9);
  expect(estimate_matmul(DURE_DTYPE_F16, 256, 256, 256, 3).seconds[DURE_TIME_MATMUL], 3 * flops / 4e9);
  expect(estimate_matmul(DURE_DTYPE_F32, 256, 256, 256, 3).cost.flops, 3 * flops);
}
END_TEST

START_TEST(a_thin_product_takes_the_time_to_read_its_matrix) {
  const dure_device_rates slow_memory = {.matmul_flops = 1e12, .bandwidth = 1e9};
  dure_program *program = dure_program_create();
  dure_tensor a = input(program, DURE_DTYPE_F32, 2, (const uint64_t[]){1, 512});
  dure_tensor b = input(program, DURE_DTYPE_F32, 2, (const uint64_t[]){512, 512});
  dure_matmul(program, a, b, DURE_ABSENT, false, false);
  dure_estimate estimate = {0};
  dure_program_estimate(program, &slow_memory, 1, &estimate);
  expect(dure_estimate_seconds(&estimate), 4.0 * (512 + 512 * 512 + 512) / 1e9);
  dure_program_destroy(program);
}
END_TEST

START_TEST(what_is_neither_product_nor_attention_takes_the_time_of_its_bytes) {
  dure_program *program = dure_program_create();
  dure_tensor x = input(program, DURE_DTYPE_F32, 1, (const uint64_t[]){1000});
  dure_activation_apply(program, x, DURE_ACTIVATION_GELU_TANH);
  dure_estimate estimate = {0};
  dure_program_estimate(program, &rates, 1, &estimate);
  expect(estimate.seconds[DURE_TIME_OTHER], 8000 / 1e10);
  expect(dure_estimate_seconds(&estimate), 8000 / 1e10);
  ck_assert_uint_eq(estimate.calls, 1);
  dure_program_destroy(program);
}
END_TEST

START_TEST(attention_has_a_rate_of_its_own) {
  const uint64_t shape[4] = {1, 64, 2, 32};
  dure_program *program = dure_program_create();
  dure_tensor q = input(program, DURE_DTYPE_F32, 4, shape), k = input(program, DURE_DTYPE_F32, 4, shape);
  dure_attention(program, q, k, input(program, DURE_DTYPE_F32, 4, shape), 1, 0);
  dure_estimate estimate = {0};
  dure_program_estimate(program, &rates, 1, &estimate);
  expect(estimate.seconds[DURE_TIME_ATTENTION], 4.0 * 2 * 32 * (64 * 65 / 2) / 5e8);
  dure_program_destroy(program);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("estimate");
  TCase *tests = tcase_create("roofline");
  tcase_add_test(tests, a_large_product_takes_its_operations_by_the_rate_of_its_type);
  tcase_add_test(tests, a_thin_product_takes_the_time_to_read_its_matrix);
  tcase_add_test(tests, what_is_neither_product_nor_attention_takes_the_time_of_its_bytes);
  tcase_add_test(tests, attention_has_a_rate_of_its_own);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
