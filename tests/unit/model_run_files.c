// What a run writes as it goes: metrics that are cut back exactly, events that TensorBoard reads, a curve.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/loss_svg.h"
#include "model/metrics.h"
#include "model/run_files.h"
#include "model/tensorboard.h"
#include "runtime/os.h"
#include "tests/suite.h"

static char folder[64], path[256];

static void begin(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-run-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/metrics.jsonl", folder);
}

static void end(void) { require(dure_os_remove_tree(folder)); }

static dure_metrics_row row_of(uint64_t step) {
  return (dure_metrics_row){.step = step,
                            .loss = 5.0 / (double)step,
                            .learning_rate = 1e-3,
                            .gradient_norm = 1,
                            .tokens = 128 * step,
                            .seconds = 0.5,
                            .has_evaluation = step % 2 == 0,
                            .evaluation_loss = 4,
                            .bits_per_byte = 2.5};
}

static void write_rows(uint64_t kept, uint64_t first, uint64_t last) {
  dure_metrics_file *file = NULL;
  require(dure_metrics_open(path, kept, NULL, NULL, &file));
  for (uint64_t step = first; step <= last; step++) {
    dure_metrics_row row = row_of(step);
    require(dure_metrics_append(file, &row));
  }
  require(dure_metrics_sync(file));
  dure_metrics_close(file);
}

static char *read_all(void) {
  char *text = NULL;
  size_t size;
  require(dure_os_read_file(path, 1 << 20, &text, &size));
  return text;
}

static void count_row(void *context, const dure_metrics_row *row) {
  uint64_t *last = context;
  ck_assert_uint_eq(row->step, *last + 1);
  *last = row->step;
  dure_metrics_row expected = row_of(row->step);
  ck_assert_double_eq_tol(row->loss, expected.loss, 1e-8);
  ck_assert_int_eq(row->has_evaluation, expected.has_evaluation);
  ck_assert_uint_eq(row->tokens, expected.tokens);
}

START_TEST(metrics_cut_back_and_continued_are_the_uninterrupted_ones) {
  write_rows(0, 1, 10);
  char *whole = read_all();
  write_rows(6, 7, 10);
  char *again = read_all();
  ck_assert_str_eq(whole, again);
  uint64_t last = 0;
  dure_metrics_file *file = NULL;
  require(dure_metrics_open(path, 8, count_row, &last, &file));
  dure_metrics_close(file);
  ck_assert_uint_eq(last, 8);
  write_rows(0, 1, 1);
  char *fresh = read_all();
  ck_assert_uint_eq(strlen(fresh), strcspn(whole, "\n") + 1);
  free(whole);
  free(again);
  free(fresh);
}
END_TEST

START_TEST(a_torn_last_line_is_dropped) {
  write_rows(0, 1, 4);
  char *whole = read_all();
  size_t size = strlen(whole);
  for (size_t cut = size - 1; cut > size - 40; cut--) {
    require(dure_os_write_file(path, whole, cut));
    uint64_t last = 0;
    dure_metrics_file *file = NULL;
    require(dure_metrics_open(path, 100, count_row, &last, &file));
    dure_metrics_close(file);
    ck_assert_uint_eq(last, 3);
  }
  free(whole);
}
END_TEST

START_TEST(numbers_that_json_lacks_become_null) {
  dure_metrics_file *file = NULL;
  require(dure_metrics_open(path, 0, NULL, NULL, &file));
  dure_metrics_row row = row_of(1);
  row.gradient_norm = INFINITY;
  require(dure_metrics_append(file, &row));
  dure_metrics_close(file);
  char *text = read_all();
  ck_assert_ptr_nonnull(strstr(text, "\"grad_norm\": null"));
  free(text);
}
END_TEST

static uint32_t load_u32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint32_t unmask(uint32_t masked) {
  uint32_t rotated = masked - UINT32_C(0xa282ead8);
  return rotated >> 17 | rotated << 15;
}

START_TEST(crc32c_is_castagnolis) {
  ck_assert_uint_eq(dure_crc32c("123456789", 9), 0xe3069283u);  // RFC 3720's check value of this polynomial
  ck_assert_uint_eq(dure_crc32c("", 0), 0);
}
END_TEST

START_TEST(events_are_whole_records_with_right_checksums) {
  dure_tensorboard *board = NULL;
  require(dure_tensorboard_create(folder, 5, &board));
  const dure_scalar scalars[2] = {{"train/loss", 2.5}, {"train/lr", 1e-3}};
  require(dure_tensorboard_append(board, 300, scalars, 2));
  dure_tensorboard_close(board);
  char **names = NULL;
  size_t count;
  require(dure_os_list(folder, &names, &count));
  ck_assert_uint_eq(count, 1);
  ck_assert_ptr_nonnull(strstr(names[0], "tfevents"));
  char *file = dure_os_path_join(folder, names[0]), *bytes = NULL;
  size_t size;
  require(dure_os_read_file(file, 1 << 20, &bytes, &size));
  size_t position = 0, records = 0;
  bool found_tag = false;
  while (position < size) {
    const uint8_t *record = (const uint8_t *)bytes + position;
    uint32_t length = load_u32(record);
    ck_assert_uint_eq(unmask(load_u32(record + 8)), dure_crc32c(record, 8));
    ck_assert_uint_eq(unmask(load_u32(record + 12 + length)), dure_crc32c(record + 12, length));
    for (uint32_t i = 0; i + 10 <= length; i++) found_tag = found_tag || memcmp(record + 12 + i, "train/loss", 10) == 0;
    position += 16 + length;
    records++;
  }
  ck_assert_uint_eq(position, size);
  ck_assert_uint_eq(records, 3);  // version, session start, scalars
  ck_assert(found_tag);
  dure_os_names_free(names, count);
  free(file);
  free(bytes);
}
END_TEST

START_TEST(a_curve_of_any_shape_is_drawn) {
  snprintf(path, sizeof(path), "%s/loss.svg", folder);
  dure_curve training = {0}, held_out = {0};
  require(dure_loss_svg_write(path, "nothing yet <&>", &training, &held_out, 10));
  require(dure_curve_add(&training, 1, NAN));
  require(dure_loss_svg_write(path, "no number", &training, &held_out, 10));
  for (int step = 2; step <= 20000; step++) require(dure_curve_add(&training, step, 3 + 5.0 / step));
  require(dure_curve_add(&held_out, 20000, 3.1));
  require(dure_loss_svg_write(path, "many", &training, &held_out, 20000));
  char *text = read_all();
  ck_assert_ptr_nonnull(strstr(text, "</svg>"));
  ck_assert_ptr_nonnull(strstr(text, "held out: 3.1000"));
  ck_assert_ptr_null(strstr(text, "nan"));
  ck_assert_uint_lt(strlen(text), 40000);  // averaged down to what a screen shows
  free(text);
  for (int i = 0; i < 3; i++) {
    const double value = i == 0 ? 1e30 : i == 1 ? -1e-30 : 0;
    dure_curve flat = {0};
    require(dure_curve_add(&flat, 1, value));
    require(dure_loss_svg_write(path, "flat", &flat, &held_out, 0));
    dure_curve_clear(&flat);
  }
  dure_curve_clear(&training);
  dure_curve_clear(&held_out);
}
END_TEST

START_TEST(a_run_directory_is_made_and_continued) {
  char run[128];
  snprintf(run, sizeof(run), "%s/deep/run", folder);
  dure_run_files *files = NULL;
  require(dure_run_files_open(run, 0, 4, &files));
  for (uint64_t step = 1; step <= 3; step++) {
    dure_metrics_row row = row_of(step);
    require(dure_run_files_append(files, &row));
  }
  require(dure_run_files_sync(files));
  require(dure_run_files_draw(files));
  dure_run_files_close(files);
  require(dure_run_files_open(run, 2, 4, &files));
  dure_metrics_row row = row_of(3);
  require(dure_run_files_append(files, &row));
  dure_run_files_close(files);
  snprintf(path, sizeof(path), "%s/metrics.jsonl", run);
  uint64_t last = 0;
  dure_metrics_file *file = NULL;
  require(dure_metrics_open(path, 100, count_row, &last, &file));
  dure_metrics_close(file);
  ck_assert_uint_eq(last, 3);
  snprintf(path, sizeof(path), "%s/loss.svg", run);
  ck_assert(dure_os_is_file(path));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_run_files");
  TCase *tests = tcase_create("run files");
  tcase_add_checked_fixture(tests, begin, end);
  tcase_add_test(tests, metrics_cut_back_and_continued_are_the_uninterrupted_ones);
  tcase_add_test(tests, a_torn_last_line_is_dropped);
  tcase_add_test(tests, numbers_that_json_lacks_become_null);
  tcase_add_test(tests, crc32c_is_castagnolis);
  tcase_add_test(tests, events_are_whole_records_with_right_checksums);
  tcase_add_test(tests, a_curve_of_any_shape_is_drawn);
  tcase_add_test(tests, a_run_directory_is_made_and_continued);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
