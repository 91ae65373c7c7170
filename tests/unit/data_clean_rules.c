// Judging: each rule drops what it is made for and nothing else, personal data goes, classifiers tell their examples
// apart; whatever the number of threads, and over any interruption, the same bytes come out.
#include <jansson.h>
#include <math.h>

#include "data/classifier.h"
#include "data/clean.h"
#include "data_files.h"

static dure_clean_summary summary;
static dure_clean_rules rules;

static dure_clean_options default_options(void) {
  dure_clean_options options = {
      .output = in_test_directory("out.jsonl"), .languages = {true, true, true}, .rules = &rules, .threads = 1};
  return options;
}

// ---- rules ----

static const char english[] =
    "The installer asks only the questions that it has to ask, and it keeps the answers for later. "
    "Most of them have a default that you can take with one key.";
static const char korean[] =
    "설치 프로그램은 꼭 필요한 질문만 합니다. 대부분의 질문에는 미리 정해진 답이 있고, 사용자는 한 번의 입력으로 그 "
    "답을 "
    "고를 수 있습니다. 남은 설정은 나중에 바꿀 수 있습니다.";

// Repeats a text with a separator, to be freed.
static char *repeat(const char *text, const char *separator, int times) {
  char *out = malloc((strlen(text) + strlen(separator)) * (size_t)times + 1);
  out[0] = '\0';
  for (int i = 0; i < times; i++) strcat(strcat(out, text), separator);
  return out;
}

static dure_rule check(const char *text, dure_language language) {
  dure_statistics_workspace workspace = {0};
  double value = 0;
  dure_rule broken = dure_clean_rules_check(&rules, &workspace, text, strlen(text), language, &value);
  dure_statistics_free(&workspace);
  return broken;
}

START_TEST(each_rule_drops_what_it_is_made_for) {
  static const struct {
    const char *rule, *threshold, *text;
    int times;
    dure_language language;
  } cases[] = {
      {"min_words", "50", "Too few words here. ", 2, DURE_ENGLISH},
      {"max_words", "50", "more words and ", 40, DURE_ENGLISH},
      {"min_mean_word_length", "3", "a b c d to of ", 5, DURE_ENGLISH},
      {"max_mean_word_length", "10", "incomprehensibilities internationalisation ", 5, DURE_ENGLISH},
      {"min_mean_eojeol_length", "1.5", "가 나 다 라 ", 5, DURE_KOREAN},
      {"max_mean_eojeol_length", "8", "띄어쓰기가전혀없는글은기계가만든것일때가많다 ", 5, DURE_KOREAN},
      {"max_hash_ratio", "0.1", "#tag #other word ", 5, DURE_ENGLISH},
      {"max_ellipsis_ratio", "0.1", "wait... more… ", 5, DURE_ENGLISH},
      {"max_bullet_lines", "0.9", "- an item\n", 12, DURE_ENGLISH},
      {"max_bullet_lines", "0.9", "• 항목\n", 12, DURE_KOREAN},
      {"max_ellipsis_lines", "0.3", "read more...\n", 5, DURE_ENGLISH},
      {"min_alphabetic_words", "0.8", "12 + 34 = 46\n", 5, DURE_ENGLISH},
      {"min_stop_words", "2", "cats dogs birds fish ", 5, DURE_ENGLISH},
      {"min_stop_words", "2", "컴퓨터 모니터 키보드 마우스 책상 ", 5, DURE_KOREAN},
      {"min_sentences", "3", "no end of a sentence\n", 5, DURE_ENGLISH},
      {"max_curly_brackets", "0", "if (x) { y } ", 1, DURE_ENGLISH},
      {"max_lorem_ipsum", "0", "Lorem ipsum dolor ", 1, DURE_ENGLISH},
      {"max_duplicate_lines", "0.3", "the same line again\n", 4, DURE_ENGLISH},
      {"max_duplicate_paragraphs", "0.3", "the same paragraph\n\n", 4, DURE_ENGLISH},
      {"max_duplicate_line_characters", "0.2", "the same line again\n", 4, DURE_ENGLISH},
      {"max_duplicate_paragraph_characters", "0.2", "the same paragraph\n\n", 4, DURE_ENGLISH},
      {"max_top_2gram", "0.2", "buy now ", 10, DURE_ENGLISH},
      {"max_top_3gram", "0.18", "buy it now ", 10, DURE_ENGLISH},
      {"max_top_4gram", "0.16", "buy it right now ", 10, DURE_ENGLISH},
      {"max_duplicate_5gram", "0.15", "one two three four five six seven ", 3, DURE_ENGLISH},
      {"max_duplicate_10gram", "0.1", "a b c d e f g h i j k l ", 3, DURE_ENGLISH},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    require(dure_clean_rules_named("none", &rules));
    require(dure_clean_rules_set(&rules, "test", cases[i].rule, cases[i].threshold));
    char *text = repeat(cases[i].text, "", cases[i].times);
    dure_rule broken = check(text, cases[i].language);
    ck_assert_msg(broken != DURE_RULE_COUNT, "%s lets '%s' pass", cases[i].rule, text);
    ck_assert_str_eq(dure_rule_name(broken), cases[i].rule);
    free(text);
    // What reads well passes.
    dure_rule good = check(cases[i].language == DURE_KOREAN ? korean : english, cases[i].language);
    bool is_length = strcmp(cases[i].rule, "min_words") == 0 || strcmp(cases[i].rule, "min_sentences") == 0;
    ck_assert_msg(good == DURE_RULE_COUNT || is_length, "%s drops a good text", cases[i].rule);
  }
}
END_TEST

START_TEST(published_rules_spare_prose_in_both_languages) {
  static const char *const names[] = {"standard", "gopher", "c4", "web"};
  const char *more_english =
      "Partitioning comes next: the disk is shown with its free space, and the program proposes a layout that suits "
      "most "
      "people. Whoever knows better can change every size by hand. Nothing is written before you have agreed.";
  const char *more_korean =
      "다음은 디스크를 나누는 단계이다. 프로그램은 빈 공간을 보여 주고, 많은 사람에게 알맞은 배치를 제안한다. 더 잘 "
      "아는 "
      "사람은 크기를 손으로 바꿀 수 있다. 동의하기 전에는 아무것도 기록하지 않으므로 걱정하지 않아도 된다. 끝으로 "
      "부트로더를 "
      "설치하고 컴퓨터를 다시 시작하면, 새로 설치한 시스템이 화면에 나타나고 처음 만든 계정으로 들어갈 수 있게 된다.";
  for (int i = 0; i < 4; i++) {
    require(dure_clean_rules_named(names[i], &rules));
    char text[2048];
    snprintf(text, sizeof(text), "%s\n\n%s", english, more_english);
    dure_rule broken = check(text, DURE_ENGLISH);
    ck_assert_msg(broken == DURE_RULE_COUNT, "%s: %s", names[i], dure_rule_name(broken));
    snprintf(text, sizeof(text), "%s\n\n%s", korean, more_korean);
    broken = check(text, DURE_KOREAN);
    ck_assert_msg(broken == DURE_RULE_COUNT, "%s: %s", names[i], dure_rule_name(broken));
  }
}
END_TEST

START_TEST(recipes_are_read_and_mistakes_named) {
  require(dure_clean_rules_named("none", &rules));
  require(dure_clean_rules_read(&rules,
                                write_test_text("r.yaml", "base: gopher\nmin_words: 7   # fewer\nmax_words: off\n")));
  ck_assert(rules.threshold[DURE_RULE_MIN_WORDS] == 7);
  ck_assert(isnan(rules.threshold[DURE_RULE_MAX_WORDS]));
  ck_assert(rules.threshold[DURE_RULE_MAX_BULLET_LINES] == 0.9);
  require(dure_clean_rules_read(&rules, write_test_text("r.json", "{\"min_words\": 8.5}")));
  ck_assert(rules.threshold[DURE_RULE_MIN_WORDS] == 8.5);
  require_failure(dure_clean_rules_read(&rules, write_test_text("bad.yaml", "min_word: 7\n")), DURE_INVALID_ARGUMENT,
                  "");
  require_failure(dure_clean_rules_set(&rules, "test", "min_words", "7x"), DURE_INVALID_ARGUMENT, "");
  require_failure(dure_clean_rules_named("strict", &rules), DURE_INVALID_ARGUMENT, "");
}
END_TEST

// ---- lines ----

START_TEST(what_a_site_repeats_is_cut_and_the_rest_stays) {
  require(dure_clean_rules_named("none", &rules));
  require(dure_clean_rules_set(&rules, "test", "site_line_pages", "5"));
  require(dure_clean_rules_set(&rules, "test", "site_line_share", "0.5"));
  require(dure_os_make_directories(in_test_directory("site")));
  for (int i = 0; i < 8; i++) {
    char name[64], page[512];
    snprintf(name, sizeof(name), "site/%d.html", i);
    snprintf(
        page, sizeof(page),
        "<p>우리 회사</p><p>Page %d says this.</p><p>Returns:</p><p>value %d</p><p>Copyright, all rights reserved.</p>",
        i, i);
    write_test_text(name, page);
  }
  dure_clean_options options = default_options();
  const char *input = in_test_directory("site");
  require(dure_clean(&input, 1, &options, &summary));
  ck_assert_uint_eq(summary.kept, 8);
  ck_assert_uint_eq(summary.lines_cut[DURE_CUT_SITE], 16);
  char *out = read_test_file(options.output, NULL);
  ck_assert_ptr_nonnull(strstr(out, "{\"text\": \"Page 3 says this.\\n\\nReturns:\\n\\nvalue 3\""));
  free(out);
}
END_TEST

START_TEST(lines_in_other_languages_are_cut) {
  require(dure_clean_rules_named("none", &rules));
  dure_clean_options options = default_options();
  options.line_languages[DURE_KOREAN] = true;
  const char *input = write_test_text("a.txt",
                                      "이 줄은 한국어로 쓰여 있으므로 그대로 남아 있어야 한다.\n"
                                      "This line is written in English and goes away, being long enough.\nOK\n");
  require(dure_clean(&input, 1, &options, &summary));
  ck_assert_uint_eq(summary.lines_cut[DURE_CUT_LANGUAGE], 1);
  char *out = read_test_file(options.output, NULL);
  ck_assert_ptr_nonnull(strstr(out, "한다.\\n\\nOK\""));
  free(out);
  static const char *const german = "Das ist ein kurzer Satz und nicht sehr lang.";
  ck_assert_int_eq(dure_language_guess(german, strlen(german)), DURE_OTHER_LANGUAGE);
}
END_TEST

// ---- personal data ----

START_TEST(personal_data_goes_and_other_numbers_stay) {
  static const struct {
    const char *text, *expected;
  } cases[] = {
      {"메일은 hong.gildong@example.co.kr로 주세요", "메일은 [email]로 주세요"},
      {"<a@b.com>, x@y", "<[email]>, x@y"},
      {"전화 010-1234-5678, 02)123-4567, 031 456 7890.", "전화 [phone], [phone], [phone]."},
      {"+82 10-1234-5678 또는 01012345678", "[phone] 또는 [phone]"},
      {"대표번호 1588-1234, call (212) 555-0123", "대표번호 [phone], call [phone]"},
      {"주민번호 900101-1234568", "주민번호 [resident-number]"},
      {"900101-1234567은 아니다", "900101-1234567은 아니다"},
      {"card 4111 1111 1111 1111, 4111-1111-1111-1112", "card [card-number], 4111-1111-1111-1112"},
      {"2023-01-15 10:30, 1.234.567, v1.2.3, 192.168.0.1", "2023-01-15 10:30, 1.234.567, v1.2.3, 192.168.0.1"},
      {"#010-1234, page 123-456, 3.14159265358979", "#010-1234, page 123-456, 3.14159265358979"},
      {"@user and user@ and a@b.c", "@user and user@ and a@b.c"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    uint64_t counts[DURE_PERSONAL_COUNT] = {0};
    dure_bytes out = {0};
    dure_personal_data_remove(cases[i].text, strlen(cases[i].text), &out, counts);
    dure_bytes_append(&out, "", 1);
    ck_assert_str_eq(out.data, cases[i].expected);
    dure_bytes_free(&out);
  }
}
END_TEST

// ---- classifiers ----

START_TEST(classifiers_tell_their_examples_apart_and_are_the_same_twice) {
  static const char *const good[] = {"설치", "문서", "사용자", "설정", "manual", "chapter", "explains", "system"};
  static const char *const bad[] = {"무료", "당첨", "클릭", "할인", "casino", "winner", "click", "bonus"};
  static const char *const both[] = {"그리고", "있습니다", "the", "and", "합니다", "of"};
  const char *paths[2];
  uint32_t state = 20240607;
  for (int round = 0; round < 2; round++) {
    dure_classifier *classifier = NULL;
    require(dure_classifier_create(&classifier));
    state = 20240607;
    for (int i = 0; i < 200; i++) {
      char text[512] = "";
      for (int w = 0; w < 12; w++) {
        state = state * 1664525u + 1013904223u;
        uint32_t draw = state >> 16;
        strcat(strcat(text, w % 2 == 0 ? both[draw % 6] : i % 2 == 0 ? good[draw % 8] : bad[draw % 8]), " ");
      }
      require(dure_classifier_add(classifier, text, strlen(text), i % 2 == 0));
    }
    dure_classifier_summary trained;
    require(dure_classifier_train(classifier, &trained));
    ck_assert_uint_eq(trained.good, 100);
    ck_assert(trained.held_out_accuracy > 0.95);
    paths[round] = in_test_directory(round == 0 ? "a.classifier" : "b.classifier");
    require(dure_classifier_save(classifier, paths[round]));
    dure_classifier_destroy(classifier);
  }
  require_same_files(paths[0], paths[1]);
  require(dure_clean_rules_named("none", &rules));
  rules.threshold[DURE_RULE_MIN_QUALITY] = 0.5;
  dure_clean_options options = default_options();
  options.quality = paths[0];
  const char *input = write_test_text("in.jsonl",
                                      "{\"text\": \"이 문서는 설치와 설정을 설명합니다\"}\n"
                                      "{\"text\": \"무료 당첨 클릭 bonus casino\"}\n");
  require(dure_clean(&input, 1, &options, &summary));
  ck_assert_uint_eq(summary.kept, 1);
  ck_assert_uint_eq(summary.dropped[DURE_DROP_FIRST_RULE + DURE_RULE_MIN_QUALITY], 1);
  char *out = read_test_file(options.output, NULL);
  ck_assert_ptr_nonnull(strstr(out, ", \"quality\": 0."));
  free(out);
  dure_classifier *none = NULL;
  require_failure(dure_classifier_open(write_test_text("bad", "DURECLS1 not much"), &none), DURE_CORRUPT, "");
  require(dure_classifier_create(&none));
  dure_classifier_summary untrained;
  require_failure(dure_classifier_train(none, &untrained), DURE_INVALID_ARGUMENT, "");
  dure_classifier_destroy(none);
}
END_TEST

// ---- threads and interruptions ----

enum { PAGES = 300 };

static const char *write_pages(void) {
  require(dure_os_make_directories(in_test_directory("pages/a")));
  for (int i = 0; i < PAGES; i++) {
    char name[64], page[1024];
    snprintf(name, sizeof(name), "pages/%s%03d.html", i % 3 == 0 ? "a/" : "", i);
    snprintf(page, sizeof(page), "<p>Menu of the site</p><h1>%d</h1><p>%s number %d</p>%s<p>Bottom of the site</p>", i,
             i % 2 == 0 ? english : korean, i, i % 7 == 0 ? "<p>\xff</p>" : "");
    FILE *file = fopen(in_test_directory(name), "wb");  // without the syncing of write_test_text
    ck_assert_ptr_nonnull(file);
    fputs(page, file);
    fclose(file);
  }
  static char path[512];  // stays valid over more files than in_test_directory's
  snprintf(path, sizeof(path), "%s", in_test_directory("pages"));
  return path;
}

static bool stop_after_some(void *context, const dure_progress *progress) {
  return progress->documents < *(const uint64_t *)context;
}

START_TEST(threads_and_interruptions_change_no_byte) {
  const char *input = write_pages();
  require(dure_clean_rules_named("standard", &rules));
  dure_clean_options options = default_options();
  char names[4][512];  // likewise
  static const char *const files[4] = {"out.jsonl", "dropped.jsonl", "again.jsonl", "dropped-again.jsonl"};
  for (int i = 0; i < 4; i++) snprintf(names[i], sizeof(names[i]), "%s/%s", test_directory, files[i]);
  options.output = names[0];
  options.dropped = names[1];
  options.segment_size = 25000;
  require(dure_step_report_create("clean", &options.report));
  require(dure_clean(&input, 1, &options, &summary));
  const dure_clean_summary whole = summary;
  json_t *entered = dure_step_report_save(options.report);
  char *report = json_dumps(entered, JSON_SORT_KEYS);
  json_decref(entered);
  dure_step_report_destroy(options.report);
  ck_assert_uint_gt(whole.lines_cut[DURE_CUT_SITE], 0);
  ck_assert_uint_gt(whole.dropped[DURE_DROP_INVALID_UTF8], 10);
  for (uint32_t threads = 1; threads <= 3; threads += 2) {
    dure_clean_options again = options;
    again.output = names[2];
    again.dropped = names[3];
    again.threads = threads;
    again.progress = stop_after_some;
    uint64_t limit = 0;
    again.progress_context = &limit;
    // Stopped again and again, each time by a process of its own as it were.
    bool is_done = false;
    for (int runs = 0; !is_done; runs++) {
      ck_assert_int_lt(runs, 20);
      require(dure_step_report_create("clean", &again.report));
      limit += 90;
      dure_status status = dure_clean(&input, 1, &again, &summary);
      is_done = status == NULL;
      ck_assert(is_done || dure_status_code(status) == DURE_CANCELLED);
      dure_status_free(status);
      json_t *saved = dure_step_report_save(again.report);
      if (is_done) {
        char *text = json_dumps(saved, JSON_SORT_KEYS);
        ck_assert_str_eq(text, report);
        free(text);
      }
      json_decref(saved);
      dure_step_report_destroy(again.report);
    }
    require_same_files(options.output, again.output);
    require_same_files(options.dropped, again.dropped);
    ck_assert_uint_gt(summary.resumed_documents, 0);
    summary.resumed_documents = 0;
    ck_assert_mem_eq(&summary, &whole, sizeof(whole));
    ck_assert(!dure_os_is_file(in_test_directory("again.jsonl.part")));
    ck_assert(!dure_os_is_file(in_test_directory("again.jsonl.part.json")));
    remove(again.output);
  }
  free(report);
}
END_TEST

START_TEST(another_recipe_begins_anew) {
  const char *input = write_pages();
  require(dure_clean_rules_named("standard", &rules));
  dure_clean_options options = default_options();
  options.segment_size = 20000;
  uint64_t limit = 200;
  options.progress = stop_after_some;
  options.progress_context = &limit;
  require_failure(dure_clean(&input, 1, &options, &summary), DURE_CANCELLED, "");
  ck_assert(dure_os_is_file(in_test_directory("out.jsonl.part")));
  options.progress = NULL;
  require(dure_clean_rules_set(&rules, "test", "min_characters", "10"));
  require(dure_clean(&input, 1, &options, &summary));
  ck_assert_uint_eq(summary.resumed_documents, 0);
  ck_assert_uint_eq(summary.read.documents, PAGES);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_clean_rules");
  TCase *test_case = tcase_create("rules");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 120);
  tcase_add_test(test_case, each_rule_drops_what_it_is_made_for);
  tcase_add_test(test_case, published_rules_spare_prose_in_both_languages);
  tcase_add_test(test_case, recipes_are_read_and_mistakes_named);
  tcase_add_test(test_case, what_a_site_repeats_is_cut_and_the_rest_stays);
  tcase_add_test(test_case, lines_in_other_languages_are_cut);
  tcase_add_test(test_case, personal_data_goes_and_other_numbers_stay);
  tcase_add_test(test_case, classifiers_tell_their_examples_apart_and_are_the_same_twice);
  tcase_add_test(test_case, threads_and_interruptions_change_no_byte);
  tcase_add_test(test_case, another_recipe_begins_anew);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
