// Deduplicating and packing: the right documents stay, the split is stable, the tokens decode to the text.
#include <signal.h>
#include <sys/resource.h>

#include "data/dataset.h"
#include "data/dedup.h"
#include "data/pack.h"
#include "data/shingles.h"
#include "data_files.h"

static const unsigned SEED = 20240611;

// ---- material ----

// `count` documents of random words as JSONL, to be freed.
static char *make_documents(int count, unsigned seed) {
  char *text = malloc((size_t)count * 1200 + 1);
  size_t size = 0;
  for (int i = 0; i < count; i++) {
    size += (size_t)sprintf(text + size, "{\"text\": \"문서 %d:", i);
    for (int word = 0; word < 60; word++) {
      seed = seed * 1664525u + 1013904223u;
      size += (size_t)sprintf(text + size, " %c%u", 'a' + (int)(seed >> 28), (seed >> 8) % 10000);
    }
    size += (size_t)sprintf(text + size, "\"}\n");
  }
  return text;
}

static dure_pack_options pack_options(const char *output) {
  dure_pack_options options = {
      .tokenizer = write_byte_tokenizer(0), .output = in_test_directory(output), .held_out = 0.1};
  return options;
}

static dure_pack_summary pack(const char *input, const dure_pack_options *options) {
  dure_pack_summary summary;
  require(dure_pack(&input, 1, options, &summary));
  return summary;
}

// All text of a split, documents ended by \n, to be freed.
static char *decode_split(const char *directory, dure_split split) {
  dure_dataset *dataset = NULL;
  dure_tokenizer *tokenizer = NULL;
  require(dure_dataset_open(directory, &dataset));
  require(dure_dataset_verify(dataset));
  require(dure_tokenizer_open(dure_dataset_tokenizer_path(dataset), &tokenizer));
  dure_split_counts counts = dure_dataset_counts(dataset, split);
  uint32_t *ids = malloc((size_t)counts.tokens * sizeof(*ids) + 1);
  require(dure_dataset_read(dataset, split, 0, (size_t)counts.tokens, ids));
  char *all = calloc(1, (size_t)(counts.text_bytes + counts.documents) + 1);
  size_t size = 0;
  uint64_t first = 0, documents = 0;
  for (uint64_t i = 0; i < counts.tokens; i++) {
    if (ids[i] != dure_dataset_end_of_text(dataset)) continue;
    char *text = NULL;
    size_t length = 0;
    require(dure_tokenizer_decode(tokenizer, ids + first, (size_t)(i - first), false, &text, &length));
    ck_assert_uint_le(size + length + 1, counts.text_bytes + counts.documents);
    memcpy(all + size, text, length);
    size += length;
    all[size++] = '\n';
    free(text);
    first = i + 1;
    documents++;
  }
  ck_assert_uint_eq(first, counts.tokens);  // the split ends with an end-of-text token
  ck_assert_uint_eq(documents, counts.documents);
  ck_assert_uint_eq(size, counts.text_bytes + counts.documents);
  free(ids);
  dure_tokenizer_close(tokenizer);
  dure_dataset_close(dataset);
  return all;
}

// ---- packing ----

START_TEST(packed_tokens_decode_to_the_documents_in_order) {
  const char *input = write_test_text(
      "in.jsonl", "{\"text\": \"첫 문서\"}\n{\"text\": \"\"}\n{\"text\": \"<|endoftext|> is text here\"}\n");
  const char *plain = write_test_text("plain.txt", "plain text\n");
  const char *inputs[] = {input, plain};
  dure_pack_options options = pack_options("data");
  options.held_out = 0;
  dure_pack_summary summary;
  require(dure_pack(inputs, 2, &options, &summary));
  ck_assert_uint_eq(summary.empty, 1);
  ck_assert_uint_eq(summary.splits[DURE_SPLIT_TRAIN].documents, 3);
  ck_assert_uint_eq(summary.splits[DURE_SPLIT_HELD_OUT].tokens, 0);
  char *text = decode_split(options.output, DURE_SPLIT_TRAIN);
  ck_assert_str_eq(text, "첫 문서\n<|endoftext|> is text here\nplain text\n\n");
  free(text);
  require_same_files(options.tokenizer, in_test_directory("data/tokenizer.json"));
}
END_TEST

START_TEST(packing_twice_gives_the_same_bytes) {
  char *documents = make_documents(200, SEED);
  const char *input = write_test_text("in.jsonl", documents);
  free(documents);
  dure_pack_options one = pack_options("one"), two = pack_options("two");
  one.shard_tokens = two.shard_tokens = 10007;
  one.held_out_distinct = two.held_out_distinct = true;
  pack(input, &one);
  pack(input, &two);
  char **names = NULL;
  size_t count = 0;
  require(dure_os_list(one.output, &names, &count));
  ck_assert_uint_gt(count, 6);
  for (size_t i = 0; i < count; i++) {
    char a[64], b[64];
    snprintf(a, sizeof(a), "one/%s", names[i]);
    snprintf(b, sizeof(b), "two/%s", names[i]);
    require_same_files(in_test_directory(a), in_test_directory(b));
  }
  dure_os_names_free(names, count);
}
END_TEST

START_TEST(wide_vocabularies_take_four_bytes) {
  const char *input = write_test_text("in.txt", "some text");
  dure_pack_options options = pack_options("data");
  options.held_out = 0;
  ck_assert_uint_eq(pack(input, &options).bytes_per_token, 2);
  options.tokenizer = write_byte_tokenizer(65536 - 257);
  options.output = in_test_directory("widest");
  ck_assert_uint_eq(pack(input, &options).bytes_per_token, 2);
  options.tokenizer = write_byte_tokenizer(65536 - 256);
  options.output = in_test_directory("wide");
  ck_assert_uint_eq(pack(input, &options).bytes_per_token, 4);
  char *text = decode_split(options.output, DURE_SPLIT_TRAIN);
  ck_assert_str_eq(text, "some text\n");
  free(text);
}
END_TEST

START_TEST(a_document_stays_on_its_side_when_others_come) {
  char *documents = make_documents(400, SEED), *more = make_documents(300, SEED + 1);
  const char *small = write_test_text("small.jsonl", documents);
  const char *inputs[] = {write_test_text("more.jsonl", more), small, small};
  dure_pack_options options = pack_options("small");
  dure_pack_summary summary = pack(small, &options);
  // 40 expected of 400; 5 standard deviations are 30.
  ck_assert_uint_gt(summary.splits[DURE_SPLIT_HELD_OUT].documents, 10);
  ck_assert_uint_lt(summary.splits[DURE_SPLIT_HELD_OUT].documents, 70);
  char *held_out = decode_split(options.output, DURE_SPLIT_HELD_OUT);
  options.output = in_test_directory("large");
  require(dure_pack(inputs, 3, &options, &summary));
  char *larger = decode_split(options.output, DURE_SPLIT_HELD_OUT),
       *train = decode_split(options.output, DURE_SPLIT_TRAIN);
  for (char *line = strtok(held_out, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    ck_assert_ptr_nonnull(strstr(larger, line));
    ck_assert_ptr_null(strstr(train, line));
  }
  free(held_out);
  free(larger);
  free(train);
  free(documents);
  free(more);
}
END_TEST

START_TEST(held_out_bytes_are_reached_and_hardly_exceeded) {
  char *documents = make_documents(500, SEED);
  const char *input = write_test_text("in.jsonl", documents);
  free(documents);
  dure_pack_options options = pack_options("data");
  options.held_out_bytes = 20000;
  dure_pack_summary summary = pack(input, &options);
  ck_assert_uint_ge(summary.splits[DURE_SPLIT_HELD_OUT].text_bytes, 20000);
  ck_assert_uint_lt(summary.splits[DURE_SPLIT_HELD_OUT].text_bytes, 20000 + 800);  // one document more at most
  options.output = in_test_directory("other");
  options.held_out_bytes = 10000000;
  require_failure(dure_pack(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
}
END_TEST

START_TEST(near_duplicates_of_training_text_are_not_held_out) {
  // Every document also with another beginning and other punctuation: as good as the same.
  char *documents = make_documents(150, SEED);
  char *both = malloc(2 * strlen(documents) + 150 * 64);
  size_t size = 0;
  for (char *line = strtok(documents, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    size +=
        (size_t)sprintf(both + size, "%s\n{\"text\": \"Another,  start! %s\n", line, line + strlen("{\"text\": \""));
  }
  const char *input = write_test_text("in.jsonl", both);
  free(documents);
  free(both);
  dure_pack_options options = pack_options("data");
  dure_pack_summary loose = pack(input, &options);
  options.output = in_test_directory("distinct");
  options.held_out_distinct = true;
  dure_pack_summary distinct = pack(input, &options);
  uint64_t held_out = loose.splits[DURE_SPLIT_HELD_OUT].documents;
  ck_assert_uint_eq(distinct.splits[DURE_SPLIT_HELD_OUT].documents + distinct.near_duplicates, held_out);
  ck_assert_uint_ge(distinct.near_duplicates * 10, held_out * 7);  // all but pairs that are both held out
  ck_assert_uint_eq(distinct.splits[DURE_SPLIT_TRAIN].documents, loose.splits[DURE_SPLIT_TRAIN].documents);
}
END_TEST

START_TEST(containment_counts_shared_windows) {
  dure_shingles *shingles = NULL;
  require(dure_shingles_create(&shingles));
  char first[201] = "", second[101] = "";
  unsigned seed = SEED;
  for (int i = 0; i < 200; i++) {
    seed = seed * 1664525u + 1013904223u;
    first[i] = (char)('a' + (seed >> 16) % 26);
  }
  memcpy(second, first, 100);
  require(dure_shingles_collect(shingles, first, 200));
  ck_assert_double_eq(dure_shingles_containment(shingles, first, 200), 0);
  dure_shingles_mark(shingles, second, 100);
  // 51 of the 151 windows of 50 characters lie in the first half.
  ck_assert_double_eq_tol(dure_shingles_containment(shingles, first, 200), 51.0 / 151, 1e-12);
  ck_assert_double_eq(dure_shingles_containment(shingles, "short", 5), 0);
  dure_shingles_destroy(shingles);
}
END_TEST

START_TEST(destinations_are_protected) {
  const char *input = write_test_text("in.txt", "some text");
  dure_pack_options options = pack_options("data/");
  options.held_out = 0;
  dure_pack_summary summary = pack(input, &options);
  require_failure(dure_pack(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  options.replace = true;
  input = write_test_text("in.txt", "other text");
  pack(input, &options);
  char *text = decode_split(options.output, DURE_SPLIT_TRAIN);
  ck_assert_str_eq(text, "other text\n");
  free(text);
  // Never something that is no dataset, not even with `replace`.
  require(dure_os_make_directories(in_test_directory("home")));
  write_test_text("home/letter.txt", "keep me");
  options.output = in_test_directory("home");
  require_failure(dure_pack(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  options.output = in_test_directory("in.txt");
  require_failure(dure_pack(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
}
END_TEST

START_TEST(a_full_disk_leaves_the_old_dataset) {
  char *documents = make_documents(200, SEED);
  const char *input = write_test_text("in.jsonl", documents), *first = write_test_text("first.txt", "the old dataset");
  free(documents);
  dure_pack_options options = pack_options("data");
  options.held_out = 0;
  pack(first, &options);
  options.replace = true;
  // A limit on the size of files stands in for the disk.
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit before, limit;
  ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
  limit = before;
  limit.rlim_cur = 20000;
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  dure_pack_summary summary;
  require_failure(dure_pack(&input, 1, &options, &summary), DURE_IO, "");
  dure_dedup_options dedup = {.output = in_test_directory("first.txt")};
  dure_dedup_summary dedup_summary;
  require_failure(dure_dedup(&input, 1, &dedup, &dedup_summary), DURE_IO, "");
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
  char *text = decode_split(options.output, DURE_SPLIT_TRAIN);
  ck_assert_str_eq(text, "the old dataset\n");
  free(text);
  text = read_test_file(dedup.output, NULL);
  ck_assert_str_eq(text, "the old dataset");
  free(text);
  char **names = NULL;
  size_t count = 0;
  require(dure_os_list(test_directory, &names, &count));
  ck_assert_uint_eq(count, 5);  // the tokenizer, two inputs, the dataset, and deduplication's work in progress
  dure_os_names_free(names, count);
  // With room again, what was done is used, and nothing stays behind.
  require(dure_dedup(&input, 1, &dedup, &dedup_summary));
  ck_assert(dedup_summary.is_resumed);
  ck_assert_uint_eq(dedup_summary.kept, 200);
  require_same_files(input, dedup.output);
  ck_assert(!dure_os_is_directory(in_test_directory("first.txt.part")));
}
END_TEST

START_TEST(failures_leave_no_half_dataset) {
  dure_pack_options options = pack_options("data");
  dure_pack_summary summary;
  const char *bad = write_test_text("bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": \n");
  dure_status status = dure_pack(&bad, 1, &options, &summary);
  ck_assert_int_eq(dure_status_code(status), DURE_CORRUPT);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "bad.jsonl:2"));
  dure_status_free(status);
  const char *missing = in_test_directory("missing.jsonl");
  require_failure(dure_pack(&missing, 1, &options, &summary), DURE_NOT_FOUND, "");
  const char *markup = write_test_text("page.html", "<p>x</p>");
  require_failure(dure_pack(&markup, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  const char *empty = write_test_text("empty.jsonl", "\n");
  require_failure(dure_pack(&empty, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  options.held_out = 0.7;
  require_failure(dure_pack(&bad, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
  char **names = NULL;
  size_t count = 0;
  require(dure_os_list(test_directory, &names, &count));
  ck_assert_uint_eq(count, 4);  // the tokenizer and three inputs
  dure_os_names_free(names, count);
}
END_TEST

// ---- deduplication ----

START_TEST(the_first_of_equal_documents_stays_as_it_was) {
  const char *input =
      write_test_text("in.jsonl",
                      "{\"id\": 1, \"text\": \"same  text\\nhere\"}\n{\"text\":\"other\"}\n"
                      "{\"text\": \"same text here \", \"id\": 2}\n"
                      "{\"text\": \"\\u1112\\u1161\\u11ab\"}\n{\"text\": \"한\"}\n{\"text\": \"Other\"}\n");
  dure_dedup_options options = {.output = in_test_directory("out.jsonl")};
  dure_dedup_summary summary;
  require(dure_dedup(&input, 1, &options, &summary));
  ck_assert_uint_eq(summary.kept, 4);
  ck_assert_uint_eq(summary.duplicates, 2);
  char *out = read_test_file(options.output, NULL);
  ck_assert_str_eq(out,
                   "{\"id\": 1, \"text\": \"same  text\\nhere\"}\n{\"text\":\"other\"}\n"
                   "{\"text\": \"\\u1112\\u1161\\u11ab\"}\n{\"text\": \"Other\"}\n");
  free(out);
}
END_TEST

START_TEST(many_documents_are_told_apart) {
  char *documents = make_documents(9000, SEED);  // several times the first size of the table
  const char *input = write_test_text("in.jsonl", documents);
  free(documents);
  const char *inputs[] = {input, input};
  dure_dedup_options options = {.output = in_test_directory("out.jsonl")};
  dure_dedup_summary summary;
  require(dure_dedup(inputs, 2, &options, &summary));
  ck_assert_uint_eq(summary.kept, 9000);
  ck_assert_uint_eq(summary.duplicates, 9000);
  require_same_files(input, options.output);
}
END_TEST

START_TEST(lines_that_repeat_are_cut) {
  const char *input =
      write_test_text("in.jsonl",
                      "{\"text\": \"Subscribe to our newsletter!\\n\\nfirst document\", \"n\": 1}\n"
                      "{\"text\": \"second document\\n\\nSubscribe to our newsletter!\\n\\nends\", \"n\": 2}\n"
                      "{\"text\": \"third document\\nSubscribe to our newsletter!\\nshort\\nshort\", \"n\": 3}\n"
                      "{\"text\": \"Subscribe to our newsletter!\\n\", \"n\": 4}\n");
  dure_dedup_options options = {.output = in_test_directory("out.jsonl"), .line_limit = 1};
  dure_dedup_summary summary;
  require(dure_dedup(&input, 1, &options, &summary));
  ck_assert_uint_eq(summary.lines_cut, 3);
  ck_assert_uint_eq(summary.emptied, 1);
  char *out = read_test_file(options.output, NULL);
  ck_assert_str_eq(out,
                   "{\"text\": \"Subscribe to our newsletter!\\n\\nfirst document\", \"n\": 1}\n"
                   "{\"text\": \"second document\\n\\nends\", \"n\": 2}\n"
                   "{\"text\": \"third document\\nshort\\nshort\", \"n\": 3}\n");
  free(out);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_pack");
  TCase *test_case = tcase_create("dedup and pack");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 120);
  tcase_add_test(test_case, packed_tokens_decode_to_the_documents_in_order);
  tcase_add_test(test_case, packing_twice_gives_the_same_bytes);
  tcase_add_test(test_case, wide_vocabularies_take_four_bytes);
  tcase_add_test(test_case, a_document_stays_on_its_side_when_others_come);
  tcase_add_test(test_case, held_out_bytes_are_reached_and_hardly_exceeded);
  tcase_add_test(test_case, near_duplicates_of_training_text_are_not_held_out);
  tcase_add_test(test_case, containment_counts_shared_windows);
  tcase_add_test(test_case, destinations_are_protected);
  tcase_add_test(test_case, a_full_disk_leaves_the_old_dataset);
  tcase_add_test(test_case, failures_leave_no_half_dataset);
  tcase_add_test(test_case, the_first_of_equal_documents_stays_as_it_was);
  tcase_add_test(test_case, many_documents_are_told_apart);
  tcase_add_test(test_case, lines_that_repeat_are_cut);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
