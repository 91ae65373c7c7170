// Sorting with runs on disk, and documents through several threads: the same whatever the memory and the threads.
#include "data/batches.h"
#include "data/sorted_runs.h"
#include "data_files.h"

static const unsigned SEED = 7;

static int compare_records(const void *a, const void *b) {
  const uint64_t *x = a, *y = b;
  for (int i = 0; i < 2; i++) {
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  }
  return 0;
}

// Random records, some of them equal, in both words only few different bits so that all levels of the sort are used.
static uint64_t *random_records(size_t count) {
  uint64_t *records = malloc(count * 2 * sizeof(uint64_t));
  uint64_t state = SEED;
  for (size_t i = 0; i < 2 * count; i++) {
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    records[i] = i % 2 == 0 ? (state >> 40 & 15) * UINT64_C(0x1000000010000001) : state >> 52;
  }
  return records;
}

START_TEST(records_are_sorted_in_memory) {
  const size_t count = 20000;
  uint64_t *records = random_records(count), *expected = random_records(count);
  qsort(expected, count, 2 * sizeof(uint64_t), compare_records);
  dure_records_sort(records, count, 2);
  ck_assert_mem_eq(records, expected, count * 2 * sizeof(uint64_t));
  free(records);
  free(expected);
}
END_TEST

// Memory for 100 records: 200 runs, more than are open at a time.
START_TEST(merging_gives_every_distinct_record_once_in_order) {
  const size_t count = 20000;
  uint64_t *records = random_records(count);
  dure_sorter_options options = {.directory = test_directory, .name = "test", .words = 2, .parts = 3, .memory = 1600};
  dure_sorter *sorter = NULL;
  require(dure_sorter_create(&options, &sorter));
  for (size_t i = 0; i < count; i++) require(dure_sorter_add(sorter, records + 2 * i));
  require(dure_sorter_spill(sorter));
  ck_assert_uint_eq(dure_sorter_next_run(sorter), 200);
  dure_sorter_destroy(sorter);
  qsort(records, count, 2 * sizeof(uint64_t), compare_records);
  size_t next = 0, merged = 0;
  for (uint32_t part = 0; part < 3; part++) {
    dure_merge *merge = NULL;
    require(dure_merge_open(test_directory, "test", part, 2, &merge));
    uint64_t record[DURE_RECORD_WORDS];
    for (bool has = true;;) {
      require(dure_merge_next(merge, record, &has));
      if (!has) break;
      ck_assert_mem_eq(record, records + 2 * next, 16);
      while (next < count && compare_records(record, records + 2 * next) == 0) next++;
      merged++;
    }
    dure_merge_close(merge);
  }
  ck_assert_uint_eq(next, count);
  ck_assert_uint_gt(merged, 1000);
  free(records);
}
END_TEST

typedef struct seen {
  uint64_t indices[4000], count, sum;
} seen;

static dure_status measure(void *context, const dure_batch_item *item) {
  (void)context;
  *(uint64_t *)item->result = strtoull(item->document.bytes + 1, NULL, 10);
  if (*(const uint64_t *)item->result == 3400) return dure_fail(DURE_CORRUPT, "%s has 3400", item->document.path);
  return NULL;
}

static dure_status see(void *context, const dure_batch_item *item) {
  seen *all = context;
  ck_assert_uint_eq(item->index, *(const uint64_t *)item->result);
  ck_assert_uint_eq(item->document.line, item->index + 1);
  all->indices[all->count++] = item->index;
  return NULL;
}

START_TEST(batches_are_taken_in_order) {
  char *text = malloc(4000 * 8);
  size_t size = 0;
  for (int i = 0; i < 3000 + _i * 1000; i++) size += (size_t)sprintf(text + size, "{%d}\n", i);
  const char *input = write_test_file("in.jsonl", text, size);
  free(text);
  for (uint32_t threads = 1; threads < 6; threads += 2) {
    static seen all;
    all = (seen){0};
    dure_document_reading reading = {.format = DURE_FORMAT_JSONL};
    dure_batch_reading batches = {.reading = &reading,
                                  .threads = threads,
                                  .first = 100,
                                  .parts = 2,
                                  .part = 1,
                                  .result_size = sizeof(uint64_t),
                                  .prepare = measure,
                                  .take = see,
                                  .context = &all};
    dure_document_counts counts;
    dure_status status = dure_batches_visit(&batches, &input, 1, &counts);
    if (_i == 0) {
      require(status);
      ck_assert_uint_eq(counts.documents, 3000);
    } else {
      ck_assert_int_eq(dure_status_code(status), DURE_CORRUPT);  // and nothing behind the failure was taken
      ck_assert_uint_lt(all.indices[all.count - 1], 3400);
      dure_status_free(status);
    }
    ck_assert_uint_eq(all.indices[0], 100);
    for (uint64_t i = 0; i < all.count; i++) ck_assert_uint_eq(all.indices[i] / 64 % 2, 1);
    ck_assert_uint_eq(all.count, _i == 0 ? 28 + 22 * 64 : 28 + 25 * 64 + 8);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_sorted_runs");
  TCase *test_case = tcase_create("sorted runs and batches");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 120);
  tcase_add_test(test_case, records_are_sorted_in_memory);
  tcase_add_test(test_case, merging_gives_every_distinct_record_once_in_order);
  tcase_add_loop_test(test_case, batches_are_taken_in_order, 0, 2);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
