// The Vulkan backend's device, buffers, streams, events, kernels and recordings, on every Vulkan device found. Nothing
// is tested where there is none (the program says so).
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "runtime/log.h"
#include "runtime/vulkan/vulkan_device.h"
#include "tests/suite.h"

static char identifiers[8][32];
static int device_count;

static dure_code take_code(dure_status status) {
  dure_code code = dure_status_code(status);
  dure_status_free(status);
  return code;
}

static dure_device *device;
static dure_stream *stream;
static uint64_t messages_before;

static void open_device(int index) {
  messages_before = dure_vulkan_validation_message_count();
  require(dure_device_open(identifiers[index], &device));
  require(dure_stream_create(device, &stream));
}

static void close_device(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
  ck_assert_uint_eq(dure_vulkan_validation_message_count(), messages_before);
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

// A deterministic byte of a position, so that misplaced bytes show.
static uint8_t pattern_byte(uint64_t i) { return (uint8_t)((i * 2654435761u) >> 13 ^ i); }

START_TEST(a_new_buffer_is_zero_and_transfers_of_any_size_round_trip) {
  open_device(_i);
  const uint64_t sizes[] = {1, 3, 4, 17, 4096, 65537, (4u << 20) + 5, 41u << 20};
  for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
    uint64_t size = sizes[s];
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

START_TEST(recycled_memory_is_zero_again) {
  open_device(_i);
  for (int round = 0; round < 3; round++) {
    dure_buffer *buffer = make_buffer(1 << 20);
    uint32_t words[256];
    require(dure_stream_download(stream, buffer, 4096, words, sizeof(words), NULL));
    for (int i = 0; i < 256; i++) ck_assert_uint_eq(words[i], 0);
    memset(words, 0xab, sizeof(words));
    require(dure_stream_upload(stream, buffer, 4096, words, sizeof(words)));
    require(dure_stream_wait(stream, 0));
    dure_buffer_destroy(buffer);
  }
  close_device();
}
END_TEST

START_TEST(many_small_buffers_do_not_overlap) {
  open_device(_i);
  enum { count = 300 };
  dure_buffer *buffers[count];
  for (uint32_t i = 0; i < count; i++) {
    buffers[i] = make_buffer(4 + 4 * (i * 7919 % 5000));
    for (uint64_t done = 0; done < dure_buffer_size(buffers[i]); done += 4) {
      if (done % 4000 == 0) require(dure_stream_upload(stream, buffers[i], done, &i, 4));
    }
    if (i % 3 == 2) {  // leave holes that later ones fill
      require(dure_stream_wait(stream, 0));
      dure_buffer_destroy(buffers[i - 1]);
      buffers[i - 1] = NULL;
    }
  }
  for (uint32_t i = 0; i < count; i++) {
    if (buffers[i] == NULL) continue;
    for (uint64_t done = 0; done < dure_buffer_size(buffers[i]); done += 4000) {
      uint32_t value = 0;
      require(dure_stream_download(stream, buffers[i], done, &value, 4, NULL));
      ck_assert_uint_eq(value, i);
    }
    dure_buffer_destroy(buffers[i]);
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
  if (dure_device_get_info(device)->kind != DURE_DEVICE_CPU) ck_assert_ptr_null(dure_buffer_map(target));
  for (uint32_t i = 0; i < 16; i++) words[i] = i + 100;
  dure_recording *recording = NULL;
  require(dure_recording_create(device, "host", 0, &recording));
  require(dure_recording_copy(recording, host, 0, target, 0, 64));
  require(dure_recording_fill(recording, host, 0, 32, 7));
  require(dure_recording_copy(recording, target, 0, host, 32, 32));
  require(dure_recording_finish(recording));
  require(dure_stream_submit(stream, &recording, 1, NULL, 0, NULL, 0, NULL));
  require(dure_stream_wait(stream, 0));
  for (uint32_t i = 0; i < 8; i++) ck_assert_uint_eq(words[i], 7);
  for (uint32_t i = 0; i < 8; i++) ck_assert_uint_eq(words[8 + i], i + 100);
  dure_recording_destroy(recording);
  dure_buffer_destroy(host);
  dure_buffer_destroy(target);
  close_device();
}
END_TEST

// y = scale * x + bias by the smoke kernel, `count` floats.
static void record_affine(dure_recording *recording, const char *name, dure_buffer *x, dure_buffer *y, uint32_t count,
                          float scale, float bias) {
  uint32_t constants[2] = {64};
  memcpy(&constants[1], &bias, 4);
  dure_kernel *kernel = NULL;
  require(dure_kernel_get(device, name, constants, 2, &kernel));
  dure_binding bindings[] = {{x, 0, 4ull * count, DURE_READ}, {y, 0, 4ull * count, DURE_WRITE}};
  struct {
    uint32_t count;
    float scale;
  } push = {count, scale};
  require(dure_recording_dispatch(recording, kernel, bindings, 2, &push, sizeof(push), (count + 63) / 64, 1, 1));
}

START_TEST(dispatches_in_a_chain_see_each_other_and_replay) {
  open_device(_i);
  enum { count = 1000, chain = 400 };
  dure_buffer *x = make_buffer(4 * count), *y = make_buffer(4 * count);
  dure_recording *recording = NULL;
  require(dure_recording_create(device, "chain", 0, &recording));
  for (int i = 0; i < chain; i++)
    record_affine(recording, "smoke_affine", i % 2 ? y : x, i % 2 ? x : y, count, 1.0f, 1.0f);
  require(dure_recording_finish(recording));
  float values[count];
  for (int i = 0; i < count; i++) values[i] = (float)i;
  require(dure_stream_upload(stream, x, 0, values, sizeof(values)));
  for (int i = 0; i < 3; i++) require(dure_stream_submit(stream, &recording, 1, NULL, 0, NULL, 0, NULL));
  require(dure_stream_download(stream, x, 0, values, sizeof(values), NULL));
  for (int i = 0; i < count; i++) ck_assert_float_eq(values[i], (float)(i + 3 * chain));
  dure_recording_destroy(recording);
  dure_buffer_destroy(x);
  dure_buffer_destroy(y);
  close_device();
}
END_TEST

START_TEST(texel_inputs_read_what_was_written) {
  open_device(_i);
  if (!dure_vulkan_device_has_kernel(device, "smoke_affine_texel")) {
    printf("%s: no texel buffers\n", identifiers[_i]);
    close_device();
    return;
  }
  enum { count = 1003 };  // not a whole number of texels
  dure_buffer *x = make_buffer(4 * count), *y = make_buffer(4 * count), *z = make_buffer(4 * count);
  float values[count];
  for (int i = 0; i < count; i++) values[i] = (float)i;
  require(dure_stream_upload(stream, x, 0, values, sizeof(values)));
  dure_recording *recording = NULL;
  require(dure_recording_create(device, "texels", 0, &recording));
  record_affine(recording, "smoke_affine", x, y, count, 2.0f, 1.0f);
  record_affine(recording, "smoke_affine_texel", y, z, count, 1.0f, 5.0f);
  require(dure_recording_finish(recording));
  require(dure_stream_submit(stream, &recording, 1, NULL, 0, NULL, 0, NULL));
  require(dure_stream_download(stream, z, 0, values, sizeof(values), NULL));
  for (int i = 0; i < count; i++) ck_assert_float_eq(values[i], 2.0f * (float)i + 6.0f);
  dure_recording_destroy(recording);
  dure_buffer_destroy(x);
  dure_buffer_destroy(y);
  dure_buffer_destroy(z);
  close_device();
}
END_TEST

START_TEST(wrong_dispatches_are_refused) {
  open_device(_i);
  dure_kernel *kernel = NULL, *again = NULL;
  uint32_t constants[] = {64, 0};
  ck_assert_int_eq(take_code(dure_kernel_get(device, "no_such_kernel", NULL, 0, &kernel)), DURE_UNSUPPORTED);
  require(dure_kernel_get(device, "smoke_affine", constants, 2, &kernel));
  require(dure_kernel_get(device, "smoke_affine", constants, 2, &again));
  ck_assert_ptr_eq(kernel, again);
  dure_buffer *x = make_buffer(1024);
  dure_recording *recording = NULL;
  require(dure_recording_create(device, "wrong", 0, &recording));
  dure_binding bindings[] = {{x, 0, 512, DURE_READ}, {x, 512, 512, DURE_WRITE}};
  dure_binding written[] = {{x, 0, 512, DURE_READ_WRITE}, {x, 512, 512, DURE_WRITE}};
  dure_binding outside[] = {{x, 0, 512, DURE_READ}, {x, 512, 1024, DURE_WRITE}};
  uint32_t push[2] = {0};
  ck_assert_int_eq(take_code(dure_recording_dispatch(recording, kernel, bindings, 1, push, 8, 1, 1, 1)),
                   DURE_INVALID_ARGUMENT);
  ck_assert_int_eq(take_code(dure_recording_dispatch(recording, kernel, bindings, 2, push, 4, 1, 1, 1)),
                   DURE_INVALID_ARGUMENT);
  ck_assert_int_eq(take_code(dure_recording_dispatch(recording, kernel, written, 2, push, 8, 1, 1, 1)),
                   DURE_INVALID_ARGUMENT);
  ck_assert_int_eq(take_code(dure_recording_dispatch(recording, kernel, outside, 2, push, 8, 1, 1, 1)),
                   DURE_INVALID_ARGUMENT);
  ck_assert_int_ne(take_code(dure_recording_dispatch(recording, kernel, bindings, 2, push, 8, 1, 0xffffffffu, 1)),
                   DURE_OK);
  ck_assert_int_eq(take_code(dure_recording_copy(recording, x, 0, x, 4, 16)), DURE_INVALID_ARGUMENT);
  dure_recording_destroy(recording);
  dure_buffer_destroy(x);
  close_device();
}
END_TEST

START_TEST(pieces_larger_than_the_staging_ring_stay_in_order) {
  open_device(_i);
  enum { words = 10 << 20 };
  uint32_t *data = malloc(4ull * words), *read = malloc(4ull * words);
  ck_assert(data != NULL && read != NULL);
  dure_buffer *buffer = make_buffer(4ull * words);
  dure_recording *fill = NULL;
  require(dure_recording_create(device, "fill", 0, &fill));
  require(dure_recording_fill(fill, buffer, 4096, 4096, 0xdeadbeef));
  require(dure_recording_finish(fill));
  for (uint32_t i = 0; i < words; i++) data[i] = i * 3;
  uint64_t points[5];
  uint32_t parts[5][64];
  require(dure_stream_upload(stream, buffer, 0, data, 4ull * words));
  memset(data, 0, 4ull * words);  // it may be reused at once
  for (int i = 0; i < 4; i++) {
    require(dure_stream_download(stream, buffer, 4ull * (uint64_t)i * 1024, parts[i], sizeof(parts[i]), &points[i]));
    require(dure_stream_submit(stream, &fill, 1, NULL, 0, NULL, 0, NULL));
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
  for (uint32_t i = 1; i <= 50; i++) require(dure_stream_upload(stream, buffer, 16, &i, 4));
  require(dure_stream_download(stream, buffer, 16, &value, 4, NULL));
  ck_assert_uint_eq(value, 50);
  dure_buffer_destroy(buffer);
  close_device();
}
END_TEST

START_TEST(work_waits_for_the_host_and_tells_it) {
  open_device(_i);
  dure_event *start = NULL, *done = NULL;
  require(dure_event_create(device, 5, &start));
  require(dure_event_create(device, 0, &done));
  dure_buffer *buffer = make_buffer(64);
  dure_recording *fill = NULL;
  require(dure_recording_create(device, "fill", 0, &fill));
  require(dure_recording_fill(fill, buffer, 0, 64, 9));
  require(dure_recording_finish(fill));
  uint64_t value = 0;
  bool reached = true;
  require(dure_stream_submit(stream, &fill, 1, start, 6, done, 3, NULL));
  require(dure_event_wait(done, 3, 20 * 1000000, &reached));
  ck_assert(!reached);
  require(dure_event_read(start, &value));
  ck_assert_uint_eq(value, 5);
  ck_assert_int_eq(take_code(dure_event_signal(start, 5)), DURE_INVALID_ARGUMENT);
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

START_TEST(every_command_is_timed_under_its_label) {
  open_device(_i);
  if (!dure_vulkan_caps_has(dure_vulkan_device_caps(device), DURE_VULKAN_TIMESTAMPS)) {
    close_device();
    return;
  }
  enum { commands = 300 };  // more than one pool of queries
  dure_buffer *buffer = make_buffer(1 << 20);
  dure_recording *recording = NULL;
  require(dure_recording_create(device, "timed", DURE_RECORD_TIMESTAMPS, &recording));
  require(dure_recording_fill(recording, buffer, 0, 1 << 20, 0));
  for (int i = 1; i < commands; i++) {
    if (i == 1 || i == 200) dure_recording_label(recording, i == 1 ? "first" : "second");
    require(dure_recording_fill(recording, buffer, 0, 1 << 20, (uint32_t)i));
  }
  require(dure_recording_finish(recording));
  const dure_command_time *times = NULL;
  size_t count = 0;
  for (int round = 0; round < 2; round++) {
    require(dure_stream_submit(stream, &recording, 1, NULL, 0, NULL, 0, NULL));
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
  dure_buffer_destroy(buffer);
  close_device();
}
END_TEST

static void print_log(void *context, dure_log_level level, const char *message) {
  (void)context;
  (void)level;
  fprintf(stderr, "%s\n", message);
}

int main(void) {
  dure_log_set_sink(print_log, NULL);
  device_count = find_vulkan_devices(identifiers, 8);
  if (device_count == 0) return SKIPPED;
  Suite *suite = suite_create("vulkan device");
  TCase *group = tcase_create("every device");
  tcase_set_timeout(group, 300);
  const TTest *tests[] = {
      a_new_buffer_is_zero_and_transfers_of_any_size_round_trip,
      recycled_memory_is_zero_again,
      many_small_buffers_do_not_overlap,
      host_buffers_are_seen_by_both_sides,
      dispatches_in_a_chain_see_each_other_and_replay,
      texel_inputs_read_what_was_written,
      wrong_dispatches_are_refused,
      pieces_larger_than_the_staging_ring_stay_in_order,
      an_upload_replaces_an_earlier_one_of_the_same_bytes,
      work_waits_for_the_host_and_tells_it,
      every_command_is_timed_under_its_label,
  };
  for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) tcase_add_loop_test(group, tests[i], 0, device_count);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_NOFORK);
}
