// dure launch: ranks that are started, spoken for, ended and started again. The ranks are this program itself.
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/os.h"
#include "runtime/world.h"
#include "tests/suite.h"

// ---- a rank ------------------------------------------------------------------------------------------------------

static void end_stuck(const char *message) {
  fprintf(stderr, "%s\n", message);
  _exit(1);
}

static int end_failed(dure_world *world, dure_status status) {
  fprintf(stderr, "%s\n", dure_status_message(status));
  dure_world_leave(world, status);
  dure_status_free(status);
  return 1;
}

// MARK.RANK holds the process's number.
static dure_status write_number(const char *mark, uint32_t rank) {
  char path[400], text[32];
  snprintf(path, sizeof(path), "%s.%u", mark, rank);
  const int length = snprintf(text, sizeof(text), "%d", (int)getpid());
  return dure_os_write_file(path, text, (size_t)length);
}

// `mode`: how rank 1 ends at its third step, if nobody has before (`mark` is a file that says so).
static int be_a_rank(const char *mode, const char *mark, int steps) {
  const dure_world_options options = {.silence_seconds = 1.5, .on_stuck = end_stuck, .stuck_seconds = 1};
  dure_world *world = NULL;
  dure_status status = dure_world_join(&options, &world);
  const dure_world_place place = dure_world_get_place(world);
  if (status == NULL) status = write_number(mark, place.rank);
  if (status == NULL) status = dure_world_barrier(world);
  for (int step = 0; status == NULL && step < steps; step++) {
    if (step == 3 && strcmp(mode, "misused") == 0) {  // every rank reads the same command line
      dure_world_leave(world, NULL);
      return 2;
    }
    if (step == 3 && place.rank == 1 && !dure_os_is_file(mark)) {
      dure_status_free(dure_os_write_file(mark, "", 0));
      if (strcmp(mode, "killed") == 0) raise(SIGKILL);
      if (strcmp(mode, "stopped") == 0) raise(SIGSTOP);
    }
    double value = 1;
    status = dure_world_reduce(world, DURE_REDUCTION_SUM, &value, 1);
    if (steps > 100) dure_os_sleep(10000000);
  }
  if (status != NULL) return end_failed(world, status);
  const char *secret = getenv("DURE_WORLD_SECRET");
  printf("the secret has %zu digits\n", secret != NULL ? strspn(secret, "0123456789abcdef") : 0);
  printf("rank %u of %u is done\n", place.rank, place.size);
  dure_world_leave(world, NULL);
  return 0;
}

// ---- the tests ---------------------------------------------------------------------------------------------------

static char folder[256], output[65536];

static void make_folder(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-launch-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) { dure_status_free(dure_os_remove_tree(folder)); }

// Runs dure launch; its exit status, with all that it said in `output`.
static int launch(const char *options, const char *mode, int steps) {
  char command[4096], *directory = NULL;
  ck_assert_ptr_null(dure_os_executable_directory(&directory));
  snprintf(command, sizeof(command), "'%s' launch %s --program '%s/test_unit_launch' -- %s '%s/mark' %d 2>&1",
           getenv("DURE_PROGRAM"), options, directory, mode, folder, steps);
  free(directory);
  FILE *pipe = popen(command, "r");
  ck_assert_ptr_nonnull(pipe);
  const size_t size = fread(output, 1, sizeof(output) - 1, pipe);
  output[size] = '\0';
  const int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *text) { ck_assert_msg(strstr(output, text) != NULL, "no '%s' in:\n%s", text, output); }

START_TEST(ranks_run_and_speak_with_their_numbers) {
  ck_assert_msg(launch("-n 3", "well", 5) == 0, "%s", output);
  expect("[rank 2] rank 2 of 3 is done");
  expect("rank 0 of 3 is done");
  ck_assert_ptr_null(strstr(output, "[rank 0]"));
}
END_TEST

START_TEST(a_lost_rank_is_named_and_the_run_begins_again) {
  static const char *const modes[] = {"killed", "stopped"};
  const char *mode = modes[_i];
  ck_assert_msg(launch("-n 3 --grace 2 --restart-on-failure 1", mode, 8) == 0, "%s", output);
  expect("rank 1 (");
  expect("is lost");
  expect("restart 1 of 1");
  expect("[rank 1] rank 1 of 3 is done");
  if (_i == 1) expect("rank 1 has not ended by itself");
}
END_TEST

START_TEST(without_restarts_a_failure_is_the_end) {
  ck_assert_int_eq(launch("-n 2 --grace 2", "killed", 8), 1);
  expect("rank 1 was ended by signal 9");
}
END_TEST

START_TEST(wrong_usage_is_not_tried_again) {
  ck_assert_int_eq(launch("-n 2 --grace 2 --restart-on-failure 3", "misused", 8), 2);
  ck_assert_ptr_null(strstr(output, "restart"));
}
END_TEST

START_TEST(remote_shells_carry_ranks_and_hosts_that_are_gone_are_left_out) {
  // A remote shell that takes the host as a word and runs what follows here; it knows no host "gone".
  char shell[400];
  snprintf(shell, sizeof(shell), "%s/shell", folder);
  // It notes what its command line shows, which must not hold the secret.
  static const char text[] =
      "#!/bin/sh\n[ \"$1\" = gone ] && exit 255\nshift\necho \"$@\" >>\"$0.words\"\nexec \"$@\"\n";
  ck_assert_ptr_null(dure_os_write_file(shell, text, sizeof(text) - 1));
  char command[500], options[900];
  snprintf(command, sizeof(command), "chmod +x '%s'", shell);
  ck_assert_int_eq(system(command), 0);
  snprintf(options, sizeof(options),
           "-n 2 --hosts 127.0.0.1,gone --remote-shell %s --grace 1 --restart-on-failure 1 --min-ranks 1", shell);
  ck_assert_msg(launch(options, "well", 4) == 0, "%s", output);
  expect("going on without host gone");
  expect("rank 0 of 1 is done");
  expect("the secret has 32 digits");
  char words[500], *shown = NULL;
  size_t size = 0;
  snprintf(words, sizeof(words), "%s.words", shell);
  ck_assert_ptr_null(dure_os_read_file(words, 1 << 20, &shown, &size));
  ck_assert_ptr_nonnull(strstr(shown, "MASTER_ADDR="));
  ck_assert_ptr_null(strstr(shown, "DURE_WORLD_SECRET="));
  free(shown);
}
END_TEST

// Whether the process that a rank has told of still runs; it has a while to end.
static bool is_left(uint32_t rank) {
  char path[300], *text = NULL;
  size_t size = 0;
  snprintf(path, sizeof(path), "%s/mark.%u", folder, rank);
  ck_assert_ptr_null(dure_os_read_file(path, 64, &text, &size));
  const pid_t pid = (pid_t)strtol(text, NULL, 10);
  free(text);
  ck_assert_int_gt(pid, 1);
  for (int i = 0; i < 100 && kill(pid, 0) == 0; i++) dure_os_sleep(50000000);
  return kill(pid, 0) == 0;
}

START_TEST(ranks_end_with_the_launcher) {
  // Killed without a chance to clean up: nothing that it started is left.
  char *directory = NULL, program[2048], mark[300], first[320];
  ck_assert_ptr_null(dure_os_executable_directory(&directory));
  snprintf(program, sizeof(program), "%s/test_unit_launch", directory);
  free(directory);
  snprintf(mark, sizeof(mark), "%s/mark", folder);
  snprintf(first, sizeof(first), "%s.1", mark);
  const pid_t launcher = fork();
  if (launcher == 0) {
    execl(getenv("DURE_PROGRAM"), "dure", "launch", "-n", "2", "--program", program, "--", "well", mark, "100000",
          (char *)NULL);
    _exit(127);
  }
  for (int i = 0; i < 400 && !dure_os_is_file(first); i++) dure_os_sleep(50000000);
  kill(launcher, SIGKILL);
  ck_assert_int_eq(waitpid(launcher, NULL, 0), launcher);
  ck_assert(!is_left(1));
  ck_assert(!is_left(0));
}
END_TEST

static Suite *make_suite(void) {
  Suite *suite = suite_create("launch");
  TCase *tests = tcase_create("launch");
  tcase_add_checked_fixture(tests, make_folder, remove_folder);
  tcase_add_test(tests, ranks_run_and_speak_with_their_numbers);
  tcase_add_loop_test(tests, a_lost_rank_is_named_and_the_run_begins_again, 0, 2);
  tcase_add_test(tests, without_restarts_a_failure_is_the_end);
  tcase_add_test(tests, wrong_usage_is_not_tried_again);
  tcase_add_test(tests, remote_shells_carry_ranks_and_hosts_that_are_gone_are_left_out);
  tcase_add_test(tests, ranks_end_with_the_launcher);
  suite_add_tcase(suite, tests);
  return suite;
}

int main(int argc, char **argv) {
  if (argc == 4) return be_a_rank(argv[1], argv[2], (int)strtol(argv[3], NULL, 10));
  return run_suite(make_suite(), CK_FORK_GETENV);
}
