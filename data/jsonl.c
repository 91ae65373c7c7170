#include "data/jsonl.h"

#include <inttypes.h>
#include <stdio.h>

dure_status dure_jsonl_parse(const char *line, size_t size, json_t **out_object, const char **out_text,
                             size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  json_error_t error;
  *out_object = json_loadb(line, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
  if (*out_object == NULL) return dure_fail(DURE_CORRUPT, "not JSON: %s", error.text);
  const json_t *text = json_object_get(*out_object, "text");
  if (!json_is_string(text)) {
    json_decref(*out_object);
    *out_object = NULL;
    return dure_fail(DURE_CORRUPT, "expected an object with a \"text\" string");
  }
  *out_text = json_string_value(text);
  *out_length = json_string_length(text);
  return NULL;
}

dure_status dure_jsonl_document_text(const dure_document *document, json_t **out_object, const char **out_text,
                                     size_t *out_length) {
  *out_object = NULL;
  *out_text = document->bytes;
  *out_length = document->size;
  if (document->format == DURE_FORMAT_TEXT) return NULL;
  if (document->format != DURE_FORMAT_JSONL) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is markup: run 'dure data clean' on it first", document->path);
  }
  dure_status status = dure_jsonl_parse(document->bytes, document->size, out_object, out_text, out_length);
  return dure_status_prefix(status, "%s:%" PRIu64, document->path, document->line);
}

void dure_jsonl_append_string(dure_bytes *out, const char *text, size_t length) {
  dure_bytes_append(out, "\"", 1);
  size_t copied = 0;
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)text[i];
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    dure_bytes_append(out, text + copied, i - copied);
    copied = i + 1;
    char escape[8];
    if (byte == '\n') {
      snprintf(escape, sizeof(escape), "\\n");
    } else if (byte == '"' || byte == '\\') {
      snprintf(escape, sizeof(escape), "\\%c", byte);
    } else {
      snprintf(escape, sizeof(escape), "\\u%04x", byte);
    }
    dure_bytes_append_text(out, escape);
  }
  dure_bytes_append(out, text + copied, length - copied);
  dure_bytes_append(out, "\"", 1);
}
