// Grammars for tests: made from a text, tried on texts.
#ifndef DURE_TESTS_UNIT_CONSTRAINTS_H_
#define DURE_TESTS_UNIT_CONSTRAINTS_H_

#include <check.h>
#include <string.h>

#include "model/constraint.h"
#include "tests/suite.h"

static inline dure_constraint *constraint_of(const char *text, const dure_token_trie *trie) {
  dure_grammar *grammar = NULL;
  dure_constraint *constraint = NULL;
  require(dure_grammar_parse(text, strlen(text), &grammar));
  require(dure_constraint_create(grammar, trie, &constraint));
  return constraint;
}

// Whether the text is one that the grammar has, whole.
static inline bool takes(dure_constraint *constraint, const char *text) {
  dure_match *match = NULL;
  require(dure_match_create(constraint, &match));
  dure_status status = dure_match_bytes(match, text, strlen(text));
  const bool is_taken = status == NULL && dure_match_may_end(match);
  dure_status_free(status);
  dure_match_destroy(match);
  return is_taken;
}

#endif  // DURE_TESTS_UNIT_CONSTRAINTS_H_
