// Inputs of a notation of grammars, a NUL, and bytes for what the grammar is tried on.
#ifndef DURE_TESTS_FUZZ_CONSTRAINT_H_
#define DURE_TESTS_FUZZ_CONSTRAINT_H_

#include <string.h>

#include "model/constraint.h"

typedef dure_status (*grammar_reader)(const char *text, size_t length, dure_grammar **out_grammar);
typedef void (*constraint_check)(dure_constraint *constraint, const uint8_t *bytes, size_t count);

static inline void fuzz_constraint(const uint8_t *bytes, size_t size, grammar_reader read, const dure_token_trie *trie,
                                   constraint_check check) {
  const uint8_t *end = size > 0 ? memchr(bytes, 0, size) : NULL;
  const size_t length = end != NULL ? (size_t)(end - bytes) : size;
  dure_grammar *grammar = NULL;
  dure_constraint *constraint = NULL;
  dure_status status = read((const char *)bytes, length, &grammar);
  if (status == NULL) status = dure_constraint_create(grammar, trie, &constraint);
  if (status == NULL && end != NULL) check(constraint, end + 1, size - length - 1);
  dure_status_free(status);
  dure_constraint_release(constraint);
}

#endif  // DURE_TESTS_FUZZ_CONSTRAINT_H_
