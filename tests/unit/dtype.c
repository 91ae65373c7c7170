// Conversions of 16-bit floats, element access by dtype.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/dtype.h"
#include "tests/suite.h"

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

START_TEST(every_16_bit_float_survives_the_way_to_float_and_back) {
  for (uint32_t bits = 0; bits < 65536; bits++) {
    float half = dure_f16_to_float((uint16_t)bits), brain = dure_bf16_to_float((uint16_t)bits);
    if (isnan(half)) {
      ck_assert(isnan(dure_f16_to_float(dure_f16_from_float(half))));
    } else {
      ck_assert_uint_eq(dure_f16_from_float(half), bits);
    }
    if (isnan(brain)) {
      ck_assert(isnan(dure_bf16_to_float(dure_bf16_from_float(brain))));
    } else {
      ck_assert_uint_eq(dure_bf16_from_float(brain), bits);
    }
  }
}
END_TEST

// Between two neighbours the nearer is chosen, and the one with an even last bit when both are as near.
static void expect_nearest_even(float (*widen)(uint16_t), uint16_t (*narrow)(float), uint32_t count) {
  for (uint32_t bits = 0; bits + 1 < count; bits++) {
    double low = (double)widen((uint16_t)bits), high = (double)widen((uint16_t)(bits + 1));
    uint16_t even = (uint16_t)(bits % 2 == 0 ? bits : bits + 1);
    ck_assert_uint_eq(narrow((float)(low + (high - low) * 0.5)), even);
    ck_assert_uint_eq(narrow((float)(low + (high - low) * 0.25)), bits);
    ck_assert_uint_eq(narrow((float)(low + (high - low) * 0.75)), bits + 1);
    ck_assert_uint_eq(narrow(-(float)(low + (high - low) * 0.75)), (bits + 1) | 0x8000u);
  }
}

START_TEST(rounding_to_16_bits_is_to_nearest_even) {
  expect_nearest_even(dure_f16_to_float, dure_f16_from_float, 0x7c00);
  expect_nearest_even(dure_bf16_to_float, dure_bf16_from_float, 0x7f80);
}
END_TEST

START_TEST(what_is_too_large_for_16_bits_becomes_infinity) {
  ck_assert_uint_eq(dure_f16_from_float(65519.996f), 0x7bff);
  ck_assert_uint_eq(dure_f16_from_float(65520.0f), 0x7c00);
  ck_assert_uint_eq(dure_f16_from_float(-1e30f), 0xfc00);
  ck_assert_uint_eq(dure_bf16_from_float(float_of(0x7f7fffff)), 0x7f80);
  ck_assert_uint_eq(dure_f16_from_float(INFINITY), 0x7c00);
  ck_assert_uint_eq(dure_bf16_from_float(-INFINITY), 0xff80);
}
END_TEST

START_TEST(a_nan_whose_payload_is_in_the_lost_bits_stays_a_nan) {
  ck_assert(isnan(dure_f16_to_float(dure_f16_from_float(float_of(0x7f800001)))));
  ck_assert(isnan(dure_bf16_to_float(dure_bf16_from_float(float_of(0x7f800001)))));
  ck_assert(isnan(dure_bf16_to_float(dure_bf16_from_float(float_of(0x7fffffff)))));
}
END_TEST

START_TEST(elements_of_every_float_type_are_stored_and_loaded) {
  static const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16, DURE_DTYPE_F64};
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    double memory[4] = {0};
    dure_dtype_store(types[i], memory, 0, -2.5);
    dure_dtype_store(types[i], memory, 1, 0.15625);
    ck_assert_double_eq(dure_dtype_load(types[i], memory, 0), -2.5);
    ck_assert_double_eq(dure_dtype_load(types[i], memory, 1), 0.15625);
    ck_assert_uint_gt(dure_dtype_size(types[i]), 1);
    ck_assert(dure_dtype_is_float(types[i]));
  }
  ck_assert(!dure_dtype_is_float(DURE_DTYPE_U32));
  ck_assert_uint_eq(dure_dtype_size(DURE_DTYPE_NONE), 0);
  ck_assert_str_eq(dure_dtype_name(DURE_DTYPE_BF16), "bf16");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("dtype");
  TCase *tests = tcase_create("conversions");
  tcase_add_test(tests, every_16_bit_float_survives_the_way_to_float_and_back);
  tcase_add_test(tests, rounding_to_16_bits_is_to_nearest_even);
  tcase_add_test(tests, what_is_too_large_for_16_bits_becomes_infinity);
  tcase_add_test(tests, a_nan_whose_payload_is_in_the_lost_bits_stays_a_nan);
  tcase_add_test(tests, elements_of_every_float_type_are_stored_and_loaded);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
