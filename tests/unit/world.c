// Worlds of forked ranks: small collectives, refusals by name, and ranks that are killed, stopped or give up.
#include "runtime/world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/world/internal.h"
#include "tests/suite.h"
#include "tests/unit/ranks.h"

static const double bound = 30;  // seconds, in which everything here must end; it takes tenths

// ---- small collectives -------------------------------------------------------------------------------------------

static void check_collectives(dure_world *world, uint64_t seed) {
  const dure_world_place place = dure_world_get_place(world);
  RANK_OK(dure_world_barrier(world));
  for (uint32_t root = 0; root < place.size; root++) {
    uint64_t words[700];
    for (size_t i = 0; i < 700; i++) words[i] = place.rank == root ? seed + root * i : 0;
    RANK_OK(dure_world_broadcast(world, root, words, sizeof(words)));
    for (size_t i = 0; i < 700; i++) RANK_EXPECT(words[i] == seed + root * i, "root %u, word %zu", root, i);
  }
  double values[3] = {place.rank + 1, -(double)place.rank, place.rank == 1 ? 0.1 : 0.7};
  double sums[3] = {values[0], values[1], values[2]}, wanted = 0;
  RANK_OK(dure_world_reduce(world, DURE_REDUCTION_SUM, sums, 3));
  for (uint32_t r = 0; r < place.size; r++) wanted += r == 1 ? 0.1 : 0.7;  // in this order, to the last bit
  RANK_EXPECT(sums[0] == place.size * (place.size + 1) / 2.0 && sums[2] == wanted, "sums %g %.17g", sums[0], sums[2]);
  double most = values[0], least = values[1];
  RANK_OK(dure_world_reduce(world, DURE_REDUCTION_MAXIMUM, &most, 1));
  RANK_OK(dure_world_reduce(world, DURE_REDUCTION_MINIMUM, &least, 1));
  RANK_EXPECT(most == place.size && least == 1 - (double)place.size, "most %g, least %g", most, least);
  uint32_t own[5] = {place.rank, place.rank * 7, 1, 2, 3}, all[RANKS_MAX][5];
  RANK_OK(dure_world_gather(world, own, sizeof(own), all));
  for (uint32_t r = 0; r < place.size; r++) RANK_EXPECT(all[r][0] == r && all[r][1] == r * 7, "part of rank %u", r);
}

static void collectives_and_groups(uint32_t rank, uint32_t size, void *context) {
  (void)context;
  dure_world *world = NULL, *half = NULL, *reversed = NULL;
  RANK_OK(dure_world_join(NULL, &world));
  const dure_world_place place = dure_world_get_place(world);
  RANK_EXPECT(place.rank == rank && place.size == size && place.local_rank == rank && place.node_count == 1, "place");
  check_collectives(world, 11);
  RANK_OK(dure_world_split(world, rank % 2, 0, &half));
  RANK_OK(dure_world_split(world, 0, size - rank, &reversed));
  RANK_EXPECT(dure_world_get_place(half).rank == rank / 2, "rank %u of half", dure_world_get_place(half).rank);
  RANK_EXPECT(dure_world_get_place(reversed).rank == size - 1 - rank, "reversed");
  check_collectives(half, 12 + rank % 2);
  check_collectives(reversed, 14);
  check_collectives(world, 15);
  RANK_OK(dure_world_check(half));
  dure_world_leave(half, NULL);
  dure_world_leave(reversed, NULL);
  dure_world_leave(world, NULL);
}

START_TEST(small_collectives_agree_in_every_group) { ranks_run((uint32_t)_i, collectives_and_groups, NULL); }
END_TEST

START_TEST(a_program_started_by_itself_is_a_world_of_one) {
  dure_world *world = NULL, *group = NULL;
  double value = 3;
  ck_assert_ptr_null(dure_world_join(NULL, &world));
  ck_assert_uint_eq(dure_world_get_place(world).size, 1);
  ck_assert_ptr_null(dure_world_reduce(world, DURE_REDUCTION_SUM, &value, 1));
  ck_assert(value == 3);
  ck_assert_ptr_null(dure_world_barrier(world));
  ck_assert_ptr_null(dure_world_split(world, 1, 2, &group));
  ck_assert_ptr_null(dure_world_check(group));
  dure_world_leave(group, NULL);
  dure_world_leave(world, NULL);
}
END_TEST

// ---- launchers ---------------------------------------------------------------------------------------------------

START_TEST(launchers_are_known_by_what_they_leave_in_the_environment) {
  dure_launch launch;
  setenv("SLURM_PROCID", "3", 1);
  setenv("SLURM_STEP_NUM_TASKS", "8", 1);
  setenv("SLURM_STEP_NODELIST", "node[07-09,12],gpu3", 1);
  setenv("SLURM_JOB_ID", "4242", 1);
  ck_assert_ptr_null(dure_launch_read(&launch));
  ck_assert_str_eq(launch.launcher, "srun");
  ck_assert_str_eq(launch.host, "node07");
  ck_assert_uint_eq(launch.rank, 3);
  ck_assert_uint_ge(launch.port, 20000);
  setenv("SLURM_STEP_NODELIST", "single,other", 1);
  ck_assert_ptr_null(dure_launch_read(&launch));
  ck_assert_str_eq(launch.host, "single");
  setenv("OMPI_COMM_WORLD_RANK", "1", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  ck_assert_ptr_null(dure_launch_read(&launch));
  ck_assert_str_eq(launch.launcher, "mpirun");
  ck_assert_str_eq(launch.host, "");
  setenv("RANK", "0", 1);
  setenv("WORLD_SIZE", "4", 1);
  setenv("MASTER_ADDR", "10.1.2.3", 1);
  setenv("MASTER_PORT", "29500", 1);
  ck_assert_ptr_null(dure_launch_read(&launch));
  ck_assert_str_eq(launch.host, "10.1.2.3");
  ck_assert_uint_eq(launch.port, 29500);
  setenv("TORCHELASTIC_RUN_ID", "x", 1);  // torchrun listens on its port itself
  ck_assert_ptr_null(dure_launch_read(&launch));
  ck_assert_uint_eq(launch.port, 29501);
  setenv("RANK", "4", 1);
  dure_status status = dure_launch_read(&launch);
  ck_assert_int_eq(dure_status_code(status), DURE_INVALID_ARGUMENT);
  dure_status_free(status);
}
END_TEST

// ---- refusals ----------------------------------------------------------------------------------------------------

typedef struct refusal {
  const char *odd_recipe;  // of rank 1
  uint32_t odd_size;       // as rank 1 knows it
  bool one_is_missing;
  const char *expected;  // in every rank's message
} refusal;

static void join_in_vain(uint32_t rank, uint32_t size, void *context) {
  const refusal *r = context;
  dure_world_options options = {.fingerprint = "model: a\nlearning-rate: 0.1\ndata: b", .join_seconds = bound};
  if (rank == 1 && r->odd_recipe != NULL) options.fingerprint = r->odd_recipe;
  if (rank == 1 && r->odd_size != 0) ranks_set("WORLD_SIZE", r->odd_size);
  if (r->one_is_missing) {
    ranks_set("WORLD_SIZE", size + 1);
    options.join_seconds = 0.4;
  }
  dure_world *world = NULL;
  dure_status status = dure_world_join(&options, &world);
  RANK_EXPECT(status != NULL, "rank %u was not refused", rank);
  RANK_EXPECT(strstr(dure_status_message(status), r->expected) != NULL, "rank %u: '%s' lacks '%s'", rank,
              dure_status_message(status), r->expected);
  dure_status_free(status);
}

START_TEST(ranks_that_disagree_are_refused_by_name) {
  static const refusal refusals[] = {
      {"model: a\nlearning-rate: 0.2\ndata: b", 0, false, "'learning-rate: 0.2' where rank 0 has 'learning-rate: 0.1'"},
      {NULL, 5, false, "was started as one of 5 ranks, rank 0 as one of 2"},
      {NULL, 0, true, "rank 2 is lost: it has not come within 0 s; of 3 ranks, missing are 2"},
  };
  ranks_run(2, join_in_vain, (void *)(uintptr_t)&refusals[_i]);
}
END_TEST

// ---- meeting -----------------------------------------------------------------------------------------------------

enum { strangers = 150 };  // more than rank 0 hears at once

// Rank 2 is none: it connects many times, says nothing or nonsense, and only then do the others come.
static void meet_among_strangers(uint32_t rank, uint32_t size, void *context) {
  (void)context;
  const uint16_t port = (uint16_t)strtoul(getenv("MASTER_PORT"), NULL, 10);
  ranks_set("WORLD_SIZE", size - 1);
  if (rank == 2) {
    int sockets[strangers];
    for (int i = 0; i < strangers; i++) {
      while (true) {
        dure_status status = dure_socket_connect("127.0.0.1", port, 1, &sockets[i]);
        if (status == NULL) break;
        dure_status_free(status);
        dure_os_sleep(1000000);
      }
      if (i % 2 == 0) dure_status_free(dure_socket_send(sockets[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 28, 1));
    }
    dure_os_sleep(100000000);
    for (int i = 0; i < strangers; i++) dure_socket_close(sockets[i]);
    return;
  }
  if (rank == 1) dure_os_sleep(50000000);
  const uint64_t begin = dure_os_nanoseconds();
  dure_world *world = NULL;
  RANK_OK(dure_world_join(NULL, &world));
  RANK_EXPECT((double)(dure_os_nanoseconds() - begin) < 8e9, "strangers hold the others");
  RANK_OK(dure_world_barrier(world));
  dure_world_leave(world, NULL);
}

START_TEST(strangers_do_not_hold_ranks_that_meet) { ranks_run(3, meet_among_strangers, NULL); }
END_TEST

// One file at a time; a second run that is given it is refused, and leaves it alone.
static void meet_in_a_file(uint32_t rank, uint32_t size, void *context) {
  unsetenv("MASTER_ADDR");
  unsetenv("MASTER_PORT");
  setenv("DURE_WORLD_FILE", context, 1);
  dure_world *world = NULL;
  if (rank == 0) dure_os_sleep(60000000);  // the others wait for the file
  RANK_OK(dure_world_join(NULL, &world));
  RANK_EXPECT(dure_world_get_place(world).size == size, "place");
  RANK_OK(dure_world_barrier(world));
  RANK_EXPECT(!dure_os_is_file(context), "the file is still there");
  dure_world_leave(world, NULL);
}

static void meet_in_a_file_of_others(uint32_t rank, uint32_t size, void *context) {
  (void)size;
  unsetenv("MASTER_ADDR");
  setenv("DURE_WORLD_FILE", context, 1);
  const dure_world_options options = {.join_seconds = 0.2};
  dure_world *world = NULL;
  dure_status status = dure_world_join(&options, &world);
  const char *expected = rank == 0 ? "is there already" : "is not what rank 0 of a run writes";
  RANK_EXPECT(strstr(dure_status_message(status), expected) != NULL, "rank %u: %s", rank, dure_status_message(status));
  dure_status_free(status);
  RANK_EXPECT(dure_os_is_file(context), "the file of others is gone");
}

START_TEST(ranks_meet_in_a_file_that_all_see) {
  char folder[] = "/tmp/dure-world-XXXXXX", path[64];
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/meet", folder);
  for (int run = 0; run < 2; run++) ranks_run(3, meet_in_a_file, path);
  require(dure_os_write_file(path, "dure-world 1\nhost\n99999\n\n", 26));
  ranks_run(2, meet_in_a_file_of_others, path);
  require(dure_os_remove_tree(folder));
}
END_TEST

// Rank 1 says who it is and is gone, or stops, while rank 2 is still awaited (it never comes).
static void meet_in_vain(uint32_t rank, uint32_t size, void *context) {
  const bool stops = context != NULL;
  if (rank == 2) return;
  ranks_set("WORLD_SIZE", size);
  const dure_world_options options = {.silence_seconds = 0.5, .join_seconds = bound};
  dure_world *world = NULL;
  if (rank == 1) {  // from a process of its own, that ends while its parent waits
    const pid_t child = fork();
    if (child == 0) {
      dure_status_free(dure_world_join(&options, &world));
      _exit(0);
    }
    dure_os_sleep(300000000);
    kill(child, stops ? SIGSTOP : SIGKILL);
    if (stops) dure_os_sleep(1500000000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return;
  }
  const uint64_t begin = dure_os_nanoseconds();
  dure_status status = dure_world_join(&options, &world);
  RANK_EXPECT((double)(dure_os_nanoseconds() - begin) / 1e9 < bound / 2, "noticed late");
  RANK_EXPECT(dure_status_code(status) == DURE_RANK_LOST, "joined with a rank that is gone");
  const char *message = dure_status_message(status),
             *expected = stops ? "is lost: it has been silent" : "is lost: it ended";
  RANK_EXPECT(strstr(message, "rank 1 (") == message && strstr(message, expected) != NULL, "'%s'", message);
  dure_status_free(status);
}

START_TEST(a_rank_that_is_lost_while_others_are_awaited_is_named) {
  ranks_run(3, meet_in_vain, _i == 0 ? NULL : (void *)(uintptr_t)&bound);
}
END_TEST

// ---- losses ------------------------------------------------------------------------------------------------------

typedef enum end { END_KILLED, END_STOPPED, END_GIVES_UP, END_LEAVES } end;
typedef struct loss {
  end how;
  uint32_t victim;
  const char *expected;
} loss;

static void work_until_lost(uint32_t rank, uint32_t size, void *context) {
  (void)size;
  const loss *l = context;
  const dure_world_options options = {.silence_seconds = 0.5};
  dure_world *world = NULL;
  RANK_OK(dure_world_join(&options, &world));
  dure_status status = NULL;
  for (int step = 0; status == NULL; step++) {
    if (step == 3 && rank == l->victim) {
      if (l->how == END_KILLED) raise(SIGKILL);
      if (l->how == END_STOPPED) raise(SIGSTOP);
      dure_status reason = l->how == END_GIVES_UP ? dure_fail(DURE_NOT_FINITE, "loss is NaN at step 3") : NULL;
      dure_world_leave(world, reason);
      dure_status_free(reason);
      exit(0);
    }
    double value = 1;
    status = dure_world_reduce(world, DURE_REDUCTION_SUM, &value, 1);
  }
  char name[32];
  snprintf(name, sizeof(name), "rank %u (", l->victim);
  const char *message = dure_status_message(status);
  RANK_EXPECT(dure_status_code(status) == DURE_RANK_LOST, "rank %u: %s", rank, message);
  const char *named = strstr(message, name);
  RANK_EXPECT(named != NULL && strstr(named, l->expected) != NULL, "rank %u: '%s' is not '%s...%s'", rank, message,
              name, l->expected);
  dure_world_leave(world, status);
  dure_status_free(status);
}

START_TEST(a_rank_that_dies_hangs_or_gives_up_is_named_by_all_others) {
  static const loss losses[] = {
      {END_KILLED, 2, "is lost: its connection has ended"},
      {END_KILLED, 0, "is lost: its connection has ended"},
      {END_STOPPED, 1, "is lost: it has been silent"},
      {END_STOPPED, 0, "is lost: it has been silent"},
      {END_GIVES_UP, 1, "gave up: loss is NaN at step 3"},
      {END_GIVES_UP, 0, "gave up: loss is NaN at step 3"},
      {END_LEAVES, 2, "has left while"},
  };
  const loss *l = &losses[_i];
  pid_t pids[RANKS_MAX];
  ranks_start(3, work_until_lost, (void *)(uintptr_t)l, pids);
  int codes[3];
  for (uint32_t rank = 0; rank < 3; rank++) {
    const bool is_stopped = l->how == END_STOPPED && rank == l->victim;
    codes[rank] = is_stopped ? 0 : ranks_wait(pids[rank], bound);
  }
  if (l->how == END_STOPPED) {
    kill(pids[l->victim], SIGKILL);
    (void)ranks_wait(pids[l->victim], bound);
  }
  for (uint32_t rank = 0; rank < 3; rank++) {
    const bool is_killed = l->how == END_KILLED && rank == l->victim;
    ck_assert_msg(codes[rank] == (is_killed ? RANKS_STATUS_KILLED : 0), "rank %u ended with %d", rank, codes[rank]);
  }
}
END_TEST

// ---- ranks that live ---------------------------------------------------------------------------------------------

typedef enum delay { DELAY_ELSEWHERE, DELAY_OTHER_COLLECTIVE, DELAY_OTHER_GROUP } delay;

// Rank 1 lives, but goes to sleep instead of to the third collective; comes to another one; or waits in a group of two
// for rank 0, which waits for it in the whole world.
static void keep_others_waiting(uint32_t rank, uint32_t size, void *context) {
  (void)size;
  const delay *how = context;
  const double patience = *how == DELAY_OTHER_COLLECTIVE ? bound : 1;
  const dure_world_options options = {.silence_seconds = 2, .wait_seconds = patience};
  dure_world *world = NULL, *pair = NULL;
  double values[2] = {1, 2};
  RANK_OK(dure_world_join(&options, &world));
  RANK_OK(dure_world_split(world, rank / 2, 0, &pair));
  RANK_OK(dure_world_barrier(world));
  dure_status status = NULL;
  if (rank == 1 && *how == DELAY_ELSEWHERE) {
    while (status == NULL) {  // busy with other things, it looks now and then
      dure_os_sleep(20000000);
      status = dure_world_check(world);
    }
  } else if (rank == 1 && *how == DELAY_OTHER_COLLECTIVE) {
    status = dure_world_reduce(world, DURE_REDUCTION_SUM, values, 2);
  } else if (rank == 1) {
    status = dure_world_barrier(pair);
  } else {
    uint8_t bytes[100];
    status = dure_world_broadcast(world, 1, bytes, sizeof(bytes));
  }
  const char *message = dure_status_message(status);
  static const char *const expected[] = {
      [DELAY_ELSEWHERE] = "is lost: it lives, but has not come to broadcast of 100 bytes by rank 1 (collective 4 of",
      [DELAY_OTHER_COLLECTIVE] = "is lost: it has come to reduction of 2 values, where rank 0 (",
      [DELAY_OTHER_GROUP] = "1 of channel 1)",
  };
  RANK_EXPECT(dure_status_code(status) == DURE_RANK_LOST, "rank %u: %s", rank, message);
  RANK_EXPECT(strstr(message, "rank ") == message && strstr(message, expected[*how]) != NULL,
              "rank %u: '%s' is not '%s'", rank, message, expected[*how]);
  dure_world_leave(pair, status);
  dure_world_leave(world, status);
  dure_status_free(status);
}

START_TEST(a_rank_that_lives_but_does_not_come_is_named) {
  static const delay delays[] = {DELAY_ELSEWHERE, DELAY_OTHER_COLLECTIVE, DELAY_OTHER_GROUP};
  ranks_run(3, keep_others_waiting, (void *)(uintptr_t)&delays[_i]);
}
END_TEST

static void end_stuck(const char *message) {
  const bool is_named = strstr(message, "rank 1 (") == message;
  _exit(is_named ? 0 : 1);
}

static void never_look(uint32_t rank, uint32_t size, void *context) {
  (void)size, (void)context;
  const dure_world_options options = {.on_stuck = end_stuck, .stuck_seconds = 0.2};
  dure_world *world = NULL;
  RANK_OK(dure_world_join(&options, &world));
  RANK_OK(dure_world_barrier(world));
  if (rank == 1) _exit(0);
  dure_os_sleep((uint64_t)(bound * 1e9));  // as one caught in a driver
  _exit(1);
}

START_TEST(a_rank_that_is_caught_elsewhere_can_end_itself) { ranks_run(2, never_look, NULL); }
END_TEST

static Suite *make_suite(void) {
  Suite *suite = suite_create("world");
  TCase *small = tcase_create("collectives");
  tcase_add_loop_test(small, small_collectives_agree_in_every_group, 1, 6);
  tcase_add_test(small, a_program_started_by_itself_is_a_world_of_one);
  tcase_add_test(small, launchers_are_known_by_what_they_leave_in_the_environment);
  tcase_add_loop_test(small, ranks_that_disagree_are_refused_by_name, 0, 3);
  tcase_add_test(small, strangers_do_not_hold_ranks_that_meet);
  tcase_add_test(small, ranks_meet_in_a_file_that_all_see);
  tcase_add_loop_test(small, a_rank_that_is_lost_while_others_are_awaited_is_named, 0, 2);
  tcase_add_loop_test(small, a_rank_that_dies_hangs_or_gives_up_is_named_by_all_others, 0, 7);
  tcase_add_loop_test(small, a_rank_that_lives_but_does_not_come_is_named, 0, 3);
  tcase_add_test(small, a_rank_that_is_caught_elsewhere_can_end_itself);
  suite_add_tcase(suite, small);
  return suite;
}

int main(void) { return run_suite(make_suite(), CK_FORK_GETENV); }
