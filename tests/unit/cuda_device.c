// The CUDA backend's device, buffers, streams, events and recordings: on the emulation, and on every CUDA device that
// there is. Each with graphs, without them, and with a wait after each command.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "runtime/log.h"
#include "tests/suite.h"

static const struct {
  const char *text, *variable, *value;
} modes[] = {
    {"graphs", "DURE_CUDA_GRAPHS", "1"}, {"no graphs", "DURE_CUDA_GRAPHS", "0"}, {"checks", "DURE_CUDA_CHECK", "1"}};
enum { MODE_COUNT = sizeof(modes) / sizeof(modes[0]), MOST_DEVICES = 8 };

static struct {
  const char *plugin;
  char identifier[32];
} found[MOST_DEVICES];
static int device_count;

static dure_device *device;
static dure_stream *stream;

static void open_device(int index) {
  const int mode = index % MODE_COUNT;
  for (int i = 0; i < MODE_COUNT; i++) unsetenv(modes[i].variable);
  setenv(modes[mode].variable, modes[mode].value, 1);
  setenv("DURE_CUDA_PLUGIN", found[index / MODE_COUNT].plugin, 1);
  require(dure_device_open(found[index / MODE_COUNT].identifier, &device));
  require(dure_stream_create(device, &stream));
}

static void close_device(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
}

// Index of the first of `count` words that is not `first + i * step`, or `count`. (An assertion for every word is
// slow.)
static uint64_t first_wrong(const uint32_t *words, uint64_t count, uint32_t first, uint32_t step) {
  for (uint64_t i = 0; i < count; i++) {
    if (words[i] != first + (uint32_t)i * step) return i;
  }
  return count;
}

static dure_buffer *make_buffer(uint64_t size) {
  dure_buffer *buffer = NULL;
  require(dure_buffer_create(device, size, DURE_MEMORY_DEVICE, "test", &buffer));
  return buffer;
}

static dure_recording *begin(const char *label, uint32_t flags) {
  dure_recording *recording = NULL;
  require(dure_recording_create(device, label, flags, &recording));
  return recording;
}

static void submit(dure_recording *recording) {
  require(dure_stream_submit(stream, &recording, 1, NULL, 0, NULL, 0, NULL));
}

// A deterministic byte of a position, so that misplaced bytes show.
static uint8_t pattern_byte(uint64_t i) { return (uint8_t)((i * 2654435761u) >> 13 ^ i); }

// ---- buffers and transfers ----

START_TEST(a_new_buffer_is_zero_and_transfers_of_any_size_round_trip) {
  open_device(_i);
  const uint64_t sizes[] = {1, 3, 4, 17, 4096, 65537, (8u << 20) + 5, 70u << 20};
  for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
    const uint64_t size = sizes[s];
    uint8_t *sent = malloc(size), *received = malloc(size), *zeros = calloc(size, 1);
    ck_assert(sent != NULL && received != NULL && zeros != NULL);
    for (uint64_t i = 0; i < size; i++) sent[i] = pattern_byte(i);
    dure_buffer *buffer = make_buffer(size);
    memset(received, 0xff, size);
    require(dure_stream_download(stream, buffer, 0, received, size, NULL));
    ck_assert_int_eq(memcmp(received, zeros, size), 0);
    require(dure_stream_upload(stream, buffer, 0, sent, size));
    require(dure_stream_download(stream, buffer, 0, received, size, NULL));
    ck_assert_int_eq(memcmp(sent, received, size), 0);
    dure_buffer_destroy(buffer);
    free(sent);
    free(received);
    free(zeros);
  }
  close_device();
}
END_TEST

START_TEST(host_buffers_are_seen_by_both_sides) {
  open_device(_i);
  dure_buffer *host = NULL;
  require(dure_buffer_create(device, 64, DURE_MEMORY_HOST, "host", &host));
  dure_buffer *target = make_buffer(64);
  uint32_t *words = dure_buffer_map(host);
  ck_assert_ptr_nonnull(words);
  ck_assert_ptr_null(dure_buffer_map(target));
  for (uint32_t i = 0; i < 16; i++) ck_assert_uint_eq(words[i], 0);
  for (uint32_t i = 0; i < 16; i++) words[i] = i + 100;
  dure_recording *recording = begin("host", 0);
  require(dure_recording_copy(recording, host, 0, target, 0, 64));
  require(dure_recording_fill(recording, host, 0, 32, 7));
  require(dure_recording_copy(recording, target, 0, host, 32, 32));
  require(dure_recording_finish(recording));
  submit(recording);
  require(dure_stream_wait(stream, 0));
  for (uint32_t i = 0; i < 8; i++) ck_assert_uint_eq(words[i], 7);
  for (uint32_t i = 0; i < 8; i++) ck_assert_uint_eq(words[8 + i], i + 100);
  dure_recording_destroy(recording);
  dure_buffer_destroy(host);
  dure_buffer_destroy(target);
  close_device();
}
END_TEST

START_TEST(pieces_larger_than_the_staging_ring_stay_in_order) {
  open_device(_i);
  enum { words = 12 << 20 };
  uint32_t *data = malloc(4ull * words), *read = malloc(4ull * words);
  ck_assert(data != NULL && read != NULL);
  dure_buffer *buffer = make_buffer(4ull * words);
  dure_recording *fill = begin("fill", 0);
  require(dure_recording_fill(fill, buffer, 4096, 2048, 0xdeadbeef));
  require(dure_recording_fill(fill, buffer, 6144, 2048, 0xdeadbeef));
  require(dure_recording_finish(fill));
  for (uint32_t i = 0; i < words; i++) data[i] = i * 3;
  uint64_t points[5];
  uint32_t parts[5][64];
  require(dure_stream_upload(stream, buffer, 0, data, 4ull * words));
  memset(data, 0, 4ull * words);  // it may be reused at once
  for (int i = 0; i < 4; i++) {
    require(dure_stream_download(stream, buffer, 4ull * (uint64_t)i * 1024, parts[i], sizeof(parts[i]), &points[i]));
    submit(fill);
  }
  require(dure_stream_download(stream, buffer, 0, read, 4ull * words, &points[4]));
  require(dure_stream_wait(stream, points[0]));
  for (uint32_t i = 0; i < 64; i++) ck_assert_uint_eq(parts[0][i], i * 3);
  require(dure_stream_wait(stream, points[4]));
  for (uint32_t i = 0; i < 64; i++) ck_assert_uint_eq(parts[1][i], 0xdeadbeef);
  for (uint32_t i = 0; i < 64; i++) ck_assert_uint_eq(parts[2][i], (2048 + i) * 3);
  ck_assert_uint_eq(first_wrong(read, 1024, 0, 3), 1024);
  ck_assert_uint_eq(first_wrong(read + 1024, 1024, 0xdeadbeef, 0), 1024);
  ck_assert_uint_eq(first_wrong(read + 2048, words - 2048, 2048 * 3, 3), words - 2048);
  dure_recording_destroy(fill);
  dure_buffer_destroy(buffer);
  free(data);
  free(read);
  close_device();
}
END_TEST

START_TEST(an_upload_replaces_an_earlier_one_of_the_same_bytes) {
  open_device(_i);
  dure_buffer *buffer = make_buffer(64);
  uint32_t value = 0;
  for (uint32_t i = 1; i <= 1000; i++) require(dure_stream_upload(stream, buffer, 16, &i, 4));
  require(dure_stream_download(stream, buffer, 16, &value, 4, NULL));
  ck_assert_uint_eq(value, 1000);
  dure_buffer_destroy(buffer);
  close_device();
}
END_TEST

// Nothing may be written to `data` once the stream is gone.
START_TEST(a_stream_may_go_with_a_download_in_flight) {
  open_device(_i);
  dure_buffer *buffer = make_buffer(1 << 20);
  dure_stream *other = NULL;
  require(dure_stream_create(device, &other));
  unsigned char *data = malloc(1 << 20);
  ck_assert_ptr_nonnull(data);
  uint64_t point = 0;
  require(dure_stream_download(other, buffer, 0, data, 1 << 20, &point));
  free(data);
  dure_stream_destroy(other);
  dure_buffer_destroy(buffer);
  close_device();
}
END_TEST

// ---- recordings ----

START_TEST(commands_see_each_other_and_replay) {
  open_device(_i);
  enum { count = 1024, chain = 200 };
  dure_buffer *x = make_buffer(4 * count), *y = make_buffer(4 * (count + chain));
  // Each round moves x's words one place further through y: only the right order brings them there.
  dure_recording *recording = begin("chain", 0);
  require(dure_recording_copy(recording, x, 0, y, 0, 4 * count));
  for (uint32_t i = 0; i < chain; i++) {
    require(dure_recording_copy(recording, y, 4 * i, x, 0, 4 * count));
    require(dure_recording_fill(recording, y, 4 * i, 4, 0x01020300 + i));
    require(dure_recording_copy(recording, x, 0, y, 4 * (i + 1), 4 * count));
  }
  require(dure_recording_finish(recording));
  require_failure(dure_recording_fill(recording, x, 0, 4, 0), DURE_INVALID_ARGUMENT, "finished");
  uint32_t values[count + chain];
  for (uint32_t i = 0; i < count; i++) values[i] = 5 * i;
  require(dure_stream_upload(stream, x, 0, values, 4 * count));
  for (int i = 0; i < 3; i++) submit(recording);
  require(dure_stream_download(stream, y, 0, values, sizeof(values), NULL));
  ck_assert_uint_eq(first_wrong(values, chain, 0x01020300, 1), chain);
  ck_assert_uint_eq(first_wrong(values + chain, count, 0, 5), count);
  dure_recording_destroy(recording);
  dure_buffer_destroy(x);
  dure_buffer_destroy(y);
  close_device();
}
END_TEST

START_TEST(an_empty_recording_and_one_of_one_command_run) {
  open_device(_i);
  dure_buffer *buffer = make_buffer(64);
  dure_recording *recordings[2] = {begin("empty", 0), begin("one", 0)};
  require(dure_recording_fill(recordings[1], buffer, 0, 64, 0x12345678));
  for (int i = 0; i < 2; i++) require(dure_recording_finish(recordings[i]));
  uint64_t point = 0;
  uint32_t words[16];
  require(dure_stream_submit(stream, recordings, 2, NULL, 0, NULL, 0, &point));
  ck_assert_uint_eq(point, dure_stream_point(stream));
  require(dure_stream_wait(stream, point));
  require(dure_stream_submit(stream, NULL, 0, NULL, 0, NULL, 0, &point));
  require(dure_stream_wait(stream, point));
  require(dure_stream_download(stream, buffer, 0, words, 64, NULL));
  ck_assert_uint_eq(first_wrong(words, 16, 0x12345678, 0), 16);
  for (int i = 0; i < 2; i++) dure_recording_destroy(recordings[i]);
  dure_buffer_destroy(buffer);
  close_device();
}
END_TEST

START_TEST(what_makes_no_sense_is_refused) {
  open_device(_i);
  dure_kernel *kernel = NULL;
  require_failure(dure_kernel_get(device, "no_such_kernel", NULL, 0, &kernel), DURE_UNSUPPORTED, "no_such_kernel");
  dure_buffer *x = make_buffer(1024);
  dure_recording *recording = begin("wrong", 0);
  require_failure(dure_recording_copy(recording, x, 0, x, 4, 16), DURE_INVALID_ARGUMENT, "overlaps");
  require_failure(dure_recording_copy(recording, x, 1020, x, 0, 16), DURE_INVALID_ARGUMENT, "outside");
  require(dure_recording_copy(recording, x, 0, x, 512, 512));
  require_failure(dure_stream_wait(stream, 1), DURE_INVALID_ARGUMENT, "never end");
  dure_recording_destroy(recording);
  dure_buffer_destroy(x);
  close_device();
}
END_TEST

START_TEST(every_command_is_timed_under_its_label) {
  open_device(_i);
  enum { commands = 300 };
  dure_buffer *buffer = make_buffer(1 << 16);
  dure_recording *recording = begin("timed", DURE_RECORD_TIMESTAMPS), *untimed = begin("untimed", 0);
  require(dure_recording_fill(recording, buffer, 0, 1 << 16, 0));
  for (int i = 1; i < commands; i++) {
    if (i == 1 || i == 200) dure_recording_label(recording, i == 1 ? "first" : "second");
    require(dure_recording_fill(recording, buffer, 0, 1 << 16, (uint32_t)i));
  }
  require(dure_recording_finish(recording));
  require(dure_recording_finish(untimed));
  const dure_command_time *times = NULL;
  size_t count = 0;
  require_failure(dure_recording_times(untimed, &times, &count), DURE_UNSUPPORTED, "no timestamps");
  for (int round = 0; round < 2; round++) {
    submit(recording);
    require(dure_stream_wait(stream, 0));
    require(dure_recording_times(recording, &times, &count));
    ck_assert_uint_eq(count, commands);
    double total = 0;
    for (size_t i = 0; i < count; i++) {
      ck_assert_str_eq(times[i].label, i == 0 ? "" : i < 200 ? "first" : "second");
      ck_assert_double_ge(times[i].nanoseconds, 0);
      total += times[i].nanoseconds;
    }
    ck_assert_double_gt(total, 0);
    ck_assert_double_lt(total, 60e9);
  }
  dure_recording_destroy(recording);
  dure_recording_destroy(untimed);
  dure_buffer_destroy(buffer);
  close_device();
}
END_TEST

// ---- events ----

// With checks a submission waits for its own commands, so the host could not signal afterwards.
static bool can_wait_for_host(int index) { return index % MODE_COUNT != 2; }

START_TEST(work_waits_for_the_host_and_tells_it) {
  if (!can_wait_for_host(_i)) return;
  open_device(_i);
  dure_event *start = NULL, *done = NULL;
  require(dure_event_create(device, 5, &start));
  require(dure_event_create(device, 0, &done));
  dure_buffer *buffer = make_buffer(64);
  dure_recording *fill = begin("fill", 0);
  require(dure_recording_fill(fill, buffer, 0, 64, 9));
  require(dure_recording_finish(fill));
  uint64_t value = 0, before = 0;
  uint32_t word = 1;
  bool reached = true;
  require(dure_stream_download(stream, buffer, 0, &word, 4, &before));
  require(dure_stream_submit(stream, &fill, 1, start, 6, done, 3, NULL));
  require(dure_stream_wait(stream, before));  // what was enqueued earlier does not wait
  ck_assert_uint_eq(word, 0);
  require(dure_event_wait(done, 3, 20 * 1000000, &reached));
  ck_assert(!reached);
  require(dure_event_read(start, &value));
  ck_assert_uint_eq(value, 5);
  require_failure(dure_event_signal(start, 5), DURE_INVALID_ARGUMENT, "only grows");
  require(dure_event_signal(start, 6));
  require(dure_event_wait(done, 3, 20ull * 1000000000, &reached));
  ck_assert(reached);
  require(dure_stream_wait(stream, 0));
  dure_event_destroy(start);
  dure_event_destroy(done);
  dure_recording_destroy(fill);
  dure_buffer_destroy(buffer);
  close_device();
}
END_TEST

START_TEST(one_stream_waits_for_another) {
  if (!can_wait_for_host(_i)) return;
  open_device(_i);
  dure_stream *other = NULL;
  dure_event *go = NULL, *filled = NULL;
  require(dure_stream_create(device, &other));
  require(dure_event_create(device, 0, &go));
  require(dure_event_create(device, 0, &filled));
  dure_buffer *x = make_buffer(1 << 16), *y = make_buffer(1 << 16);
  dure_recording *fill = begin("fill", 0), *copy = begin("copy", 0);
  require(dure_recording_fill(fill, x, 0, 1 << 16, 0x00c0ffee));
  require(dure_recording_finish(fill));
  require(dure_recording_copy(copy, x, 0, y, 0, 1 << 16));
  require(dure_recording_finish(copy));
  require(dure_stream_submit(other, &fill, 1, go, 1, filled, 1, NULL));
  require(dure_stream_submit(stream, &copy, 1, filled, 1, NULL, 0, NULL));
  require(dure_event_signal(go, 1));
  uint32_t words[16];
  require(dure_stream_download(stream, y, (1 << 16) - 64, words, 64, NULL));
  ck_assert_uint_eq(first_wrong(words, 16, 0x00c0ffee, 0), 16);
  dure_stream_destroy(other);
  dure_event_destroy(go);
  dure_event_destroy(filled);
  dure_recording_destroy(fill);
  dure_recording_destroy(copy);
  dure_buffer_destroy(x);
  dure_buffer_destroy(y);
  close_device();
}
END_TEST

// ---- memory ----

START_TEST(a_restricted_budget_holds) {
  open_device(_i);
  dure_device_restrict(device, NULL, 10 << 20);
  dure_buffer *first = NULL, *second = NULL;
  uint64_t used = 0, peak = 0, available = 0;
  require(dure_buffer_create(device, 6 << 20, DURE_MEMORY_DEVICE, "weights", &first));
  require(dure_device_memory(device, &used, &peak, &available));
  ck_assert_uint_eq(used, 6 << 20);
  ck_assert_uint_eq(available, 4 << 20);
  dure_status status = dure_buffer_create(device, 6 << 20, DURE_MEMORY_DEVICE, "gradients", &second);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "weights"));
  require_failure(status, DURE_OUT_OF_MEMORY, "gradients");
  // The staging ring shrinks with the budget and is not part of it.
  unsigned char *data = calloc(6, 1 << 20);
  ck_assert_ptr_nonnull(data);
  require(dure_stream_upload(stream, first, 0, data, 6 << 20));
  require(dure_stream_wait(stream, 0));
  free(data);
  dure_buffer_destroy(first);
  require(dure_device_memory(device, &used, &peak, &available));
  ck_assert_uint_eq(used, 0);
  ck_assert_uint_eq(peak, 6 << 20);
  close_device();
}
END_TEST

START_TEST(more_than_the_device_has_is_refused) {
  open_device(_i);
  dure_buffer *buffer = NULL;
  const uint64_t too_much = dure_device_get_info(device)->memory_bytes + (1 << 20);
  require_failure(dure_buffer_create(device, too_much, DURE_MEMORY_DEVICE, "everything", &buffer), DURE_OUT_OF_MEMORY,
                  "everything");
  close_device();
}
END_TEST

START_TEST(its_description_is_whole) {
  open_device(_i);
  const dure_device_info *info = dure_device_get_info(device);
  ck_assert_str_eq(info->backend, "cuda");
  ck_assert(info->usable);
  ck_assert(info->memory_budget_bytes > 0 && info->memory_budget_bytes <= info->memory_bytes);
  ck_assert_uint_eq(info->limits.max_binding_bytes, UINT64_MAX);
  ck_assert_uint_eq(info->limits.offset_alignment, 256);
  ck_assert(info->limits.max_dispatch_flops > 0 && info->limits.max_recording_bytes > 0);
  ck_assert_str_ne(info->reason, "");
  bool has_graphs = false;
  for (uint32_t i = 0; i < info->feature_count; i++) {
    if (strcmp(info->features[i].name, "graphs") != 0) continue;
    has_graphs = true;
    ck_assert_str_eq(info->features[i].environment, "DURE_CUDA_GRAPHS");
    ck_assert_int_eq(info->features[i].state, _i % MODE_COUNT == 1 ? DURE_FEATURE_DISABLED : DURE_FEATURE_ENABLED);
  }
  ck_assert(has_graphs);
  close_device();
}
END_TEST

// ---- running ----

static void print_log(void *context, dure_log_level level, const char *message) {
  (void)context;
  (void)level;
  fprintf(stderr, "%s\n", message);
}

static void find_devices(const char *plugin) {
  if (plugin == NULL || plugin[0] == '\0') return;
  setenv("DURE_CUDA_PLUGIN", plugin, 1);
  dure_device_info *infos = NULL;
  size_t count = 0;
  require(dure_devices_list(&infos, &count, NULL));
  for (size_t i = 0; i < count && device_count < MOST_DEVICES; i++) {
    if (strcmp(infos[i].backend, "cuda") != 0 || !infos[i].usable) continue;
    found[device_count].plugin = plugin;
    snprintf(found[device_count++].identifier, sizeof(found[0].identifier), "%s", infos[i].identifier);
    printf("%s: %s\n", infos[i].identifier, infos[i].name);
  }
  free(infos);
}

int main(void) {
  dure_log_set_sink(print_log, NULL);
  find_devices(getenv("DURE_CUDA_EMULATED"));
  find_devices(getenv("DURE_CUDA_BUILT"));
  if (device_count == 0) {
    printf("SKIPPED: no CUDA device, and no C++ compiler for the emulation\n");
    return 77;
  }
  Suite *suite = suite_create("cuda device");
  TCase *group = tcase_create("every device, graphs on and off");
  tcase_set_timeout(group, 300);
  const TTest *tests[] = {
      a_new_buffer_is_zero_and_transfers_of_any_size_round_trip,
      host_buffers_are_seen_by_both_sides,
      pieces_larger_than_the_staging_ring_stay_in_order,
      an_upload_replaces_an_earlier_one_of_the_same_bytes,
      a_stream_may_go_with_a_download_in_flight,
      commands_see_each_other_and_replay,
      an_empty_recording_and_one_of_one_command_run,
      what_makes_no_sense_is_refused,
      every_command_is_timed_under_its_label,
      work_waits_for_the_host_and_tells_it,
      one_stream_waits_for_another,
      a_restricted_budget_holds,
      more_than_the_device_has_is_refused,
      its_description_is_whole,
  };
  for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
    tcase_add_loop_test(group, tests[i], 0, device_count * MODE_COUNT);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_NOFORK);
}
