// Tokens with their log-probabilities, as a choice collects them: of its prompt where that is echoed, then of what is
// generated.
#ifndef DURE_SERVE_PIECES_H_
#define DURE_SERVE_PIECES_H_

#include "serve/job.h"

// The prompt's, once, when its scores are known; its text is the choice's already. Nothing where they were not asked
// for.
DURE_MUST_CHECK dure_status pieces_add_prompt(choice *c);
DURE_MUST_CHECK dure_status pieces_add_generated(choice *c, dure_scored_token token, uint32_t index);
// Drops those whose text begins at `end` or later.
void pieces_cut(choice *c, size_t end);

#endif  // DURE_SERVE_PIECES_H_
