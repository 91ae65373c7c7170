// Mixing, packing by several threads and after being killed, reports.
#include <math.h>
#include <signal.h>
#include <sys/wait.h>

#include "data/mix.h"
#include "data/pack.h"
#include "data/recipe.h"
#include "data/report_page.h"
#include "data_files.h"

// `count` documents "NAME I ..." of about 100 bytes.
static const char *write_source(const char *name, const char *language, int count) {
  char *text = malloc((size_t)count * 256), file[64];
  size_t size = 0;
  for (int i = 0; i < count; i++) {
    size += (size_t)sprintf(text + size, "{\"text\": \"%s %d %0*d\", \"language\": \"%s\"}\n", name, i, 80, i * 7919,
                            language);
  }
  snprintf(file, sizeof(file), "%s.jsonl", name);
  const char *path = write_test_file(file, text, size);
  free(text);
  return path;
}

static json_t *read_recipe(const char *text) {
  json_t *recipe = NULL;
  require(dure_recipe_read(write_test_text("recipe.yaml", text), &recipe));
  return recipe;
}

// ---- recipes ----

START_TEST(yaml_becomes_values) {
  json_t *value = read_recipe("# comment\na: 1\nb: [x, \"2\", 2.5, true]\nc: {d: -3, e: 2GB}\n");
  char *text = json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER);
  ck_assert_str_eq(text, "{\"a\":1,\"b\":[\"x\",\"2\",2.5,true],\"c\":{\"d\":-3,\"e\":\"2GB\"}}");
  free(text);
  json_decref(value);
  static const char *const bad[] = {
      "", "a: [1", "a: 1\na: 2\n", "a: &x 1\nb: *x\n", "--- 1\n--- 2\n", "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    require_failure(dure_recipe_read(write_test_text("bad.yaml", bad[i]), &value), DURE_CORRUPT, "");
    ck_assert_ptr_null(value);
  }
}
END_TEST

// ---- mixing ----

START_TEST(a_mixture_has_the_parts_of_its_recipe) {
  write_source("ko", "ko", 400);
  write_source("en", "en", 4000);
  char text[1024];
  snprintf(text, sizeof(text),
           "seed: 5\nsources: {a: [%s/ko.jsonl, %s/en.jsonl], b: %s/en.jsonl}\nstages:\n"
           "  - {name: main, documents: 2000, weights: {a: 1, b: 1}, languages: {ko: 1, en: 3}}\n"
           "  - {name: end, epochs: {a: 1}}\n",
           test_directory, test_directory, test_directory);
  json_t *recipe = read_recipe(text);
  dure_mix_options options = {.recipe = recipe, .output = in_test_directory("mixed.jsonl"), .threads = 1};
  dure_mix_summary summary;
  require(dure_mix(&options, &summary));
  // 500 Korean documents, all from a; 1,500 English ones in equal parts; then a once more, exactly.
  ck_assert_uint_eq(summary.count, 6);
  static const double expected[] = {500, 750, 750, 400, 4000, 0}, deviations[] = {10, 25, 25, 0, 0, 0};
  uint64_t lines = 0;
  for (int i = 0; i < 6; i++) {
    ck_assert_double_eq_tol((double)summary.rows[i].taken.documents, expected[i], 5 * deviations[i] + 0.5);
    lines += summary.rows[i].taken.documents;
  }
  ck_assert_double_eq_tol(summary.rows[0].epochs, 1.25, 1e-9);
  dure_mix_summary_free(&summary);
  size_t size = 0;
  char *out = read_test_file(options.output, &size);
  for (size_t i = 0; i < size; i++) lines -= out[i] == '\n';
  ck_assert_uint_eq(lines, 0);
  ck_assert_int_ne(strncmp(out, "{\"text\": \"ko 0 ", 15), 0);  // shuffled
  free(out);
  options.output = in_test_directory("again.jsonl");
  options.threads = 3;
  options.memory = 100000;  // many buckets
  require(dure_mix(&options, &summary));
  dure_mix_summary_free(&summary);
  require_same_files(in_test_directory("mixed.jsonl"), options.output);
  ck_assert(!dure_os_is_directory(in_test_directory("again.jsonl.part")));
  json_decref(recipe);
}
END_TEST

START_TEST(recipes_without_meaning_are_refused) {
  static const char *const bad[] = {
      "[1]",
      "{sources: {a: x.jsonl}}",
      "{sources: {}, stages: [{epochs: {a: 1}}]}",
      "{sources: {a: x.jsonl}, stages: [{weights: {a: 1}}]}",
      "{sources: {a: x.jsonl}, stages: [{bytes: 10, weights: {b: 1}}]}",
      "{sources: {a: x.jsonl}, stages: [{bytes: 10, weights: {a: -1}}]}",
      "{sources: {a: x.jsonl}, stages: [{tokens: 10, weights: {a: 1}}]}",
      "{sources: {a: x.jsonl}, stages: [{bytes: 10, weights: {a: 1}, languages: {xx: 1}}]}",
      "{sources: {a: x.jsonl}, stages: [{epoch: {a: 1}}]}",
  };
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    json_t *recipe = read_recipe(bad[i]);
    const dure_mix_options options = {.recipe = recipe, .output = in_test_directory("out.jsonl")};
    dure_mix_summary summary;
    require_failure(dure_mix(&options, &summary), DURE_INVALID_ARGUMENT, "");
    json_decref(recipe);
  }
}
END_TEST

// ---- packing ----

static bool die_at(void *context, const dure_progress *progress) {
  (void)progress;
  int *left = context;
  if (--*left == 0) raise(SIGKILL);
  return true;
}

START_TEST(packing_goes_on_after_being_killed_with_the_same_bytes) {
  const char *input = write_source("text", "en", 3000);
  dure_pack_options options = {.tokenizer = write_byte_tokenizer(0),
                               .output = in_test_directory("whole"),
                               .held_out = 0.2,
                               .shard_tokens = 30011,
                               .threads = 1};
  dure_pack_summary whole, summary;
  require(dure_pack(&input, 1, &options, &whole));
  options.output = in_test_directory("killed");
  options.threads = 2;
  for (int at = 1200; at <= 2800; at += 800) {
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
      int left = at;
      options.progress = die_at;
      options.progress_context = &left;
      dure_status_free(dure_pack(&input, 1, &options, &summary));
      _exit(0);
    }
    int ended = 0;
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    ck_assert(WIFSIGNALED(ended));
    ck_assert(!dure_os_is_directory(options.output));
  }
  require(dure_pack(&input, 1, &options, &summary));
  ck_assert(summary.is_resumed);
  ck_assert_mem_eq(summary.splits, whole.splits, sizeof(whole.splits));
  char **names = NULL;
  size_t count = 0;
  require(dure_os_list(in_test_directory("whole"), &names, &count));
  ck_assert_uint_gt(count, 8);
  for (size_t i = 0; i < count; i++) {
    char a[64], b[64];
    snprintf(a, sizeof(a), "whole/%s", names[i]);
    snprintf(b, sizeof(b), "killed/%s", names[i]);
    require_same_files(in_test_directory(a), in_test_directory(b));
  }
  dure_os_names_free(names, count);
}
END_TEST

// ---- reports ----

START_TEST(the_page_shows_the_steps_and_trusts_nothing) {
  dure_step_report *report = NULL, *later = NULL;
  require(dure_step_report_create("clean", &report));
  dure_report_entry entry = {
      .source = "docs/a.html:12", .language = "ko", .text = "한국어 문서", .length = strlen("한국어 문서")};
  dure_step_report_add(report, &entry);
  entry.reason = "too_short";
  entry.text = "<script>alert(1)</script>\xff";
  entry.length = strlen(entry.text);
  json_t *saved = dure_step_report_save(report);
  require(dure_step_report_create("clean", &later));
  dure_step_report_restore(later, saved);  // as a process does that goes on
  json_decref(saved);
  dure_step_report_add(later, &entry);
  const char *path = in_test_directory("report.json"), *page = in_test_directory("page.html");
  require(dure_step_report_write(later, NULL, path));
  dure_step_report_destroy(report);
  dure_step_report_destroy(later);
  require(dure_report_page_write(&path, 1, page));
  char *html = read_test_file(page, NULL);
  ck_assert_ptr_nonnull(strstr(html, "too short"));
  ck_assert_ptr_nonnull(strstr(html, "&lt;script&gt;"));
  ck_assert_ptr_null(strstr(html, "<script"));
  ck_assert_ptr_null(strstr(html, "http"));
  ck_assert_ptr_nonnull(strstr(html, "<td>docs</td>"));
  free(html);
  const char *other = write_test_text("other.json", "{\"format\": \"dure-dataset\"}");
  require_failure(dure_report_page_write(&other, 1, page), DURE_CORRUPT, "");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_mix");
  TCase *test_case = tcase_create("mix, pack and report");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 120);
  tcase_add_test(test_case, yaml_becomes_values);
  tcase_add_test(test_case, a_mixture_has_the_parts_of_its_recipe);
  tcase_add_test(test_case, recipes_without_meaning_are_refused);
  tcase_add_test(test_case, packing_goes_on_after_being_killed_with_the_same_bytes);
  tcase_add_test(test_case, the_page_shows_the_steps_and_trusts_nothing);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
