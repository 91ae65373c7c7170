// The memory planner: what lives together never overlaps, and what does not live together shares.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/plan.h"
#include "runtime/random.h"
#include "tests/suite.h"

enum { item_count = 200, rounds = 50 };

static bool overlap_in_time(const dure_plan_item *a, const dure_plan_item *b) {
  return a->first <= b->last && b->first <= a->last;
}
static bool overlap_in_space(const dure_plan_item *a, const dure_plan_item *b) {
  return a->place < b->place + b->size && b->place < a->place + a->size;
}

static uint32_t draw(uint64_t round, uint64_t index, uint32_t limit) {
  uint32_t words[4];
  dure_random_words(7, (uint32_t)round, 0, index, words);
  return words[0] % limit;
}

START_TEST(values_alive_together_never_overlap) {
  for (uint64_t round = 0; round < rounds; round++) {
    dure_plan_item items[item_count];
    uint64_t largest = 0;
    for (uint64_t i = 0; i < item_count; i++) {
      uint32_t first = draw(round, i * 4, 100);
      items[i] = (dure_plan_item){1 + draw(round, i * 4 + 1, 10000), first, first + draw(round, i * 4 + 2, 30), 0};
      if (items[i].size > largest) largest = items[i].size;
    }
    uint64_t block_size = round % 2 == 0 ? (uint64_t)1 << 48 : 16384, arena = 0;
    ck_assert_ptr_null(dure_plan_memory(items, item_count, 64, block_size, &arena));
    for (size_t i = 0; i < item_count; i++) {
      ck_assert_uint_eq(items[i].place % 64, 0);
      ck_assert_uint_le(items[i].place + items[i].size, arena);
      ck_assert_msg(items[i].place / block_size == (items[i].place + items[i].size - 1) / block_size,
                    "round %d: item %zu crosses a block", (int)round, i);
      for (size_t j = 0; j < i; j++) {
        ck_assert_msg(!overlap_in_time(&items[i], &items[j]) || !overlap_in_space(&items[i], &items[j]),
                      "round %d: items %zu and %zu overlap", (int)round, i, j);
      }
    }
    ck_assert_uint_ge(arena, largest);
  }
}
END_TEST

START_TEST(values_of_different_times_share_memory) {
  dure_plan_item chain[100];
  for (uint32_t i = 0; i < 100; i++) chain[i] = (dure_plan_item){1024, i, i + 1, 0};
  uint64_t arena = 0;
  ck_assert_ptr_null(dure_plan_memory(chain, 100, 64, (uint64_t)1 << 48, &arena));
  ck_assert_uint_eq(arena, 2048);
}
END_TEST

START_TEST(a_tensor_larger_than_a_buffer_is_refused) {
  dure_plan_item item = {5000, 0, 0, 0};
  uint64_t arena = 0;
  dure_status status = dure_plan_memory(&item, 1, 64, 4096, &arena);
  ck_assert_int_eq(dure_status_code(status), DURE_OUT_OF_MEMORY);
  dure_status_free(status);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("plan");
  TCase *test_case = tcase_create("plan");
  tcase_add_test(test_case, values_alive_together_never_overlap);
  tcase_add_test(test_case, values_of_different_times_share_memory);
  tcase_add_test(test_case, a_tensor_larger_than_a_buffer_is_refused);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
