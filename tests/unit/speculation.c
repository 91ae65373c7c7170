// What is proposed, and how much of it is verified: plain arithmetic.
#include <check.h>
#include <stdlib.h>

#include "model/speculation.h"
#include "tests/suite.h"

static void require_found(const uint32_t *tokens, uint32_t count, speculation_kind kind, const uint32_t *expected,
                          uint32_t most) {
  uint32_t found[SPECULATION_MOST];
  speculation_kind found_kind;
  ck_assert_uint_eq(speculation_lookup(tokens, count, most, found, &found_kind), most);
  ck_assert_int_eq(found_kind, kind);
  ck_assert_mem_eq(found, expected, most * sizeof(found[0]));
}

START_TEST(the_longest_end_found_earlier_is_gone_on_with) {
  // The last token came before three times; with the two before it once, and that is no later.
  require_found((const uint32_t[]){1, 2, 3, 9, 8, 3, 7, 2, 3, 6, 1, 2, 3}, 13, SPECULATION_MATCH_3,
                (const uint32_t[]){9, 8, 3, 7}, 4);
  // Of equally long ones the latest.
  require_found((const uint32_t[]){5, 1, 5, 2, 5}, 5, SPECULATION_MATCH_1, (const uint32_t[]){2}, 1);
  // What runs into the end goes round.
  require_found((const uint32_t[]){4, 1, 2, 1, 2}, 5, SPECULATION_MATCH_2, (const uint32_t[]){1, 2, 1, 2, 1}, 5);
  require_found((const uint32_t[]){6, 6, 6, 6, 6, 6, 6, 6, 6}, 9, SPECULATION_MATCH_8, (const uint32_t[]){6, 6, 6}, 3);
  speculation_kind kind;
  uint32_t none[1];
  ck_assert_uint_eq(speculation_lookup((const uint32_t[]){1, 2, 3, 4}, 4, 1, none, &kind), 0);
  ck_assert_uint_eq(speculation_lookup((const uint32_t[]){1}, 1, 1, none, &kind), 0);
}
END_TEST

START_TEST(shares_follow_what_was_right) {
  speculation_record record = speculation_record_begin();
  for (int i = 0; i < 200; i++) speculation_record_add(&record, SPECULATION_MATCH_2, 4, 4, 0.1f);
  ck_assert_float_gt(record.shares[SPECULATION_MATCH_2], 0.99f);
  for (int i = 0; i < 200; i++) speculation_record_add(&record, SPECULATION_MATCH_2, 4, 1, 0.1f);
  ck_assert_float_eq_tol(record.shares[SPECULATION_MATCH_2], 0.5f, 0.06f);  // one right, one wrong, each time
  for (int i = 0; i < 200; i++) speculation_record_add(&record, SPECULATION_MATCH_2, 4, 0, 0.1f);
  ck_assert_float_lt(record.shares[SPECULATION_MATCH_2], 0.01f);
  const speculation_record begin = speculation_record_begin();
  ck_assert_float_eq(record.shares[SPECULATION_DRAFT], begin.shares[SPECULATION_DRAFT]);
  for (int i = 0; i < 2000; i++) speculation_record_rest(&record, SPECULATION_MATCH_2);
  ck_assert_float_eq_tol(record.shares[SPECULATION_MATCH_2], begin.shares[SPECULATION_MATCH_2], 0.01f);
}
END_TEST

// Steps of twice the rows take so many times as long.
static speculation_times times_growing(double factor) {
  speculation_times times = {.draft = {0.1, true}};
  double seconds = 1;
  for (int i = 0; i < SPECULATION_WIDTHS; i++) {
    times.widths[i].seconds = seconds;
    seconds *= factor;
  }
  return times;
}

START_TEST(guesses_are_verified_where_they_pay) {
  uint32_t counts[3];
  const speculation_times cheap = times_growing(1.05), dear = times_growing(2);
  const speculation_offer one = {7, 0.9f, false};
  speculation_choose(&one, 1, 16, &cheap, counts);
  ck_assert_uint_eq(counts[0], 7);
  speculation_choose(&one, 1, 4, &cheap, counts);
  ck_assert_uint_eq(counts[0], 3);  // there are rows for
  speculation_choose(&one, 1, 16, &dear, counts);
  ck_assert_uint_eq(counts[0], 0);
  speculation_choose(&one, 1, 16, NULL, counts);
  ck_assert_uint_eq(counts[0], 7);
  // Three sequences are padded to four rows: one guess is free, and goes where it is likeliest right.
  const speculation_offer three[3] = {{7, 0.3f, false}, {7, 0.5f, false}, {0, 0, false}};
  speculation_choose(three, 3, 64, &dear, counts);
  ck_assert_uint_eq(counts[0], 0);
  ck_assert_uint_eq(counts[1], 1);
  ck_assert_uint_eq(counts[2], 0);
  // The draft model's own time counts too.
  const speculation_offer drafted = {7, 0.9f, true};
  speculation_times slow = times_growing(1);
  slow.draft.seconds = 1;
  speculation_choose(&drafted, 1, 16, &slow, counts);
  ck_assert_uint_eq(counts[0], 0);
  speculation_choose(&drafted, 1, 16, &cheap, counts);
  ck_assert_uint_gt(counts[0], 2);
}
END_TEST

START_TEST(what_was_not_measured_is_tried) {
  speculation_times times = {0};
  uint32_t count = 0;
  const speculation_offer offer = {7, 0.9f, false};
  speculation_times_add(&times, 1, 100);  // a first time
  speculation_times_add(&times, 1, 1);
  ck_assert_double_eq(times.widths[0].seconds, 1);
  speculation_choose(&offer, 1, 8, &times, &count);
  ck_assert_uint_eq(count, 7);
  for (int i = 0; i < 2; i++) speculation_times_add(&times, 8, 20);  // that was a bad idea, or a bad moment
  speculation_choose(&offer, 1, 8, &times, &count);
  ck_assert_uint_lt(count, 4);
  // Guesses from the first step on, and wrong ones: decoding without any is tried too.
  speculation_times wide = {0};
  const speculation_offer poor = {7, 0.1f, false};
  count = 7;
  for (int i = 0; i < 20; i++) {
    speculation_times_add(&wide, 1 + count, 0.01 * (1 + count));
    speculation_choose(&poor, 1, 8, &wide, &count);
  }
  ck_assert_uint_eq(count, 0);
  for (int i = 0; i < 300; i++) speculation_times_add(&times, 1, 1);
  speculation_choose(&offer, 1, 8, &times, &count);
  ck_assert_uint_eq(count, 7);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("speculation");
  TCase *tests = tcase_create("speculation");
  tcase_add_test(tests, the_longest_end_found_earlier_is_gone_on_with);
  tcase_add_test(tests, shares_follow_what_was_right);
  tcase_add_test(tests, guesses_are_verified_where_they_pay);
  tcase_add_test(tests, what_was_not_measured_is_tried);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
