// What a generation may say, as a context-free grammar over text, compiled to an automaton over bytes.
//
// The notation is that of the usual GBNF files:
//
//   root   ::= object | "null"                 # generation begins with `root`; comments end with the line
//   object ::= "{" (pair ("," pair)*)? "}"     # sequences, alternatives, groups
//   pair   ::= string ":" [0-9]{1,4}           # *, +, ?, {n}, {n,}, {n,m}
//   string ::= "\"" [^"\\\x00-\x1f]* "\""      # classes of characters: ranges, ^ for all others; . is any character
//
// In texts and classes: \n \r \t \\ \" \' \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH, all of them code points. A rule ends
// where the next name with ::= begins, so it may go on over lines. Names: a letter or _, then letters, digits, _ and -.
//
// The automaton: a network of states for each rule that calls others, as in Woods 1970, "Transition network grammars".
// Refused, with line and column: mistakes, names without a rule, left recursion (a rule that may begin with itself),
// rules that never end, and what exceeds the limits below. An opened grammar is immutable.
#ifndef DURE_MODEL_GRAMMAR_H_
#define DURE_MODEL_GRAMMAR_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum {
  DURE_GRAMMAR_TEXT_MOST = 1 << 20,  // bytes
  DURE_GRAMMAR_RULES_MOST = 1 << 14,
  DURE_GRAMMAR_DEPTH_MOST = 128,       // of groups in groups
  DURE_GRAMMAR_STATES_MOST = 1 << 18,  // once repetitions are written out
};

typedef struct dure_grammar dure_grammar;

// DURE_INVALID_ARGUMENT with line and column. Release with dure_grammar_destroy.
DURE_MUST_CHECK dure_status dure_grammar_parse(const char *text, size_t length, dure_grammar **out_grammar);
void dure_grammar_destroy(dure_grammar *grammar);  // NULL is fine
uint32_t dure_grammar_state_count(const dure_grammar *grammar);
uint64_t dure_grammar_bytes(const dure_grammar *grammar);  // of memory

#endif  // DURE_MODEL_GRAMMAR_H_
