// Parts of mapped files that a thread of its own asks of the disk, so that it reads while the caller does something
// else first: makes buffers, compiles kernels. A hint: nothing fails, and nothing depends on it.
#ifndef DURE_RUNTIME_READ_AHEAD_H_
#define DURE_RUNTIME_READ_AHEAD_H_

#include <stddef.h>
#include <stdint.h>

typedef struct dure_read_ahead dure_read_ahead;

typedef struct dure_read_ahead_range {
  const uint8_t *bytes;
  uint64_t size;
} dure_read_ahead_range;

// Begins with the first range; they are copied. No more is read than a part of the memory that is free, which is where
// the system keeps it. NULL where there can be no thread.
dure_read_ahead *dure_read_ahead_begin(const dure_read_ahead_range *ranges, size_t count);
void dure_read_ahead_end(dure_read_ahead *reader);  // before the files are unmapped; NULL is fine

#endif  // DURE_RUNTIME_READ_AHEAD_H_
