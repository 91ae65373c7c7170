// Semantic duplicates: which documents go is what their vectors say, by any number of threads and ranks, in little
// memory, and after a failure.
#include <math.h>
#include <pthread.h>

#include "data/dedup.h"
#include "data/vector_clusters.h"
#include "data_files.h"

enum { WIDTH = 512, GROUPS = 300, COPIES = 3, BATCH = 32 };

static const uint64_t SEED = 20261121;

// A model for tests: the vector of "G C ..." is the direction of group G, a little off for each copy C.
typedef struct fake_model {
  int texts, most_texts;  // embedded so far; after so many it fails
  float wobble, common;   // `common`: what all vectors share
} fake_model;

static float drawn(uint64_t group, uint64_t element) {
  uint64_t hash = (group * UINT64_C(0x9e3779b97f4a7c15) + element + SEED) * UINT64_C(0xbf58476d1ce4e5b9);
  hash = (hash ^ hash >> 29) * UINT64_C(0x94d049bb133111eb);
  return (float)(hash >> 40) / (float)(1 << 23) - 1;
}

static dure_status embed(void *context, const dure_semantic_text *texts, size_t count, float *out_vectors) {
  fake_model *model = context;
  for (size_t i = 0; i < count; i++) {
    if (model->most_texts > 0 && model->texts >= model->most_texts) return dure_fail(DURE_IO, "the device went away");
    model->texts++;
    char *rest = NULL;
    const uint64_t group = strtoul(texts[i].text, &rest, 10), copy = strtoul(rest, NULL, 10);
    for (size_t j = 0; j < WIDTH; j++) {
      out_vectors[i * WIDTH + j] =
          model->common * drawn(99999, j) + 3 * (drawn(group, j) + model->wobble * drawn(GROUPS + 7 * group + copy, j));
    }
  }
  return NULL;
}

// Copies of a group lie far from each other; every hundredth document is repeated exactly.
static const char *write_documents(const char *name) {
  char *text = malloc((size_t)GROUPS * COPIES * 80);
  size_t size = 0;
  for (int copy = 0; copy < COPIES; copy++) {
    for (int group = 0; group < GROUPS; group++) {
      for (int repeat = 0; repeat < 1 + (group % 100 == 0); repeat++) {
        size += (size_t)sprintf(text + size, "{\"text\": \"%d %d is what it says\"}\n", group, copy);
      }
    }
  }
  const char *path = write_test_file(name, text, size);
  free(text);
  return path;
}

static dure_semantic_options semantic_options(fake_model *model) {
  return (dure_semantic_options){
      .width = WIDTH, .batch = BATCH, .threshold = 0.95, .seed = 1, .embed = embed, .context = model};
}

static dure_status deduplicate(const char *input, const dure_semantic_options *semantic, const char *output,
                               dure_ranks ranks, uint32_t threads, dure_dedup_summary *out_summary) {
  const dure_dedup_options options = {
      .output = output, .semantic = semantic, .threads = threads, .memory = 1 << 20, .ranks = ranks};
  return dure_dedup(&input, 1, &options, out_summary);
}

// Memory for 256 of the vectors, so that a cluster is compared in rounds.
START_TEST(the_first_of_what_is_alike_stays) {
  make_test_directory();
  fake_model model = {.wobble = 0.1f};
  dure_semantic_options semantic = semantic_options(&model);
  semantic.clusters = 1;
  dure_dedup_summary summary;
  const char *input = write_documents("in.jsonl");
  require(deduplicate(input, &semantic, in_test_directory("out.jsonl"), (dure_ranks){0}, 1, &summary));
  ck_assert_int_eq(model.texts, GROUPS * COPIES);
  ck_assert_uint_eq(summary.duplicates, COPIES * GROUPS / 100);
  ck_assert_uint_eq(summary.semantic_duplicates, GROUPS * (COPIES - 1));
  ck_assert_uint_eq(summary.kept, GROUPS);
  char *out = read_test_file(in_test_directory("out.jsonl"), NULL);
  const char *line = out;
  for (int group = 0; group < GROUPS; group++) {
    char expected[64];
    snprintf(expected, sizeof(expected), "{\"text\": \"%d 0 is what it says\"}\n", group);
    ck_assert_int_eq(strncmp(line, expected, strlen(expected)), 0);
    line += strlen(expected);
  }
  ck_assert_str_eq(line, "");
  free(out);
  model.wobble = 0.5f;  // cosines of about 0.8
  semantic.identity = 1;
  require(deduplicate(input, &semantic, in_test_directory("out.jsonl"), (dure_ranks){0}, 1, &summary));
  ck_assert_uint_eq(summary.semantic_duplicates, 0);
  remove_test_directory();
}
END_TEST

START_TEST(what_all_vectors_share_is_taken_off) {
  make_test_directory();
  fake_model model = {.wobble = 0.1f, .common = 30};
  dure_semantic_options semantic = semantic_options(&model);
  semantic.clusters = 1;
  dure_dedup_summary summary;
  const char *input = write_documents("in.jsonl");
  require(deduplicate(input, &semantic, in_test_directory("out.jsonl"), (dure_ranks){0}, 1, &summary));
  ck_assert_uint_eq(summary.kept, 1);
  semantic.is_centred = true;
  require(deduplicate(input, &semantic, in_test_directory("out.jsonl"), (dure_ranks){0}, 1, &summary));
  ck_assert_uint_eq(summary.kept, GROUPS);
  remove_test_directory();
}
END_TEST

// Of what is alike, few are parted by clusters, even where the directions have no clusters in them.
START_TEST(clusters_find_nearly_all) {
  make_test_directory();
  fake_model model = {.wobble = 0.1f};
  dure_semantic_options semantic = semantic_options(&model);
  semantic.clusters = 20;
  dure_dedup_summary summary;
  const char *input = write_documents("in.jsonl");
  require(deduplicate(input, &semantic, in_test_directory("out.jsonl"), (dure_ranks){0}, 1, &summary));
  ck_assert_uint_ge(summary.semantic_duplicates, GROUPS * (COPIES - 1) * 9 / 10);
  ck_assert_uint_le(summary.semantic_duplicates, GROUPS * (COPIES - 1));
  remove_test_directory();
}
END_TEST

typedef struct rank_run {
  const char *input, *output;
  fake_model model;
  dure_ranks ranks;
  dure_status status;
} rank_run;

static void *run_rank(void *context) {
  rank_run *run = context;
  dure_semantic_options semantic = semantic_options(&run->model);
  semantic.clusters = 5;
  dure_dedup_summary summary;
  run->status = deduplicate(run->input, &semantic, run->output, run->ranks, 1, &summary);
  return NULL;
}

START_TEST(threads_and_ranks_change_nothing) {
  make_test_directory();
  fake_model model = {.wobble = 0.1f};
  dure_semantic_options semantic = semantic_options(&model);
  semantic.clusters = 5;
  dure_dedup_summary summary;
  const char *input = write_documents("in.jsonl");
  require(deduplicate(input, &semantic, in_test_directory("one.jsonl"), (dure_ranks){0}, 1, &summary));
  require(deduplicate(input, &semantic, in_test_directory("three.jsonl"), (dure_ranks){0}, 3, &summary));
  require_same_files(in_test_directory("one.jsonl"), in_test_directory("three.jsonl"));
  rank_run runs[3];
  pthread_t threads[3];
  const char *output = in_test_directory("ranks.jsonl");
  for (uint32_t i = 0; i < 3; i++) {
    runs[i] = (rank_run){.input = input, .output = output, .model = {.wobble = 0.1f}, .ranks = {2 - i, 3}};
    ck_assert_int_eq(pthread_create(&threads[i], NULL, run_rank, &runs[i]), 0);
  }
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 3; i++) require(runs[i].status);
  require_same_files(in_test_directory("one.jsonl"), output);
  remove_test_directory();
}
END_TEST

// 900 documents, a safe point after every 1,024: so many more that one is passed before the failure.
START_TEST(vectors_that_were_made_are_not_made_again) {
  make_test_directory();
  const char *parts[4];
  fake_model model = {.wobble = 0.1f}, failing = {.wobble = 0.1f, .most_texts = 1500};
  for (int i = 0; i < 4; i++) {
    char name[16], *text = malloc(500 * 64);
    size_t size = 0;
    for (int j = 0; j < 500; j++) {
      size += (size_t)sprintf(text + size, "{\"text\": \"%d %d part\"}\n", (i * 500 + j) % 700, i);
    }
    snprintf(name, sizeof(name), "%d.jsonl", i);
    parts[i] = write_test_file(name, text, size);
    free(text);
  }
  dure_semantic_options semantic = semantic_options(&failing);
  dure_dedup_options options = {.output = in_test_directory("again.jsonl"), .semantic = &semantic, .threads = 1};
  dure_dedup_summary summary;
  require_failure(dure_dedup(parts, 4, &options, &summary), DURE_IO, "");
  semantic.context = &model;
  require(dure_dedup(parts, 4, &options, &summary));
  ck_assert(summary.is_resumed);
  ck_assert_int_eq(model.texts, 2000 - 1024);
  options.output = in_test_directory("whole.jsonl");
  require(dure_dedup(parts, 4, &options, &summary));
  require_same_files(in_test_directory("again.jsonl"), in_test_directory("whole.jsonl"));
  remove_test_directory();
}
END_TEST

START_TEST(zero_vectors_are_like_nothing_and_products_are_right) {
  float vector[37], other[37], zero[37] = {0};
  double expected = 0;
  for (size_t i = 0; i < 37; i++) {
    vector[i] = drawn(1, i);
    other[i] = drawn(2, i);
  }
  ck_assert(dure_vector_normalise(vector, 37) && dure_vector_normalise(other, 37));
  for (size_t i = 0; i < 37; i++) expected += (double)vector[i] * other[i];
  ck_assert_double_eq_tol(dure_vector_product(vector, other, 37), expected, 1e-6);
  ck_assert_double_eq_tol(dure_vector_product(vector, vector, 37), 1, 1e-6);
  ck_assert(!dure_vector_normalise(zero, 37));
  other[3] = NAN;
  ck_assert(!dure_vector_normalise(other, 37));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("semantic");
  TCase *test_case = tcase_create("semantic");
  tcase_add_test(test_case, the_first_of_what_is_alike_stays);
  tcase_add_test(test_case, what_all_vectors_share_is_taken_off);
  tcase_add_test(test_case, clusters_find_nearly_all);
  tcase_add_test(test_case, threads_and_ranks_change_nothing);
  tcase_add_test(test_case, vectors_that_were_made_are_not_made_again);
  tcase_add_test(test_case, zero_vectors_are_like_nothing_and_products_are_right);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
