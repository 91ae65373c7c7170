// What a template is made of. For the files of the template only; others use data/template.h.
#ifndef DURE_DATA_TEMPLATE_PARTS_H_
#define DURE_DATA_TEMPLATE_PARTS_H_

#include <stddef.h>
#include <stdint.h>

#include "data/template.h"

// ---- memory: given back all at once --------------------------------------------------------------------------------

typedef struct dure_template_arena {
  struct dure_template_block *blocks;
  size_t used, limit;  // bytes in all
} dure_template_arena;

// Zeroed and aligned for anything. DURE_INVALID_ARGUMENT beyond the limit.
DURE_MUST_CHECK dure_status dure_template_allocate(dure_template_arena *arena, size_t size, void *out_memory);
void dure_template_arena_free(dure_template_arena *arena);

// ---- text in, tokens out (template_lex.c) --------------------------------------------------------------------------

typedef enum dure_template_token_kind {
  DURE_LEXEME_END = 0,
  DURE_LEXEME_DATA,            // text as it is
  DURE_LEXEME_VARIABLE_BEGIN,  // {{
  DURE_LEXEME_VARIABLE_END,
  DURE_LEXEME_BLOCK_BEGIN,  // {%
  DURE_LEXEME_BLOCK_END,
  DURE_LEXEME_NAME,
  DURE_LEXEME_TEXT,  // unescaped
  DURE_LEXEME_INTEGER,
  DURE_LEXEME_NUMBER,
  DURE_LEXEME_OPERATOR,
} dure_template_token_kind;

typedef struct dure_template_token {
  dure_template_token_kind kind;
  uint32_t line;
  const char *text;
  size_t length;
  int64_t integer;
  double number;
} dure_template_token;

typedef struct dure_template_tokens {
  dure_template_token *tokens;  // the last is END
  size_t count, capacity;
} dure_template_tokens;

// ---- what was parsed (template_parse.c) ----------------------------------------------------------------------------

typedef enum dure_template_node_kind {
  // expressions
  DURE_NODE_NAME,
  DURE_NODE_NONE,
  DURE_NODE_TRUE,
  DURE_NODE_FALSE,
  DURE_NODE_TEXT,
  DURE_NODE_INTEGER,
  DURE_NODE_NUMBER,
  DURE_NODE_LIST,       // children
  DURE_NODE_TUPLE,      // children
  DURE_NODE_MAP,        // children: keys and values in turn
  DURE_NODE_ATTRIBUTE,  // first . text
  DURE_NODE_ITEM,       // first [second]
  DURE_NODE_SLICE,      // first [second : third : children]
  DURE_NODE_CALL,       // first (children)
  DURE_NODE_FILTER,     // first | text(children)
  DURE_NODE_TEST,       // first is text(children)
  DURE_NODE_NOT,
  DURE_NODE_NEGATIVE,
  DURE_NODE_POSITIVE,
  DURE_NODE_AND,
  DURE_NODE_OR,
  DURE_NODE_BINARY,       // first text second
  DURE_NODE_COMPARE,      // first, then children: BINARY nodes whose first is the next operand
  DURE_NODE_CONDITIONAL,  // first if second else third (which may be NULL)
  DURE_NODE_KEYWORD,      // text = first: an argument or a macro's parameter; first may be NULL
  DURE_NODE_CAPTURE,      // the text that its children write
  DURE_NODE_ABSENT,       // a bound of a slice that is not given
  // statements
  DURE_NODE_DATA,    // text
  DURE_NODE_OUTPUT,  // first
  DURE_NODE_IF,      // first: condition; children; else: third, a BODY
  DURE_NODE_FOR,     // first: target, second: what is gone through, filter: condition or NULL; children; third: else
  DURE_NODE_SET,     // first: target; second
  DURE_NODE_MACRO,   // text(parameters: KEYWORDs in second, a BODY); children
  DURE_NODE_BODY,    // children
  DURE_NODE_WITH,    // second: a BODY of SETs; children: in a scope of their own
  DURE_NODE_BREAK,
  DURE_NODE_CONTINUE,
} dure_template_node_kind;

typedef enum dure_template_operator {
  DURE_OPERATOR_NONE = 0,
  DURE_OPERATOR_ADD,
  DURE_OPERATOR_SUBTRACT,
  DURE_OPERATOR_MULTIPLY,
  DURE_OPERATOR_DIVIDE,
  DURE_OPERATOR_FLOOR_DIVIDE,
  DURE_OPERATOR_REMAINDER,
  DURE_OPERATOR_POWER,
  DURE_OPERATOR_CONCATENATE,
  DURE_OPERATOR_EQUAL,
  DURE_OPERATOR_NOT_EQUAL,
  DURE_OPERATOR_LESS,
  DURE_OPERATOR_LESS_EQUAL,
  DURE_OPERATOR_GREATER,
  DURE_OPERATOR_GREATER_EQUAL,
  DURE_OPERATOR_IN,
  DURE_OPERATOR_NOT_IN,
} dure_template_operator;

typedef struct dure_template_node dure_template_node;
struct dure_template_node {
  dure_template_node_kind kind;
  dure_template_operator operation;
  uint32_t line;
  const char *text;
  size_t length;
  int64_t integer;
  double number;
  const dure_template_node *first, *second, *third, *filter;
  const dure_template_node *children, *last_child;  // a list by `next`
  const dure_template_node *next;
  const struct dure_template_function *function;  // FILTER, TEST: found while parsing
};

struct dure_template {
  dure_template_arena arena;  // of everything, this struct excepted
  const char *name;
  const dure_template_node *body;
};

// A failure at a line of the template.
DURE_MUST_CHECK dure_status dure_template_fail(const char *name, uint32_t line, dure_code code, const char *format, ...)
    DURE_PRINTF(4, 5);

// `text` is UTF-8 in the arena, its line ends "\n".
DURE_MUST_CHECK dure_status dure_template_lex(dure_template_arena *arena, const char *name, const char *text,
                                              size_t length, dure_template_tokens *out_tokens);

// ---- values (template_value.c) -------------------------------------------------------------------------------------

typedef enum dure_template_kind {
  DURE_VALUE_ABSENT = 0,  // an argument that was not given; never a template's value
  DURE_VALUE_UNDEFINED,
  DURE_VALUE_NONE,
  DURE_VALUE_BOOLEAN,
  DURE_VALUE_INTEGER,
  DURE_VALUE_NUMBER,
  DURE_VALUE_TEXT,
  DURE_VALUE_LIST,
  DURE_VALUE_TUPLE,
  DURE_VALUE_MAP,
  DURE_VALUE_NAMESPACE,  // a map whose attributes can be set
  DURE_VALUE_LOOP,
  DURE_VALUE_FUNCTION,  // of a table; `self` is what a method belongs to
  DURE_VALUE_MACRO,
} dure_template_kind;

typedef struct dure_template_list dure_template_list;
typedef struct dure_template_map dure_template_map;
typedef struct dure_template_loop dure_template_loop;
typedef struct dure_template_function dure_template_function;

typedef struct dure_template_value {
  dure_template_kind kind;
  uint32_t length;  // bytes of a TEXT; of UNDEFINED, those of the name it was looked for by
  union {
    bool truth;
    int64_t integer;
    double number;
    const char *text;
    dure_template_list *list;
    dure_template_map *map;
    dure_template_loop *loop;
    const dure_template_function *function;
    const dure_template_node *macro;
  };
  const struct dure_template_value *self;
} dure_template_value;

struct dure_template_list {
  dure_template_value *items;
  size_t count, capacity;
};
struct dure_template_map {  // in the order of arrival
  struct dure_template_entry {
    dure_template_value key, value;
  } * entries;
  size_t count, capacity;
};
struct dure_template_loop {
  const dure_template_list *items;
  size_t index;
};

typedef struct dure_template_text {  // under construction, in the arena
  char *data;
  size_t length, capacity;
} dure_template_text;

typedef struct dure_template_scope {
  dure_template_map names;
  struct dure_template_scope *parent;
} dure_template_scope;

typedef enum dure_template_leaving {
  DURE_LEAVING_NOT,
  DURE_LEAVING_BREAK,
  DURE_LEAVING_CONTINUE
} dure_template_leaving;

typedef struct dure_template_state {
  dure_template_arena arena;
  const dure_template *parsed;
  uint64_t steps_left;
  size_t output_limit;
  uint32_t depth;
  uint32_t line;  // of the node at hand
  int64_t unix_seconds;
  dure_template_scope *scope, *root;
  dure_template_text *output;
  dure_template_leaving leaving;
} dure_template_state;

// A failure at the line at hand.
#define DURE_TEMPLATE_FAIL(state, ...) \
  dure_template_fail((state)->parsed->name, (state)->line, DURE_INVALID_ARGUMENT, __VA_ARGS__)

DURE_MUST_CHECK dure_status dure_template_step(dure_template_state *state, uint64_t steps);

dure_template_value dure_template_undefined(const char *name, size_t length);
dure_template_value dure_template_none(void);
dure_template_value dure_template_boolean(bool truth);
dure_template_value dure_template_integer(int64_t integer);
dure_template_value dure_template_number(double number);
dure_template_value dure_template_text_value(const char *text, size_t length);  // not copied
bool dure_template_is_text(const dure_template_value *value, const char *text);

DURE_MUST_CHECK dure_status dure_template_new_list(dure_template_state *state, dure_template_kind kind,
                                                   dure_template_value *out_list);
DURE_MUST_CHECK dure_status dure_template_push(dure_template_state *state, dure_template_list *list,
                                               dure_template_value item);
DURE_MUST_CHECK dure_status dure_template_new_map(dure_template_state *state, dure_template_value *out_map);
DURE_MUST_CHECK dure_status dure_template_map_set(dure_template_state *state, dure_template_map *map,
                                                  dure_template_value key, dure_template_value value);
// NULL: none.
DURE_MUST_CHECK dure_status dure_template_map_find(dure_template_state *state, const dure_template_map *map,
                                                   const dure_template_value *key, dure_template_value **out_value);

DURE_MUST_CHECK dure_status dure_template_append(dure_template_state *state, dure_template_text *text,
                                                 const char *bytes, size_t length);
// What {{ value }} writes: Python's str().
DURE_MUST_CHECK dure_status dure_template_print(dure_template_state *state, dure_template_text *text,
                                                const dure_template_value *value);
DURE_MUST_CHECK dure_status dure_template_to_text(dure_template_state *state, const dure_template_value *value,
                                                  dure_template_value *out_text);
typedef struct dure_template_json_style {
  bool escapes_other;  // all but ASCII
  bool sorts_keys;
  int64_t indent;          // below 0: one line
  const char *item, *key;  // separators
  size_t item_length, key_length;
} dure_template_json_style;
// Python's json.dumps.
DURE_MUST_CHECK dure_status dure_template_print_json(dure_template_state *state, dure_template_text *text,
                                                     const dure_template_json_style *style,
                                                     const dure_template_value *value);
DURE_MUST_CHECK dure_status dure_template_from_json(dure_template_state *state, const struct json_t *json,
                                                    dure_template_value *out_value);

const char *dure_template_kind_name(const dure_template_value *value);  // for messages
bool dure_template_is_true(const dure_template_value *value);
bool dure_template_is_number(const dure_template_value *value, double *out_number);  // booleans too
bool dure_template_is_integer(const dure_template_value *value, int64_t *out_integer);
DURE_MUST_CHECK dure_status dure_template_equal(dure_template_state *state, const dure_template_value *a,
                                                const dure_template_value *b, bool *out_equal);
// Below, at or above 0; fails where there is no order.
DURE_MUST_CHECK dure_status dure_template_order(dure_template_state *state, const dure_template_value *a,
                                                const dure_template_value *b, int *out_order);
DURE_MUST_CHECK dure_status dure_template_contains(dure_template_state *state, const dure_template_value *container,
                                                   const dure_template_value *item, bool *out_contains);
// What a for loop goes through: items, keys, characters.
DURE_MUST_CHECK dure_status dure_template_items(dure_template_state *state, const dure_template_value *value,
                                                dure_template_list **out_items);
size_t dure_template_characters(const char *text, size_t length);  // code points
// The bytes before character `index` (all of them: beyond the last).
size_t dure_template_character_offset(const char *text, size_t length, size_t index);
DURE_MUST_CHECK dure_status dure_template_compute(dure_template_state *state, dure_template_operator operation,
                                                  const dure_template_value *a, const dure_template_value *b,
                                                  dure_template_value *out_value);

// ---- functions (template_filters.c, template_methods.c) ------------------------------------------------------------

enum { DURE_TEMPLATE_PARAMETERS_MOST = 4 };

typedef struct dure_template_arguments {
  dure_template_value *values;  // by position, then those with a name
  const dure_template_value *names;
  size_t count, named_count;
} dure_template_arguments;

// `self` is what a filter or test is applied to, or a method's object.
typedef struct dure_template_call {
  dure_template_value self;
  dure_template_value parameters[DURE_TEMPLATE_PARAMETERS_MOST];  // by the row's names; ABSENT where not given
  const dure_template_arguments *arguments;                       // all, for functions that take any
} dure_template_call;

typedef dure_status (*dure_template_callable)(dure_template_state *state, const dure_template_call *call,
                                              dure_template_value *out_value);

struct dure_template_function {
  const char *name;
  dure_template_callable run;
  const char *parameters[DURE_TEMPLATE_PARAMETERS_MOST];
  uint32_t required;  // of the parameters
  bool takes_any;     // arguments are not held against `parameters`
};

// The row of that name; NULL: there is none.
const dure_template_function *dure_template_search(const dure_template_function *rows, size_t count, const char *name,
                                                   size_t length);
#define DURE_TEMPLATE_SEARCH(rows, name, length) \
  dure_template_search(rows, sizeof(rows) / sizeof((rows)[0]), name, length)
const dure_template_function *dure_template_filter(const char *name, size_t length);
const dure_template_function *dure_template_test(const char *name, size_t length);
const dure_template_function *dure_template_global(const char *name, size_t length);
const dure_template_function *dure_template_method(const dure_template_value *self, const char *name, size_t length);
DURE_MUST_CHECK dure_status dure_template_run(dure_template_state *state, const dure_template_function *function,
                                              const dure_template_value *self, const dure_template_arguments *arguments,
                                              dure_template_value *out_value);
// value.name, as templates see it.
DURE_MUST_CHECK dure_status dure_template_attribute(dure_template_state *state, const dure_template_value *value,
                                                    const char *name, size_t length, dure_template_value *out_value);
// value[key]
DURE_MUST_CHECK dure_status dure_template_item(dure_template_state *state, const dure_template_value *value,
                                               const dure_template_value *key, dure_template_value *out_value);
// str.strip() and the like; `characters` NULL: white space.
typedef enum dure_template_side { DURE_SIDE_LEFT = 1, DURE_SIDE_RIGHT = 2, DURE_SIDE_BOTH = 3 } dure_template_side;
dure_template_value dure_template_strip(const dure_template_value *text, const dure_template_value *characters,
                                        dure_template_side side);
typedef enum dure_template_case {
  DURE_CASE_UPPER,
  DURE_CASE_LOWER,
  DURE_CASE_CAPITAL,
  DURE_CASE_TITLE
} dure_template_case;
DURE_MUST_CHECK dure_status dure_template_change_case(dure_template_state *state, dure_template_case how,
                                                      const dure_template_value *text, dure_template_value *out_text);
DURE_MUST_CHECK dure_status dure_template_replace(dure_template_state *state, const dure_template_value *text,
                                                  const dure_template_value *from, const dure_template_value *to,
                                                  int64_t most, dure_template_value *out_text);
DURE_MUST_CHECK dure_status dure_template_join(dure_template_state *state, const dure_template_list *items,
                                               const dure_template_value *separator, dure_template_value *out_text);
DURE_MUST_CHECK dure_status dure_template_pairs(dure_template_state *state, const dure_template_map *map,
                                                dure_template_value *out_list);
bool dure_template_space_at(const char *text, size_t length, size_t *out_bytes);  // white space as Python has it

#endif  // DURE_DATA_TEMPLATE_PARTS_H_
