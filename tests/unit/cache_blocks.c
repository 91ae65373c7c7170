// The cache's blocks: who has which, what can be found again, and in which order it is given up.
#include <check.h>
#include <stdlib.h>

#include "model/cache_blocks.h"
#include "tests/suite.h"

static dure_cache_blocks *create(uint32_t count) {
  dure_cache_blocks *blocks = NULL;
  ck_assert_ptr_null(dure_cache_blocks_create(count, &blocks));
  return blocks;
}

static dure_block_key key_of(uint32_t token) { return dure_block_key_of((dure_block_key){0}, &token, 1); }

START_TEST(blocks_are_given_once_and_block_0_never) {
  dure_cache_blocks *blocks = create(5);
  bool seen[6] = {true};
  for (int i = 0; i < 5; i++) {
    const uint32_t taken = dure_cache_blocks_take(blocks);
    ck_assert_uint_le(taken, 5);
    ck_assert(!seen[taken]);
    seen[taken] = true;
  }
  ck_assert_uint_eq(dure_cache_blocks_take(blocks), 0);
  dure_cache_blocks_drop(blocks, 3);
  ck_assert_uint_eq(dure_cache_blocks_take(blocks), 3);
  dure_cache_blocks_destroy(blocks);
}
END_TEST

START_TEST(keys_depend_on_all_that_came_before) {
  const uint32_t a[] = {1, 2, 3}, b[] = {1, 2, 4};
  const dure_block_key none = {0}, first = dure_block_key_of(none, a, 3), other = dure_block_key_of(none, b, 3);
  ck_assert(first.low != other.low && first.high != other.high);
  const dure_block_key after = dure_block_key_of(first, a, 3), elsewhere = dure_block_key_of(other, a, 3);
  ck_assert(after.low != elsewhere.low && after.high != elsewhere.high);
  ck_assert(after.low != first.low);
}
END_TEST

START_TEST(what_nobody_has_stays_findable_until_its_place_is_needed) {
  dure_cache_blocks *blocks = create(3);
  uint32_t held[3];
  for (uint32_t i = 0; i < 3; i++) {
    held[i] = dure_cache_blocks_take(blocks);
    dure_cache_blocks_publish(blocks, held[i], key_of(i));
  }
  ck_assert_uint_eq(dure_cache_blocks_find(blocks, key_of(1)), held[1]);  // two have it now
  for (uint32_t i = 0; i < 3; i++) dure_cache_blocks_drop(blocks, held[i]);
  ck_assert_uint_eq(dure_cache_blocks_free(blocks), 2);
  ck_assert_uint_eq(dure_cache_blocks_kept(blocks), 2);
  dure_cache_blocks_drop(blocks, held[1]);
  ck_assert_uint_eq(dure_cache_blocks_find(blocks, key_of(0)), held[0]);
  dure_cache_blocks_drop(blocks, held[0]);  // now the last used: 2 goes first, then 1
  ck_assert_uint_eq(dure_cache_blocks_take(blocks), held[2]);
  ck_assert_uint_eq(dure_cache_blocks_find(blocks, key_of(2)), 0);
  ck_assert_uint_eq(dure_cache_blocks_take(blocks), held[1]);
  dure_cache_blocks_forget(blocks);
  ck_assert_uint_eq(dure_cache_blocks_find(blocks, key_of(0)), 0);
  ck_assert_uint_eq(dure_cache_blocks_take(blocks), held[0]);
  dure_cache_blocks_destroy(blocks);
}
END_TEST

// Random use against a plain account of who has what.
START_TEST(random_use_keeps_the_books) {
  enum { COUNT = 13, KEYS = 20, ROUNDS = 20000 };
  dure_cache_blocks *blocks = create(COUNT);
  uint32_t holders[COUNT + 1] = {0}, state = 99;
  for (int round = 0; round < ROUNDS; round++) {
    state = state * 1664525u + 1013904223u;
    const uint32_t what = (state >> 28) % 4, which = (state >> 8) % COUNT + 1, token = (state >> 16) % KEYS;
    uint32_t taken = 0, free_count = 0;
    for (uint32_t i = 1; i <= COUNT; i++) free_count += holders[i] == 0;
    ck_assert_uint_eq(dure_cache_blocks_free(blocks), free_count);
    ck_assert_uint_le(dure_cache_blocks_kept(blocks), free_count);
    switch (what) {
      case 0:
        taken = dure_cache_blocks_take(blocks);
        ck_assert((taken == 0) == (free_count == 0));
        ck_assert_uint_eq(taken == 0 ? 0 : holders[taken], 0);
        break;
      case 1: taken = dure_cache_blocks_find(blocks, key_of(token)); break;
      case 2:
        if (holders[which] > 0) dure_cache_blocks_publish(blocks, which, key_of(token));
        break;
      default:
        if (holders[which] == 0) break;
        dure_cache_blocks_drop(blocks, which);
        holders[which]--;
    }
    if (taken > 0) holders[taken]++;
  }
  dure_cache_blocks_destroy(blocks);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("cache_blocks");
  TCase *tests = tcase_create("cache_blocks");
  tcase_add_test(tests, blocks_are_given_once_and_block_0_never);
  tcase_add_test(tests, keys_depend_on_all_that_came_before);
  tcase_add_test(tests, what_nobody_has_stays_findable_until_its_place_is_needed);
  tcase_add_test(tests, random_use_keeps_the_books);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
