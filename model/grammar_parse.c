// The text of a grammar as a tree.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/grammar_internal.h"

typedef struct reader {
  grammar_tree *tree;
  const char *text;
  size_t length, place;
  uint32_t depth;
} reader;

dure_status grammar_fail(const grammar_tree *tree, size_t place, const char *format, ...) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < place && i < tree->source_length; i++) {
    column = tree->source[i] == '\n' ? 1 : column + 1;
    line += tree->source[i] == '\n';
  }
  va_list arguments;
  va_start(arguments, format);
  dure_status status = dure_fail_v(DURE_INVALID_ARGUMENT, format, arguments);
  va_end(arguments);
  return dure_status_prefix(status, "grammar, line %zu, column %zu", line, column);
}

// Room for one more of `size` bytes.
static dure_status grow(void **items, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity) return NULL;
  const size_t larger = *capacity * 2 + 64;
  void *grown = realloc(*items, larger * size);
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar");
  *items = grown;
  *capacity = larger;
  return NULL;
}

static dure_status add_node(grammar_tree *tree, grammar_node node, uint32_t *out_node) {
  *out_node = GRAMMAR_NONE;
  DURE_TRY(grow((void **)&tree->nodes, tree->node_count, &tree->node_capacity, sizeof(node)));
  node.next = GRAMMAR_NONE;
  tree->nodes[tree->node_count] = node;
  *out_node = (uint32_t)tree->node_count++;
  return NULL;
}

static dure_status add_range(grammar_tree *tree, uint32_t low, uint32_t high) {
  DURE_TRY(grow((void **)&tree->ranges, tree->range_count, &tree->range_capacity, sizeof(grammar_range)));
  tree->ranges[tree->range_count++] = (grammar_range){low, high};
  return NULL;
}

// ---- names -------------------------------------------------------------------------------------------------------

static uint64_t hash_of(const char *name, size_t length) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);  // FNV-1a
  for (size_t i = 0; i < length; i++) hash = (hash ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
  return hash;
}

static size_t slot_of(const grammar_tree *tree, const char *name, size_t length) {
  size_t slot = hash_of(name, length) % tree->name_slots;
  for (; tree->names[slot] != GRAMMAR_NONE; slot = (slot + 1) % tree->name_slots) {
    const grammar_rule *rule = &tree->rules[tree->names[slot]];
    if (rule->name_length == length && memcmp(rule->name, name, length) == 0) break;
  }
  return slot;
}

static dure_status find_rule(grammar_tree *tree, size_t place, size_t length, uint32_t *out_rule) {
  const char *name = tree->source + place;
  const size_t slot = slot_of(tree, name, length);
  *out_rule = tree->names[slot];
  if (*out_rule != GRAMMAR_NONE) return NULL;
  if (tree->rule_count >= DURE_GRAMMAR_RULES_MOST)
    return grammar_fail(tree, place, "there are more than %d rules", DURE_GRAMMAR_RULES_MOST);
  DURE_TRY(grow((void **)&tree->rules, tree->rule_count, &tree->rule_capacity, sizeof(grammar_rule)));
  tree->rules[tree->rule_count] =
      (grammar_rule){.name = name, .name_length = length, .place = place, .node = GRAMMAR_NONE};
  *out_rule = tree->names[slot] = (uint32_t)tree->rule_count++;
  return NULL;
}

// ---- characters --------------------------------------------------------------------------------------------------

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_name(char c) { return is_name_start(c) || (c >= '0' && c <= '9') || c == '-'; }

static char peek(const reader *r) { return r->place < r->length ? r->text[r->place] : '\0'; }

static void skip_space(reader *r) {
  while (r->place < r->length) {
    if (peek(r) == '#') {
      while (r->place < r->length && peek(r) != '\n') r->place++;
    } else if (is_space(peek(r))) {
      r->place++;
    } else {
      return;
    }
  }
}

static size_t name_length(const reader *r) {
  size_t end = r->place;
  if (end >= r->length || !is_name_start(r->text[end])) return 0;
  while (end < r->length && is_name(r->text[end])) end++;
  return end - r->place;
}

// Whether a name with ::= begins here.
static bool at_rule(const reader *r) {
  reader ahead = *r;
  const size_t length = name_length(r);
  if (length == 0) return false;
  ahead.place += length;
  skip_space(&ahead);
  return ahead.length - ahead.place >= 3 && memcmp(ahead.text + ahead.place, "::=", 3) == 0;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static dure_status read_hex(reader *r, uint32_t digits, uint32_t *out_code) {
  const size_t begin = r->place;
  *out_code = 0;
  for (uint32_t i = 0; i < digits; i++) {
    const int digit = hex_digit(peek(r));
    if (digit < 0) return grammar_fail(r->tree, begin, "%u hexadecimal digits are expected", digits);
    *out_code = *out_code * 16 + (uint32_t)digit;
    r->place++;
  }
  if (*out_code > 0x10ffff || (*out_code >= 0xd800 && *out_code < 0xe000))
    return grammar_fail(r->tree, begin, "%x is no character of Unicode", *out_code);
  return NULL;
}

static dure_status read_escape(reader *r, uint32_t *out_code) {
  static const char plain[] = "\\\"'[]-^", named[] = "nrt", values[] = "\n\r\t";
  const char c = peek(r);
  const char *found = c != '\0' ? strchr(named, c) : NULL;
  *out_code = (uint8_t)c;
  r->place++;
  if (c == 'x') return read_hex(r, 2, out_code);
  if (c == 'u') return read_hex(r, 4, out_code);
  if (c == 'U') return read_hex(r, 8, out_code);
  if (found != NULL) *out_code = (uint8_t)values[found - named];
  if (found != NULL || (c != '\0' && strchr(plain, c) != NULL)) return NULL;
  return grammar_fail(r->tree, r->place - 1, "there is no such escape; \\ itself is written \\\\");
}

// One character of UTF-8 (the longest beginnings of others are mistakes).
static dure_status read_character(reader *r, uint32_t *out_code) {
  const uint8_t *bytes = (const uint8_t *)r->text + r->place;
  const size_t left = r->length - r->place;
  *out_code = bytes[0];
  if (bytes[0] == '\\') {
    r->place++;
    return read_escape(r, out_code);
  }
  const uint32_t extra = bytes[0] < 0x80 ? 0 : bytes[0] < 0xc2 ? 4 : bytes[0] < 0xe0 ? 1 : bytes[0] < 0xf0 ? 2 : 3;
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (extra > 3 || bytes[0] > 0xf4 || extra >= left) return grammar_fail(r->tree, r->place, "the text is not UTF-8");
  uint32_t code = extra == 0 ? bytes[0] : bytes[0] & (0x3fU >> extra);
  for (uint32_t i = 1; i <= extra; i++) {
    if ((bytes[i] & 0xc0) != 0x80) return grammar_fail(r->tree, r->place, "the text is not UTF-8");
    code = code << 6 | (bytes[i] & 0x3f);
  }
  if (code < least[extra] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
    return grammar_fail(r->tree, r->place, "the text is not UTF-8");
  *out_code = code;
  r->place += extra + 1;
  return NULL;
}

// ---- what stands alone -------------------------------------------------------------------------------------------

static dure_status add_code(grammar_tree *tree, uint32_t code) {
  uint8_t bytes[4];
  uint32_t count = 0;
  if (code < 0x80) {
    bytes[count++] = (uint8_t)code;
  } else {
    const uint32_t extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    bytes[count++] = (uint8_t)((0xf00U >> extra & 0xff) | code >> (6 * extra));
    for (uint32_t i = extra; i-- > 0;) bytes[count++] = (uint8_t)(0x80 | (code >> (6 * i) & 0x3f));
  }
  for (uint32_t i = 0; i < count; i++) {
    DURE_TRY(grow((void **)&tree->text, tree->text_size, &tree->text_capacity, 1));
    tree->text[tree->text_size++] = bytes[i];
  }
  return NULL;
}

static dure_status read_text(reader *r, uint32_t *out_node) {
  const size_t begin = r->place++, first = r->tree->text_size;
  while (r->place < r->length && peek(r) != '"') {
    uint32_t code = 0;
    DURE_TRY(read_character(r, &code));
    DURE_TRY(add_code(r->tree, code));
  }
  if (r->place >= r->length) return grammar_fail(r->tree, begin, "the text has no closing \"");
  r->place++;
  return add_node(r->tree,
                  (grammar_node){GRAMMAR_NODE_TEXT, (uint32_t)first, (uint32_t)(r->tree->text_size - first), 0, 0, 0},
                  out_node);
}

static int compare_ranges(const void *left, const void *right) {
  const grammar_range *a = left, *b = right;
  return (a->low > b->low) - (a->low < b->low);
}

// Ranges from `first` on, sorted and joined; with `is_negated` all other characters.
static dure_status finish_class(grammar_tree *tree, size_t first, bool is_negated, uint32_t *out_node) {
  size_t count = tree->range_count - first, kept = 0;
  grammar_range *ranges = count > 0 ? tree->ranges + first : NULL;
  if (count > 0) qsort(ranges, count, sizeof(*ranges), compare_ranges);
  for (size_t i = 0; i < count; i++) {
    if (kept > 0 && ranges[i].low <= ranges[kept - 1].high + 1) {
      if (ranges[i].high > ranges[kept - 1].high) ranges[kept - 1].high = ranges[i].high;
    } else {
      ranges[kept++] = ranges[i];
    }
  }
  tree->range_count = first + kept;
  if (is_negated) {
    uint32_t next = 0;
    const size_t end = tree->range_count;
    for (size_t i = first; i < end; i++) {
      const grammar_range range = tree->ranges[i];
      if (range.low > next) DURE_TRY(add_range(tree, next, range.low - 1));
      next = range.high + 1;
    }
    if (next <= 0x10ffff) DURE_TRY(add_range(tree, next, 0x10ffff));
    memmove(tree->ranges + first, tree->ranges + end, (tree->range_count - end) * sizeof(grammar_range));
    tree->range_count -= end - first;
  }
  return add_node(tree,
                  (grammar_node){GRAMMAR_NODE_CLASS, (uint32_t)first, (uint32_t)(tree->range_count - first), 0, 0, 0},
                  out_node);
}

static dure_status read_class(reader *r, uint32_t *out_node) {
  const size_t begin = r->place++, first = r->tree->range_count;
  const bool is_negated = peek(r) == '^';
  if (is_negated) r->place++;
  while (r->place < r->length && peek(r) != ']') {
    uint32_t low = 0, high = 0;
    const size_t place = r->place;
    DURE_TRY(read_character(r, &low));
    high = low;
    if (peek(r) == '-' && r->place + 1 < r->length && r->text[r->place + 1] != ']') {
      r->place++;
      DURE_TRY(read_character(r, &high));
    }
    if (high < low) return grammar_fail(r->tree, place, "the range ends before it begins");
    DURE_TRY(add_range(r->tree, low, high));
  }
  if (r->place >= r->length) return grammar_fail(r->tree, begin, "the class has no closing ]");
  r->place++;
  DURE_TRY(finish_class(r->tree, first, is_negated, out_node));
  if (r->tree->nodes[*out_node].count == 0) return grammar_fail(r->tree, begin, "no character is in this class");
  return NULL;
}

// ---- expressions -------------------------------------------------------------------------------------------------

static dure_status read_alternatives(reader *r, uint32_t *out_node);

static dure_status read_group(reader *r, uint32_t *out_node) {
  const size_t begin = r->place++;
  if (++r->depth > DURE_GRAMMAR_DEPTH_MOST)
    return grammar_fail(r->tree, begin, "groups lie more than %d deep in each other", DURE_GRAMMAR_DEPTH_MOST);
  DURE_TRY(read_alternatives(r, out_node));
  r->depth--;
  if (peek(r) != ')') return grammar_fail(r->tree, begin, "the group has no closing )");
  r->place++;
  return NULL;
}

static dure_status read_call(reader *r, uint32_t *out_node) {
  const size_t length = name_length(r);
  uint32_t rule = 0;
  if (length == 0) return grammar_fail(r->tree, r->place, "a text, a class, a group or a name is expected");
  DURE_TRY(find_rule(r->tree, r->place, length, &rule));
  r->place += length;
  return add_node(r->tree, (grammar_node){.kind = GRAMMAR_NODE_CALL, .first = rule}, out_node);
}

static dure_status read_number(reader *r, uint32_t *out_number) {
  const size_t begin = r->place;
  uint64_t number = 0;
  while (peek(r) >= '0' && peek(r) <= '9') {
    number = number * 10 + (uint64_t)(peek(r) - '0');
    if (number > DURE_GRAMMAR_STATES_MOST)
      return grammar_fail(r->tree, begin, "more than %d repetitions are not possible", DURE_GRAMMAR_STATES_MOST);
    r->place++;
  }
  *out_number = (uint32_t)number;
  return r->place > begin ? NULL : grammar_fail(r->tree, begin, "a number of repetitions is expected");
}

static dure_status read_bounds(reader *r, uint32_t *out_least, uint32_t *out_most) {
  const size_t begin = r->place++;
  skip_space(r);
  DURE_TRY(read_number(r, out_least));
  *out_most = *out_least;
  skip_space(r);
  if (peek(r) == ',') {
    r->place++;
    skip_space(r);
    *out_most = GRAMMAR_NONE;
    if (peek(r) != '}') DURE_TRY(read_number(r, out_most));
    skip_space(r);
  }
  if (peek(r) != '}') return grammar_fail(r->tree, begin, "repetitions are written {n}, {n,} or {n,m}");
  r->place++;
  if (*out_most < *out_least)
    return grammar_fail(r->tree, begin, "at most %u is less than at least %u", *out_most, *out_least);
  return NULL;
}

// What follows something: *, +, ?, {...}, more than one too.
static dure_status read_repeats(reader *r, uint32_t *node) {
  for (;;) {
    skip_space(r);
    uint32_t least = 0, most = GRAMMAR_NONE;
    switch (peek(r)) {
      case '*': r->place++; break;
      case '+': r->place++, least = 1; break;
      case '?': r->place++, most = 1; break;
      case '{': DURE_TRY(read_bounds(r, &least, &most)); break;
      default: return NULL;
    }
    if (++r->depth > DURE_GRAMMAR_DEPTH_MOST)
      return grammar_fail(r->tree, r->place, "repetitions lie more than %d deep in each other",
                          DURE_GRAMMAR_DEPTH_MOST);
    const grammar_node repeat = {.kind = GRAMMAR_NODE_REPEAT, .first = *node, .least = least, .most = most};
    DURE_TRY(add_node(r->tree, repeat, node));
  }
}

static dure_status read_item(reader *r, uint32_t *out_node) {
  const uint32_t depth = r->depth;
  dure_status status = NULL;
  switch (peek(r)) {
    case '"': status = read_text(r, out_node); break;
    case '[': status = read_class(r, out_node); break;
    case '(': status = read_group(r, out_node); break;
    case '.':
      r->place++;
      status = finish_class(r->tree, r->tree->range_count, true, out_node);
      break;
    default: status = read_call(r, out_node);
  }
  if (status == NULL) status = read_repeats(r, out_node);
  r->depth = depth;
  return status;
}

// Links `child` behind `last`, or as the first of `parent`.
static void link_child(grammar_tree *tree, uint32_t parent, uint32_t *last, uint32_t child) {
  if (*last == GRAMMAR_NONE) {
    tree->nodes[parent].first = child;
  } else {
    tree->nodes[*last].next = child;
  }
  *last = child;
}

static dure_status read_sequence(reader *r, uint32_t *out_node) {
  uint32_t last = GRAMMAR_NONE, child = GRAMMAR_NONE;
  DURE_TRY(add_node(r->tree, (grammar_node){.kind = GRAMMAR_NODE_SEQUENCE, .first = GRAMMAR_NONE}, out_node));
  for (;;) {
    skip_space(r);
    if (r->place >= r->length || peek(r) == '|' || peek(r) == ')' || at_rule(r)) return NULL;
    DURE_TRY(read_item(r, &child));
    link_child(r->tree, *out_node, &last, child);
  }
}

static dure_status read_alternatives(reader *r, uint32_t *out_node) {
  uint32_t last = GRAMMAR_NONE, child = GRAMMAR_NONE;
  DURE_TRY(add_node(r->tree, (grammar_node){.kind = GRAMMAR_NODE_ALTERNATIVE, .first = GRAMMAR_NONE}, out_node));
  for (;;) {
    DURE_TRY(read_sequence(r, &child));
    link_child(r->tree, *out_node, &last, child);
    if (peek(r) != '|') return NULL;
    r->place++;
  }
}

static dure_status read_rule(reader *r) {
  const size_t place = r->place, length = name_length(r);
  uint32_t rule = 0, node = GRAMMAR_NONE;
  if (!at_rule(r)) return grammar_fail(r->tree, place, "a rule is expected: name ::= ...");
  DURE_TRY(find_rule(r->tree, place, length, &rule));
  if (r->tree->rules[rule].node != GRAMMAR_NONE)
    return grammar_fail(r->tree, place, "there are two rules '%.*s'", (int)(length < 100 ? length : 100),
                        r->text + place);
  r->place += length;
  skip_space(r);
  r->place += 3;
  DURE_TRY(read_alternatives(r, &node));
  r->tree->rules[rule].node = node;
  return peek(r) == ')' ? grammar_fail(r->tree, r->place, "there is no group that ) would close") : NULL;
}

dure_status grammar_tree_read(const char *text, size_t length, grammar_tree *out_tree) {
  *out_tree =
      (grammar_tree){.source = text,
                     .source_length = length,
                     .name_slots = length < 2 * DURE_GRAMMAR_RULES_MOST ? length + 16 : 2 * DURE_GRAMMAR_RULES_MOST};
  if (length > DURE_GRAMMAR_TEXT_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "a grammar may have %d bytes at most, this one has %zu",
                     DURE_GRAMMAR_TEXT_MOST, length);
  out_tree->names = malloc(out_tree->name_slots * sizeof(*out_tree->names));
  if (out_tree->names == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar");
  memset(out_tree->names, 0xff, out_tree->name_slots * sizeof(*out_tree->names));
  reader r = {.tree = out_tree, .text = text, .length = length};
  for (skip_space(&r); r.place < length; skip_space(&r)) DURE_TRY(read_rule(&r));
  for (size_t i = 0; i < out_tree->rule_count; i++) {
    const grammar_rule *rule = &out_tree->rules[i];
    if (rule->node == GRAMMAR_NONE)
      return grammar_fail(out_tree, rule->place, "there is no rule '%.*s'",
                          (int)(rule->name_length < 100 ? rule->name_length : 100), rule->name);
  }
  return NULL;
}

void grammar_tree_clear(grammar_tree *tree) {
  free(tree->nodes);
  free(tree->ranges);
  free(tree->text);
  free(tree->rules);
  free(tree->names);
  *tree = (grammar_tree){0};
}
