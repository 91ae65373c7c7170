// A JSON schema, a NUL, and a text that its grammar is tried on: what is taken whole must be JSON.
#include <jansson.h>
#include <stdlib.h>

#include "model/json_schema.h"
#include "tests/fuzz/constraint.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static dure_trie_node nothing[1];
static const dure_token_trie trie = {.nodes = nothing};

// A text that the grammar wants: at every place the first byte that fits, up to a number of them.
static void check_text(dure_constraint *constraint, const uint8_t *choices, size_t count) {
  dure_match *match = NULL;
  char text[256];
  size_t length = 0;
  dure_status status = dure_match_create(constraint, &match);
  for (size_t i = 0; status == NULL && i < count && length < sizeof(text); i++) {
    const char byte = (char)choices[i];
    dure_status fits = dure_match_bytes(match, &byte, 1);
    if (fits == NULL) text[length++] = byte;
    dure_status_free(fits);
  }
  if (status == NULL && dure_match_may_end(match)) {
    json_error_t error;
    json_t *value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (value == NULL) abort();
    json_decref(value);
  }
  dure_status_free(status);
  dure_match_destroy(match);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  fuzz_constraint(bytes, size, dure_json_schema_parse, &trie, check_text);
  return 0;
}
