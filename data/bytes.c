#include "data/bytes.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void dure_bytes_reserve(dure_bytes *bytes, size_t additional) {
  if (bytes->is_failed || bytes->capacity - bytes->size >= additional) return;
  size_t needed = bytes->size + additional;
  size_t grown = bytes->capacity <= SIZE_MAX / 2 ? bytes->capacity * 2 : SIZE_MAX;
  if (grown < needed) grown = needed;
  if (grown < 256) grown = 256;
  char *larger = needed < additional ? NULL : realloc(bytes->data, grown);
  if (larger == NULL) {
    bytes->is_failed = true;
    return;
  }
  bytes->data = larger;
  bytes->capacity = grown;
}

void dure_bytes_append(dure_bytes *bytes, const void *data, size_t size) {
  dure_bytes_reserve(bytes, size);
  if (bytes->is_failed || size == 0) return;
  memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
}

void dure_bytes_append_text(dure_bytes *bytes, const char *text) { dure_bytes_append(bytes, text, strlen(text)); }

void dure_bytes_clear(dure_bytes *bytes) {
  bytes->size = 0;
  bytes->is_failed = false;
}

void dure_bytes_free(dure_bytes *bytes) {
  free(bytes->data);
  *bytes = (dure_bytes){0};
}

dure_status dure_bytes_status(const dure_bytes *bytes) {
  if (!bytes->is_failed) return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "out of memory with a text of %zu bytes; lower --max-document", bytes->size);
}
