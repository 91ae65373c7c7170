// A safetensors file as an attacker writes it; every tensor that it lists must be readable.
#define _GNU_SOURCE  // memfd_create
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const dure_safetensors *file) {
  for (size_t i = 0; i < dure_safetensors_count(file); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(file, i);
    float first[64];
    uint64_t count = tensor->count < 64 ? tensor->count : 64;
    dure_status_free(dure_safetensors_read(tensor, tensor->count - count, count, first));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int descriptor = -1;  // one file in memory, written anew each time
  if (descriptor < 0) descriptor = memfd_create("safetensors", 0);
  if (descriptor < 0 || ftruncate(descriptor, 0) != 0 || pwrite(descriptor, data, size, 0) != (ssize_t)size) return 0;
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(path, &file);
  if (status == NULL) read_all(file);
  dure_safetensors_close(file);
  dure_status_free(status);
  return 0;
}
