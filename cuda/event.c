// Events: a 64-bit counter in pinned memory, which the host reads and writes directly and streams through
// cuStreamWaitValue64 and cuStreamWriteValue64.
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "cuda/internal.h"
#include "runtime/os.h"

typedef struct cuda_event {
  dure_event head;
  _Atomic uint64_t *counter;
} cuda_event;

static cuda_event *event_of(dure_event *event) { return (cuda_event *)event; }

dure_status cuda_event_create(dure_device *head, uint64_t value, dure_event **out_event) {
  *out_event = NULL;
  cuda_device *device = cuda_device_of(head);
  DURE_TRY(cuda_enter(device, "making an event"));
  cuda_event *event = calloc(1, sizeof(*event));
  if (event == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for an event");
  void *address = NULL;
  dure_status status =
      cuda_check(device, cudaHostAlloc(&address, sizeof(*event->counter), cudaHostAllocPortable | cudaHostAllocMapped),
                 "making an event");
  if (status != NULL) {
    free(event);
    return status;
  }
  event->head.device = head;
  event->counter = address;
  atomic_init(event->counter, value);
  *out_event = &event->head;
  return NULL;
}

void cuda_event_destroy(dure_event *head) {
  cuda_event *event = event_of(head);
  cudaSetDevice(cuda_device_of(head->device)->ordinal);
  cudaFreeHost((void *)event->counter);
  free(event);
}

dure_status cuda_event_signal(dure_event *head, uint64_t value) {
  cuda_event *event = event_of(head);
  const uint64_t current = atomic_load(event->counter);
  if (value <= current) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "an event at %" PRIu64 " cannot be signalled with %" PRIu64 ": it only grows", current, value);
  }
  atomic_store(event->counter, value);
  return NULL;
}

dure_status cuda_event_read(dure_event *head, uint64_t *out_value) {
  *out_value = atomic_load(event_of(head)->counter);
  return NULL;
}

// Looks often at first and less often later: nothing wakes the host when the device writes.
dure_status cuda_event_wait(dure_event *head, uint64_t value, uint64_t timeout_nanoseconds, bool *out_reached) {
  enum { EAGER = 50000, LONGEST_SLEEP = 100000, PATIENCE = 100000000 };  // nanoseconds
  cuda_device *device = cuda_device_of(head->device);
  const uint64_t begin = dure_os_nanoseconds();
  uint64_t asked = begin;
  for (;;) {
    *out_reached = atomic_load(event_of(head)->counter) >= value;
    const uint64_t now = dure_os_nanoseconds(), elapsed = now - begin;
    if (*out_reached || elapsed >= timeout_nanoseconds) return NULL;
    if (elapsed < EAGER) continue;
    if (now - asked > PATIENCE) {  // a fault would never signal
      asked = now;
      DURE_TRY(cuda_enter(device, "waiting for an event"));
      const cudaError_t error = cudaStreamQuery(device->setup);
      if (error != cudaErrorNotReady) DURE_TRY(cuda_check(device, error, "waiting for an event"));
    }
    uint64_t sleep = timeout_nanoseconds - elapsed;
    if (sleep > LONGEST_SLEEP) sleep = LONGEST_SLEEP;
    dure_os_sleep(sleep);
  }
}

// ---- on streams ----

static dure_status enqueue(dure_event *head, cuda_counter_call call, cudaStream_t stream, uint64_t value,
                           const char *what) {
  if (call == NULL)
    return dure_fail(DURE_UNSUPPORTED,
                     "%s: NVIDIA's driver has no operations on memory in stream order; install a newer one", what);
  // The driver's error numbers are those of the runtime.
  return cuda_check(cuda_device_of(head->device),
                    (cudaError_t)call(stream, (unsigned long long)(uintptr_t)event_of(head)->counter, value, 0), what);
}

dure_status cuda_event_enqueue_wait(dure_event *head, cudaStream_t stream, uint64_t value) {
  return enqueue(head, cuda_device_of(head->device)->wait_value, stream, value, "waiting for an event on the device");
}

dure_status cuda_event_enqueue_signal(dure_event *head, cudaStream_t stream, uint64_t value) {
  return enqueue(head, cuda_device_of(head->device)->write_value, stream, value, "signalling an event on the device");
}
