// What commands print as data: JSON on standard output, made of text that may hold any bytes.
#ifndef DURE_CLI_OUTPUT_H_
#define DURE_CLI_OUTPUT_H_

#include <jansson.h>
#include <stddef.h>

#include "runtime/status.h"

// A JSON string of `text`; each broken character (the longest beginning of one, else a byte) becomes U+FFFD. NULL when
// out of memory.
json_t *output_json_text(const char *text, size_t length);
// Prints the object as one line and releases it. A full disk or a closed pipe is a failure.
DURE_MUST_CHECK dure_status output_json(json_t *object);
// Flushes standard output, failing when what was printed before could not be written.
DURE_MUST_CHECK dure_status output_check(void);

#endif  // DURE_CLI_OUTPUT_H_
