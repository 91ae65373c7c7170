// A grammar and a vocabulary together: which tokens may come next (Willard and Louf 2023, "Efficient Guided Generation
// for Large Language Models", with a pushdown automaton run over the tokens' bytes).
//
// A mask is made by a walk over the vocabulary's tree (model/token_trie.h), in which a byte costs one look-up and what
// is ruled out one jump, and kept for the next time that a text stands at the same places: inside a string or a number
// a token costs a copy. Measured: docs/model.md.
//
// Constraints may share a budget of memory: beyond half of it, those that take more than a 128th of it give back what
// they have made once a token is done, so that 64 of them at work stay within it; who makes new ones asks first
// (dure_constraint_budget_used).
//
// Threads: a constraint may be held and released by any thread; everything of matches belongs to one thread at a time,
// for all matches of a constraint together.
#ifndef DURE_MODEL_CONSTRAINT_H_
#define DURE_MODEL_CONSTRAINT_H_

#include <stdbool.h>

#include "model/grammar.h"
#include "model/token_trie.h"

typedef struct dure_constraint dure_constraint;
typedef struct dure_match dure_match;

// Takes the grammar, also on failure. The trie is borrowed. One reference, that of the caller.
DURE_MUST_CHECK dure_status dure_constraint_create(dure_grammar *grammar, const dure_token_trie *trie,
                                                   dure_constraint **out_constraint);
dure_constraint *dure_constraint_hold(dure_constraint *constraint);  // one more reference
void dure_constraint_release(dure_constraint *constraint);           // NULL is fine

// ---- memory --------------------------------------------------------------------------------------------------------

typedef struct dure_constraint_budget dure_constraint_budget;

DURE_MUST_CHECK dure_status dure_constraint_budget_create(uint64_t bytes, dure_constraint_budget **out_budget);
void dure_constraint_budget_release(dure_constraint_budget *budget);         // NULL is fine; constraints hold it too
uint64_t dure_constraint_budget_used(const dure_constraint_budget *budget);  // bytes; any thread
// Counts the constraint's memory among that of others; before its first match.
void dure_constraint_share(dure_constraint *constraint, dure_constraint_budget *budget);
uint64_t dure_constraint_bytes(const dure_constraint *constraint);

// ---- matches -------------------------------------------------------------------------------------------------------

// A text that begins; it holds the constraint. Release with dure_match_destroy.
DURE_MUST_CHECK dure_status dure_match_create(dure_constraint *constraint, dure_match **out_match);
void dure_match_destroy(dure_match *match);                     // NULL is fine
void dure_match_move(dure_match *match, const dure_match *to);  // to where another of the same constraint stands
// Bits of the tokens that may come next; `words` 32-bit words, those of ids beyond the vocabulary are 0. *out_count
// says how many there are, *out_may_end whether the text may end here. DURE_UNSUPPORTED where the grammar exceeds a
// limit.
DURE_MUST_CHECK dure_status dure_match_mask(dure_match *match, uint32_t *out_mask, uint32_t words, uint32_t *out_count,
                                            bool *out_may_end);
// Goes on by a token. DURE_INVALID_ARGUMENT for one that may not come next; the match is then where it was.
DURE_MUST_CHECK dure_status dure_match_token(dure_match *match, uint32_t token);
// The same for bytes.
DURE_MUST_CHECK dure_status dure_match_bytes(dure_match *match, const char *bytes, size_t length);
bool dure_match_may_end(const dure_match *match);

#endif  // DURE_MODEL_CONSTRAINT_H_
