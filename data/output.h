// A file that appears under its name only when it is complete.
//
// Bytes go to a file beside it; committing syncs that, renames it over the name and syncs the directory, so a crash, a
// full disk or Ctrl-C leaves what was there before. "-" is standard output, and an existing path that is no regular
// file (a pipe, /dev/null) is written directly: those have nothing to protect.
#ifndef DURE_DATA_OUTPUT_H_
#define DURE_DATA_OUTPUT_H_

#include <stddef.h>

#include "runtime/status.h"

typedef struct dure_output dure_output;

DURE_MUST_CHECK dure_status dure_output_open(const char *path, dure_output **out_output);
DURE_MUST_CHECK dure_status dure_output_write(dure_output *output, const void *bytes, size_t size);
// Completes the file and releases the output when `status` is NULL; otherwise removes what was written, releases the
// output and returns `status`. NULL outputs just return `status`.
DURE_MUST_CHECK dure_status dure_output_close(dure_output *output, dure_status status);

#endif  // DURE_DATA_OUTPUT_H_
