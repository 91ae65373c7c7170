// A grammar, a NUL, and a text that it is tried on: masks and texts must agree about every token.
#include <stdlib.h>

#include "tests/fuzz/constraint.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

// a, ab, b, "0", the first half of an e with an accent, all of it; as model/token_trie.h lays them out.
static dure_trie_node nodes[] = {{1, 0, 1, '0'},  {3, 1, 1, 'a'},  {3, 2, 2, 'b'}, {4, 3, 1, 'b'},
                                 {6, 4, 1, 0xc3}, {6, 5, 2, 0xa9}, {0, 6, 0, 0}};
static uint32_t tokens[] = {3, 0, 1, 2, 4, 5};
static const char *texts[] = {"a", "ab", "b", "0", "\xc3", "\xc3\xa9"};
static uint32_t lengths[] = {1, 2, 1, 1, 1, 2};
static const dure_token_trie trie = {nodes, 6, tokens, 6, 6, texts, lengths};

static void check_mask(dure_constraint *constraint, const uint8_t *bytes, size_t length) {
  const char *text = (const char *)bytes;
  dure_match *match = NULL, *other = NULL;
  uint32_t mask = 0, count = 0;
  bool may_end = false;
  dure_status status = dure_match_create(constraint, &match);
  if (status == NULL) status = dure_match_bytes(match, text, length);
  if (status == NULL) status = dure_match_mask(match, &mask, 1, &count, &may_end);
  for (uint32_t token = 0; token < 6 && status == NULL; token++) {
    status = dure_match_create(constraint, &other);
    if (status == NULL) status = dure_match_bytes(other, text, length);
    if (status != NULL) break;
    dure_status fits = dure_match_token(other, token);
    if (dure_status_code(fits) != DURE_UNSUPPORTED && (fits == NULL) != ((mask >> token & 1) != 0)) abort();
    dure_status_free(fits);
    dure_match_destroy(other);
    other = NULL;
  }
  dure_status_free(status);
  dure_match_destroy(other);
  dure_match_destroy(match);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  fuzz_constraint(bytes, size, dure_grammar_parse, &trie, check_mask);
  return 0;
}
