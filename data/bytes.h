// A growing run of bytes: text under construction.
//
// Appending never fails on the spot: when memory runs out the run becomes `is_failed`, further appends do nothing, and
// whoever finishes the text asks once (dure_bytes_status). Start from {0}.
#ifndef DURE_DATA_BYTES_H_
#define DURE_DATA_BYTES_H_

#include <stddef.h>

#include "runtime/status.h"

typedef struct dure_bytes {
  char *data;  // not NUL-terminated
  size_t size, capacity;
  bool is_failed;
} dure_bytes;

void dure_bytes_reserve(dure_bytes *bytes, size_t additional);  // afterwards check is_failed before writing directly
void dure_bytes_append(dure_bytes *bytes, const void *data, size_t size);
void dure_bytes_append_text(dure_bytes *bytes, const char *text);        // up to its NUL
void dure_bytes_clear(dure_bytes *bytes);                                // keeps the memory, forgets a failure
void dure_bytes_free(dure_bytes *bytes);                                 // makes it {0} again
DURE_MUST_CHECK dure_status dure_bytes_status(const dure_bytes *bytes);  // DURE_OUT_OF_MEMORY once it has failed

#endif  // DURE_DATA_BYTES_H_
