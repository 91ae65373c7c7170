// `dure tokenizer` end to end: learns a vocabulary, encodes lines, decodes them to the same lines.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/os.h"
#include "tests/suite.h"

static char folder[] = "/tmp/dure-tokenizer-XXXXXX";

static void setup(void) { ck_assert_ptr_nonnull(mkdtemp(folder)); }
static void teardown(void) { dure_status_free(dure_os_remove_tree(folder)); }

// Runs a shell command in the folder with $DURE as the program and $SOURCE as the repository; returns the exit status
// and the beginning of its standard output.
static int run(const char *command, char *out_output, size_t size) {
  char line[4096];
  const char *program = getenv("DURE_PROGRAM"), *source = getenv("DURE_SOURCE_DIR");
  ck_assert_msg(program != NULL && source != NULL, "DURE_PROGRAM and DURE_SOURCE_DIR are not set; run under ctest");
  snprintf(line, sizeof(line), "cd '%s' && DURE='%s' && SOURCE='%s' && { %s; } 2>/dev/null", folder, program, source,
           command);
  FILE *pipe = popen(line, "r");
  ck_assert_ptr_nonnull(pipe);
  size_t length = fread(out_output, 1, size - 1, pipe);
  out_output[length] = '\0';
  int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(lines_come_back_from_their_ids) {
  char output[4096];
  const char *corpus = "\"$SOURCE/tests/golden/tokenizer/corpus.txt\"";
  char command[1024];
  snprintf(command, sizeof(command), "\"$DURE\" tokenizer train --vocab-size 600 -o tokenizer.json %s", corpus);
  ck_assert_int_eq(run(command, output, sizeof(output)), 0);
  snprintf(command, sizeof(command),
           "\"$DURE\" tokenizer encode --tokenizer . < %s > ids && \"$DURE\" tokenizer decode --tokenizer "
           "tokenizer.json < ids | cmp - %s",
           corpus, corpus);
  ck_assert_int_eq(run(command, output, sizeof(output)), 0);
  ck_assert_int_eq(
      run("\"$DURE\" tokenizer encode --tokenizer . --text 'a<|endoftext|>' --json", output, sizeof(output)), 0);
  ck_assert_str_eq(output, "{\"ids\":[65,0]}\n");
  ck_assert_int_eq(
      run("\"$DURE\" tokenizer decode --tokenizer . --ids '65 0' --skip-special --json", output, sizeof(output)), 0);
  ck_assert_str_eq(output, "{\"text\":\"a\"}\n");
  // Bytes EB A4, EB, 'a', F0 9F, E0, 80, 'a': a replacement for each broken character, as `tokenizers` gives.
  ck_assert_int_eq(run("\"$DURE\" tokenizer decode --tokenizer . --ids '168 98 168 65 173 254 157 223 65' --json",
                       output, sizeof(output)),
                   0);
  ck_assert_str_eq(output, "{\"text\":\"\uFFFD\uFFFDa\uFFFD\uFFFD\uFFFDa\"}\n");
}
END_TEST

START_TEST(texts_with_newlines_come_back_when_they_end_with_a_nul) {
  char output[4096];
  ck_assert_int_eq(
      run("printf 'a\\nb\\0\\n\\0c' > t; \"$DURE\" tokenizer train --vocab-size 257 -o . t && \"$DURE\" tokenizer "
          "encode "
          "--null --tokenizer . < t > ids && \"$DURE\" tokenizer decode --null --tokenizer . < ids | tr '\\0' '|'",
          output, sizeof(output)),
      0);
  ck_assert_str_eq(output, "a\nb|\n|c|");
}
END_TEST

// Ten times as much English: what --balance leaves of it is as much as there is Korean.
START_TEST(a_balanced_sample_has_as_much_of_both_languages) {
  char output[4096];
  ck_assert_int_eq(run("for i in 1 2 3 4 5 6 7 8 9 10; do echo 'This is the text that is in the other language of the "
                       "two.' >> en; done;"
                       "echo '이것은 두 언어 가운데 하나로 쓴 글입니다 그리고 짧습니다' > ko; \"$DURE\" tokenizer "
                       "train --balance --vocab-size 280 -o b.json "
                       "en ko 2>&1 | head -1",
                       output, sizeof(output)),
                   0);
  ck_assert_msg(strstr(output, "balanced: 0.0 of 0.0 MB of Korean") != NULL, "%s", output);
  // Two of the ten lines are left: a pair that each has once is merged only without balance.
  ck_assert_int_eq(
      run("\"$DURE\" tokenizer train --balance --min-frequency 3 --vocab-size 900 -o b.json en ko && \"$DURE\" "
          "tokenizer train "
          "--min-frequency 3 --vocab-size 900 -o a.json en ko && for f in b.json a.json; do \"$DURE\" tokenizer encode "
          "--tokenizer $f < en | head -1 | wc -w; done",
          output, sizeof(output)),
      0);
  char *end;
  long balanced = strtol(output, &end, 10), all = strtol(end, NULL, 10);
  ck_assert_msg(all > 0 && balanced > 2 * all, "%s", output);
  ck_assert_int_eq(run("\"$DURE\" tokenizer train --balance --vocab-size 300 -o b.json - < ko", output, sizeof(output)),
                   1);
}
END_TEST

START_TEST(mistakes_have_their_exit_status) {
  char output[4096];
  ck_assert_int_eq(run("\"$DURE\" tokenizer", output, sizeof(output)), 2);
  ck_assert_int_eq(run("\"$DURE\" tokenizer encode", output, sizeof(output)), 2);
  ck_assert_int_eq(run("\"$DURE\" tokenizer train --vocab-size 300", output, sizeof(output)), 2);
  ck_assert_int_eq(run("\"$DURE\" tokenizer encode --tokenizer missing.json", output, sizeof(output)), 1);
  ck_assert_int_eq(
      run("echo '{\"model\":{\"type\":\"WordPiece\"}}' > u.json; \"$DURE\" tokenizer encode --tokenizer u.json", output,
          sizeof(output)),
      3);
  ck_assert_int_eq(run("\"$DURE\" tokenizer train --help | grep -q example", output, sizeof(output)), 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer_command");
  TCase *cases = tcase_create("command");
  tcase_set_timeout(cases, 60);
  tcase_add_checked_fixture(cases, setup, teardown);
  tcase_add_test(cases, lines_come_back_from_their_ids);
  tcase_add_test(cases, texts_with_newlines_come_back_when_they_end_with_a_nul);
  tcase_add_test(cases, a_balanced_sample_has_as_much_of_both_languages);
  tcase_add_test(cases, mistakes_have_their_exit_status);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
