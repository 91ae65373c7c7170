// Products in 8-bit floats (DURE_CUDA_MATMUL=fp8) on the emulation of CUDA, multiplied by the library in cuBLASLt's
// place: each result is the product of factors rounded to e4m3 with a scale a matrix, and near the exact one.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "runtime/random.h"
#include "tests/suite.h"

enum { MOST = 96 * 160 };
static const uint64_t seed = 20261121;

typedef struct shape {
  uint64_t M, N, K;
  bool transpose_a, transpose_b;
  dure_dtype dtype;
} shape;

// Sizes of whole vectors, and such as leave edges everywhere (N is a multiple of 16 in both).
static const shape shapes[] = {{64, 96, 128, false, true, DURE_DTYPE_BF16}, {37, 48, 75, false, true, DURE_DTYPE_BF16},
                               {64, 80, 64, false, false, DURE_DTYPE_BF16}, {37, 80, 75, false, false, DURE_DTYPE_F32},
                               {65, 48, 66, true, false, DURE_DTYPE_BF16},  {80, 64, 96, true, false, DURE_DTYPE_F16},
                               {33, 16, 150, true, true, DURE_DTYPE_F32},   {96, 96, 160, false, true, DURE_DTYPE_F32}};
enum { SHAPE_COUNT = sizeof(shapes) / sizeof(shapes[0]) };

static dure_device *device;
static dure_stream *stream;
static double a_data[MOST], b_data[MOST], bias_data[256], c_data[MOST];

static void set_up(void) {
  setenv("DURE_CUDA_PLUGIN", getenv("DURE_CUDA_EMULATED"), 1);
  setenv("DURE_CUBLASLT", getenv("DURE_CUBLASLT_EMULATED"), 1);
  setenv("DURE_CUDA_MATMUL", "fp8", 1);
  require(dure_device_open("cuda:0", &device));
  require(dure_stream_create(device, &stream));
}

static void tear_down(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
}

static double as_stored(dure_dtype dtype, double x) {
  uint64_t bits = 0;
  dure_dtype_store(dtype, &bits, 0, x);
  return dure_dtype_load(dtype, &bits, 0);
}

// Normal numbers, now and then far smaller ones, as the type stores them.
static void fill(const shape *s, double *values, uint64_t count, uint32_t stream_number) {
  for (uint64_t i = 0; i < count; i++) {
    const double x = dure_random_normal(seed, 0, stream_number, i);
    values[i] = as_stored(s->dtype, i % 7 == 3 ? x * 1e-3 : x);
  }
}

static dure_tensor make_input(dure_program *program, const shape *s, const char *label, uint64_t rows,
                              uint64_t columns) {
  const uint64_t both[2] = {rows, columns};
  return rows == 0 ? dure_tensor_external(program, label, s->dtype, 1, &columns, DURE_LIFETIME_INPUT)
                   : dure_tensor_external(program, label, s->dtype, 2, both, DURE_LIFETIME_INPUT);
}

static void write_input(dure_executable *executable, const shape *s, dure_tensor tensor, const double *values,
                        uint64_t count) {
  static uint32_t bytes[MOST];
  for (uint64_t i = 0; i < count; i++) dure_dtype_store(s->dtype, bytes, i, values[i]);
  require(dure_executable_write(executable, stream, tensor, bytes, count * dure_dtype_size(s->dtype)));
}

// c_data = activation(op(a_data) op(b_data) + bias_data) by the device.
static void multiply(const shape *s, bool has_bias, bool has_activation) {
  static uint32_t bytes[MOST];
  dure_program *program = dure_program_create();
  const dure_tensor a = make_input(program, s, "a", s->transpose_a ? s->K : s->M, s->transpose_a ? s->M : s->K);
  const dure_tensor b = make_input(program, s, "b", s->transpose_b ? s->N : s->K, s->transpose_b ? s->K : s->N);
  const dure_tensor bias = has_bias ? make_input(program, s, "bias", 0, s->N) : DURE_ABSENT;
  const dure_matmul_options options = {.transpose_a = s->transpose_a,
                                       .transpose_b = s->transpose_b,
                                       .bias = bias,
                                       .residual = DURE_ABSENT,
                                       .has_activation = has_activation,
                                       .activation = DURE_ACTIVATION_RELU};
  const dure_tensor c = dure_matmul_with(program, a, b, &options);
  dure_executable *executable = NULL;
  require(dure_program_compile(program, device, NULL, 0, NULL, &executable));
  write_input(executable, s, a, a_data, s->M * s->K);
  write_input(executable, s, b, b_data, s->N * s->K);
  if (has_bias) write_input(executable, s, bias, bias_data, s->N);
  require(dure_executable_submit(executable, stream));
  require(dure_executable_read(executable, stream, c, bytes, s->M * s->N * dure_dtype_size(s->dtype)));
  for (uint64_t i = 0; i < s->M * s->N; i++) c_data[i] = dure_dtype_load(s->dtype, bytes, i);
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}

// ---- what is expected ----

static double round_to_e4m3(double x) {
  if (fabs(x) >= 448) return copysign(448, x);
  const int exponent = fabs(x) < 0x1p-6 ? -6 : ilogb(x);
  return ldexp(nearbyint(ldexp(x, 3 - exponent)), exponent - 3);
}

// The values that the factor is replaced with; returns its scale.
static double round_factor(const double *values, uint64_t count, double *out_rounded) {
  float largest = 0;
  for (uint64_t i = 0; i < count; i++) largest = fmaxf(largest, (float)fabs(values[i]));
  const float scale = largest / 448.0f, inverse = 448.0f / largest;
  for (uint64_t i = 0; i < count; i++) {
    const float scaled = (float)values[i] * inverse;
    out_rounded[i] = (double)scale * round_to_e4m3((double)scaled);
  }
  return (double)scale;
}

static uint64_t a_index(const shape *s, uint64_t m, uint64_t k) { return s->transpose_a ? k * s->M + m : m * s->K + k; }
static uint64_t b_index(const shape *s, uint64_t k, uint64_t n) { return s->transpose_b ? n * s->K + k : k * s->N + n; }

static double element(const shape *s, const double *a, const double *b, uint64_t m, uint64_t n) {
  double sum = 0;
  for (uint64_t k = 0; k < s->K; k++) sum += a[a_index(s, m, k)] * b[b_index(s, k, n)];
  return sum;
}

// Each factor x becomes x (1 + e) + f with |e| <= 2^-4 (half a step of 3 bits of mantissa), f at most half of the
// smallest step, 2^-10 of the scale.
static double error_bound(const shape *s, double a_scale, double b_scale, uint64_t m, uint64_t n) {
  double bound = 0;
  for (uint64_t k = 0; k < s->K; k++) {
    const double a = fabs(a_data[a_index(s, m, k)]), b = fabs(b_data[b_index(s, k, n)]);
    const double a_error = a * 0x1p-4 + a_scale * 0x1p-10, b_error = b * 0x1p-4 + b_scale * 0x1p-10;
    bound += a * b_error + b * a_error + a_error * b_error;
  }
  return bound;
}

// Of the type's rounding of a result and of the product's sums, whose terms add up to `magnitude`.
static double rounding(const shape *s, double magnitude) {
  const double epsilon = s->dtype == DURE_DTYPE_BF16 ? 0x1p-8 : s->dtype == DURE_DTYPE_F16 ? 0x1p-11 : 0x1p-24;
  return magnitude * (epsilon + ((double)s->K + 4) * 0x1p-24);
}

static double magnitude_of(const shape *s, uint64_t m, uint64_t n) {
  double sum = 0;
  for (uint64_t k = 0; k < s->K; k++) sum += fabs(a_data[a_index(s, m, k)] * b_data[b_index(s, k, n)]);
  return 1.2 * sum;  // the rounded factors may be larger
}

static void fill_all(const shape *s) {
  fill(s, a_data, s->M * s->K, 1);
  fill(s, b_data, s->N * s->K, 2);
  fill(s, bias_data, s->N, 3);
}

// f16 has no bias in the library: it would not be a product in fp8.
static bool takes_bias(const shape *s) { return s->dtype != DURE_DTYPE_F16; }

START_TEST(results_are_of_factors_rounded_to_e4m3_and_near_the_exact_ones) {
  static double a_rounded[MOST], b_rounded[MOST];
  const shape *s = &shapes[_i];
  fill_all(s);
  multiply(s, takes_bias(s), false);
  const double a_scale = round_factor(a_data, s->M * s->K, a_rounded);
  const double b_scale = round_factor(b_data, s->N * s->K, b_rounded);
  double furthest = 0;  // from the exact product, in parts of what the type would round
  for (uint64_t m = 0; m < s->M; m++) {
    for (uint64_t n = 0; n < s->N; n++) {
      const double bias = takes_bias(s) ? bias_data[n] : 0, c = c_data[m * s->N + n];
      const double tolerance = rounding(s, magnitude_of(s, m, n) + fabs(bias));
      const double exact = element(s, a_data, b_data, m, n) + bias;
      ck_assert_double_eq_tol(c, element(s, a_rounded, b_rounded, m, n) + bias, tolerance);
      ck_assert_double_eq_tol(c, exact, error_bound(s, a_scale, b_scale, m, n) + tolerance);
      furthest = fmax(furthest, fabs(c - exact) / (tolerance + 1e-30));
    }
  }
  ck_assert_msg(furthest > 1.5, "nothing tells the result from one without the switch");
}
END_TEST

START_TEST(an_activation_follows_the_product) {
  static double plain[MOST];
  const shape *s = &shapes[_i];
  fill_all(s);
  multiply(s, takes_bias(s), false);
  memcpy(plain, c_data, sizeof(plain));
  multiply(s, takes_bias(s), true);
  for (uint64_t i = 0; i < s->M * s->N; i++) ck_assert_double_eq(c_data[i], fmax(plain[i], 0));
}
END_TEST

START_TEST(a_matrix_of_zeros_gives_the_bias_and_one_with_a_nan_gives_nothing_else) {
  const shape *s = &shapes[_i];
  fill_all(s);
  memset(a_data, 0, sizeof(a_data));
  multiply(s, takes_bias(s), false);
  for (uint64_t i = 0; i < s->M * s->N; i++) ck_assert_double_eq(c_data[i], takes_bias(s) ? bias_data[i % s->N] : 0);
  fill_all(s);
  b_data[s->K + 1] = (double)NAN;
  multiply(s, takes_bias(s), false);
  for (uint64_t i = 0; i < s->M * s->N; i++) ck_assert(isnan(c_data[i]));
}
END_TEST

START_TEST(what_the_library_does_not_take_is_as_exact_as_without_the_switch) {
  const shape s = {40, 50, 60, false, true, DURE_DTYPE_F32};  // N is no multiple of 16
  fill_all(&s);
  multiply(&s, true, false);
  for (uint64_t m = 0; m < s.M; m++) {
    for (uint64_t n = 0; n < s.N; n++) {
      const double exact = element(&s, a_data, b_data, m, n) + bias_data[n];
      ck_assert_double_eq_tol(c_data[m * s.N + n], exact, rounding(&s, magnitude_of(&s, m, n) + fabs(bias_data[n])));
    }
  }
}
END_TEST

int main(void) {
  if (getenv("DURE_CUDA_EMULATED") == NULL || getenv("DURE_CUBLASLT_EMULATED") == NULL) {
    puts("SKIPPED: the emulation of CUDA is not built");
    return 77;
  }
  printf("seed %llu\n", (unsigned long long)seed);
  Suite *suite = suite_create("cuda_fp8");
  TCase *cases = tcase_create("fp8");
  tcase_add_checked_fixture(cases, set_up, tear_down);
  tcase_add_loop_test(cases, results_are_of_factors_rounded_to_e4m3_and_near_the_exact_ones, 0, SHAPE_COUNT);
  tcase_add_loop_test(cases, an_activation_follows_the_product, 3, 6);
  tcase_add_loop_test(cases, a_matrix_of_zeros_gives_the_bias_and_one_with_a_nan_gives_nothing_else, 1, 3);
  tcase_add_test(cases, what_the_library_does_not_take_is_as_exact_as_without_the_switch);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
