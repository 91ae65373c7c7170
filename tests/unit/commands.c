// What every command promises: exit statuses of mistakes, results that arrive or fail, files that stay unmixed.
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
  snprintf(folder, sizeof(folder), "/tmp/dure-commands-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}
static void teardown(void) { dure_status_free(dure_os_remove_tree(folder)); }

// Runs a shell command in the folder with $DURE as the program, $MODEL and $DATA from the fixtures; `part` must be in
// what it says on standard output and error.
static void expect(const char *command, int status, const char *part) {
  char line[4096], output[8192];
  const char *program = getenv("DURE_PROGRAM"), *source = getenv("DURE_SOURCE_DIR");
  ck_assert_msg(program != NULL && source != NULL, "DURE_PROGRAM and DURE_SOURCE_DIR are not set; run under ctest");
  snprintf(line, sizeof(line),
           "cd '%s' && DURE='%s' && MODEL='%s/tests/golden/gpt2/even' && DATA='%s/tests/golden/gpt2/train/data' && "
           "ON='--device reference' && { %s; } 2>&1",
           folder, program, source, source, command);
  FILE *pipe = popen(line, "r");
  ck_assert_ptr_nonnull(pipe);
  size_t length = fread(output, 1, sizeof(output) - 1, pipe);
  output[length] = '\0';
  int found = pclose(pipe);
  found = WIFEXITED(found) ? WEXITSTATUS(found) : -1;
  ck_assert_msg(found == status, "exit status %d, expected %d, of: %s\n%s", found, status, command, output);
  ck_assert_msg(strstr(output, part) != NULL, "'%s' is not in what '%s' said:\n%s", part, command, output);
}

START_TEST(options_without_meaning_are_wrong_usage) {
  expect("\"$DURE\" generate \"$MODEL\" $ON --max-tokens 0", 2, "--max-tokens");
  expect("\"$DURE\" generate \"$MODEL\" $ON --top-p 2", 2, "--top-p");
  expect("\"$DURE\" generate \"$MODEL\" $ON --prompt a --dtype f64", 2, "--dtype must be one of auto, f32, bf16, f16");
  expect("\"$DURE\" generate \"$MODEL\" $ON --prompt a --prompt-file b", 2, "one of them");
  expect("\"$DURE\" eval \"$MODEL\" $ON", 2, "--text FILE");
  expect("\"$DURE\" logits \"$MODEL\" $ON --tokens 1", 2, "-o FILE");
  expect("\"$DURE\" generate none $ON", 1, "no model at 'none'");
}
END_TEST

START_TEST(models_are_converted_inspected_and_differentiated) {
  expect("\"$DURE\" convert \"$MODEL\" m.gguf --type q8_0", 0, "28 tensors");
  expect("\"$DURE\" inspect m.gguf | tail -n 1", 0,
         "as a model of type \"gpt2\": 0 missing or of another shape, 0 left over");
  expect("\"$DURE\" inspect m.gguf --json --no-statistics | grep -o 'gpt2.embedding_length[^,]*48'", 0, "48");
  expect("\"$DURE\" logits m.gguf $ON --tokens '1 2 3' -o l.safetensors", 0, "wrote logits [3, 272]");
  expect("\"$DURE\" generate m.gguf $ON --prompt a --max-tokens 2 --json", 0, "\"finish_reason\"");
  expect("\"$DURE\" gradients m.gguf $ON --tokens '1 2 3' -o g.safetensors", 0, "nats over 2 tokens");
  expect("\"$DURE\" inspect g.safetensors | grep h.1.mlp.c_proj.weight", 0, "[192, 48]");
  expect("\"$DURE\" convert m.gguf back --type bf16 && \"$DURE\" inspect back | tail -n 1", 0, "0 left over");
  expect("\"$DURE\" convert \"$MODEL\" m --type q8_0", 2, "--type must be one of");
  expect("\"$DURE\" convert \"$MODEL\"", 2, "an argument is missing");
  expect("\"$DURE\" gradients m.gguf $ON --tokens 1 -o g.safetensors", 1, "from 2 to the model's context");
  expect("\"$DURE\" inspect nothing", 1, "nothing");
}
END_TEST

START_TEST(results_that_do_not_arrive_are_a_failure) {
  if (access("/dev/full", W_OK) != 0) return;
  expect("\"$DURE\" --version > /dev/full", 1, "cannot write to standard output");
  expect("\"$DURE\" generate --help > /dev/full", 1, "cannot write to standard output");
  expect("\"$DURE\" devices --json > /dev/full", 1, "cannot write to standard output");
  expect("echo '{\"text\": \"a\"}' > a.jsonl && \"$DURE\" data dedup a.jsonl -o b.jsonl --json > /dev/full", 1,
         "cannot write to standard output");
  expect("yes | \"$DURE\" tokenizer encode --tokenizer \"$MODEL\" > /dev/full", 1, "cannot write to standard output");
  expect("yes 65 | \"$DURE\" tokenizer decode --tokenizer \"$MODEL\" > /dev/full", 1,
         "cannot write to standard output");
  expect("\"$DURE\" eval \"$MODEL\" $ON --data \"$DATA\" --json > /dev/full", 1, "cannot write to standard output");
}
END_TEST

START_TEST(closed_standard_files_do_not_mix_text_into_outputs) {
  expect("\"$DURE\" logits \"$MODEL\" $ON --tokens '1 2' -o a.safetensors", 0, "wrote logits");
  expect("\"$DURE\" logits \"$MODEL\" $ON --tokens '1 2' -o b.safetensors <&- >&- 2>&-", 0, "");
  expect("cmp a.safetensors b.safetensors", 0, "");
  expect(
      "\"$DURE\" train --model \"$MODEL\" --data \"$DATA\" --out run $ON --steps 1 --batch-size 1 --context 8 "
      "--eval-every 0 <&- >&- 2>&-; wc -l < run/metrics.jsonl",
      0, "1");
}
END_TEST

START_TEST(a_trace_is_closed) {
  expect("DURE_TRACE=t.json \"$DURE\" generate \"$MODEL\" $ON --max-tokens 2 > /dev/null && head -n 1 t.json", 0,
         "[\n");
  expect("tail -n 2 t.json | grep -c '\"dur\":[0-9.]*}$'", 0, "1");
  expect("tail -n 1 t.json", 0, "]\n");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("commands");
  TCase *cases = tcase_create("commands");
  tcase_set_timeout(cases, 60);
  tcase_add_checked_fixture(cases, setup, teardown);
  tcase_add_test(cases, options_without_meaning_are_wrong_usage);
  tcase_add_test(cases, models_are_converted_inspected_and_differentiated);
  tcase_add_test(cases, results_that_do_not_arrive_are_a_failure);
  tcase_add_test(cases, closed_standard_files_do_not_mix_text_into_outputs);
  tcase_add_test(cases, a_trace_is_closed);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
