// What happens while the device works: steps are submitted, their results are fetched late, and checkpoints are copied
// and written behind them, without the host ever waiting in between; and what is saved so is the same as what is saved
// while the training waits. On software drivers as they are, driven like a GPU (a profile), and on the emulation of
// CUDA.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/saver.h"
#include "model/trainer.h"
#include "runtime/os.h"
#include "tests/amount.h"
#include "tests/suite.h"

enum { BATCH = 1, CONTEXT = 8, STEPS = 5, EVERY = 2 };

static const struct {
  const char *device, *profile, *plugin_variable;
} ways[] = {
    {"reference", "", ""}, {"vulkan:0", "", ""}, {"vulkan:0", "rtx4060", ""}, {"cuda:0", "", "DURE_CUDA_EMULATED"}};
enum { WAY_COUNT = sizeof(ways) / sizeof(ways[0]) };

static char folder[64];

// False when there is no such device here.
static bool choose_way(int index) {
  const char *plugin = ways[index].plugin_variable[0] != '\0' ? getenv(ways[index].plugin_variable) : "";
  if (plugin == NULL) return false;
  setenv("DURE_VULKAN_PROFILE", ways[index].profile, 1);
  if (plugin[0] != '\0') setenv("DURE_CUDA_PLUGIN", plugin, 1);
  dure_device *device = NULL;
  dure_status status = dure_device_open(ways[index].device, &device);
  if (status != NULL) printf("left out: %s: %s\n", ways[index].device, dure_status_message(status));
  const bool is_here = status == NULL;
  dure_status_free(status);
  dure_device_close(device);
  if (is_here) printf("on %s, profile '%s'\n", ways[index].device, ways[index].profile);
  return is_here;
}

static const char *golden(const char *name) {
  static char paths[2][4096];
  static int next;
  char *path = paths[next++ % 2];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(paths[0]), "%s/tests/golden/gpt2/%s", source != NULL ? source : ".", name);
  return path;
}

static void begin(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-overlap-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void end(void) { require(dure_os_remove_tree(folder)); }

// ---- steps -------------------------------------------------------------------------------------------------------

static void submit(dure_training *training, uint64_t step) {
  uint32_t tokens[BATCH * CONTEXT], labels[BATCH * CONTEXT];
  for (uint32_t i = 0; i < BATCH * CONTEXT; i++) {
    tokens[i] = (i * i + (uint32_t)step) % 251;
    labels[i] = ((i + 1) * (i + 1) + (uint32_t)step) % 251;
  }
  require(dure_training_submit(training, step, 1e-3, tokens, labels));
}

static double collect(dure_training *training) {
  dure_training_result result;
  require(dure_training_collect(training, &result));
  ck_assert(result.is_finite);
  return result.loss;
}

START_TEST(a_step_waits_once_for_an_earlier_result_and_a_copy_never) {
  if (!choose_way(_i)) return;
  dure_device *device = NULL;
  dure_stream *stream = NULL;
  require(dure_device_open(ways[_i].device, &device));
  require(dure_stream_create(device, &stream));
  const dure_training_options options = {
      .batch_size = BATCH, .context = CONTEXT, .accumulate = 1, .adamw = {0.9, 0.95, 1e-8, 0.1, 1.0, 0}};
  const dure_model_options kept = dure_training_model_options(&options, device);
  dure_model *model = NULL;
  dure_training *training = NULL;
  dure_snapshot *snapshot = NULL;
  require(dure_model_open_as(golden("even"), &kept, device, stream, &model));
  require(dure_training_create(model, &options, &training));
  require(dure_snapshot_create(training, &snapshot));

  const uint64_t waits = dure_stream_wait_count(stream);
  submit(training, 1);
  require(dure_snapshot_take(snapshot));
  submit(training, 2);
  ck_assert_msg(dure_stream_wait_count(stream) == waits, "submitting two steps and a copy waited");
  for (uint64_t step = 3; step <= 5; step++) {
    collect(training);
    submit(training, step);
    ck_assert_uint_eq(dure_stream_wait_count(stream), waits + step - 2);
  }
  bool is_complete = false;  // long ago: an update came after it
  require(dure_snapshot_is_complete(snapshot, false, &is_complete));
  ck_assert(is_complete);
  collect(training);
  collect(training);
  ck_assert_uint_eq(dure_stream_wait_count(stream), waits + 5);

  dure_snapshot_destroy(snapshot);
  dure_training_destroy(training);
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  dure_device_close(device);
}
END_TEST

// ---- runs --------------------------------------------------------------------------------------------------------

static dure_train_result train(const char *device, const char *name, int64_t steps, int64_t save_every,
                               int64_t stop_after) {
  char run[512];
  snprintf(run, sizeof(run), "%s/%s", folder, name);
  dure_train_options options;
  dure_train_options_default(&options);
  options.model = golden("even");
  options.data = golden("train/data");
  options.out = run;
  options.device = device;
  options.steps = steps;
  options.batch_size = BATCH;
  options.context = CONTEXT;
  options.eval_every = 0;
  options.save_every = save_every;
  options.stop_after = stop_after;
  options.keep = 0;
  options.lr = 1e-3;
  options.warmup = 0;
  const dure_train_observer silent = {0};
  dure_train_result result;
  require(dure_train(&options, false, &silent, &result));
  return result;
}

static void check_same_checkpoint(const char *a, const char *b, int step) {
  static const char *const names[] = {"model.safetensors", "optimizer.safetensors", "config.json"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    char paths[2][512], *bytes[2] = {NULL, NULL};
    size_t sizes[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
      snprintf(paths[k], sizeof(paths[k]), "%s/%s/checkpoints/step-%08d/%s", folder, k == 0 ? a : b, step, names[i]);
      require(dure_os_read_file(paths[k], 1 << 26, &bytes[k], &sizes[k]));
    }
    ck_assert_msg(sizes[0] == sizes[1] && memcmp(bytes[0], bytes[1], sizes[0]) == 0, "%s and %s differ", paths[0],
                  paths[1]);
    free(bytes[0]);
    free(bytes[1]);
  }
}

START_TEST(what_is_saved_behind_the_steps_is_what_is_saved_while_they_wait) {
  if (is_sparing() && ways[_i].profile[0] != '\0') return;
  if (!choose_way(_i)) return;
  const char *device = ways[_i].device;
  const dure_train_result behind = train(device, "behind", STEPS, EVERY, 0);
  const dure_train_result once = train(device, "once", STEPS, 0, 0);
  check_same_checkpoint("behind", "once", STEPS);
  for (int stop = EVERY; stop < STEPS; stop += EVERY) {
    char name[32];
    snprintf(name, sizeof(name), "stopped-%d", stop);
    train(device, name, STEPS, 0, stop);
    check_same_checkpoint("behind", name, stop);
  }
  ck_assert(behind.loss == once.loss);
  ck_assert_msg(behind.waits == once.waits, "the host waited %llu times with checkpoints in between, %llu without",
                (unsigned long long)behind.waits, (unsigned long long)once.waits);
}
END_TEST

START_TEST(a_save_at_every_step_leaves_none_out) {
  if (is_sparing() && _i != 0) return;
  if (!choose_way(_i)) return;
  train(ways[_i].device, "each", STEPS, 1, 0);
  for (int step = 1; step <= STEPS; step++) {
    char path[512];
    snprintf(path, sizeof(path), "%s/each/checkpoints/step-%08d/trainer.json", folder, step);
    ck_assert_msg(access(path, R_OK) == 0, "%s is not there", path);
  }
}
END_TEST

START_TEST(every_further_step_waits_once) {
  if (is_sparing() && _i != 1) return;
  if (!choose_way(_i)) return;
  const dure_train_result few = train(ways[_i].device, "few", 1, 0, 0), more = train(ways[_i].device, "more", 4, 2, 0);
  ck_assert_uint_eq(more.waits - few.waits, 3);
}
END_TEST

START_TEST(a_save_that_fails_ends_the_run_and_says_so) {
  char run[512], blocked[600];
  snprintf(run, sizeof(run), "%s/run", folder);
  snprintf(blocked, sizeof(blocked), "%s/checkpoints", run);
  require(dure_os_make_directories(run));
  require(dure_os_write_file(blocked, "", 0));  // a file where the directory of checkpoints would be
  dure_train_options options;
  dure_train_options_default(&options);
  options.model = golden("even");
  options.data = golden("train/data");
  options.out = run;
  options.device = "reference";
  options.steps = 50;
  options.batch_size = BATCH;
  options.context = CONTEXT;
  options.eval_every = 0;
  options.save_every = 2;
  const dure_train_observer silent = {0};
  dure_train_result result;
  dure_status status = dure_train(&options, false, &silent, &result);
  ck_assert_ptr_nonnull(status);
  ck_assert_msg(strstr(dure_status_message(status), "checkpoints") != NULL, "%s", dure_status_message(status));
  ck_assert_msg(result.step <= 4, "the run went on to step %d", (int)result.step);
  ck_assert_str_eq(result.checkpoint, "");
  dure_status_free(status);
}
END_TEST

int main(void) {
  TCase *steps = tcase_create("steps");
  tcase_add_loop_test(steps, a_step_waits_once_for_an_earlier_result_and_a_copy_never, 0, WAY_COUNT);
  TCase *runs = tcase_create("runs");
  tcase_add_checked_fixture(runs, begin, end);
  tcase_add_loop_test(runs, what_is_saved_behind_the_steps_is_what_is_saved_while_they_wait, 0, WAY_COUNT);
  tcase_add_loop_test(runs, a_save_at_every_step_leaves_none_out, 0, WAY_COUNT);
  tcase_add_loop_test(runs, every_further_step_waits_once, 0, WAY_COUNT);
  tcase_add_test(runs, a_save_that_fails_ends_the_run_and_says_so);
  Suite *suite = suite_create("training_overlap");
  suite_add_tcase(suite, steps);
  suite_add_tcase(suite, runs);
  return run_suite(suite, CK_FORK_GETENV);
}
