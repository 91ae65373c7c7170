#include "cli/output.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"

json_t *output_json_text(const char *text, size_t length) {
  char *valid = malloc(3 * length + 1);
  size_t written = 0;
  for (size_t at = 0; at < length && valid != NULL;) {
    size_t good = dure_utf8_valid_prefix(text + at, length - at);
    memcpy(valid + written, text + at, good);
    written += good;
    at += good;
    size_t bad = dure_utf8_invalid_prefix(text + at, length - at);
    if (bad > 0) written += dure_utf8_write(0xFFFD, valid + written);
    at += bad;
  }
  json_t *value = valid != NULL ? json_stringn(valid, written) : NULL;
  free(valid);
  return value;
}

dure_status output_json(json_t *object) {
  char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
  json_decref(object);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a line of output");
  puts(text);
  free(text);
  return output_check();
}

dure_status output_check(void) {
  return fflush(stdout) != 0 || ferror(stdout) ? dure_fail_errno("cannot write to standard output") : NULL;
}
