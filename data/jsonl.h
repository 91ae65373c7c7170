// Lines of JSON with a "text" field: what cleaning writes and the later steps read.
#ifndef DURE_DATA_JSONL_H_
#define DURE_DATA_JSONL_H_

#include <jansson.h>

#include "data/bytes.h"
#include "data/documents.h"

// Parses one line. `out_object` owns the text and is released with json_decref. DURE_CORRUPT says why it is no such
// line; duplicate keys, invalid UTF-8 and lone surrogates are refused.
DURE_MUST_CHECK dure_status dure_jsonl_parse(const char *line, size_t size, json_t **out_object, const char **out_text,
                                             size_t *out_length);

// The same for the string under another name, or under "a.b" inside the object "a".
DURE_MUST_CHECK dure_status dure_jsonl_parse_field(const char *line, size_t size, const char *field,
                                                   json_t **out_object, const char **out_text, size_t *out_length);

// Appends the line with U+FFFD in place of escaped surrogates without their other half. False when there are none; then
// nothing is appended.
bool dure_jsonl_repair_surrogates(const char *line, size_t size, dure_bytes *out);

// The text of a document that is plain text (its bytes as they are) or a line of JSONL. `out_object` may be NULL
// afterwards; json_decref takes that. Failures name file and line; HTML and XML are refused: they must be cleaned
// first.
DURE_MUST_CHECK dure_status dure_jsonl_document_text(const dure_document *document, json_t **out_object,
                                                     const char **out_text, size_t *out_length);

// Appends a JSON string with its quotes. The text is valid UTF-8; only quotes, backslashes and control characters are
// escaped, so Hangul stays readable.
void dure_jsonl_append_string(dure_bytes *out, const char *text, size_t length);

#endif  // DURE_DATA_JSONL_H_
