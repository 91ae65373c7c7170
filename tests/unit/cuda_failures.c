// The CUDA backend when a kernel faults, on the emulation: the recording is named, with DURE_CUDA_CHECK the op; nothing
// is enqueued or written afterwards, and everything can still be released.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "tests/suite.h"

// The failure must have this code, and its message these words in it.
static void expect(dure_status status, dure_code code, const char *word, const char *other_word) {
  ck_assert_msg(status != NULL, "a failure (%s) was expected", dure_code_name(code));
  ck_assert_msg(dure_status_code(status) == code, "%s", dure_status_message(status));
  const char *const words[] = {word, other_word};
  for (int i = 0; i < 2; i++)
    ck_assert_msg(strstr(dure_status_message(status), words[i]) != NULL, "'%s' lacks '%s'", dure_status_message(status),
                  words[i]);
  dure_status_free(status);
}

static dure_device *device;
static dure_stream *stream;
static dure_buffer *buffer;
static dure_recording *recordings[2];

// Two recordings of two kernels each: "forward" with the labels "norm" and "matmul", "backward" with the same.
static void open_device(const char *fault) {
  static const char *const names[] = {"forward", "backward"};
  setenv("DURE_CUDA_EMULATION_FAULT", fault, 1);
  setenv("DURE_CUDA_PLUGIN", getenv("DURE_CUDA_EMULATED"), 1);
  require(dure_device_open("cuda", &device));
  require(dure_stream_create(device, &stream));
  require(dure_buffer_create(device, 4096, DURE_MEMORY_DEVICE, "x", &buffer));
  for (int i = 0; i < 2; i++) {
    require(dure_recording_create(device, names[i], 0, &recordings[i]));
    dure_recording_label(recordings[i], "norm");
    require(dure_recording_fill(recordings[i], buffer, 0, 4096, 0x01020304));
    dure_recording_label(recordings[i], "matmul");
    require(dure_recording_fill(recordings[i], buffer, 0, 4096, 0x05060708));
    require(dure_recording_finish(recordings[i]));
  }
}

static void close_device(void) {
  for (int i = 0; i < 2; i++) dure_recording_destroy(recordings[i]);
  dure_buffer_destroy(buffer);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

START_TEST(a_fault_names_the_recording_and_ends_everything) {
  setenv("DURE_CUDA_GRAPHS", _i == 0 ? "1" : "0", 1);
  open_device("4");  // the last kernel of "backward"
  uint32_t word = 77;
  uint64_t point = 0;
  require(dure_stream_submit(stream, &recordings[0], 1, NULL, 0, NULL, 0, NULL));
  require(dure_stream_wait(stream, 0));
  require(dure_stream_download(stream, buffer, 0, &word, 4, &point));
  dure_status status = dure_stream_submit(stream, &recordings[1], 1, NULL, 0, NULL, 0, NULL);
  if (status == NULL) status = dure_stream_wait(stream, 0);
  expect(status, DURE_DEVICE_LOST, "backward", "DURE_CUDA_CHECK");
  word = 77;
  expect(dure_stream_download(stream, buffer, 0, &word, 4, NULL), DURE_DEVICE_LOST, "lost", "cuda:0");
  ck_assert_uint_eq(word, 77);
  expect(dure_stream_submit(stream, &recordings[0], 1, NULL, 0, NULL, 0, NULL), DURE_DEVICE_LOST, "lost", "again");
  dure_buffer *another = NULL;
  expect(dure_buffer_create(device, 64, DURE_MEMORY_DEVICE, "more", &another), DURE_DEVICE_LOST, "lost", "again");
  close_device();
}
END_TEST

START_TEST(with_checks_a_fault_names_the_op) {
  setenv("DURE_CUDA_CHECK", "1", 1);
  open_device("2");
  expect(dure_stream_submit(stream, &recordings[0], 1, NULL, 0, NULL, 0, NULL), DURE_DEVICE_LOST, "'forward'",
         "'matmul'");
  close_device();
}
END_TEST

START_TEST(a_fault_ends_a_wait_for_an_event) {
  open_device("1");
  dure_event *event = NULL;
  bool reached = false;
  require(dure_event_create(device, 0, &event));
  dure_status status = dure_stream_submit(stream, &recordings[0], 1, NULL, 0, event, 1, NULL);
  if (status == NULL) status = dure_event_wait(event, 1, 20ull * 1000000000, &reached);
  expect(status, DURE_DEVICE_LOST, "cuda:0", "forward");
  ck_assert(!reached);
  dure_event_destroy(event);
  close_device();
}
END_TEST

int main(void) {
  if (getenv("DURE_CUDA_EMULATED") == NULL) {
    printf("SKIPPED: the emulation needs a C++ compiler\n");
    return 77;
  }
  Suite *suite = suite_create("cuda failures");
  TCase *group = tcase_create("faults");  // each in a process of its own: a fault stays
  tcase_add_loop_test(group, a_fault_names_the_recording_and_ends_everything, 0, 2);
  tcase_add_test(group, with_checks_a_fault_names_the_op);
  tcase_add_test(group, a_fault_ends_a_wait_for_an_event);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
