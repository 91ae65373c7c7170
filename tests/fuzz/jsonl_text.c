// The quick reading of a line's text: the same text, or the same refusal, as by the JSON library.
#include <stdlib.h>
#include <string.h>

#include "data/jsonl.h"
#include "data/jsonl_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  const dure_document document = {
      .path = "", .line = 1, .format = DURE_FORMAT_JSONL, .bytes = (const char *)bytes, .size = size};
  json_t *object = NULL;
  dure_bytes decoded = {0};
  const char *expected = NULL, *text = NULL;
  size_t expected_length = 0, length = 0;
  dure_status slow = dure_jsonl_document_text(&document, &object, &expected, &expected_length);
  dure_status quick = dure_jsonl_read_text(&document, &decoded, &text, &length);
  if (dure_status_code(slow) != dure_status_code(quick)) abort();
  if (slow == NULL && (length != expected_length || memcmp(text, expected, length) != 0)) abort();
  dure_status_free(slow);
  dure_status_free(quick);
  json_decref(object);
  dure_bytes_free(&decoded);
  return 0;
}
