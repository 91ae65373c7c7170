// The structs behind the HAL's handles for CUDA, and what the files of this folder ask of each other. C and C++.
//
//   plugin   the entry point            device   list, open, close, failures      memory   buffers
//   stream   order, staging, waits      event    counters                         recording   command lists, graphs
//   fill     a repeated word            blas     cuBLASLt, opened at run time     ops, ops_*   the rows of ops.def
//   tensor_map   what bulk tensor copies are told of a tensor         communicator   collectives by NCCL
#ifndef DURE_CUDA_INTERNAL_H_
#define DURE_CUDA_INTERNAL_H_

#include <cuda_runtime_api.h>
#include <stdlib.h>

#include "cuda/cuda_device.h"
#include "runtime/hal.h"
#include "runtime/log.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_blas;  // cuda/blas.h

// cuStreamWaitValue64 and cuStreamWriteValue64, which the runtime does not have.
typedef int (*cuda_counter_call)(cudaStream_t stream, unsigned long long address, uint64_t value, unsigned flags);

typedef struct cuda_device {
  dure_device head;
  int ordinal;  // CUDA's number
  dure_cuda_caps caps;
  struct cuda_blas *blas;                        // NULL where matmul runs on our own kernels; made on first use
  void (*blas_release)(struct cuda_blas *blas);  // set by whoever makes it; called when the device is closed
  bool is_lost;                                  // a kernel has faulted: nothing on the device can be read back
  bool checks_commands;  // DURE_CUDA_CHECK=1: waits after each command, so that a failure names its op
  cudaStream_t setup;    // zeroes new buffers, captures graphs
  cuda_counter_call wait_value, write_value;
  void *encode_tensor_map;                       // cuTensorMapEncodeTiled (tensor_map.c); NULL: the driver has none
  uint32_t attention_tested, attention_trusted;  // kernels by bit (attention_selftest.cu)
  char last_recording[64], last_label[128];      // submitted last
} cuda_device;

typedef struct cuda_buffer {
  dure_buffer head;
  unsigned char *address;  // on the device; 256-byte aligned
} cuda_buffer;

extern const dure_device_vtable cuda_vtable;  // device.c

static inline cuda_device *cuda_device_of(const dure_device *device) { return (cuda_device *)device; }

// NULL on success, else the failure of a runtime call: what was being done, CUDA's name and text of the error and what
// to do about it. Errors that leave the context unusable mark the device as lost.
DURE_MUST_CHECK dure_status cuda_check(cuda_device *device, cudaError_t error, const char *what);

// What every entry point of the backend begins with: makes the device the thread's current one, and fails when it is
// lost.
DURE_MUST_CHECK dure_status cuda_enter(cuda_device *device, const char *what);

// What the log of the program is given (plugin.c).
void cuda_log(dure_log_level level, const char *format, ...) DURE_PRINTF(2, 3);

// The driver's version as people know it ("580.65.06") and the memory that is free on the card, asked of the management
// library, which needs no context; false where it cannot tell (management.c).
bool cuda_management_driver(char *text, size_t size);
bool cuda_management_free_memory(const struct cudaDeviceProp *properties, uint64_t *out_bytes);

// Makes room for one more element of `size` bytes in a growing array; false: no memory.
static inline bool cuda_reserve(void **items, size_t *capacity, size_t count, size_t size) {
  if (count < *capacity) return true;
  const size_t grown_capacity = (count > *capacity ? count : *capacity) * 2 + 16;
  void *grown = realloc(*items, grown_capacity * size);
  if (grown == NULL) return false;
  *items = grown;
  *capacity = grown_capacity;
  return true;
}

// ---- memory, streams, events: the vtable's functions ----

DURE_MUST_CHECK dure_status cuda_available_memory(dure_device *device, uint64_t *out_bytes);
DURE_MUST_CHECK dure_status cuda_buffer_create(dure_device *device, uint64_t size, dure_memory_kind kind,
                                               const char *label, dure_buffer **out_buffer);
void cuda_buffer_destroy(dure_buffer *buffer);

DURE_MUST_CHECK dure_status cuda_stream_create(dure_device *device, dure_stream **out_stream);
void cuda_stream_destroy(dure_stream *stream);
DURE_MUST_CHECK dure_status cuda_stream_upload(dure_stream *stream, dure_buffer *buffer, uint64_t offset,
                                               const void *data, uint64_t size);
DURE_MUST_CHECK dure_status cuda_stream_download(dure_stream *stream, dure_buffer *buffer, uint64_t offset, void *data,
                                                 uint64_t size, uint64_t *out_point);
DURE_MUST_CHECK dure_status cuda_stream_submit(dure_stream *stream, dure_recording *const *recordings, size_t count,
                                               dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                                               uint64_t signal_value);
DURE_MUST_CHECK dure_status cuda_stream_wait(dure_stream *stream, uint64_t point);

// The stream's own, for work that something else than recordings is about to enqueue there (communicator.c).
cudaStream_t cuda_stream_handle(dure_stream *stream);

DURE_MUST_CHECK dure_status cuda_event_create(dure_device *device, uint64_t value, dure_event **out_event);
void cuda_event_destroy(dure_event *event);
DURE_MUST_CHECK dure_status cuda_event_signal(dure_event *event, uint64_t value);
DURE_MUST_CHECK dure_status cuda_event_read(dure_event *event, uint64_t *out_value);
DURE_MUST_CHECK dure_status cuda_event_wait(dure_event *event, uint64_t value, uint64_t timeout_nanoseconds,
                                            bool *out_reached);
// Enqueues: the stream goes on when the event has reached `value`; the event gets `value` when the stream is there.
DURE_MUST_CHECK dure_status cuda_event_enqueue_wait(dure_event *event, cudaStream_t stream, uint64_t value);
DURE_MUST_CHECK dure_status cuda_event_enqueue_signal(dure_event *event, cudaStream_t stream, uint64_t value);

// ---- recordings ----

// A command of a recording: enqueues itself on the stream, which may be capturing a graph (so: no synchronisation, no
// allocation). `arguments` are the bytes that were given to cuda_recording_add.
typedef dure_status (*cuda_enqueue)(cuda_device *device, cudaStream_t stream, const void *arguments);

// Adds a command under the current label; its arguments are copied (aligned to 64 bytes).
DURE_MUST_CHECK dure_status cuda_recording_add(dure_recording *recording, cuda_enqueue enqueue, const void *arguments,
                                               size_t size);

DURE_MUST_CHECK dure_status cuda_recording_create(dure_device *device, const char *label, uint32_t flags,
                                                  dure_recording **out_recording);
void cuda_recording_destroy(dure_recording *recording);
void cuda_recording_label(dure_recording *recording, const char *label);
DURE_MUST_CHECK dure_status cuda_recording_copy(dure_recording *recording, dure_buffer *source, uint64_t source_offset,
                                                dure_buffer *target, uint64_t target_offset, uint64_t size);
DURE_MUST_CHECK dure_status cuda_recording_fill(dure_recording *recording, dure_buffer *buffer, uint64_t offset,
                                                uint64_t size, uint32_t pattern);
DURE_MUST_CHECK dure_status cuda_recording_finish(dure_recording *recording);
DURE_MUST_CHECK dure_status cuda_recording_times(dure_recording *recording, const dure_command_time **out_times,
                                                 size_t *out_count);
// Everything that was recorded, in order: as a graph, or command by command.
DURE_MUST_CHECK dure_status cuda_recording_enqueue(dure_recording *recording, cudaStream_t stream);
const char *cuda_recording_name(const dure_recording *recording);
const char *cuda_recording_first_label(const dure_recording *recording);
const char *cuda_recording_last_label(const dure_recording *recording);

// Records a fill with a word whose bytes differ (fill.cu; cudaMemsetAsync knows bytes only). `address` and `size` are
// multiples of 4.
DURE_MUST_CHECK dure_status cuda_record_fill(dure_recording *recording, unsigned char *address, uint64_t size,
                                             uint32_t pattern);

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_INTERNAL_H_
