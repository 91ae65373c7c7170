#include "cli/constraint.h"

#include <stdlib.h>

#include "model/json_schema.h"
#include "runtime/os.h"

static dure_status read_grammar(const char *grammar_path, const char *schema_path, dure_grammar **out_grammar) {
  const char *path = grammar_path != NULL ? grammar_path : schema_path;
  char *text = NULL;
  size_t length = 0;
  *out_grammar = NULL;
  DURE_TRY(dure_os_read_file(path, DURE_GRAMMAR_TEXT_MOST + 1, &text, &length));
  dure_status status = grammar_path != NULL ? dure_grammar_parse(text, length, out_grammar)
                                            : dure_json_schema_parse(text, length, out_grammar);
  free(text);
  return dure_status_prefix(status, "%s", path);
}

dure_status opened_constraint_create(const char *grammar_path, const char *schema_path, const dure_tokenizer *tokenizer,
                                     opened_constraint *out_opened) {
  dure_grammar *grammar = NULL;
  *out_opened = (opened_constraint){0};
  if (grammar_path == NULL && schema_path == NULL) return NULL;
  DURE_TRY(read_grammar(grammar_path, schema_path, &grammar));
  dure_status status = dure_token_trie_create(tokenizer, &out_opened->trie);
  if (status == NULL) return dure_constraint_create(grammar, out_opened->trie, &out_opened->constraint);
  dure_grammar_destroy(grammar);
  return status;
}

void opened_constraint_close(opened_constraint *opened) {
  dure_constraint_release(opened->constraint);
  dure_token_trie_destroy(opened->trie);
  *opened = (opened_constraint){0};
}
