// Buffers: one allocation each. Device memory is reached through streams; host memory is pinned and seen by both sides
// under one address.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/internal.h"

dure_status cuda_available_memory(dure_device *head, uint64_t *out_bytes) {
  *out_bytes = 0;
  cuda_device *device = cuda_device_of(head);
  DURE_TRY(cuda_enter(device, "asking for free memory"));
  size_t available = 0, total = 0;
  DURE_TRY(cuda_check(device, cudaMemGetInfo(&available, &total), "asking for free memory"));
  *out_bytes = available;
  return NULL;
}

static dure_status allocate(cuda_device *device, cuda_buffer *buffer, uint64_t size, dure_memory_kind kind) {
  void *address = NULL;
  if (kind == DURE_MEMORY_HOST) {
    DURE_TRY(cuda_check(device, cudaHostAlloc(&address, size, cudaHostAllocPortable | cudaHostAllocMapped),
                        "taking pinned host memory"));
    buffer->address = address;
    buffer->head.mapped = address;
    memset(address, 0, size);
    return NULL;
  }
  DURE_TRY(cuda_check(device, cudaMalloc(&address, size), "taking device memory"));
  buffer->address = address;
  // Buffers are made before the work that uses them is enqueued, on whatever stream: zeroed once this returns.
  DURE_TRY(cuda_check(device, cudaMemsetAsync(address, 0, size, device->setup), "zeroing a buffer"));
  return cuda_check(device, cudaStreamSynchronize(device->setup), "zeroing a buffer");
}

dure_status cuda_buffer_create(dure_device *head, uint64_t size, dure_memory_kind kind, const char *label,
                               dure_buffer **out_buffer) {
  *out_buffer = NULL;
  cuda_device *device = cuda_device_of(head);
  DURE_TRY(cuda_enter(device, "making a buffer"));
  cuda_buffer *buffer = calloc(1, sizeof(*buffer));
  if (buffer == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for the buffer '%s'", label);
  buffer->head.device = head;
  buffer->head.kind = kind;
  dure_status status = allocate(device, buffer, size, kind);
  if (status != NULL) {
    cuda_buffer_destroy(&buffer->head);
    return status;
  }
  *out_buffer = &buffer->head;
  return NULL;
}

// Frees also what belongs to a lost device; errors then say nothing new.
void cuda_buffer_destroy(dure_buffer *head) {
  cuda_buffer *buffer = (cuda_buffer *)head;
  cudaSetDevice(cuda_device_of(head->device)->ordinal);
  if (buffer->address != NULL && head->kind == DURE_MEMORY_HOST) cudaFreeHost(buffer->address);
  if (buffer->address != NULL && head->kind == DURE_MEMORY_DEVICE) cudaFree(buffer->address);
  free(buffer);
}
