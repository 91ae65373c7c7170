// `dure data clean` and `dure data classifier` as people type them: files beside the output and exit statuses.
#include <jansson.h>
#include <sys/wait.h>

#include "data_files.h"

// Runs "dure data ARGUMENTS" in the test's directory; the exit status.
static int dure_data(const char *arguments) {
  char command[2048];
  const char *program = getenv("DURE_PROGRAM");
  ck_assert_msg(program != NULL, "DURE_PROGRAM is not set; run under ctest");
  snprintf(command, sizeof(command), "cd '%s' && '%s' data %s >printed 2>said", test_directory, program, arguments);
  int status = system(command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void require_said(const char *words) {
  char *said = read_test_file(in_test_directory("said"), NULL);
  ck_assert_msg(strstr(said, words) != NULL, "'%s' does not say '%s'", said, words);
  free(said);
}

START_TEST(what_was_dropped_and_why_lies_beside_the_output) {
  write_test_text("a.txt",
                  "이 글은 남아 있을 만큼 충분히 길고, 내용도 있는 글입니다. 연락은 kim@example.co.kr로 하세요.");
  write_test_text("b.txt", "too short");
  ck_assert_int_eq(dure_data("clean a.txt b.txt -o out.jsonl --remove-personal-data --dropped dropped.jsonl --json"),
                   0);
  char *out = read_test_file(in_test_directory("out.jsonl"), NULL);
  ck_assert_ptr_nonnull(strstr(out, "연락은 [email]로 하세요.\", \"source\": \"a.txt\", \"language\": \"ko\"}\n"));
  free(out);
  char *dropped = read_test_file(in_test_directory("dropped.jsonl"), NULL);
  ck_assert_str_eq(dropped,
                   "{\"reason\": \"min_characters\", \"source\": \"b.txt\", \"value\": 9, \"threshold\": 32, "
                   "\"text\": \"too short\"}\n");
  free(dropped);
  json_t *report = json_load_file(in_test_directory("out.jsonl.report.json"), 0, NULL);
  json_t *printed = json_load_file(in_test_directory("printed"), 0, NULL);
  ck_assert_str_eq(json_string_value(json_object_get(report, "format")), "dure-step-report");
  ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(printed, "personal_data"), "mail")), 1);
  ck_assert(json_equal(json_object_get(json_object_get(report, "summary"), "documents"),
                       json_object_get(printed, "documents")));
  json_decref(report);
  json_decref(printed);
}
END_TEST

START_TEST(listed_words_drop_a_page_and_its_licence_is_carried) {
  static const char markup[] =
      "<!DOCTYPE html><p>이 글은 남아 있을 만큼 충분히 길고, 내용도 있는 %s 글입니다. 끝까지 읽어 주세요.</p>"
      "<a rel='license' href='https://creativecommons.org/licenses/by/4.0/'>CC</a>";
  char page[512];
  snprintf(page, sizeof(page), markup, "좋은");
  write_test_text("a.html", page);
  snprintf(page, sizeof(page), markup, "나쁜말이");
  write_test_text("b.html", page);
  write_test_text("list.txt", "나쁜말\n");
  ck_assert_int_eq(dure_data("clean a.html b.html -o out.jsonl --bad-words ko=list.txt --dropped dropped.jsonl"), 0);
  char *out = read_test_file(in_test_directory("out.jsonl"), NULL);
  ck_assert_ptr_nonnull(strstr(out, "\"source\": \"a.html\", \"language\": \"ko\", \"licence\": \"CC-BY-4.0\"}\n"));
  ck_assert_ptr_null(strstr(out, "b.html"));
  free(out);
  char *dropped = read_test_file(in_test_directory("dropped.jsonl"), NULL);
  ck_assert_ptr_nonnull(strstr(dropped, "{\"reason\": \"max_bad_words\", \"source\": \"b.html\", \"value\": 1"));
  free(dropped);
}
END_TEST

START_TEST(a_model_finds_what_says_the_same) {
  write_test_text("in.jsonl",
                  "{\"text\": \"the quick brown fox jumps over the dog\"}\n"
                  "{\"text\": \"the quick brown fox jumps over the dig\"}\n{\"text\": \"12345 67890 !!\"}\n");
  char arguments[1024];
  snprintf(
      arguments, sizeof(arguments),
      "dedup in.jsonl -o out.jsonl --device reference --semantic-threshold 0.9 --semantic '%s/tests/golden/gpt2/odd'",
      getenv("DURE_SOURCE_DIR"));
  ck_assert_int_eq(dure_data(arguments), 0);
  require_said("1 semantic duplicates dropped");
  char *out = read_test_file(in_test_directory("out.jsonl"), NULL);
  ck_assert_str_eq(out, "{\"text\": \"the quick brown fox jumps over the dog\"}\n{\"text\": \"12345 67890 !!\"}\n");
  free(out);
}
END_TEST

START_TEST(rules_are_listed_as_a_recipe_that_reads_back) {
  ck_assert_int_eq(dure_data("clean --recipe web --list-rules"), 0);
  ck_assert_int_eq(rename(in_test_directory("printed"), in_test_directory("web.yaml")), 0);
  ck_assert_int_eq(dure_data("clean --recipe web.yaml --list-rules"), 0);
  require_same_files(in_test_directory("printed"), in_test_directory("web.yaml"));
}
END_TEST

START_TEST(mistakes_are_explained) {
  write_test_text("a.txt", "text");
  static const struct {
    const char *arguments, *words;
    int status;
  } cases[] = {
      {"clean", "nothing to read", 2},
      {"clean a.txt", "add -o OUT.jsonl", 2},
      {"clean a.txt -o o --recipe strict", "expected none, standard, gopher, c4 or web", 2},
      {"clean a.txt -o o --set min_word=3", "did you mean 'min_words'", 2},
      {"clean a.txt -o o --set min_words", "--set needs NAME=VALUE", 2},
      {"clean a.txt -o o --format pdf", "unknown format 'pdf'", 2},
      {"clean a.txt -o o --on-error ignore", "--on-error is skip or stop", 2},
      {"clean a.txt -o o --min-quality 0.5", "add --quality FILE", 2},
      {"clean a.txt -o o --recipe none --bad-words a.txt", "--set max_bad_words=0", 2},
      {"dedup a.txt -o o --semantic . --semantic-threshold 2", "is a cosine", 2},
      {"clean a.txt -o o --language kr", "unknown language 'kr'", 2},
      {"clean none.txt -o o", "none.txt", 1},
      {"clean a.txt -o /dev/full --min-characters 1", "cannot write '/dev/full'", 1},
      {"classifier train a.txt -o c", "expected 'train GOOD BAD -o FILE'", 2},
      {"classifier score a.txt a.txt", "is no classifier", 1},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    ck_assert_msg(dure_data(cases[i].arguments) == cases[i].status, "dure data %s", cases[i].arguments);
    require_said(cases[i].words);
  }
  ck_assert(!dure_os_is_file(in_test_directory("o")));
  ck_assert(!dure_os_is_file(in_test_directory("o.part")));
}
END_TEST

START_TEST(a_classifier_is_trained_and_scores) {
  write_test_text("good.txt", "설치 설명서는 사용자에게 설정을 설명합니다");
  write_test_text("bad.txt", "무료 당첨 클릭 지금 클릭 무료");
  ck_assert_int_eq(dure_data("classifier train good.txt bad.txt -o c"), 0);
  ck_assert_int_eq(dure_data("classifier score c good.txt bad.txt"), 0);
  char *printed = read_test_file(in_test_directory("printed"), NULL);
  char *second = NULL;
  double good = strtod(printed, &second);
  ck_assert_int_eq(strncmp(second, "\tgood.txt\n", 10), 0);
  ck_assert(good > 0.6 && strtod(second + 10, NULL) < 0.4);
  free(printed);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_clean_command");
  TCase *test_case = tcase_create("command");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 120);
  tcase_add_test(test_case, listed_words_drop_a_page_and_its_licence_is_carried);
  tcase_add_test(test_case, a_model_finds_what_says_the_same);
  tcase_add_test(test_case, what_was_dropped_and_why_lies_beside_the_output);
  tcase_add_test(test_case, rules_are_listed_as_a_recipe_that_reads_back);
  tcase_add_test(test_case, mistakes_are_explained);
  tcase_add_test(test_case, a_classifier_is_trained_and_scores);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
