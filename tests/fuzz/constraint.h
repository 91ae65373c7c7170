// Inputs of a notation of grammars, a NUL, and bytes for what the grammar is tried on; every second one with a budget
// of memory that leaves nothing, so that sets are forgotten after each token.
#ifndef DURE_TESTS_FUZZ_CONSTRAINT_H_
#define DURE_TESTS_FUZZ_CONSTRAINT_H_

#include <stdlib.h>
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
  dure_constraint_budget *budget = NULL;
  dure_status status = read((const char *)bytes, length, &grammar);
  if (status == NULL) status = dure_constraint_create(grammar, trie, &constraint);
  if (status == NULL && size % 2 == 0) status = dure_constraint_budget_create(1, &budget);
  if (budget != NULL) dure_constraint_share(constraint, budget);
  if (status == NULL && end != NULL) check(constraint, end + 1, size - length - 1);
  dure_status_free(status);
  dure_constraint_release(constraint);
  if (budget != NULL && dure_constraint_budget_used(budget) != 0) abort();
  dure_constraint_budget_release(budget);
}

#endif  // DURE_TESTS_FUZZ_CONSTRAINT_H_
