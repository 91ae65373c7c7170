// From the tree of a grammar to its states.
#include <stdlib.h>
#include <string.h>

#include "model/grammar_internal.h"

enum {
  LEFT_DEPTH_MOST = 4096,    // of rules that begin with rules, and of groups in them: calls of visit
  EMISSIONS_MOST = 1 << 22,  // visits of nodes while writing repetitions out
  STATE_RETURN = 0           // of all rules
};

typedef enum rule_mark { RULE_UNSEEN, RULE_OPEN, RULE_CLOSED_FULL, RULE_CLOSED_EMPTY } rule_mark;

typedef struct compiler {
  grammar_tree *tree;
  dure_grammar *grammar;
  uint32_t state_capacity, emissions;
  uint8_t *marks;      // [rule_count] rule_mark
  uint32_t *children;  // of sequences being emitted, a stack
  size_t child_count, child_capacity;
} compiler;

// ---- left recursion ----------------------------------------------------------------------------------------------

static dure_status visit_rule(compiler *c, uint32_t rule, uint32_t depth, bool *out_is_nullable);

// Whether a node can be nothing; visits all rules that it may begin with.
static dure_status visit(compiler *c, uint32_t index, uint32_t depth, bool *out_is_nullable) {
  const grammar_node node = c->tree->nodes[index];
  bool is_nullable = false;
  *out_is_nullable = false;
  switch (node.kind) {
    case GRAMMAR_NODE_TEXT: *out_is_nullable = node.count == 0; return NULL;
    case GRAMMAR_NODE_CLASS: return NULL;
    case GRAMMAR_NODE_CALL: return visit_rule(c, node.first, depth, out_is_nullable);
    case GRAMMAR_NODE_REPEAT:
      if (node.most > 0) DURE_TRY(visit(c, node.first, depth + 1, &is_nullable));
      *out_is_nullable = is_nullable || node.least == 0;
      return NULL;
    case GRAMMAR_NODE_SEQUENCE:
      for (uint32_t child = node.first; child != GRAMMAR_NONE; child = c->tree->nodes[child].next) {
        DURE_TRY(visit(c, child, depth + 1, &is_nullable));
        if (!is_nullable) return NULL;
      }
      *out_is_nullable = true;
      return NULL;
    case GRAMMAR_NODE_ALTERNATIVE:
      for (uint32_t child = node.first; child != GRAMMAR_NONE; child = c->tree->nodes[child].next) {
        DURE_TRY(visit(c, child, depth + 1, &is_nullable));
        *out_is_nullable = *out_is_nullable || is_nullable;
      }
      return NULL;
  }
  return NULL;
}

static int shown(const grammar_rule *rule) { return (int)(rule->name_length < 100 ? rule->name_length : 100); }

static dure_status visit_rule(compiler *c, uint32_t index, uint32_t depth, bool *out_is_nullable) {
  const grammar_rule *rule = &c->tree->rules[index];
  *out_is_nullable = c->marks[index] == RULE_CLOSED_EMPTY;
  if (c->marks[index] == RULE_OPEN)
    return grammar_fail(c->tree, rule->place,
                        "rule '%.*s' may begin with itself (left recursion): write what repeats with * instead",
                        shown(rule), rule->name);
  if (c->marks[index] != RULE_UNSEEN) return NULL;
  if (depth > LEFT_DEPTH_MOST)
    return grammar_fail(c->tree, rule->place, "too many rules begin with one another (more than %d deep)",
                        LEFT_DEPTH_MOST);
  c->marks[index] = RULE_OPEN;
  DURE_TRY(visit(c, rule->node, depth + 1, out_is_nullable));
  c->marks[index] = *out_is_nullable ? RULE_CLOSED_EMPTY : RULE_CLOSED_FULL;
  return NULL;
}

// ---- states ------------------------------------------------------------------------------------------------------

static dure_status add_state(compiler *c, grammar_state state, uint32_t *out_state) {
  dure_grammar *g = c->grammar;
  *out_state = 0;
  if (g->state_count == DURE_GRAMMAR_STATES_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "the grammar is too large: with its repetitions written out it needs more than %d states",
                     DURE_GRAMMAR_STATES_MOST);
  if (g->state_count == c->state_capacity) {
    const uint32_t capacity = c->state_capacity * 2 + 256;
    grammar_state *grown = realloc(g->states, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar");
    g->states = grown;
    c->state_capacity = capacity;
  }
  g->states[g->state_count] = state;
  *out_state = g->state_count++;
  return NULL;
}

static dure_status add_bytes(compiler *c, uint32_t low, uint32_t high, uint32_t next, uint32_t *out_state) {
  return add_state(c, (grammar_state){GRAMMAR_STATE_BYTES, (uint8_t)low, (uint8_t)high, next, 0}, out_state);
}

// `entry` besides what there is already (GRAMMAR_NONE: nothing).
static dure_status add_choice(compiler *c, uint32_t entry, uint32_t *choices) {
  if (*choices == GRAMMAR_NONE) {
    *choices = entry;
    return NULL;
  }
  return add_state(c, (grammar_state){GRAMMAR_STATE_SPLIT, 0, 0, entry, *choices}, choices);
}

// Characters low .. high whose UTF-8 has `length` bytes: the range is cut until each byte of it has a range of its own.
static dure_status add_utf8(compiler *c, uint32_t low, uint32_t high, uint32_t length, uint32_t next,
                            uint32_t *choices) {
  for (uint32_t i = 1; i < length; i++) {
    const uint32_t rest = (1U << (6 * i)) - 1;
    if ((low & ~rest) == (high & ~rest)) continue;
    if ((low & rest) != 0) {
      DURE_TRY(add_utf8(c, low, low | rest, length, next, choices));
      return add_utf8(c, (low | rest) + 1, high, length, next, choices);
    }
    if ((high & rest) != rest) {
      DURE_TRY(add_utf8(c, low, (high & ~rest) - 1, length, next, choices));
      return add_utf8(c, high & ~rest, high, length, next, choices);
    }
  }
  static const uint32_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
  uint32_t state = next;
  for (uint32_t i = 0; i + 1 < length; i++)
    DURE_TRY(add_bytes(c, 0x80 | (low >> (6 * i) & 0x3f), 0x80 | (high >> (6 * i) & 0x3f), state, &state));
  const uint32_t top = 6 * (length - 1);
  DURE_TRY(add_bytes(c, leads[length] | low >> top, leads[length] | high >> top, state, &state));
  return add_choice(c, state, choices);
}

static dure_status emit_class(compiler *c, const grammar_node *node, uint32_t next, uint32_t *out_entry) {
  // Where the length of UTF-8 changes, and the surrogates, which it does not have.
  static const struct {
    uint32_t low, high, length;
  } parts[] = {{0, 0x7f, 1}, {0x80, 0x7ff, 2}, {0x800, 0xd7ff, 3}, {0xe000, 0xffff, 3}, {0x10000, 0x10ffff, 4}};
  *out_entry = GRAMMAR_NONE;
  for (uint32_t i = 0; i < node->count; i++) {
    const grammar_range range = c->tree->ranges[node->first + i];
    for (size_t part = 0; part < sizeof(parts) / sizeof(parts[0]); part++) {
      const uint32_t low = range.low > parts[part].low ? range.low : parts[part].low;
      const uint32_t high = range.high < parts[part].high ? range.high : parts[part].high;
      if (low <= high) DURE_TRY(add_utf8(c, low, high, parts[part].length, next, out_entry));
    }
  }
  if (*out_entry != GRAMMAR_NONE) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "a class of the grammar has no characters but surrogates, which are none");
}

static dure_status emit(compiler *c, uint32_t index, uint32_t next, uint32_t *out_entry);

static dure_status emit_repeat(compiler *c, const grammar_node *node, uint32_t next, uint32_t *out_entry) {
  uint32_t entry = next, body = 0;
  if (node->most == GRAMMAR_NONE) {
    DURE_TRY(add_state(c, (grammar_state){GRAMMAR_STATE_SPLIT, 0, 0, next, next}, &entry));
    DURE_TRY(emit(c, node->first, entry, &body));
    c->grammar->states[entry].next = body;
  }
  for (uint32_t i = node->least; i < node->most && node->most != GRAMMAR_NONE; i++) {
    DURE_TRY(emit(c, node->first, entry, &body));
    DURE_TRY(add_state(c, (grammar_state){GRAMMAR_STATE_SPLIT, 0, 0, body, next}, &entry));
  }
  for (uint32_t i = 0; i < node->least; i++) DURE_TRY(emit(c, node->first, entry, &entry));
  *out_entry = entry;
  return NULL;
}

// The last one first, since each leads to the next.
static dure_status emit_sequence(compiler *c, const grammar_node *node, uint32_t next, uint32_t *out_entry) {
  const size_t first = c->child_count;
  uint32_t entry = next;
  for (uint32_t child = node->first; child != GRAMMAR_NONE; child = c->tree->nodes[child].next) {
    if (c->child_count == c->child_capacity) {
      const size_t capacity = c->child_capacity * 2 + 64;
      uint32_t *grown = realloc(c->children, capacity * sizeof(*grown));
      if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar");
      c->children = grown;
      c->child_capacity = capacity;
    }
    c->children[c->child_count++] = child;
  }
  while (c->child_count > first) DURE_TRY(emit(c, c->children[--c->child_count], entry, &entry));
  *out_entry = entry;
  return NULL;
}

// The state with which a node begins that is followed by state `next`.
static dure_status emit(compiler *c, uint32_t index, uint32_t next, uint32_t *out_entry) {
  const grammar_node node = c->tree->nodes[index];
  uint32_t entry = next, choices = GRAMMAR_NONE;
  if (++c->emissions > EMISSIONS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "the grammar is too large: its repetitions multiply to more than %d parts",
                     EMISSIONS_MOST);
  switch (node.kind) {
    case GRAMMAR_NODE_TEXT:
      for (uint32_t i = node.count; i-- > 0;) {
        const uint8_t byte = c->tree->text[node.first + i];
        DURE_TRY(add_bytes(c, byte, byte, entry, &entry));
      }
      break;
    case GRAMMAR_NODE_CLASS: DURE_TRY(emit_class(c, &node, next, &entry)); break;
    case GRAMMAR_NODE_CALL:  // of a rule, for now; its entry is not known yet
      DURE_TRY(add_state(c, (grammar_state){GRAMMAR_STATE_CALL, 0, 0, next, node.first}, &entry));
      break;
    case GRAMMAR_NODE_REPEAT: DURE_TRY(emit_repeat(c, &node, next, &entry)); break;
    case GRAMMAR_NODE_SEQUENCE: DURE_TRY(emit_sequence(c, &node, next, &entry)); break;
    case GRAMMAR_NODE_ALTERNATIVE:
      for (uint32_t child = node.first; child != GRAMMAR_NONE; child = c->tree->nodes[child].next) {
        DURE_TRY(emit(c, child, next, &entry));
        DURE_TRY(add_choice(c, entry, &choices));
      }
      entry = choices;
      break;
  }
  *out_entry = entry;
  return NULL;
}

static dure_status emit_rules(compiler *c) {
  uint32_t state = 0;
  DURE_TRY(add_state(c, (grammar_state){GRAMMAR_STATE_RETURN, 0, 0, 0, 0}, &state));
  for (size_t i = 0; i < c->tree->rule_count; i++)
    DURE_TRY(emit(c, c->tree->rules[i].node, STATE_RETURN, &c->tree->rules[i].entry));
  for (uint32_t i = 0; i < c->grammar->state_count; i++) {
    grammar_state *call = &c->grammar->states[i];
    if (call->kind == GRAMMAR_STATE_CALL) call->other = c->tree->rules[call->other].entry;
  }
  return NULL;
}

// ---- rules that never end ----------------------------------------------------------------------------------------

// Edges backwards: for each state those that lead to it, as linked lists. A state counts what it still needs.
typedef struct ending {
  uint32_t *first;  // [state_count] an edge into it
  uint32_t *next;   // [2 * state_count] the next such edge; edge e comes from state e / 2
  uint8_t *needs;   // [state_count]
  uint32_t *queue;  // [state_count]
} ending;

static void add_edge(ending *e, uint32_t from, uint32_t which, uint32_t to) {
  e->next[2 * from + which] = e->first[to];
  e->first[to] = 2 * from + which;
}

static void spread(ending *e) {
  uint32_t count = 0;
  e->queue[count++] = STATE_RETURN;
  for (uint32_t done = 0; done < count; done++) {
    for (uint32_t edge = e->first[e->queue[done]]; edge != GRAMMAR_NONE; edge = e->next[edge]) {
      if (e->needs[edge / 2] > 0 && --e->needs[edge / 2] == 0) e->queue[count++] = edge / 2;
    }
  }
}

// Every rule must have an end: a call needs both its rule's and what follows.
static dure_status check_ends(const compiler *c) {
  const dure_grammar *g = c->grammar;
  uint32_t *words = malloc((size_t)g->state_count * 4 * sizeof(*words));
  uint8_t *needs = calloc(g->state_count, 1);
  dure_status status = NULL;
  if (words == NULL || needs == NULL) {
    free(words);
    free(needs);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar");
  }
  ending e = {words, words + g->state_count, needs, words + (size_t)g->state_count * 3};
  memset(words, 0xff, (size_t)g->state_count * 3 * sizeof(*words));
  for (uint32_t i = 0; i < g->state_count; i++) {
    const grammar_state *s = &g->states[i];
    if (s->kind == GRAMMAR_STATE_RETURN) continue;
    needs[i] = s->kind == GRAMMAR_STATE_CALL ? 2 : 1;
    add_edge(&e, i, 0, s->next);
    if (s->kind != GRAMMAR_STATE_BYTES) add_edge(&e, i, 1, s->other);
  }
  spread(&e);
  for (size_t i = 0; i < c->tree->rule_count && status == NULL; i++) {
    const grammar_rule *rule = &c->tree->rules[i];
    if (needs[rule->entry] > 0)
      status = grammar_fail(c->tree, rule->place, "rule '%.*s' never ends: each of its alternatives needs itself again",
                            shown(rule), rule->name);
  }
  free(words);
  free(needs);
  return status;
}

// ---- the grammar -------------------------------------------------------------------------------------------------

static void find_classes(dure_grammar *g) {
  bool begins[257] = {true};
  for (uint32_t i = 0; i < g->state_count; i++) {
    if (g->states[i].kind != GRAMMAR_STATE_BYTES) continue;
    begins[g->states[i].low] = begins[g->states[i].high + 1] = true;
  }
  for (uint32_t byte = 0; byte < 256; byte++) {
    if (begins[byte]) g->class_bytes[g->class_count++] = (uint8_t)byte;
    g->classes[byte] = (uint8_t)(g->class_count - 1);
  }
}

static dure_status compile(compiler *c) {
  uint32_t root = GRAMMAR_NONE;
  bool is_nullable = false;
  for (uint32_t i = 0; i < c->tree->rule_count; i++) {
    DURE_TRY(visit_rule(c, i, 0, &is_nullable));
    if (c->tree->rules[i].name_length == 4 && memcmp(c->tree->rules[i].name, "root", 4) == 0) root = i;
  }
  if (root == GRAMMAR_NONE)
    return dure_fail(DURE_INVALID_ARGUMENT, "the grammar has no rule 'root', with which it begins");
  DURE_TRY(emit_rules(c));
  DURE_TRY(check_ends(c));
  c->grammar->root = c->tree->rules[root].entry;
  find_classes(c->grammar);
  grammar_state *fitting = realloc(c->grammar->states, c->grammar->state_count * sizeof(*fitting));
  if (fitting != NULL) c->grammar->states = fitting;
  return NULL;
}

dure_status dure_grammar_parse(const char *text, size_t length, dure_grammar **out_grammar) {
  *out_grammar = NULL;
  grammar_tree tree = {0};
  dure_grammar *grammar = calloc(1, sizeof(*grammar));
  dure_status status = grammar != NULL ? grammar_tree_read(text, length, &tree)
                                       : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar");
  compiler c = {.tree = &tree, .grammar = grammar};
  if (status == NULL) {
    c.marks = calloc(tree.rule_count + 1, 1);
    status = c.marks != NULL ? compile(&c) : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar");
  }
  free(c.marks);
  free(c.children);
  grammar_tree_clear(&tree);
  if (status != NULL) {
    dure_grammar_destroy(grammar);
    return status;
  }
  *out_grammar = grammar;
  return NULL;
}

void dure_grammar_destroy(dure_grammar *grammar) {
  if (grammar == NULL) return;
  free(grammar->states);
  free(grammar);
}

uint32_t dure_grammar_state_count(const dure_grammar *grammar) { return grammar->state_count; }

uint64_t dure_grammar_bytes(const dure_grammar *grammar) {
  return sizeof(*grammar) + grammar->state_count * sizeof(*grammar->states);
}
