// Near duplicates, paragraphs and benchmarks: what goes is what should, by any number of threads and ranks, and after
// being killed.
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "data/dedup.h"
#include "data/jsonl.h"
#include "data/jsonl_text.h"
#include "data_files.h"

static const unsigned SEED = 20240611;

static unsigned draw(unsigned *state, unsigned limit) {
  *state = *state * 1664525u + 1013904223u;
  return (*state >> 8) % limit;
}

// `count` pairs of documents of 200 words; the second has `changed` of them replaced, spread evenly.
static const char *write_pairs(const char *name, int count, int changed) {
  unsigned state = SEED;
  char *text = malloc((size_t)count * 6144 + 1);
  size_t size = 0;
  for (int i = 0; i < count; i++) {
    unsigned words[200];
    for (int j = 0; j < 200; j++) words[j] = draw(&state, 5000);
    for (int copy = 0; copy < 2; copy++) {
      size += (size_t)sprintf(text + size, "{\"text\": \"");
      for (int j = 0; j < 200; j++) {
        const bool is_changed = copy == 1 && changed > 0 && j % (200 / changed) == 100 / changed;
        size += (size_t)sprintf(text + size, "낱말%u ", is_changed ? 5000 + draw(&state, 5000) : words[j]);
      }
      size += (size_t)sprintf(text + size, "%d\"}\n", i);
    }
  }
  const char *path = write_test_file(name, text, size);
  free(text);
  return path;
}

static const dure_minhash_options NEAR = {
    .shingle = DURE_SHINGLE_WORDS, .width = 5, .permutations = 128, .threshold = 0.8, .seed = 1};

static dure_dedup_summary deduplicate(const char *input, const dure_dedup_options *options) {
  dure_dedup_summary summary;
  require(dure_dedup(&input, 1, options, &summary));
  return summary;
}

// Replacing one word in 40 changes 5 of 40 shingles: similarity 35/45. Found pairs follow the curve to 5 deviations.
START_TEST(pairs_are_found_as_the_curve_says) {
  const char *input = write_pairs("in.jsonl", 300, 5);
  const dure_dedup_options options = {.output = in_test_directory("out.jsonl"), .near = &NEAR};
  const dure_dedup_summary summary = deduplicate(input, &options);
  ck_assert_uint_eq(summary.bands, 9);  // what datasketch chooses too
  ck_assert_uint_eq(summary.rows, 13);
  const double similarity = 172.0 / 222, expected = 300 * dure_minhash_probability(similarity, 9, 13);
  ck_assert_double_ge((double)summary.near_duplicates, expected - 5 * sqrt(expected));
  ck_assert_double_le((double)summary.near_duplicates, expected + 5 * sqrt(expected));
  ck_assert_uint_eq(summary.kept + summary.near_duplicates, 600);
  ck_assert_uint_eq(summary.duplicates, 0);
}
END_TEST

START_TEST(the_first_of_a_cluster_stays) {
  const char *input = write_test_text("in.jsonl",
                                      "{\"text\": \"One, two, three: four five six!\"}\n{\"text\": \"other\"}\n"
                                      "{\"text\": \"one two three FOUR five six\"}\n{\"text\": \"...\"}\n"
                                      "{\"text\": \"...!\"}\n{\"text\": \"one two three four five six\"}\n");
  const dure_dedup_options options = {
      .output = in_test_directory("out.jsonl"), .near = &NEAR, .pairs = in_test_directory("pairs")};
  const dure_dedup_summary summary = deduplicate(input, &options);
  ck_assert_uint_eq(summary.near_duplicates, 2);
  char *out = read_test_file(options.output, NULL), *pairs = read_test_file(options.pairs, NULL);
  ck_assert_str_eq(out,
                   "{\"text\": \"One, two, three: four five six!\"}\n{\"text\": \"other\"}\n"
                   "{\"text\": \"...\"}\n{\"text\": \"...!\"}\n");  // texts without words are like nothing
  ck_assert_str_eq(pairs, "0\t2\n0\t5\n2\t5\n");
  free(out);
  free(pairs);
}
END_TEST

// ---- threads, memory, ranks ----

typedef struct rank_run {
  const char *input;
  dure_dedup_options options;
  dure_status status;
} rank_run;

static void *run_rank(void *context) {
  rank_run *run = context;
  dure_dedup_summary summary;
  run->status = dure_dedup(&run->input, 1, &run->options, &summary);
  return NULL;
}

static dure_dedup_options all_options(const char *output) {
  return (dure_dedup_options){
      .output = output, .near = &NEAR, .line_limit = 2, .paragraph_limit = 2, .threads = 1, .memory = 1 << 20};
}

START_TEST(threads_memory_and_ranks_change_nothing) {
  const char *input = write_pairs("in.jsonl", 400, 2);
  dure_dedup_options options = all_options(in_test_directory("one.jsonl"));
  ck_assert_uint_gt(deduplicate(input, &options).near_duplicates, 300);
  options.output = in_test_directory("three.jsonl");
  options.threads = 3;
  options.memory = UINT64_C(64) << 20;
  deduplicate(input, &options);
  require_same_files(in_test_directory("one.jsonl"), options.output);
  rank_run runs[3];
  pthread_t threads[3];
  for (uint32_t i = 0; i < 3; i++) {
    runs[i] = (rank_run){.input = input, .options = all_options(in_test_directory("ranks.jsonl"))};
    runs[i].options.ranks = (dure_ranks){2 - i, 3};
    ck_assert_int_eq(pthread_create(&threads[i], NULL, run_rank, &runs[i]), 0);
  }
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
    require(runs[i].status);
  }
  require_same_files(in_test_directory("one.jsonl"), in_test_directory("ranks.jsonl"));
}
END_TEST

// ---- being killed ----

static bool die_at(void *context, const dure_progress *progress) {
  (void)progress;
  int *left = context;
  if (--*left == 0) raise(SIGKILL);
  return true;
}

START_TEST(a_killed_run_goes_on_and_ends_with_the_same_bytes) {
  const char *input = write_pairs("in.jsonl", 400, 2);
  dure_dedup_options options = all_options(in_test_directory("whole.jsonl"));
  deduplicate(input, &options);
  options.output = in_test_directory("killed.jsonl");
  // Progress is called for each of 800 documents: dying in the scan, in that of the lines, while writing.
  static const int times[] = {300, 1000, 1100};
  for (size_t i = 0; i < 3; i++) {
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
      int left = times[i];
      options.progress = die_at;
      options.progress_context = &left;
      dure_dedup_summary summary;
      dure_status_free(dure_dedup(&input, 1, &options, &summary));
      _exit(0);
    }
    int ended = 0;
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    ck_assert(WIFSIGNALED(ended));
    ck_assert(!dure_os_is_file(options.output));
  }
  ck_assert(deduplicate(input, &options).is_resumed);
  require_same_files(in_test_directory("whole.jsonl"), options.output);
  ck_assert(!dure_os_is_directory(in_test_directory("killed.jsonl.part")));
}
END_TEST

START_TEST(other_inputs_begin_anew) {
  const char *input = write_pairs("in.jsonl", 50, 2);
  dure_dedup_options options = all_options(in_test_directory("out.jsonl"));
  int left = 60;
  const pid_t child = fork();
  if (child == 0) {
    options.progress = die_at;
    options.progress_context = &left;
    dure_dedup_summary summary;
    dure_status_free(dure_dedup(&input, 1, &options, &summary));
    _exit(0);
  }
  waitpid(child, NULL, 0);
  ck_assert(dure_os_is_directory(in_test_directory("out.jsonl.part")));
  write_test_text("in.jsonl", "{\"text\": \"only this\"}\n");
  const dure_dedup_summary summary = deduplicate(input, &options);
  ck_assert(!summary.is_resumed);
  ck_assert_uint_eq(summary.kept, 1);
}
END_TEST

// ---- paragraphs and benchmarks ----

START_TEST(paragraphs_that_repeat_are_cut) {
  const char *input =
      write_test_text("in.jsonl",
                      "{\"text\": \"A notice of two\\nlines of text.\\n\\nfirst\", \"n\": 1}\n"
                      "{\"text\": \"second\\n\\nA notice of two\\nlines of text.\\n\\nend\", \"n\": 2}\n"
                      "{\"text\": \"A notice of two\\nother lines of text.\", \"n\": 3}\n"
                      "{\"text\": \"A notice of two\\nlines of text.\", \"n\": 4}\n");
  const dure_dedup_options options = {.output = in_test_directory("out.jsonl"), .paragraph_limit = 1};
  const dure_dedup_summary summary = deduplicate(input, &options);
  ck_assert_uint_eq(summary.paragraphs_cut, 2);
  ck_assert_uint_eq(summary.emptied, 1);
  char *out = read_test_file(options.output, NULL);
  ck_assert_str_eq(out,
                   "{\"text\": \"A notice of two\\nlines of text.\\n\\nfirst\", \"n\": 1}\n"
                   "{\"text\": \"second\\n\\nend\", \"n\": 2}\n"
                   "{\"text\": \"A notice of two\\nother lines of text.\", \"n\": 3}\n");
  free(out);
}
END_TEST

START_TEST(what_overlaps_with_benchmarks_is_cut_out) {
  static const char question[] = "what is the name of the river that flows through the middle of seoul";
  const char *benchmark = write_test_text(
      "benchmark.jsonl", "{\"q\": [\"What is the name of the river that flows through the middle of Seoul?\"]}\n");
  char *text = malloc(20000), word[32];
  size_t size = 0;
  // Three documents: the question amid long text, alone, and not at all; "a b" of the first name its halves.
  for (int document = 0; document < 3; document++) {
    size += (size_t)sprintf(text + size, "{\"text\": \"");
    for (int half = 0; half < 2 && document != 1; half++) {
      for (int i = 0; i < 100; i++) {
        snprintf(word, sizeof(word), "%c%d%d ", 'a' + half, document, i);
        size += (size_t)sprintf(text + size, "%s", word);
      }
      if (half == 0 && document == 0) size += (size_t)sprintf(text + size, "%s ", question);
    }
    if (document == 1) size += (size_t)sprintf(text + size, "%s", question);
    size += (size_t)sprintf(text + size, "\"}\n");
  }
  const char *input = write_test_file("in.jsonl", text, size);
  free(text);
  const dure_dedup_options options = {
      .output = in_test_directory("out.jsonl"), .benchmarks = &benchmark, .benchmark_count = 1};
  const dure_dedup_summary summary = deduplicate(input, &options);
  ck_assert_uint_eq(summary.contaminated, 2);
  ck_assert_uint_eq(summary.contaminated_out, 1);
  ck_assert_uint_eq(summary.kept, 3);  // two pieces and the third document
  char *out = read_test_file(options.output, NULL);
  ck_assert_ptr_null(strstr(out, "river"));
  ck_assert_ptr_nonnull(strstr(out, "a00 a01"));
  ck_assert_ptr_nonnull(strstr(out, "b099\"}"));
  ck_assert_ptr_null(strstr(out, "a099"));  // within 200 characters of the question
  ck_assert_ptr_nonnull(strstr(out, "b299"));
  free(out);
}
END_TEST

// ---- reading the text alone ----

// Lines of JSON, right and wrong, from a grammar of pieces: the quick reader gives what the library gives.
START_TEST(the_text_alone_is_what_the_object_has) {
  static const char *const pieces[] = {"{",
                                       "}",
                                       "\"text\"",
                                       "\"a\"",
                                       ":",
                                       ",",
                                       "\"x\"",
                                       "1",
                                       "-0.5",
                                       "true",
                                       "null",
                                       "\"\\n\"",
                                       "\"\\u",
                                       "ac00\"",
                                       "d83d\"",
                                       "\"한국어\"",
                                       "\"\\\"q\\\\\"",
                                       " ",
                                       "01",
                                       "1e5",
                                       "[1]",
                                       "\"\xff\"",
                                       "\"",
                                       "\t",
                                       "nul",
                                       "{}",
                                       "\"\\u0000\"",
                                       "\"\\/\"",
                                       "-",
                                       "123456789012345678901"};
  enum { PIECES = sizeof(pieces) / sizeof(pieces[0]) };
  static const char *const shapes[] = {"{\"text\":%s}", "{\"a\": 1, \"text\": %s, \"b\": %s}", "{\"text\": \"y\", %s",
                                       "%s%s"};
  unsigned state = SEED;
  int good = 0;
  dure_bytes decoded = {0};
  for (int i = 0; i < 40000; i++) {
    char middle[256] = "", line[1024];
    for (unsigned j = draw(&state, 4) + 1; j > 0; j--) strcat(middle, pieces[draw(&state, PIECES)]);
    snprintf(line, sizeof(line), shapes[draw(&state, 4)], middle, pieces[draw(&state, PIECES)]);
    const dure_document document = {
        .path = "x", .line = 1, .format = DURE_FORMAT_JSONL, .bytes = line, .size = strlen(line)};
    json_t *object = NULL;
    const char *expected = NULL, *text = NULL;
    size_t expected_length = 0, length = 0;
    dure_status a = dure_jsonl_document_text(&document, &object, &expected, &expected_length);
    dure_status b = dure_jsonl_read_text(&document, &decoded, &text, &length);
    ck_assert_msg(dure_status_code(a) == dure_status_code(b), "%s", line);
    if (a == NULL) {
      ck_assert_uint_eq(length, expected_length);
      ck_assert_mem_eq(text, expected, length);
      good++;
    }
    dure_status_free(a);
    dure_status_free(b);
    json_decref(object);
  }
  ck_assert_int_gt(good, 1000);
  dure_bytes_free(&decoded);
}
END_TEST

START_TEST(options_without_meaning_are_refused) {
  const char *input = write_test_text("in.jsonl", "{\"text\": \"some text\"}\n");
  dure_minhash_options near = NEAR;
  dure_dedup_options options = {.output = in_test_directory("out.jsonl"), .near = &near};
  dure_dedup_summary summary;
  near.threshold = 1.5;
  require_failure(dure_dedup(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  near = NEAR;
  near.bands = 200;
  require_failure(dure_dedup(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  near.rows = 1;
  require_failure(dure_dedup(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  near = NEAR;
  near.width = 0;
  require_failure(dure_dedup(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  options.near = NULL;
  options.scratch = in_test_directory("home");
  require(dure_os_make_directories(options.scratch));
  write_test_text("home/letter.txt", "keep me");
  require_failure(dure_dedup(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  ck_assert(dure_os_is_file(in_test_directory("home/letter.txt")));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_dedup");
  TCase *test_case = tcase_create("deduplication");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 120);
  tcase_add_test(test_case, pairs_are_found_as_the_curve_says);
  tcase_add_test(test_case, the_first_of_a_cluster_stays);
  tcase_add_test(test_case, threads_memory_and_ranks_change_nothing);
  tcase_add_test(test_case, a_killed_run_goes_on_and_ends_with_the_same_bytes);
  tcase_add_test(test_case, other_inputs_begin_anew);
  tcase_add_test(test_case, paragraphs_that_repeat_are_cut);
  tcase_add_test(test_case, what_overlaps_with_benchmarks_is_cut_out);
  tcase_add_test(test_case, the_text_alone_is_what_the_object_has);
  tcase_add_test(test_case, options_without_meaning_are_refused);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
