// Streams: one CUDA stream each, with a ring of pinned staging memory.
//
// What is enqueued goes to the CUDA stream at once, in order. CUDA events mark places in it; each gets the next serial
// number, and what was enqueued before one (parts of the ring, points) belongs to that serial. A submission is followed
// by a mark for each recording; transfers get theirs when somebody needs it. Events are taken back and used again.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/internal.h"
#include "runtime/os.h"

// The ring's size; a sixty-fourth of a small memory budget. Pieces of a transfer take a quarter of it at most.
enum { largest_staging = 32 << 20, smallest_staging = 256 << 10, staging_alignment = 256 };
static const uint64_t patience = 10ull * 1000000000;  // nanoseconds between messages of a long wait

// A part of the ring in use until `serial` is reached; a download's part is then copied to `target`.
typedef struct staging_part {
  uint64_t offset, size;
  uint64_t serial;
  void *target;  // NULL for uploads
} staging_part;

typedef struct stream_mark {
  uint64_t serial;
  uint64_t point;  // everything up to this point is done when the event is reached
  cudaEvent_t event;
  char recording[64], first_label[128], last_label[128];  // that it follows; "" for transfers
} stream_mark;

typedef struct cuda_stream {
  dure_stream head;
  cuda_device *device;
  cudaStream_t handle;
  uint64_t marked_serial;   // of the last mark
  uint64_t reached_serial;  // of the last mark known to be reached
  uint64_t complete_point;  // enqueued in full
  bool has_unmarked;        // something has been enqueued since the last mark

  unsigned char *staging;  // pinned; taken at the first transfer
  uint64_t staging_bytes;
  uint64_t staging_head;  // next free byte of the ring
  staging_part *parts;    // oldest first
  size_t part_count, part_capacity;
  stream_mark *marks;  // not yet reached, oldest first
  size_t mark_count, mark_capacity;
  cudaEvent_t *idle;  // events to use again
  size_t idle_count, idle_capacity;
} cuda_stream;

static cuda_stream *stream_of(dure_stream *stream) { return (cuda_stream *)stream; }

static dure_status reserve(void **items, size_t *capacity, size_t count, size_t size) {
  if (cuda_reserve(items, capacity, count, size)) return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to submit work");
}

cudaStream_t cuda_stream_handle(dure_stream *head) {
  stream_of(head)->has_unmarked = true;
  return stream_of(head)->handle;
}

// ---- marks ----

static dure_status take_event(cuda_stream *stream, cudaEvent_t *out_event) {
  if (stream->idle_count > 0) {
    *out_event = stream->idle[--stream->idle_count];
    return NULL;
  }
  return cuda_check(stream->device, cudaEventCreateWithFlags(out_event, cudaEventDisableTiming), "making a mark");
}

// Marks what has been enqueued so far; `recording` (may be NULL) is what it ended with.
static dure_status mark(cuda_stream *stream, const dure_recording *recording) {
  // Room for an event to return to is made now, so that taking marks back cannot fail.
  DURE_TRY(reserve((void **)&stream->marks, &stream->mark_capacity, stream->mark_count, sizeof(*stream->marks)));
  DURE_TRY(reserve((void **)&stream->idle, &stream->idle_capacity, stream->idle_count + stream->mark_count + 1,
                   sizeof(*stream->idle)));
  stream_mark *added = &stream->marks[stream->mark_count];
  *added = (stream_mark){.serial = stream->marked_serial + 1, .point = stream->complete_point};
  DURE_TRY(take_event(stream, &added->event));
  dure_status status = cuda_check(stream->device, cudaEventRecord(added->event, stream->handle), "marking a stream");
  if (status != NULL) {
    stream->idle[stream->idle_count++] = added->event;
    return status;
  }
  if (recording != NULL) {
    snprintf(added->recording, sizeof(added->recording), "%s", cuda_recording_name(recording));
    snprintf(added->first_label, sizeof(added->first_label), "%s", cuda_recording_first_label(recording));
    snprintf(added->last_label, sizeof(added->last_label), "%s", cuda_recording_last_label(recording));
  }
  stream->mark_count++;
  stream->marked_serial++;
  stream->has_unmarked = false;
  return NULL;
}

static void retire_until(cuda_stream *stream, uint64_t serial) {
  size_t done = 0;
  while (done < stream->part_count && stream->parts[done].serial <= serial) {
    const staging_part part = stream->parts[done++];
    if (part.target != NULL) memcpy(part.target, stream->staging + part.offset, part.size);
  }
  if (done > 0) memmove(stream->parts, stream->parts + done, (stream->part_count - done) * sizeof(*stream->parts));
  stream->part_count -= done;
  done = 0;
  while (done < stream->mark_count && stream->marks[done].serial <= serial)
    stream->idle[stream->idle_count++] = stream->marks[done++].event;
  if (done > 0) memmove(stream->marks, stream->marks + done, (stream->mark_count - done) * sizeof(*stream->marks));
  stream->mark_count -= done;
  if (serial > stream->reached_serial) stream->reached_serial = serial;
}

// ---- waiting ----

// Names the recording that was being worked on: the first whose mark has not been seen reached.
static dure_status fail_wait(cuda_stream *stream, cudaError_t error) {
  char what[400] = "waiting for transfers";
  for (size_t i = 0; i < stream->mark_count; i++) {
    const stream_mark *found = &stream->marks[i];
    if (found->recording[0] == '\0' && found->last_label[0] == '\0') continue;
    snprintf(what, sizeof(what), "running recording '%s' from '%s' to '%s'", found->recording, found->first_label,
             found->last_label);
    break;
  }
  return cuda_check(stream->device, error, what);
}

// Takes back the marks that have been reached.
static dure_status retire_reached(cuda_stream *stream) {
  uint64_t reached = stream->reached_serial;
  cudaError_t error = cudaSuccess;
  for (size_t i = 0; i < stream->mark_count && error == cudaSuccess; i++) {
    error = cudaEventQuery(stream->marks[i].event);
    if (error == cudaSuccess) reached = stream->marks[i].serial;
  }
  retire_until(stream, reached);
  return error == cudaSuccess || error == cudaErrorNotReady ? NULL : fail_wait(stream, error);
}

// Looks all the time at first, then with sleeps that are a small share of the wait: no core is kept busy by a long step
// and a short one is seen at once.
static dure_status wait_serial(cuda_stream *stream, uint64_t serial) {
  enum { EAGER = 100000, LONGEST_SLEEP = 100000 };  // nanoseconds
  if (serial > stream->marked_serial) DURE_TRY(mark(stream, NULL));
  const uint64_t begin = dure_os_nanoseconds();
  uint64_t next_message = patience;
  for (;;) {
    DURE_TRY(retire_reached(stream));
    if (stream->reached_serial >= serial) return NULL;
    const uint64_t elapsed = dure_os_nanoseconds() - begin;
    if (elapsed > next_message) {
      next_message += patience;
      cuda_log(DURE_LOG_WARNING,
               "%s has worked for more than %llu s on what was submitted (last recording: '%s', ending with '%s')",
               stream->device->head.info.identifier, (unsigned long long)(elapsed / 1000000000),
               stream->device->last_recording, stream->device->last_label);
    }
    if (elapsed > EAGER) dure_os_sleep(elapsed / 16 < LONGEST_SLEEP ? elapsed / 16 : LONGEST_SLEEP);
  }
}

dure_status cuda_stream_wait(dure_stream *head, uint64_t point) {
  cuda_stream *stream = stream_of(head);
  DURE_TRY(cuda_enter(stream->device, "waiting for submitted work"));
  uint64_t serial = stream->has_unmarked ? stream->marked_serial + 1 : stream->marked_serial;
  for (size_t i = stream->mark_count; i > 0 && stream->marks[i - 1].point >= point; i--)
    serial = stream->marks[i - 1].serial;
  return wait_serial(stream, serial);
}

// ---- submitting ----

static dure_status submit_recordings(cuda_stream *stream, dure_recording *const *recordings, size_t count) {
  cuda_device *device = stream->device;
  for (size_t i = 0; i < count; i++) {
    snprintf(device->last_recording, sizeof(device->last_recording), "%s", cuda_recording_name(recordings[i]));
    snprintf(device->last_label, sizeof(device->last_label), "%s", cuda_recording_last_label(recordings[i]));
    stream->has_unmarked = true;
    DURE_TRY(cuda_recording_enqueue(recordings[i], stream->handle));
    if (i + 1 == count) stream->complete_point = stream->head.point;
    DURE_TRY(mark(stream, recordings[i]));
  }
  return NULL;
}

dure_status cuda_stream_submit(dure_stream *head, dure_recording *const *recordings, size_t count,
                               dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                               uint64_t signal_value) {
  cuda_stream *stream = stream_of(head);
  DURE_TRY(cuda_enter(stream->device, "submitting work"));
  if (wait_event != NULL) {
    // What was enqueued before must not be waited for together with what waits.
    if (stream->has_unmarked) DURE_TRY(mark(stream, NULL));
    DURE_TRY(cuda_event_enqueue_wait(wait_event, stream->handle, wait_value));
    stream->has_unmarked = true;
  }
  DURE_TRY(submit_recordings(stream, recordings, count));
  if (signal_event != NULL) DURE_TRY(cuda_event_enqueue_signal(signal_event, stream->handle, signal_value));
  stream->complete_point = head->point;
  if (count == 0) DURE_TRY(mark(stream, NULL));
  // A stream that is never waited for must not gather marks without end.
  return stream->mark_count >= 64 ? retire_reached(stream) : NULL;
}

// ---- transfers ----

static dure_status make_staging(cuda_stream *stream) {
  if (stream->staging != NULL) return NULL;
  uint64_t size = largest_staging;
  const uint64_t budget = stream->device->head.memory_restriction;
  while (budget > 0 && size > smallest_staging && size > budget / 64) size /= 2;
  void *address = NULL;
  DURE_TRY(cuda_check(stream->device, cudaHostAlloc(&address, size, cudaHostAllocPortable),
                      "taking pinned memory for transfers"));
  stream->staging = address;
  stream->staging_bytes = size;
  return NULL;
}

// Where `size` contiguous bytes of the ring are free; false when they are not.
static bool find_room(const cuda_stream *stream, uint64_t size, uint64_t *out_offset) {
  const uint64_t head = stream->staging_head;
  *out_offset = head;
  if (stream->part_count == 0) {
    *out_offset = 0;
    return true;
  }
  const uint64_t tail = stream->parts[0].offset;
  if (head == tail) return false;  // full
  if (head < tail) return size <= tail - head;
  if (size <= stream->staging_bytes - head) return true;
  *out_offset = 0;
  return size <= tail;
}

// Takes `size` bytes (at most a quarter) of the ring for the next serial.
static dure_status take_staging(cuda_stream *stream, uint64_t size, void *target, uint64_t *out_offset) {
  DURE_TRY(reserve((void **)&stream->parts, &stream->part_capacity, stream->part_count, sizeof(*stream->parts)));
  const uint64_t padded = (size + staging_alignment - 1) / staging_alignment * staging_alignment;
  while (!find_room(stream, padded, out_offset)) {
    stream->head.wait_count++;
    DURE_TRY(wait_serial(stream, stream->parts[0].serial));
  }
  stream->parts[stream->part_count++] = (staging_part){*out_offset, size, stream->marked_serial + 1, target};
  stream->staging_head = (*out_offset + padded) % stream->staging_bytes;
  stream->has_unmarked = true;
  return NULL;
}

static dure_status upload_pieces(cuda_stream *stream, unsigned char *address, const unsigned char *data,
                                 uint64_t size) {
  DURE_TRY(make_staging(stream));
  const uint64_t most = stream->staging_bytes / 4;
  for (uint64_t done = 0; done < size;) {
    const uint64_t piece = size - done < most ? size - done : most;
    uint64_t place = 0;
    DURE_TRY(take_staging(stream, piece, NULL, &place));
    memcpy(stream->staging + place, data + done, piece);
    DURE_TRY(
        cuda_check(stream->device,
                   cudaMemcpyAsync(address + done, stream->staging + place, piece, cudaMemcpyDefault, stream->handle),
                   "uploading"));
    done += piece;
    if (done < size) DURE_TRY(mark(stream, NULL));  // so that the ring's parts come back one by one
  }
  return NULL;
}

dure_status cuda_stream_upload(dure_stream *head, dure_buffer *buffer, uint64_t offset, const void *data,
                               uint64_t size) {
  cuda_stream *stream = stream_of(head);
  DURE_TRY(cuda_enter(stream->device, "uploading"));
  DURE_TRY(upload_pieces(stream, ((cuda_buffer *)buffer)->address + offset, data, size));
  stream->complete_point = head->point;
  return NULL;
}

static dure_status download_pieces(cuda_stream *stream, const unsigned char *address, unsigned char *data,
                                   uint64_t size) {
  DURE_TRY(make_staging(stream));
  const uint64_t most = stream->staging_bytes / 4;
  for (uint64_t done = 0; done < size;) {
    const uint64_t piece = size - done < most ? size - done : most;
    uint64_t place = 0;
    DURE_TRY(take_staging(stream, piece, data + done, &place));
    DURE_TRY(
        cuda_check(stream->device,
                   cudaMemcpyAsync(stream->staging + place, address + done, piece, cudaMemcpyDefault, stream->handle),
                   "downloading"));
    done += piece;
    if (done == size) stream->complete_point = stream->head.point;
    DURE_TRY(mark(stream, NULL));
  }
  return NULL;
}

dure_status cuda_stream_download(dure_stream *head, dure_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                                 uint64_t *out_point) {
  cuda_stream *stream = stream_of(head);
  *out_point = head->point;
  DURE_TRY(cuda_enter(stream->device, "downloading"));
  dure_status status = download_pieces(stream, ((const cuda_buffer *)buffer)->address + offset, data, size);
  if (status == NULL) return NULL;
  // The caller may release `data` now: nothing may be written there any more.
  for (size_t i = 0; i < stream->part_count; i++) {
    unsigned char *target = stream->parts[i].target;
    if (target != NULL && target >= (unsigned char *)data && target < (unsigned char *)data + size)
      stream->parts[i].target = NULL;
  }
  return status;
}

// ---- life ----

dure_status cuda_stream_create(dure_device *head, dure_stream **out_stream) {
  *out_stream = NULL;
  cuda_device *device = cuda_device_of(head);
  DURE_TRY(cuda_enter(device, "making a stream"));
  cuda_stream *stream = calloc(1, sizeof(*stream));
  if (stream == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a stream");
  stream->device = device;
  dure_status status =
      cuda_check(device, cudaStreamCreateWithFlags(&stream->handle, cudaStreamNonBlocking), "making a stream");
  if (status != NULL) {
    free(stream);
    return status;
  }
  *out_stream = &stream->head;
  return NULL;
}

void cuda_stream_destroy(dure_stream *head) {
  cuda_stream *stream = stream_of(head);
  // Nobody reads downloads any more: their targets may be gone.
  for (size_t i = 0; i < stream->part_count; i++) stream->parts[i].target = NULL;
  dure_status status = cuda_stream_wait(head, head->point);
  if (status != NULL) {
    if (!stream->device->is_lost)
      cuda_log(DURE_LOG_WARNING, "a stream ended with a failure: %s", dure_status_message(status));
    dure_status_free(status);
    retire_until(stream, UINT64_MAX);
  }
  cudaSetDevice(stream->device->ordinal);
  cudaStreamDestroy(stream->handle);
  for (size_t i = 0; i < stream->idle_count; i++) cudaEventDestroy(stream->idle[i]);
  if (stream->staging != NULL) cudaFreeHost(stream->staging);
  free(stream->parts);
  free(stream->marks);
  free(stream->idle);
  free(stream);
}
