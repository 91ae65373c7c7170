// What a generation may say, by a file on the command line.
#ifndef DURE_CLI_CONSTRAINT_H_
#define DURE_CLI_CONSTRAINT_H_

#include "model/constraint.h"

typedef struct opened_constraint {
  dure_token_trie *trie;
  dure_constraint *constraint;  // NULL: anything
} opened_constraint;

// Of a grammar's file, or of a JSON schema's; both NULL: none. The tokenizer must outlive it. Release with
// opened_constraint_close in any case.
DURE_MUST_CHECK dure_status opened_constraint_create(const char *grammar_path, const char *schema_path,
                                                     const dure_tokenizer *tokenizer, opened_constraint *out_opened);
void opened_constraint_close(opened_constraint *opened);

#endif  // DURE_CLI_CONSTRAINT_H_
