// `dure train` end to end on the reference device: exit statuses, recipes, interrupts, what is said and where.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/os.h"
#include "tests/suite.h"

static char folder[64];

static void setup(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-train-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}
static void teardown(void) { dure_status_free(dure_os_remove_tree(folder)); }

// Runs a shell command in the folder, with `train` as the tiny run's command; returns the exit status. Standard output
// and error are one text.
static int run(const char *command, char *out_output, size_t size) {
  char line[8192];
  const char *program = getenv("DURE_PROGRAM"), *source = getenv("DURE_SOURCE_DIR");
  ck_assert_msg(program != NULL && source != NULL, "DURE_PROGRAM and DURE_SOURCE_DIR are not set; run under ctest");
  snprintf(line, sizeof(line),
           "cd '%s' && DURE='%s' && GPT2='%s/tests/golden/gpt2' && "
           "train() { exec \"$DURE\" train --model \"$GPT2/even\" --data \"$GPT2/train/data\" --device reference "
           "--batch-size 2 "
           "--context 16 --eval-every 0 \"$@\"; } && { %s; } 2>&1",
           folder, program, source, command);
  FILE *pipe = popen(line, "r");
  ck_assert_ptr_nonnull(pipe);
  size_t length = fread(out_output, 1, size - 1, pipe);
  out_output[length] = '\0';
  int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *command, int status, const char *part) {
  char output[8192];
  int found = run(command, output, sizeof(output));
  ck_assert_msg(found == status, "exit status %d, expected %d, of: %s\n%s", found, status, command, output);
  ck_assert_msg(strstr(output, part) != NULL, "'%s' is not in what '%s' said:\n%s", part, command, output);
}

START_TEST(mistakes_have_their_exit_status_and_reason) {
  expect("\"$DURE\" train", 2, "--model is missing");
  expect("train", 2, "--out is missing");
  expect("train --out run --batch-sise 2", 2, "'--batch-size'");
  expect("train --out run --steps x", 2, "whole number");
  expect("train --out run --beta1 2", 2, "--beta1");
  expect("train --out run --schedule cos", 2, "cosine");
  expect("train --out run --dtype bf8", 2, "bf16");
  expect("train --out run --offload all", 3, "not supported yet");
  expect("train --out run --recipe none.yaml", 1, "none.yaml");
  expect("train --out run --data none", 1, "none");
  expect("train --out run --model none.json", 1, "none.json");
  expect("echo 'stepz: 3' > r.yaml; train --out run --recipe r.yaml", 2, "did you mean 'steps'");
  expect("train --out run --device-memory 100KiB", 1, "only");
  expect("train --out run --device-memory 4MiB --batch-size 64", 1, "training needs at least");
  expect("train --out run --device-memory 4MiB --batch-size 64 --recompute none --offload none", 1,
         "the largest activations are");
  expect("\"$DURE\" train --help", 0, "example");
}
END_TEST

START_TEST(the_command_line_wins_over_the_recipe) {
  expect("printf 'steps: 5\\nout: run\\nseed: 4\\n' > r.yaml; train --recipe r.yaml --steps 2 --json", 0,
         "\"step\":2,");
  expect("grep '\"seed\": 4' run/checkpoints/latest/trainer.json", 0, "4");
  expect("wc -l < run/metrics.jsonl", 0, "2");
  expect("printf 'epochs: 2\\n' > e.yaml; train --recipe e.yaml --out steps --steps 1", 0, "1 steps of");
  expect("train --recipe r.yaml --out epochs --epochs 0.001", 0, "1 steps of");
  expect("train --out both --steps 1 --epochs 1", 2, "one of them");
}
END_TEST

START_TEST(resuming_needs_nothing_but_the_run) {
  expect("train --out run --steps 4 --stop-after 2", 0, "run/checkpoints/step-00000002");
  expect("train --out run --steps 4", 1, "--resume");
  expect("\"$DURE\" train --out run --resume", 0, "run/checkpoints/step-00000004");
  expect("\"$DURE\" train --out run --resume", 0, "nothing to do");
  expect("\"$DURE\" train --out run --resume --json", 0, "\"loss\":null");
  expect("train --out fresh --steps 1 --resume", 0, "no checkpoint yet");
}
END_TEST

START_TEST(an_interrupt_saves_and_says_how_to_go_on) {
  expect(
      "train --out run --steps 100000 & p=$!; while ! [ -s run/metrics.jsonl ]; do sleep 0.02; done; kill -INT $p; "
      "wait $p",
      1, "go on with: dure train --out 'run' --resume");
  expect(
      "test -f run/checkpoints/latest/model.safetensors && test $(wc -l < run/metrics.jsonl) = "
      "$(sed -n 's/.*\"step\": \\([0-9]*\\),/\\1/p' run/checkpoints/latest/trainer.json) && echo same",
      0, "same");
}
END_TEST

START_TEST(two_trainers_do_not_share_a_run) {
  expect(
      "(train --out run --steps 100000) > first 2>&1 & p=$!; while ! [ -s run/metrics.jsonl ]; do sleep 0.02; done; "
      "(train --out run --resume); code=$?; kill -INT $p; wait $p; exit $code",
      1, "another process");
  expect("train --out run --resume --stop-after 1", 0, "nothing to do");
}
END_TEST

START_TEST(a_failure_to_begin_leaves_nothing) {
  expect("(train --out run --context 100000); ls -d run", 2, "cannot access");
  expect("\"$DURE\" train --out run --resume", 2, "no checkpoint to go on from");
}
END_TEST

START_TEST(a_damaged_checkpoint_is_named_and_can_be_moved_away) {
  expect("train --out run --steps 4 --save-every 2", 0, "step-00000004");
  expect(
      "truncate -s 1000 run/checkpoints/step-00000004/optimizer.safetensors; \"$DURE\" train --out run --resume "
      "--steps 5",
      1, "'run/checkpoints/step-00000004' is damaged (move it away");
  expect("rm -r run/checkpoints/step-00000004; \"$DURE\" train --out run --resume", 0, "step-00000004");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("train_command");
  TCase *cases = tcase_create("command");
  tcase_set_timeout(cases, 120);
  tcase_add_checked_fixture(cases, setup, teardown);
  tcase_add_test(cases, mistakes_have_their_exit_status_and_reason);
  tcase_add_test(cases, the_command_line_wins_over_the_recipe);
  tcase_add_test(cases, resuming_needs_nothing_but_the_run);
  tcase_add_test(cases, an_interrupt_saves_and_says_how_to_go_on);
  tcase_add_test(cases, two_trainers_do_not_share_a_run);
  tcase_add_test(cases, a_failure_to_begin_leaves_nothing);
  tcase_add_test(cases, a_damaged_checkpoint_is_named_and_can_be_moved_away);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
