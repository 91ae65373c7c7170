// Text that may hold any bytes, as JSON, which is Unicode.
#ifndef DURE_DATA_JSON_TEXT_H_
#define DURE_DATA_JSON_TEXT_H_

#include <stddef.h>

struct json_t;

// A JSON string of `text`; each broken character (the longest beginning of one, else a byte) becomes U+FFFD. NULL when
// out of memory.
struct json_t *dure_json_text(const char *text, size_t length);

// Bytes of the first character of `text` (length > 0), as it becomes one there.
size_t dure_json_text_character(const char *text, size_t length);

#endif  // DURE_DATA_JSON_TEXT_H_
