#include "data/jsonl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const json_t *find_field(const json_t *object, const char *field) {
  const json_t *value = json_object_get(object, field);
  const char *dot = strchr(field, '.');
  if (value != NULL || dot == NULL) return value;
  char outer[128];
  snprintf(outer, sizeof(outer), "%.*s", (int)(dot - field), field);
  return find_field(json_object_get(object, outer), dot + 1);
}

dure_status dure_jsonl_parse_field(const char *line, size_t size, const char *field, json_t **out_object,
                                   const char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  json_error_t error;
  *out_object = json_loadb(line, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
  if (*out_object == NULL) return dure_fail(DURE_CORRUPT, "not JSON: %s", error.text);
  const json_t *text = find_field(*out_object, field);
  if (!json_is_string(text)) {
    json_decref(*out_object);
    *out_object = NULL;
    return dure_fail(DURE_CORRUPT, "expected an object with a \"%s\" string", field);
  }
  *out_text = json_string_value(text);
  *out_length = json_string_length(text);
  return NULL;
}

dure_status dure_jsonl_parse(const char *line, size_t size, json_t **out_object, const char **out_text,
                             size_t *out_length) {
  return dure_jsonl_parse_field(line, size, "text", out_object, out_text, out_length);
}

// The value of an escape \uXXXX that begins at `text`; -1 for none.
static int escaped_unit(const char *text, size_t size) {
  if (size < 6 || text[0] != '\\' || text[1] != 'u') return -1;
  int value = 0;
  for (int i = 2; i < 6; i++) {
    char low = (char)(text[i] | 0x20);
    int digit = text[i] >= '0' && text[i] <= '9' ? text[i] - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

bool dure_jsonl_repair_surrogates(const char *line, size_t size, dure_bytes *out) {
  size_t copied = 0;
  for (size_t i = 0; i + 6 <= size; i++) {
    const char *escape = memchr(line + i, '\\', size - i);
    if (escape == NULL) break;
    i = (size_t)(escape - line);
    int unit = escaped_unit(escape, size - i);
    if (unit < 0 || (unit & 0xf800) != 0xd800) {
      i++;  // also over an escaped backslash
      continue;
    }
    int next = escaped_unit(escape + 6, size - i - 6);
    if (unit < 0xdc00 && next >= 0xdc00 && next < 0xe000) {
      i += 11;
      continue;
    }
    dure_bytes_append(out, line + copied, i - copied);
    dure_bytes_append_text(out, "\\ufffd");
    copied = i + 6;
    i += 5;
  }
  if (copied == 0) return false;
  dure_bytes_append(out, line + copied, size - copied);
  return true;
}

dure_status dure_jsonl_document_text(const dure_document *document, json_t **out_object, const char **out_text,
                                     size_t *out_length) {
  *out_object = NULL;
  *out_text = document->bytes;
  *out_length = document->size;
  if (document->format == DURE_FORMAT_TEXT || document->format == DURE_FORMAT_MARKDOWN) return NULL;
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
