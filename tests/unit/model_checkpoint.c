// Checkpoints and runs: what is saved comes back bit for bit, what is half-written is neither found nor kept.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/checkpoint.h"
#include "model/trainer.h"
#include "runtime/os.h"
#include "tests/suite.h"

static char folder[64];

static void require_code(dure_status status, dure_code code, const char *part) {
  ck_assert_msg(dure_status_code(status) == code, "%s: '%s', expected %s", dure_code_name(dure_status_code(status)),
                dure_status_message(status), dure_code_name(code));
  ck_assert_msg(strstr(dure_status_message(status), part) != NULL, "'%s' lacks '%s'", dure_status_message(status),
                part);
  dure_status_free(status);
}

// A path in the test's own folder; the result lives until the fourth call from here.
static const char *in_folder(const char *name) {
  static char paths[4][512];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
  return path;
}

static const char *fixture(const char *name) {
  static char paths[4][4096];
  static int next;
  char *path = paths[next++ % 4];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(paths[0]), "%s/tests/golden/gpt2/%s", source != NULL ? source : ".", name);
  return path;
}

static void begin(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-checkpoint-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void end(void) { require(dure_os_remove_tree(folder)); }

// Everything that was said, for looking at.
static char said[8192];

static void keep_message(void *context, const char *text) {
  (void)context;
  size_t used = strlen(said);
  snprintf(said + used, sizeof(said) - used, "%s\n", text);
}

static const dure_train_observer observer = {.message = keep_message};

static dure_train_options options_of(const char *run) {
  dure_train_options options;
  dure_train_options_default(&options);
  options.model = fixture("even");
  options.data = fixture("train/data");
  options.out = run;
  options.device = "reference";
  options.steps = 8;
  options.batch_size = 2;
  options.context = 16;
  options.eval_every = 4;
  options.save_every = 2;
  options.lr = 1e-3;
  said[0] = '\0';
  return options;
}

static void check_same_file(const char *a, const char *b) {
  char *a_bytes = NULL, *b_bytes = NULL;
  size_t a_size, b_size;
  require(dure_os_read_file(a, 1 << 24, &a_bytes, &a_size));
  require(dure_os_read_file(b, 1 << 24, &b_bytes, &b_size));
  ck_assert_msg(a_size == b_size && memcmp(a_bytes, b_bytes, a_size) == 0, "%s and %s differ", a, b);
  free(a_bytes);
  free(b_bytes);
}

START_TEST(a_run_stopped_and_resumed_has_the_same_bits) {
  dure_train_options whole = options_of(in_folder("whole"));
  dure_train_result result;
  require(dure_train(&whole, false, &observer, &result));
  ck_assert_uint_eq(result.step, 8);
  ck_assert(result.has_evaluation && result.bits_per_byte > 0);
  dure_train_options parts = options_of(in_folder("parts"));
  for (int64_t stop = 3; stop <= 9; stop += 3) {
    parts.stop_after = stop;
    require(dure_train(&parts, stop > 3, &observer, &result));
    ck_assert_uint_eq(result.step, (uint64_t)(stop < 8 ? stop : 8));
  }
  check_same_file(in_folder("whole/checkpoints/latest/model.safetensors"),
                  in_folder("parts/checkpoints/latest/model.safetensors"));
  check_same_file(in_folder("whole/checkpoints/latest/optimizer.safetensors"),
                  in_folder("parts/checkpoints/latest/optimizer.safetensors"));
  ck_assert_ptr_null(strstr(said, "bit"));  // nothing that could change them was different
}
END_TEST

START_TEST(only_the_newest_checkpoints_are_kept_and_latest_is_the_last) {
  dure_train_options options = options_of(in_folder("run"));
  options.keep = 2;
  dure_train_result result;
  require(dure_train(&options, false, &observer, &result));
  char **names = NULL;
  size_t count;
  require(dure_os_list(in_folder("run/checkpoints"), &names, &count));
  ck_assert_uint_eq(count, 3);
  ck_assert_str_eq(names[0], "latest");
  ck_assert_str_eq(names[1], "step-00000006");
  ck_assert_str_eq(names[2], "step-00000008");
  dure_os_names_free(names, count);
  char target[64] = "";
  ck_assert_int_gt((int)readlink(in_folder("run/checkpoints/latest"), target, sizeof(target) - 1), 0);
  ck_assert_str_eq(target, "step-00000008");
}
END_TEST

START_TEST(half_written_checkpoints_are_neither_found_nor_kept) {
  require(dure_os_make_directories(in_folder("run/checkpoints/.step-00000006.part")));
  require(dure_os_make_directories(in_folder("run/checkpoints/step-00000004")));  // no trainer.json: not one of ours
  require(dure_os_make_directories(in_folder("run/checkpoints/step-4")));
  require(dure_os_link_replace("step-00000004", in_folder("run/checkpoints/latest.77")));
  char *found = NULL;
  require(dure_checkpoint_find(in_folder("run"), &found));
  ck_assert_ptr_null(found);
  require(dure_checkpoint_clean(in_folder("run")));
  char **names = NULL;
  size_t count;
  require(dure_os_list(in_folder("run/checkpoints"), &names, &count));
  ck_assert_uint_eq(count, 2);
  ck_assert_str_eq(names[0], "step-00000004");
  dure_os_names_free(names, count);
  require(dure_checkpoint_find(in_folder("nowhere"), &found));
  ck_assert_ptr_null(found);
}
END_TEST

START_TEST(a_damaged_state_is_refused) {
  static const struct {
    const char *text;
    dure_code code;
  } states[] = {
      {"", DURE_CORRUPT},
      {"{}", DURE_CORRUPT},
      {"{\"format\":\"dure-trainer\",\"version\":1,\"step\":-1,\"samples\":0,\"tokens\":0}", DURE_CORRUPT},
      {"{\"format\":\"dure-trainer\",\"version\":99,\"step\":1,\"samples\":0,\"tokens\":0}", DURE_UNSUPPORTED},
      {"{\"format\":\"dure-trainer\",\"version\":1,\"step\":1,\"samples\":0,\"tokens\":0,\"options\":{\"steps\":\"x\"}"
       "}",
       DURE_INVALID_ARGUMENT},
  };
  for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
    require(dure_os_write_file(in_folder("trainer.json"), states[i].text, strlen(states[i].text)));
    dure_trainer_state state;
    require_code(dure_checkpoint_read_state(folder, &state), states[i].code, "trainer.json");
  }
}
END_TEST

START_TEST(an_existing_run_is_not_overwritten) {
  dure_train_options options = options_of(in_folder("run"));
  options.stop_after = 2;
  dure_train_result result;
  require(dure_train(&options, false, &observer, &result));
  require_code(dure_train(&options, false, &observer, &result), DURE_INVALID_ARGUMENT, "--resume");
  require(dure_train(&options, true, &observer, &result));
  ck_assert_ptr_nonnull(strstr(said, "nothing to do"));
}
END_TEST

START_TEST(what_differs_on_resuming_is_said) {
  dure_train_options options = options_of(in_folder("run"));
  options.stop_after = 2;
  dure_train_result result;
  require(dure_train(&options, false, &observer, &result));
  options.stop_after = 0;
  options.lr = 2e-3;
  options.batch_size = 3;
  require(dure_train(&options, true, &observer, &result));
  ck_assert_ptr_nonnull(strstr(said, "--lr was 0.001 and is now 0.002"));
  ck_assert_ptr_nonnull(strstr(said, "--batch-size was 2 and is now 3"));
  ck_assert_ptr_null(strstr(said, "--keep"));
}
END_TEST

START_TEST(a_run_that_is_not_finite_keeps_its_last_checkpoint_and_names_the_op) {
  dure_train_options options = options_of(in_folder("run"));
  options.save_every = 1;
  options.lr = 1000;
  options.weight_decay = 1000;
  options.clip = 0;
  options.warmup = 0;
  dure_train_result result;
  dure_status status = dure_train(&options, false, &observer, &result);
  ck_assert_int_eq((int)dure_status_code(status), DURE_NOT_FINITE);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), " of 'train', "));  // the op and the program
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), result.checkpoint));
  dure_status_free(status);
  ck_assert_uint_ge(result.step, 1);
  dure_trainer_state state;
  require(dure_checkpoint_read_state(in_folder("run/checkpoints/latest"), &state));
  ck_assert_uint_eq(state.step, result.step);
  dure_trainer_state_clear(&state);
}
END_TEST

START_TEST(a_vocabulary_that_is_too_small_names_both_numbers) {
  static const char config[] =
      "{\"model_type\":\"gpt2\",\"vocab_size\":200,\"n_positions\":16,\"n_embd\":12,\"n_layer\":1,\"n_head\":1}";
  require(dure_os_write_file(in_folder("config.json"), config, strlen(config)));
  dure_train_options options = options_of(in_folder("run"));
  options.model = folder;
  dure_train_result result;
  dure_status status = dure_train(&options, false, &observer, &result);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "257"));
  require_code(status, DURE_INVALID_ARGUMENT, "200");
}
END_TEST

START_TEST(a_context_beyond_the_model_is_refused) {
  dure_train_options options = options_of(in_folder("run"));
  options.context = 65;
  dure_train_result result;
  require_code(dure_train(&options, false, &observer, &result), DURE_INVALID_ARGUMENT, "64 positions");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_checkpoint");
  TCase *tests = tcase_create("checkpoint");
  tcase_set_timeout(tests, 300);
  tcase_add_checked_fixture(tests, begin, end);
  tcase_add_test(tests, a_run_stopped_and_resumed_has_the_same_bits);
  tcase_add_test(tests, only_the_newest_checkpoints_are_kept_and_latest_is_the_last);
  tcase_add_test(tests, half_written_checkpoints_are_neither_found_nor_kept);
  tcase_add_test(tests, a_damaged_state_is_refused);
  tcase_add_test(tests, an_existing_run_is_not_overwritten);
  tcase_add_test(tests, what_differs_on_resuming_is_said);
  tcase_add_test(tests, a_run_that_is_not_finite_keeps_its_last_checkpoint_and_names_the_op);
  tcase_add_test(tests, a_vocabulary_that_is_too_small_names_both_numbers);
  tcase_add_test(tests, a_context_beyond_the_model_is_refused);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
