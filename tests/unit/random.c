// The random generator: known answers, and the distributions made from it.
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "runtime/random.h"
#include "tests/suite.h"

// Known answers published with the generator (Salmon et al. 2011; Random123's kat_vectors for philox4x32, 10 rounds).
static const struct {
  uint32_t counter[4], key[2], words[4];
} known_answers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

START_TEST(philox_gives_the_published_words) {
  for (size_t i = 0; i < sizeof known_answers / sizeof known_answers[0]; i++) {
    uint32_t words[4];
    dure_philox(known_answers[i].counter, known_answers[i].key, words);
    for (int w = 0; w < 4; w++) ck_assert_uint_eq(words[w], known_answers[i].words[w]);
  }
}
END_TEST

START_TEST(words_place_index_step_stream_and_seed) {
  const uint32_t counter[4] = {0x89abcdef, 0x01234567, 7, 9};
  const uint32_t key[2] = {0x55667788, 0x11223344};
  uint32_t expected[4], words[4];
  dure_philox(counter, key, expected);
  dure_random_words(0x1122334455667788u, 7, 9, 0x0123456789abcdefu, words);
  for (int w = 0; w < 4; w++) ck_assert_uint_eq(words[w], expected[w]);
}
END_TEST

START_TEST(uniforms_are_24_bits_below_one) {
  ck_assert_float_eq(dure_random_to_uniform(0), 0.0f);
  ck_assert_float_eq(dure_random_to_uniform(0xff), 0.0f);
  ck_assert_float_eq(dure_random_to_uniform(0x100), 0x1p-24f);
  ck_assert_float_eq(dure_random_to_uniform(0xffffffff), 1.0f - 0x1p-24f);
  const uint32_t random[4] = {1, 2, 3, 4};
  uint32_t words[4];
  dure_random_words(0x0000000200000001u, 3, 4, 5, words);
  ck_assert_float_eq(dure_random_uniform(random, 5), dure_random_to_uniform(words[0]));
}
END_TEST

// Moments of N samples: the k-th moment's standard error is sqrt(var(x^k) / N); five of them are allowed.
START_TEST(normals_have_the_moments_of_a_standard_normal) {
  enum { N = 200000 };
  double sums[5] = {0}, neighbours = 0, previous = 0;
  for (uint64_t i = 0; i < N; i++) {
    const double x = dure_random_normal(20261121, 0, 1, i);
    ck_assert(isfinite(x));
    double power = 1;
    for (int k = 1; k <= 4; k++) sums[k] += power *= x;
    neighbours += x * previous;
    previous = x;
  }
  ck_assert_double_eq_tol(sums[1] / N, 0, 5 * sqrt(1.0 / N));
  ck_assert_double_eq_tol(sums[2] / N, 1, 5 * sqrt(2.0 / N));
  ck_assert_double_eq_tol(sums[3] / N, 0, 5 * sqrt(15.0 / N));
  ck_assert_double_eq_tol(sums[4] / N, 3, 5 * sqrt(96.0 / N));
  ck_assert_double_eq_tol(neighbours / N, 0, 5 * sqrt(1.0 / N));
}
END_TEST

START_TEST(values_depend_on_every_part_of_the_key) {
  const double base = dure_random_normal(1, 2, 3, 4);
  ck_assert_double_eq(base, dure_random_normal(1, 2, 3, 4));
  ck_assert_double_ne(base, dure_random_normal(2, 2, 3, 4));
  ck_assert_double_ne(base, dure_random_normal(1 + (UINT64_C(1) << 32), 2, 3, 4));
  ck_assert_double_ne(base, dure_random_normal(1, 3, 3, 4));
  ck_assert_double_ne(base, dure_random_normal(1, 2, 4, 4));
  ck_assert_double_ne(base, dure_random_normal(1, 2, 3, 4 + (UINT64_C(1) << 34)));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("random");
  TCase *test_case = tcase_create("philox");
  tcase_add_test(test_case, philox_gives_the_published_words);
  tcase_add_test(test_case, words_place_index_step_stream_and_seed);
  tcase_add_test(test_case, uniforms_are_24_bits_below_one);
  tcase_add_test(test_case, normals_have_the_moments_of_a_standard_normal);
  tcase_add_test(test_case, values_depend_on_every_part_of_the_key);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
