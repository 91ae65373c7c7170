// A file that is written once, from its beginning to its end, and may be large.
#ifndef DURE_RUNTIME_BULK_FILE_H_
#define DURE_RUNTIME_BULK_FILE_H_

#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_bulk_file dure_bulk_file;

// Makes the file, or empties the one that is there.
DURE_MUST_CHECK dure_status dure_bulk_file_create(const char *path, dure_bulk_file **out_file);
// What is written from here on goes to the disk past the system's page cache, where the file system can. For what is
// written beside other work and not soon read: making and filling pages takes the processor seconds a gigabyte.
void dure_bulk_file_bypass_cache(dure_bulk_file *file);
// Large pieces go to the disk from where they lie if they begin there and in the file at multiples of
// DURE_BULK_FILE_BLOCK, others by way of the file's own buffer.
enum { DURE_BULK_FILE_BLOCK = 4096 };
DURE_MUST_CHECK dure_status dure_bulk_file_append(dure_bulk_file *file, const void *bytes, uint64_t size);
// Writes what is held back, and syncs.
DURE_MUST_CHECK dure_status dure_bulk_file_finish(dure_bulk_file *file);
void dure_bulk_file_destroy(dure_bulk_file *file);  // NULL is fine; leaves an unfinished file behind

#endif  // DURE_RUNTIME_BULK_FILE_H_
