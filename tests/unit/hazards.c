// The hazard tracker against a brute-force model on random command lists: every two commands that conflict have a
// barrier between them, and no barrier stands where nothing conflicts. A barrier dropped on purpose is noticed every
// time.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/hazards.h"
#include "tests/suite.h"

enum { buffer_count = 3, buffer_bytes = 48, command_limit = 60, ranges_limit = 4, lists = 4000 };

typedef struct command {
  dure_hazard_range ranges[ranges_limit];
  size_t count;
  bool barrier;  // the tracker's answer: one stands before this command
} command;

typedef struct command_list {
  command commands[command_limit];
  size_t count;
} command_list;

static char buffers[buffer_count];  // identities

static uint32_t random_state;
static uint32_t draw(uint32_t below) {
  random_state = random_state * 1664525u + 1013904223u;
  return (uint32_t)(((uint64_t)random_state * below) >> 32);
}

static void make_list(uint32_t seed, command_list *list) {
  random_state = seed * 2654435761u + 1;
  list->count = 2 + draw(command_limit - 2);
  uint32_t longest = 1 + draw(buffer_bytes);  // short ranges rarely conflict, long ones often
  for (size_t i = 0; i < list->count; i++) {
    command *c = &list->commands[i];
    c->count = 1 + draw(ranges_limit);
    for (size_t j = 0; j < c->count; j++) {
      uint64_t begin = draw(buffer_bytes), length = draw(longest + 1);  // empty ones too
      uint64_t end = begin + length < buffer_bytes ? begin + length : buffer_bytes;
      c->ranges[j] = (dure_hazard_range){&buffers[draw(buffer_count)], begin, end, draw(3) == 0};
    }
  }
}

static void track(command_list *list) {
  dure_hazards hazards = {0};
  for (size_t i = 0; i < list->count; i++) {
    command *c = &list->commands[i];
    dure_status status = dure_hazards_add(&hazards, c->ranges, c->count, &c->barrier);
    ck_assert_ptr_null(status);
  }
  dure_hazards_release(&hazards);
}

// Byte by byte, with no thought of intervals.
static bool commands_conflict(const command *a, const command *b) {
  for (int buffer = 0; buffer < buffer_count; buffer++) {
    for (uint64_t byte = 0; byte < buffer_bytes; byte++) {
      bool touched[2] = {false, false}, written[2] = {false, false};
      const command *both[2] = {a, b};
      for (int side = 0; side < 2; side++) {
        for (size_t j = 0; j < both[side]->count; j++) {
          const dure_hazard_range *range = &both[side]->ranges[j];
          if (range->buffer != &buffers[buffer] || byte < range->begin || byte >= range->end) continue;
          touched[side] = true;
          written[side] = written[side] || range->writes;
        }
      }
      if (touched[0] && touched[1] && (written[0] || written[1])) return true;
    }
  }
  return false;
}

// Index of a command that may run together with an earlier one it conflicts with, or -1.
static int find_race(const command_list *list) {
  for (size_t j = 1; j < list->count; j++) {
    for (size_t i = j; i-- > 0;) {
      if (list->commands[i + 1].barrier) break;  // between i and everything from i + 1 on
      if (commands_conflict(&list->commands[i], &list->commands[j])) return (int)j;
    }
  }
  return -1;
}

// Index of a command with a barrier before it though nothing since the barrier before that conflicts with it, or -1.
static int find_needless_barrier(const command_list *list) {
  for (size_t j = 0; j < list->count; j++) {
    if (!list->commands[j].barrier) continue;
    bool needed = false;
    for (size_t i = j; i-- > 0 && !needed;) {
      needed = commands_conflict(&list->commands[i], &list->commands[j]);
      if (list->commands[i].barrier) break;
    }
    if (!needed) return (int)j;
  }
  return -1;
}

START_TEST(every_conflict_is_separated_and_no_barrier_is_needless) {
  dure_hazards_drop_barrier(0);
  size_t barriers = 0, commands = 0;
  for (uint32_t seed = 1; seed <= lists; seed++) {
    command_list list;
    make_list(seed, &list);
    track(&list);
    for (size_t i = 0; i < list.count; i++) barriers += list.commands[i].barrier;
    commands += list.count;
    int race = find_race(&list), needless = find_needless_barrier(&list);
    if (race >= 0) ck_abort_msg("seed %u: command %d races with an earlier one", seed, race);
    if (needless >= 0) ck_abort_msg("seed %u: the barrier before command %d separates nothing", seed, needless);
  }
  printf("%d lists, %zu commands, %zu barriers\n", lists, commands, barriers);
  ck_assert_uint_gt(barriers, lists);
  ck_assert_uint_lt(barriers, commands);
}
END_TEST

START_TEST(any_dropped_barrier_is_a_race) {
  size_t dropped = 0;
  for (uint32_t seed = 1; seed <= 300; seed++) {
    command_list list;
    make_list(seed, &list);
    dure_hazards_drop_barrier(0);
    track(&list);
    size_t count = 0;
    for (size_t i = 0; i < list.count; i++) count += list.commands[i].barrier;
    for (size_t n = 1; n <= count; n++) {
      dure_hazards_drop_barrier(n);
      track(&list);
      size_t left = 0;
      for (size_t i = 0; i < list.count; i++) left += list.commands[i].barrier;
      ck_assert_uint_eq(left, count - 1);
      if (find_race(&list) < 0) ck_abort_msg("seed %u: barrier %zu was dropped and nothing noticed", seed, n);
      dropped++;
    }
  }
  dure_hazards_drop_barrier(0);
  printf("%zu barriers dropped, each noticed\n", dropped);
  ck_assert_uint_gt(dropped, 300);
}
END_TEST

static bool add(dure_hazards *hazards, int buffer, uint64_t begin, uint64_t end, bool writes) {
  bool barrier = false;
  dure_hazard_range range = {&buffers[buffer], begin, end, writes};
  dure_status status = dure_hazards_add(hazards, &range, 1, &barrier);
  ck_assert_ptr_null(status);
  return barrier;
}

START_TEST(each_kind_of_conflict_asks_for_a_barrier) {
  dure_hazards_drop_barrier(0);
  dure_hazards hazards = {0};
  ck_assert(!add(&hazards, 0, 0, 16, true));
  ck_assert(add(&hazards, 0, 15, 20, false));  // read after write
  ck_assert(!add(&hazards, 0, 0, 20, false));  // read after read
  ck_assert(add(&hazards, 0, 19, 20, true));   // write after read
  ck_assert(add(&hazards, 0, 0, 20, true));    // write after write
  ck_assert(!add(&hazards, 0, 20, 30, true));  // beside it
  ck_assert(!add(&hazards, 1, 0, 20, true));   // another buffer
  ck_assert(!add(&hazards, 0, 5, 5, true));    // nothing
  dure_hazards_reset(&hazards);
  ck_assert(!add(&hazards, 0, 0, 30, true));  // a barrier stood there for another reason
  ck_assert_uint_eq(hazards.barrier_count, 3);
  dure_hazards_release(&hazards);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hazards");
  TCase *group = tcase_create("tracker");
  tcase_set_timeout(group, 120);
  tcase_add_test(group, each_kind_of_conflict_asks_for_a_barrier);
  tcase_add_test(group, every_conflict_is_separated_and_no_barrier_is_needless);
  tcase_add_test(group, any_dropped_barrier_is_a_race);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
