// Grammars between their parts: the tree that the text says, and the states that it becomes.
#ifndef DURE_MODEL_GRAMMAR_INTERNAL_H_
#define DURE_MODEL_GRAMMAR_INTERNAL_H_

#include <stdbool.h>

#include "model/grammar.h"

// ---- the tree ----------------------------------------------------------------------------------------------------

typedef enum grammar_node_kind {
  GRAMMAR_NODE_TEXT,         // bytes [first, first + count) of `text`
  GRAMMAR_NODE_CLASS,        // ranges [first, first + count)
  GRAMMAR_NODE_CALL,         // rule `first`
  GRAMMAR_NODE_SEQUENCE,     // children, linked by `next`, from `first` on
  GRAMMAR_NODE_ALTERNATIVE,  // the same
  GRAMMAR_NODE_REPEAT,       // child `first`, least .. most times
} grammar_node_kind;

#define GRAMMAR_NONE UINT32_MAX  // no node; no end of repeating

typedef struct grammar_node {
  grammar_node_kind kind;
  uint32_t first, count, next;
  uint32_t least, most;  // GRAMMAR_NONE: any number
} grammar_node;

typedef struct grammar_range {
  uint32_t low, high;  // code points, inclusive
} grammar_range;

typedef struct grammar_rule {
  const char *name;  // in the grammar's text
  size_t name_length;
  size_t place;    // where it is first spoken of, bytes
  uint32_t node;   // GRAMMAR_NONE: not defined
  uint32_t entry;  // its first state
} grammar_rule;

typedef struct grammar_tree {
  const char *source;  // borrowed
  size_t source_length;
  grammar_node *nodes;
  size_t node_count, node_capacity;
  grammar_range *ranges;
  size_t range_count, range_capacity;
  uint8_t *text;
  size_t text_size, text_capacity;
  grammar_rule *rules;
  size_t rule_count, rule_capacity;
  uint32_t *names;  // hash table of rules, [name_slots]
  size_t name_slots;
} grammar_tree;

// Start from {0}; release with grammar_tree_clear in any case.
DURE_MUST_CHECK dure_status grammar_tree_read(const char *text, size_t length, grammar_tree *out_tree);
void grammar_tree_clear(grammar_tree *tree);
// A failure at a place of the source.
DURE_MUST_CHECK dure_status grammar_fail(const grammar_tree *tree, size_t place, const char *format, ...)
    DURE_PRINTF(3, 4);

// ---- states ------------------------------------------------------------------------------------------------------

typedef enum grammar_state_kind {
  GRAMMAR_STATE_BYTES,   // a byte in low .. high leads to `next`
  GRAMMAR_STATE_SPLIT,   // `next` and `other`, whichever fits
  GRAMMAR_STATE_CALL,    // the rule with entry `other`, then `next`
  GRAMMAR_STATE_RETURN,  // the end of a rule
} grammar_state_kind;

typedef struct grammar_state {
  uint8_t kind, low, high;
  uint32_t next, other;
} grammar_state;

struct dure_grammar {
  grammar_state *states;  // owned
  uint32_t state_count, root;
  uint8_t classes[256];      // bytes that no state tells apart have the same class
  uint8_t class_bytes[256];  // [class_count] one of each
  uint32_t class_count;
};

#endif  // DURE_MODEL_GRAMMAR_INTERNAL_H_
