// Tokens into a tree: expressions by precedence, as Jinja's own grammar has them, and statements.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "data/decode.h"
#include "data/template_parts.h"
#include "runtime/nearest.h"

enum { depth_most = 150, source_most = 4 << 20, memory_most = 256 << 20 };

typedef struct parser {
  dure_template_arena *arena;
  const char *name;
  const dure_template_token *at;
  uint32_t depth, loops;
} parser;

typedef dure_template_node node;

static dure_status parse_expression(parser *p, bool with_condition, node **out_node);
static dure_status parse_unary(parser *p, bool with_filters, node **out_node);
static dure_status parse_body(parser *p, const char *const *ends, node *parent);

// ---- small steps ---------------------------------------------------------------------------------------------------

static dure_status expected(const parser *p, const char *what) {
  const dure_template_token *token = p->at;
  const int length = token->length < 40 ? (int)token->length : 40;
  static const char *const ends[] = {[DURE_LEXEME_END] = "the end of the template",
                                     [DURE_LEXEME_VARIABLE_END] = "\"}}\"",
                                     [DURE_LEXEME_BLOCK_END] = "\"%}\""};
  const bool is_end =
      token->kind == DURE_LEXEME_END || token->kind == DURE_LEXEME_VARIABLE_END || token->kind == DURE_LEXEME_BLOCK_END;
  if (is_end)
    return dure_template_fail(p->name, token->line, DURE_CORRUPT, "expected %s; found %s", what, ends[token->kind]);
  return dure_template_fail(p->name, token->line, DURE_CORRUPT, "expected %s; found \"%.*s\"", what, length,
                            token->text);
}

static dure_status make(parser *p, dure_template_node_kind kind, node **out_node) {
  DURE_TRY(dure_template_allocate(p->arena, sizeof(**out_node), out_node));
  (*out_node)->kind = kind;
  (*out_node)->line = p->at->line;
  return NULL;
}

static void add_child(node *parent, node *child) {
  node *last = (node *)parent->last_child;
  if (last == NULL) {
    parent->children = child;
  } else {
    last->next = child;
  }
  parent->last_child = child;
}

static bool is_word(const dure_template_token *token, dure_template_token_kind kind, const char *text) {
  return token->kind == kind && token->length == strlen(text) && memcmp(token->text, text, token->length) == 0;
}
static bool is_name(const parser *p, const char *text) { return is_word(p->at, DURE_LEXEME_NAME, text); }
static bool is_operator(const parser *p, const char *text) { return is_word(p->at, DURE_LEXEME_OPERATOR, text); }

static bool take_name(parser *p, const char *text) {
  const bool is_there = is_name(p, text);
  p->at += is_there;
  return is_there;
}
static bool take_operator(parser *p, const char *text) {
  const bool is_there = is_operator(p, text);
  p->at += is_there;
  return is_there;
}
static dure_status need_operator(parser *p, const char *text) {
  char quoted[16] = "\"";
  if (take_operator(p, text)) return NULL;
  strncat(strncat(quoted, text, 8), "\"", 2);
  return expected(p, quoted);
}
static dure_status need_name(parser *p, node *out_node) {
  if (p->at->kind != DURE_LEXEME_NAME) return expected(p, "a name");
  out_node->text = p->at->text;
  out_node->length = p->at->length;
  p->at++;
  return NULL;
}

// ---- expressions ---------------------------------------------------------------------------------------------------

// (a, b, name=c): children of `parent`, those with names after the others.
static dure_status parse_arguments(parser *p, node *parent) {
  bool has_names = false;
  DURE_TRY(need_operator(p, "("));
  while (!is_operator(p, ")")) {
    node *argument;
    if (is_operator(p, "*") || is_operator(p, "**"))
      return dure_template_fail(p->name, p->at->line, DURE_UNSUPPORTED, "arguments by * are not supported");
    if (p->at->kind == DURE_LEXEME_NAME && is_word(p->at + 1, DURE_LEXEME_OPERATOR, "=")) {
      node *value;
      DURE_TRY(make(p, DURE_NODE_KEYWORD, &argument));
      DURE_TRY(need_name(p, argument));
      p->at++;
      DURE_TRY(parse_expression(p, true, &value));
      argument->first = value;
      has_names = true;
    } else {
      if (has_names) return expected(p, "only arguments with names after the first of them");
      DURE_TRY(parse_expression(p, true, &argument));
    }
    add_child(parent, argument);
    if (!take_operator(p, ",")) break;
  }
  return need_operator(p, ")");
}

// Elements up to a closing bracket; maps have "key: value".
static dure_status parse_elements(parser *p, const char *closing, bool is_map, node *parent) {
  while (!is_operator(p, closing)) {
    node *element;
    DURE_TRY(parse_expression(p, true, &element));
    add_child(parent, element);
    if (is_map) {
      DURE_TRY(need_operator(p, ":"));
      DURE_TRY(parse_expression(p, true, &element));
      add_child(parent, element);
    }
    if (!take_operator(p, ",")) break;
  }
  return need_operator(p, closing);
}

// a, b: a tuple; a alone: itself.
static dure_status parse_tuple(parser *p, bool with_condition, node **out_node) {
  node *first, *tuple;
  DURE_TRY(parse_expression(p, with_condition, &first));
  *out_node = first;
  if (!is_operator(p, ",")) return NULL;
  DURE_TRY(make(p, DURE_NODE_TUPLE, &tuple));
  add_child(tuple, first);
  while (take_operator(p, ",")) {
    if (p->at->kind == DURE_LEXEME_BLOCK_END || p->at->kind == DURE_LEXEME_VARIABLE_END || is_operator(p, ")") ||
        is_operator(p, "="))
      break;
    DURE_TRY(parse_expression(p, with_condition, &first));
    add_child(tuple, first);
  }
  *out_node = tuple;
  return NULL;
}

static dure_status parse_name(parser *p, node **out_node) {
  static const struct {
    const char *name;
    dure_template_node_kind kind;
  } constants[] = {{"true", DURE_NODE_TRUE},   {"True", DURE_NODE_TRUE}, {"false", DURE_NODE_FALSE},
                   {"False", DURE_NODE_FALSE}, {"none", DURE_NODE_NONE}, {"None", DURE_NODE_NONE}};
  DURE_TRY(make(p, DURE_NODE_NAME, out_node));
  for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
    if (is_name(p, constants[i].name)) (*out_node)->kind = constants[i].kind;
  }
  return need_name(p, *out_node);
}

static dure_status parse_text(parser *p, node **out_node) {
  DURE_TRY(make(p, DURE_NODE_TEXT, out_node));
  node *text = *out_node;
  text->text = p->at->text;
  text->length = p->at->length;
  for (p->at++; p->at->kind == DURE_LEXEME_TEXT; p->at++) {  // texts beside each other are one
    char *joined;
    DURE_TRY(dure_template_allocate(p->arena, text->length + p->at->length + 1, &joined));
    memcpy(joined, text->text, text->length);
    memcpy(joined + text->length, p->at->text, p->at->length);
    text->text = joined;
    text->length += p->at->length;
  }
  return NULL;
}

static dure_status parse_primary(parser *p, node **out_node) {
  const dure_template_token *token = p->at;
  if (token->kind == DURE_LEXEME_NAME) return parse_name(p, out_node);
  if (token->kind == DURE_LEXEME_TEXT) return parse_text(p, out_node);
  if (token->kind == DURE_LEXEME_INTEGER || token->kind == DURE_LEXEME_NUMBER) {
    DURE_TRY(make(p, token->kind == DURE_LEXEME_INTEGER ? DURE_NODE_INTEGER : DURE_NODE_NUMBER, out_node));
    (*out_node)->integer = token->integer;
    (*out_node)->number = token->number;
    p->at++;
    return NULL;
  }
  if (take_operator(p, "(")) {
    if (is_operator(p, ")")) {
      DURE_TRY(make(p, DURE_NODE_TUPLE, out_node));
    } else {
      DURE_TRY(parse_tuple(p, true, out_node));
    }
    return need_operator(p, ")");
  }
  if (take_operator(p, "[")) {
    DURE_TRY(make(p, DURE_NODE_LIST, out_node));
    return parse_elements(p, "]", false, *out_node);
  }
  if (take_operator(p, "{")) {
    DURE_TRY(make(p, DURE_NODE_MAP, out_node));
    return parse_elements(p, "}", true, *out_node);
  }
  return expected(p, "a value");
}

// What stands between ":", "," and "]": an expression or nothing.
static dure_status parse_bound(parser *p, node **out_node) {
  if (is_operator(p, ":") || is_operator(p, "]")) return make(p, DURE_NODE_ABSENT, out_node);
  return parse_expression(p, true, out_node);
}

static dure_status parse_subscript(parser *p, node *from, node **out_node) {
  node *item, *part;
  DURE_TRY(make(p, DURE_NODE_ITEM, &item));
  item->first = from;
  *out_node = item;
  DURE_TRY(parse_bound(p, &part));
  item->second = part;
  if (!take_operator(p, ":")) {
    if (part->kind == DURE_NODE_ABSENT) return expected(p, "a value");
    return need_operator(p, "]");
  }
  item->kind = DURE_NODE_SLICE;
  DURE_TRY(parse_bound(p, &part));
  item->third = part;
  if (take_operator(p, ":")) {
    DURE_TRY(parse_bound(p, &part));
    add_child(item, part);
  }
  return need_operator(p, "]");
}

static dure_status parse_postfix(parser *p, node **node_at_hand) {
  for (;;) {
    node *next;
    if (take_operator(p, ".")) {
      DURE_TRY(make(p, DURE_NODE_ATTRIBUTE, &next));
      next->first = *node_at_hand;
      if (p->at->kind == DURE_LEXEME_INTEGER) {
        node *index;
        DURE_TRY(parse_primary(p, &index));
        next->kind = DURE_NODE_ITEM;
        next->second = index;
      } else {
        DURE_TRY(need_name(p, next));
      }
    } else if (take_operator(p, "[")) {
      DURE_TRY(parse_subscript(p, *node_at_hand, &next));
    } else if (is_operator(p, "(")) {
      DURE_TRY(make(p, DURE_NODE_CALL, &next));
      next->first = *node_at_hand;
      DURE_TRY(parse_arguments(p, next));
    } else {
      return NULL;
    }
    *node_at_hand = next;
  }
}

static dure_status find_function(const parser *p, const char *what, node *wanted) {
  const bool is_filter = wanted->kind == DURE_NODE_FILTER;
  wanted->function =
      is_filter ? dure_template_filter(wanted->text, wanted->length) : dure_template_test(wanted->text, wanted->length);
  if (wanted->function != NULL) return NULL;
  return dure_template_fail(p->name, wanted->line, DURE_UNSUPPORTED, "the %s \"%.*s\" is not supported", what,
                            (int)(wanted->length < 40 ? wanted->length : 40), wanted->text);
}

static dure_status parse_filter(parser *p, node *from, node **out_node) {
  DURE_TRY(make(p, DURE_NODE_FILTER, out_node));
  (*out_node)->first = from;
  DURE_TRY(need_name(p, *out_node));
  DURE_TRY(find_function(p, "filter", *out_node));
  return is_operator(p, "(") ? parse_arguments(p, *out_node) : NULL;
}

static dure_status parse_test(parser *p, node *from, node **out_node) {
  const bool is_negated = take_name(p, "not");
  node *test;
  DURE_TRY(make(p, DURE_NODE_TEST, &test));
  test->first = from;
  DURE_TRY(need_name(p, test));
  DURE_TRY(find_function(p, "test", test));
  const dure_template_token_kind kind = p->at->kind;
  if (is_operator(p, "(")) {
    DURE_TRY(parse_arguments(p, test));
  } else if ((kind == DURE_LEXEME_NAME && !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and") &&
              !is_name(p, "is")) ||
             kind == DURE_LEXEME_TEXT || kind == DURE_LEXEME_INTEGER || kind == DURE_LEXEME_NUMBER ||
             is_operator(p, "[") || is_operator(p, "{")) {
    node *argument;
    DURE_TRY(parse_primary(p, &argument));
    DURE_TRY(parse_postfix(p, &argument));
    add_child(test, argument);
  }
  *out_node = test;
  if (!is_negated) return NULL;
  DURE_TRY(make(p, DURE_NODE_NOT, out_node));
  (*out_node)->first = test;
  return NULL;
}

static dure_status parse_filters(parser *p, node **node_at_hand) {
  for (;;) {
    if (take_operator(p, "|")) {
      DURE_TRY(parse_filter(p, *node_at_hand, node_at_hand));
    } else if (take_name(p, "is")) {
      DURE_TRY(parse_test(p, *node_at_hand, node_at_hand));
    } else if (is_operator(p, "(")) {
      node *call;
      DURE_TRY(make(p, DURE_NODE_CALL, &call));
      call->first = *node_at_hand;
      DURE_TRY(parse_arguments(p, call));
      *node_at_hand = call;
    } else {
      return NULL;
    }
  }
}

static dure_status parse_sign(parser *p, node **out_node) {
  node *operand;
  DURE_TRY(make(p, is_operator(p, "-") ? DURE_NODE_NEGATIVE : DURE_NODE_POSITIVE, out_node));
  p->at++;
  DURE_TRY(parse_unary(p, false, &operand));
  (*out_node)->first = operand;
  return NULL;
}

static dure_status parse_unary(parser *p, bool with_filters, node **out_node) {
  if (++p->depth > depth_most)
    return dure_template_fail(p->name, p->at->line, DURE_UNSUPPORTED, "more than %d levels within each other",
                              depth_most);
  if (is_operator(p, "-") || is_operator(p, "+")) {
    DURE_TRY(parse_sign(p, out_node));
  } else {
    DURE_TRY(parse_primary(p, out_node));
  }
  DURE_TRY(parse_postfix(p, out_node));
  if (with_filters) DURE_TRY(parse_filters(p, out_node));
  p->depth--;
  return NULL;
}

// Operators of one level of precedence, from the left; the higher the level, the tighter.
typedef struct operator_row {
  const char *text;
  uint32_t level;
  dure_template_operator operation;
} operator_row;
static const operator_row operators[] = {
    {"+", 0, DURE_OPERATOR_ADD},       {"-", 0, DURE_OPERATOR_SUBTRACT}, {"~", 1, DURE_OPERATOR_CONCATENATE},
    {"*", 2, DURE_OPERATOR_MULTIPLY},  {"/", 2, DURE_OPERATOR_DIVIDE},   {"//", 2, DURE_OPERATOR_FLOOR_DIVIDE},
    {"%", 2, DURE_OPERATOR_REMAINDER}, {"**", 3, DURE_OPERATOR_POWER},
};
static const operator_row comparisons[] = {
    {"==", 0, DURE_OPERATOR_EQUAL},      {"!=", 0, DURE_OPERATOR_NOT_EQUAL}, {"<", 0, DURE_OPERATOR_LESS},
    {"<=", 0, DURE_OPERATOR_LESS_EQUAL}, {">", 0, DURE_OPERATOR_GREATER},    {">=", 0, DURE_OPERATOR_GREATER_EQUAL},
};
enum { tightest = 3 };

static dure_template_operator operator_at(const parser *p, const operator_row *rows, size_t count, uint32_t level) {
  for (size_t i = 0; i < count; i++) {
    if (rows[i].level == level && is_operator(p, rows[i].text)) return rows[i].operation;
  }
  return DURE_OPERATOR_NONE;
}

static dure_status parse_binary(parser *p, uint32_t level, node **out_node) {
  if (level > tightest) return parse_unary(p, true, out_node);
  DURE_TRY(parse_binary(p, level + 1, out_node));
  for (;;) {
    const dure_template_operator operation = operator_at(p, operators, sizeof(operators) / sizeof(operators[0]), level);
    node *binary, *right;
    if (operation == DURE_OPERATOR_NONE) return NULL;
    DURE_TRY(make(p, DURE_NODE_BINARY, &binary));
    p->at++;
    DURE_TRY(parse_binary(p, level + 1, &right));
    binary->operation = operation;
    binary->first = *out_node;
    binary->second = right;
    *out_node = binary;
  }
}

static dure_template_operator take_comparison(parser *p) {
  const dure_template_operator operation = operator_at(p, comparisons, sizeof(comparisons) / sizeof(comparisons[0]), 0);
  if (operation != DURE_OPERATOR_NONE) {
    p->at++;
    return operation;
  }
  if (take_name(p, "in")) return DURE_OPERATOR_IN;
  if (is_name(p, "not") && is_word(p->at + 1, DURE_LEXEME_NAME, "in")) {
    p->at += 2;
    return DURE_OPERATOR_NOT_IN;
  }
  return DURE_OPERATOR_NONE;
}

static dure_status parse_comparison(parser *p, node **out_node) {
  node *compare = NULL;
  DURE_TRY(parse_binary(p, 0, out_node));
  for (;;) {
    node *next, *operand;
    const dure_template_operator operation = take_comparison(p);
    if (operation == DURE_OPERATOR_NONE) return NULL;
    DURE_TRY(make(p, DURE_NODE_BINARY, &next));
    next->operation = operation;
    DURE_TRY(parse_binary(p, 0, &operand));
    next->first = operand;
    if (compare == NULL) {
      DURE_TRY(make(p, DURE_NODE_COMPARE, &compare));
      compare->first = *out_node;
      *out_node = compare;
    }
    add_child(compare, next);
  }
}

static dure_status parse_not(parser *p, node **out_node) {
  uint32_t negations = 0;
  while (take_name(p, "not")) negations++;
  DURE_TRY(parse_comparison(p, out_node));
  for (uint32_t i = 0; i < (negations > 0 ? 2 - negations % 2 : 0); i++) {
    node *negation;
    DURE_TRY(make(p, DURE_NODE_NOT, &negation));
    negation->first = *out_node;
    *out_node = negation;
  }
  return NULL;
}

static dure_status parse_logical(parser *p, bool is_or, node **out_node) {
  DURE_TRY(is_or ? parse_logical(p, false, out_node) : parse_not(p, out_node));
  while (take_name(p, is_or ? "or" : "and")) {
    node *both, *right;
    DURE_TRY(make(p, is_or ? DURE_NODE_OR : DURE_NODE_AND, &both));
    DURE_TRY(is_or ? parse_logical(p, false, &right) : parse_not(p, &right));
    both->first = *out_node;
    both->second = right;
    *out_node = both;
  }
  return NULL;
}

static dure_status parse_expression(parser *p, bool with_condition, node **out_node) {
  if (++p->depth > depth_most)
    return dure_template_fail(p->name, p->at->line, DURE_UNSUPPORTED, "more than %d levels within each other",
                              depth_most);
  DURE_TRY(parse_logical(p, true, out_node));
  while (with_condition && take_name(p, "if")) {
    node *conditional, *part;
    DURE_TRY(make(p, DURE_NODE_CONDITIONAL, &conditional));
    conditional->first = *out_node;
    DURE_TRY(parse_logical(p, true, &part));
    conditional->second = part;
    if (take_name(p, "else")) {
      DURE_TRY(parse_expression(p, true, &part));
      conditional->third = part;
    }
    *out_node = conditional;
  }
  p->depth--;
  return NULL;
}

// ---- statements ----------------------------------------------------------------------------------------------------

static dure_status end_statement(parser *p) {
  if (p->at->kind != DURE_LEXEME_BLOCK_END) return expected(p, "\"%}\"");
  p->at++;
  return NULL;
}

// What stands up to a closing statement, and that statement.
static dure_status parse_block(parser *p, const char *end, node *parent) {
  const char *const ends[] = {end, NULL};
  DURE_TRY(end_statement(p));
  DURE_TRY(parse_body(p, ends, parent));
  p->at += 2;  // the opening of the tag and its name
  return end_statement(p);
}

static dure_status parse_if(parser *p, node **out_node) {
  static const char *const ends[] = {"elif", "else", "endif", NULL};
  node *condition, *statement, *otherwise;
  DURE_TRY(make(p, DURE_NODE_IF, &statement));
  DURE_TRY(parse_tuple(p, true, &condition));
  statement->first = condition;
  *out_node = statement;
  DURE_TRY(end_statement(p));
  DURE_TRY(parse_body(p, ends, statement));
  p->at++;
  if (take_name(p, "endif")) return end_statement(p);
  DURE_TRY(make(p, DURE_NODE_BODY, &otherwise));
  statement->third = otherwise;
  if (take_name(p, "else")) return parse_block(p, "endif", otherwise);
  p->at++;
  node *next;
  if (++p->depth > depth_most)
    return dure_template_fail(p->name, p->at->line, DURE_UNSUPPORTED, "more than %d branches", depth_most);
  DURE_TRY(parse_if(p, &next));
  p->depth--;
  add_child(otherwise, next);
  return NULL;
}

// a | a, b | (a, b): names; with `with_attributes` also space.name.
static dure_status parse_target(parser *p, bool with_attributes, node **out_node) {
  const bool is_bracketed = take_operator(p, "(");
  node *tuple, *one;
  DURE_TRY(make(p, DURE_NODE_TUPLE, &tuple));
  do {
    if (tuple->children != NULL && p->at->kind != DURE_LEXEME_NAME) break;
    if (p->at->kind != DURE_LEXEME_NAME) return expected(p, "a name");
    DURE_TRY(parse_name(p, &one));
    if (one->kind != DURE_NODE_NAME) return expected(p, "a name that can be set");
    if (with_attributes && take_operator(p, ".")) {
      node *attribute;
      DURE_TRY(make(p, DURE_NODE_ATTRIBUTE, &attribute));
      attribute->first = one;
      DURE_TRY(need_name(p, attribute));
      one = attribute;
    }
    add_child(tuple, one);
  } while (take_operator(p, ","));
  if (is_bracketed) DURE_TRY(need_operator(p, ")"));
  *out_node = tuple->children->next == NULL && !is_bracketed ? one : tuple;
  return NULL;
}

static dure_status parse_for(parser *p, node **out_node) {
  static const char *const ends[] = {"else", "endfor", NULL};
  node *statement, *part;
  DURE_TRY(make(p, DURE_NODE_FOR, &statement));
  DURE_TRY(parse_target(p, false, &part));
  statement->first = part;
  if (!take_name(p, "in")) return expected(p, "\"in\"");
  DURE_TRY(parse_tuple(p, false, &part));
  statement->second = part;
  if (take_name(p, "if")) {
    DURE_TRY(parse_expression(p, true, &part));
    statement->filter = part;
  }
  if (is_name(p, "recursive"))
    return dure_template_fail(p->name, p->at->line, DURE_UNSUPPORTED, "recursive loops are not supported");
  DURE_TRY(end_statement(p));
  p->loops++;
  DURE_TRY(parse_body(p, ends, statement));
  p->loops--;
  p->at++;
  *out_node = statement;
  if (take_name(p, "endfor")) return end_statement(p);
  p->at++;
  DURE_TRY(make(p, DURE_NODE_BODY, &part));
  statement->third = part;
  return parse_block(p, "endfor", part);
}

// The text of a block, through filters if some follow.
static dure_status parse_capture(parser *p, const char *end, bool has_filter, node **out_node) {
  node *capture;
  DURE_TRY(make(p, DURE_NODE_CAPTURE, &capture));
  *out_node = capture;
  if (has_filter) DURE_TRY(parse_filter(p, *out_node, out_node));
  while (take_operator(p, "|")) DURE_TRY(parse_filter(p, *out_node, out_node));
  return parse_block(p, end, capture);
}

static dure_status parse_set(parser *p, node **out_node) {
  node *statement, *part;
  DURE_TRY(make(p, DURE_NODE_SET, &statement));
  DURE_TRY(parse_target(p, true, &part));
  statement->first = part;
  *out_node = statement;
  if (take_operator(p, "=")) {
    DURE_TRY(parse_tuple(p, true, &part));
    statement->second = part;
    return end_statement(p);
  }
  DURE_TRY(parse_capture(p, "endset", false, &part));
  statement->second = part;
  return NULL;
}

static dure_status parse_macro(parser *p, node **out_node) {
  node *statement, *parameters, *value;
  const uint32_t loops = p->loops;
  DURE_TRY(make(p, DURE_NODE_MACRO, &statement));
  DURE_TRY(need_name(p, statement));
  DURE_TRY(make(p, DURE_NODE_BODY, &parameters));
  DURE_TRY(need_operator(p, "("));
  while (!is_operator(p, ")")) {
    node *parameter;
    DURE_TRY(make(p, DURE_NODE_KEYWORD, &parameter));
    DURE_TRY(need_name(p, parameter));
    if (take_operator(p, "=")) {
      DURE_TRY(parse_expression(p, true, &value));
      parameter->first = value;
    }
    add_child(parameters, parameter);
    if (!take_operator(p, ",")) break;
  }
  DURE_TRY(need_operator(p, ")"));
  statement->second = parameters;
  *out_node = statement;
  p->loops = 0;
  DURE_TRY(parse_block(p, "endmacro", statement));
  p->loops = loops;
  return NULL;
}

static dure_status parse_with(parser *p, node **out_node) {
  node *statement, *sets;
  DURE_TRY(make(p, DURE_NODE_WITH, &statement));
  DURE_TRY(make(p, DURE_NODE_BODY, &sets));
  while (p->at->kind == DURE_LEXEME_NAME) {
    node *set, *part;
    DURE_TRY(make(p, DURE_NODE_SET, &set));
    DURE_TRY(parse_name(p, &part));
    set->first = part;
    DURE_TRY(need_operator(p, "="));
    DURE_TRY(parse_expression(p, true, &part));
    set->second = part;
    add_child(sets, set);
    if (!take_operator(p, ",")) break;
  }
  statement->second = sets;
  *out_node = statement;
  return parse_block(p, "endwith", statement);
}

static dure_status parse_filter_block(parser *p, node **out_node) {
  node *part;
  DURE_TRY(make(p, DURE_NODE_OUTPUT, out_node));
  DURE_TRY(parse_capture(p, "endfilter", true, &part));
  (*out_node)->first = part;
  return NULL;
}

static dure_status parse_generation(parser *p, node **out_node) {
  DURE_TRY(make(p, DURE_NODE_BODY, out_node));
  return parse_block(p, "endgeneration", *out_node);
}

static dure_status parse_leaving(parser *p, dure_template_node_kind kind, node **out_node) {
  if (p->loops == 0) return expected(p, "a loop around \"break\" and \"continue\"");
  DURE_TRY(make(p, kind, out_node));
  return end_statement(p);
}
static dure_status parse_break(parser *p, node **out_node) { return parse_leaving(p, DURE_NODE_BREAK, out_node); }
static dure_status parse_continue(parser *p, node **out_node) { return parse_leaving(p, DURE_NODE_CONTINUE, out_node); }

static const struct {
  const char *name;
  dure_status (*parse)(parser *p, node **out_node);
} statements[] = {
    {"if", parse_if},       {"for", parse_for},           {"set", parse_set},
    {"macro", parse_macro}, {"with", parse_with},         {"filter", parse_filter_block},
    {"break", parse_break}, {"continue", parse_continue}, {"generation", parse_generation},
};
enum { statement_count = sizeof(statements) / sizeof(statements[0]) };

static dure_status parse_statement(parser *p, node **out_node) {
  if (p->at->kind != DURE_LEXEME_NAME) return expected(p, "a statement");
  for (size_t i = 0; i < statement_count; i++) {
    if (take_name(p, statements[i].name)) return statements[i].parse(p, out_node);
  }
  return dure_template_fail(p->name, p->at->line, DURE_UNSUPPORTED, "the statement \"%.*s\" is not supported here",
                            (int)(p->at->length < 40 ? p->at->length : 40), p->at->text);
}

static dure_status parse_output(parser *p, node **out_node) {
  node *value;
  DURE_TRY(make(p, DURE_NODE_OUTPUT, out_node));
  p->at++;
  DURE_TRY(parse_tuple(p, true, &value));
  (*out_node)->first = value;
  if (p->at->kind != DURE_LEXEME_VARIABLE_END) return expected(p, "\"}}\"");
  p->at++;
  return NULL;
}

static bool is_end(const parser *p, const char *const *ends) {
  for (size_t i = 0; ends[i] != NULL; i++) {
    if (is_word(p->at + 1, DURE_LEXEME_NAME, ends[i])) return true;
  }
  return false;
}

// Up to the opening of a tag with one of the names that end it (NULL: the end of the template).
static dure_status parse_body(parser *p, const char *const *ends, node *parent) {
  if (++p->depth > depth_most)
    return dure_template_fail(p->name, p->at->line, DURE_UNSUPPORTED, "more than %d levels within each other",
                              depth_most);
  for (;;) {
    node *child;
    if (p->at->kind == DURE_LEXEME_END) {
      if (ends != NULL) return expected(p, ends[0]);
      break;
    }
    if (p->at->kind == DURE_LEXEME_DATA) {
      DURE_TRY(make(p, DURE_NODE_DATA, &child));
      child->text = p->at->text;
      child->length = p->at->length;
      p->at++;
    } else if (p->at->kind == DURE_LEXEME_VARIABLE_BEGIN) {
      DURE_TRY(parse_output(p, &child));
    } else {
      if (ends != NULL && is_end(p, ends)) break;
      p->at++;
      DURE_TRY(parse_statement(p, &child));
    }
    add_child(parent, child);
  }
  p->depth--;
  return NULL;
}

// ---- whole templates -----------------------------------------------------------------------------------------------

// A copy with "\n" for every kind of line end, without the last one.
static dure_status copy_source(dure_template_arena *arena, const char *text, size_t length, char **out_text,
                               size_t *out_length) {
  DURE_TRY(dure_template_allocate(arena, length + 1, out_text));
  size_t size = 0;
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n') continue;
    (*out_text)[size++] = text[i] == '\r' ? '\n' : text[i];
  }
  if (size > 0 && (*out_text)[size - 1] == '\n') (*out_text)[--size] = '\0';
  *out_length = size;
  return NULL;
}

static dure_status parse(dure_template *parsed, const char *name, const char *text, size_t length) {
  char *copy, *source;
  size_t source_length;
  dure_template_tokens tokens;
  node *body;
  DURE_TRY(dure_template_allocate(&parsed->arena, strlen(name) + 1, &copy));
  parsed->name = memcpy(copy, name, strlen(name));
  if (length > source_most)
    return dure_template_fail(name, 1, DURE_UNSUPPORTED, "%zu bytes; templates of up to %d are read", length,
                              source_most);
  if (dure_utf8_valid_length(text, length) != length || memchr(text, '\0', length) != NULL)
    return dure_template_fail(name, 1, DURE_CORRUPT, "the text is not UTF-8");
  DURE_TRY(copy_source(&parsed->arena, text, length, &source, &source_length));
  DURE_TRY(dure_template_lex(&parsed->arena, name, source, source_length, &tokens));
  parser p = {.arena = &parsed->arena, .name = parsed->name, .at = tokens.tokens};
  DURE_TRY(make(&p, DURE_NODE_BODY, &body));
  parsed->body = body;
  return parse_body(&p, NULL, body);
}

dure_status dure_template_parse(const char *name, const char *text, size_t length, dure_template **out_template) {
  *out_template = NULL;
  dure_template *parsed = calloc(1, sizeof(*parsed));
  if (parsed == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the template '%s'", name);
  parsed->arena.limit = memory_most;
  dure_status status = parse(parsed, name, text, length);
  if (status != NULL) {
    dure_template_close(parsed);
    return status;
  }
  *out_template = parsed;
  return NULL;
}

void dure_template_close(dure_template *parsed) {
  if (parsed == NULL) return;
  dure_template_arena_free(&parsed->arena);
  free(parsed);
}
