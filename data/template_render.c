// A parsed template and its variables into text.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/template_parts.h"
#include "runtime/os.h"

enum { depth_most = 400 };

typedef dure_template_state state_of;
typedef dure_template_node node;
typedef dure_template_value value;

static dure_status evaluate(state_of *state, const node *expression, value *out_value);
static dure_status run_all(state_of *state, const node *first);

// ---- names ---------------------------------------------------------------------------------------------------------

static dure_status set_name(state_of *state, const char *name, size_t length, value to) {
  return dure_template_map_set(state, &state->scope->names, dure_template_text_value(name, length), to);
}

static dure_status find_name(state_of *state, const node *name, value *out_value) {
  const value key = dure_template_text_value(name->text, name->length);
  *out_value = dure_template_undefined(name->text, name->length);
  for (dure_template_scope *scope = state->scope; scope != NULL; scope = scope->parent) {
    value *found;
    DURE_TRY(dure_template_map_find(state, &scope->names, &key, &found));
    if (found == NULL) continue;
    *out_value = *found;
    return NULL;
  }
  const dure_template_function *function = dure_template_global(name->text, name->length);
  if (function != NULL) *out_value = (value){.kind = DURE_VALUE_FUNCTION, .function = function};
  return NULL;
}

static dure_status assign(state_of *state, const node *target, value to) {
  if (target->kind == DURE_NODE_NAME) return set_name(state, target->text, target->length, to);
  if (target->kind == DURE_NODE_ATTRIBUTE) {
    value space;
    DURE_TRY(find_name(state, target->first, &space));
    if (space.kind != DURE_VALUE_NAMESPACE)
      return DURE_TEMPLATE_FAIL(state, "attributes of %s cannot be set; only those of a namespace",
                                dure_template_kind_name(&space));
    return dure_template_map_set(state, space.map, dure_template_text_value(target->text, target->length), to);
  }
  dure_template_list *items;
  size_t i = 0;
  DURE_TRY(dure_template_items(state, &to, &items));
  for (const node *name = target->children; name != NULL; name = name->next, i++) {
    if (i < items->count) DURE_TRY(assign(state, name, items->items[i]));
  }
  if (i == items->count) return NULL;
  return DURE_TEMPLATE_FAIL(state, "%zu names for %zu values", i, items->count);
}

// ---- calls ---------------------------------------------------------------------------------------------------------

static dure_status evaluate_arguments(state_of *state, const node *first, dure_template_arguments *out_arguments) {
  size_t count = 0, k = 0;
  value *names;
  *out_arguments = (dure_template_arguments){0};
  for (const node *argument = first; argument != NULL; argument = argument->next) count++;
  if (count == 0) return NULL;
  DURE_TRY(dure_template_allocate(&state->arena, count * sizeof(value), &out_arguments->values));
  DURE_TRY(dure_template_allocate(&state->arena, count * sizeof(value), &names));
  for (const node *argument = first; argument != NULL; argument = argument->next, k++) {
    const bool is_named = argument->kind == DURE_NODE_KEYWORD;
    DURE_TRY(evaluate(state, is_named ? argument->first : argument, &out_arguments->values[k]));
    if (!is_named) continue;
    names[out_arguments->named_count++] = dure_template_text_value(argument->text, argument->length);
  }
  out_arguments->names = names;
  out_arguments->count = count - out_arguments->named_count;
  return NULL;
}

// What `children` write, as a value.
static dure_status capture(state_of *state, const node *children, value *out_value) {
  dure_template_text text = {0};
  dure_template_text *outer = state->output;
  state->output = &text;
  DURE_TRY(run_all(state, children));
  state->output = outer;
  *out_value = dure_template_text_value(text.length > 0 ? text.data : "", text.length);
  return NULL;
}

static bool is_named(const value *name, const node *parameter) {
  return name->length == parameter->length && memcmp(name->text, parameter->text, name->length) == 0;
}

static dure_status bind_parameters(state_of *state, const node *macro, const dure_template_arguments *arguments) {
  size_t i = 0, named = 0;
  for (const node *parameter = macro->second->children; parameter != NULL; parameter = parameter->next, i++) {
    value given = dure_template_undefined(parameter->text, parameter->length);
    bool is_given = i < arguments->count;
    if (is_given) given = arguments->values[i];
    for (size_t k = 0; k < arguments->named_count && !is_given; k++) {
      if (!is_named(&arguments->names[k], parameter)) continue;
      given = arguments->values[arguments->count + k];
      is_given = true;
      named++;
    }
    if (!is_given && parameter->first != NULL) DURE_TRY(evaluate(state, parameter->first, &given));
    DURE_TRY(set_name(state, parameter->text, parameter->length, given));
  }
  if (arguments->count <= i && named == arguments->named_count) return NULL;
  return DURE_TEMPLATE_FAIL(state, "the macro %.*s does not take these arguments",
                            (int)(macro->length < 60 ? macro->length : 60), macro->text);
}

static dure_status call_macro(state_of *state, const node *macro, const dure_template_arguments *arguments,
                              value *out_value) {
  dure_template_scope inner = {.parent = state->root}, *outer = state->scope;
  state->scope = &inner;
  DURE_TRY(bind_parameters(state, macro, arguments));
  DURE_TRY(capture(state, macro->children, out_value));
  state->scope = outer;
  return NULL;
}

static dure_status evaluate_call(state_of *state, const node *call, value *out_value) {
  value callee;
  dure_template_arguments arguments;
  DURE_TRY(evaluate(state, call->first, &callee));
  DURE_TRY(evaluate_arguments(state, call->children, &arguments));
  state->line = call->line;
  if (callee.kind == DURE_VALUE_MACRO) return call_macro(state, callee.macro, &arguments, out_value);
  if (callee.kind == DURE_VALUE_FUNCTION)
    return dure_template_run(state, callee.function, callee.self, &arguments, out_value);
  const node *named = call->first;
  if (callee.kind == DURE_VALUE_UNDEFINED && (named->kind == DURE_NODE_NAME || named->kind == DURE_NODE_ATTRIBUTE))
    return dure_template_fail(state->parsed->name, call->line, DURE_UNSUPPORTED,
                              "there is no function or method \"%.*s\"", (int)(named->length < 60 ? named->length : 60),
                              named->text);
  return DURE_TEMPLATE_FAIL(state, "%s cannot be called", dure_template_kind_name(&callee));
}

static dure_status evaluate_function(state_of *state, const node *applied, value *out_value) {
  value self;
  dure_template_arguments arguments;
  DURE_TRY(evaluate(state, applied->first, &self));
  DURE_TRY(evaluate_arguments(state, applied->children, &arguments));
  state->line = applied->line;
  return dure_template_run(state, applied->function, &self, &arguments, out_value);
}

// ---- parts of values -----------------------------------------------------------------------------------------------

// A bound of a slice: false where it is not given.
static dure_status evaluate_bound(state_of *state, const node *bound, bool *out_is_given, int64_t *out_value) {
  value number;
  *out_is_given = false;
  *out_value = 0;
  if (bound == NULL || bound->kind == DURE_NODE_ABSENT) return NULL;
  DURE_TRY(evaluate(state, bound, &number));
  if (number.kind == DURE_VALUE_NONE) return NULL;
  *out_is_given = true;
  if (dure_template_is_integer(&number, out_value)) return NULL;
  return DURE_TEMPLATE_FAIL(state, "the bounds of a slice are whole numbers; found %s",
                            dure_template_kind_name(&number));
}

static int64_t clamp(int64_t at, int64_t count, int64_t least, int64_t most) {
  if (at < 0) at += count;
  return at < least ? least : at > most ? most : at;
}

static dure_status take_slice(state_of *state, const value *from, const dure_template_list *items, int64_t start,
                              int64_t stop, int64_t step, value *out_value) {
  dure_template_text text = {0};
  const bool is_text = from->kind == DURE_VALUE_TEXT;
  if (!is_text) DURE_TRY(dure_template_new_list(state, from->kind, out_value));
  while (step > 0 ? start < stop : start > stop) {
    const value *item = &items->items[start];
    DURE_TRY(is_text ? dure_template_append(state, &text, item->text, item->length)
                     : dure_template_push(state, out_value->list, *item));
    if (step > INT32_MAX || step < -INT32_MAX) break;
    start += step;
  }
  if (is_text) *out_value = dure_template_text_value(text.length > 0 ? text.data : "", text.length);
  return NULL;
}

static dure_status evaluate_slice(state_of *state, const node *slice, value *out_value) {
  value from;
  bool has_start, has_stop, has_step;
  int64_t start, stop, step;
  dure_template_list *items;
  DURE_TRY(evaluate(state, slice->first, &from));
  DURE_TRY(evaluate_bound(state, slice->second, &has_start, &start));
  DURE_TRY(evaluate_bound(state, slice->third, &has_stop, &stop));
  DURE_TRY(evaluate_bound(state, slice->children, &has_step, &step));
  state->line = slice->line;
  if (from.kind != DURE_VALUE_TEXT && from.kind != DURE_VALUE_LIST && from.kind != DURE_VALUE_TUPLE)
    return DURE_TEMPLATE_FAIL(state, "%s has no slices", dure_template_kind_name(&from));
  if (!has_step) step = 1;
  if (step == 0) return DURE_TEMPLATE_FAIL(state, "a slice by steps of 0");
  DURE_TRY(dure_template_items(state, &from, &items));
  const int64_t count = (int64_t)items->count, least = step > 0 ? 0 : -1, most = step > 0 ? count : count - 1;
  start = has_start ? clamp(start, count, least, most) : step > 0 ? 0 : count - 1;
  stop = has_stop ? clamp(stop, count, least, most) : step > 0 ? count : -1;
  return take_slice(state, &from, items, start, stop, step, out_value);
}

static dure_status evaluate_item(state_of *state, const node *item, value *out_value) {
  value from, key;
  DURE_TRY(evaluate(state, item->first, &from));
  DURE_TRY(evaluate(state, item->second, &key));
  state->line = item->line;
  return dure_template_item(state, &from, &key, out_value);
}

static dure_status evaluate_attribute(state_of *state, const node *attribute, value *out_value) {
  value from;
  DURE_TRY(evaluate(state, attribute->first, &from));
  state->line = attribute->line;
  return dure_template_attribute(state, &from, attribute->text, attribute->length, out_value);
}

static dure_status evaluate_elements(state_of *state, const node *elements, value *out_value) {
  DURE_TRY(
      dure_template_new_list(state, elements->kind == DURE_NODE_TUPLE ? DURE_VALUE_TUPLE : DURE_VALUE_LIST, out_value));
  for (const node *element = elements->children; element != NULL; element = element->next) {
    value item;
    DURE_TRY(evaluate(state, element, &item));
    DURE_TRY(dure_template_push(state, out_value->list, item));
  }
  return NULL;
}

static dure_status evaluate_map(state_of *state, const node *map, value *out_value) {
  DURE_TRY(dure_template_new_map(state, out_value));
  for (const node *key = map->children; key != NULL; key = key->next->next) {
    value name, item;
    DURE_TRY(evaluate(state, key, &name));
    DURE_TRY(evaluate(state, key->next, &item));
    DURE_TRY(dure_template_map_set(state, out_value->map, name, item));
  }
  return NULL;
}

// ---- operators -----------------------------------------------------------------------------------------------------

static dure_status compare(state_of *state, dure_template_operator operation, const value *a, const value *b,
                           bool *out_truth) {
  int order;
  *out_truth = false;
  switch (operation) {
    case DURE_OPERATOR_EQUAL:
    case DURE_OPERATOR_NOT_EQUAL:
      DURE_TRY(dure_template_equal(state, a, b, out_truth));
      *out_truth = *out_truth == (operation == DURE_OPERATOR_EQUAL);
      return NULL;
    case DURE_OPERATOR_IN:
    case DURE_OPERATOR_NOT_IN:
      DURE_TRY(dure_template_contains(state, b, a, out_truth));
      *out_truth = *out_truth == (operation == DURE_OPERATOR_IN);
      return NULL;
    default: break;
  }
  DURE_TRY(dure_template_order(state, a, b, &order));
  *out_truth = operation == DURE_OPERATOR_LESS         ? order < 0
               : operation == DURE_OPERATOR_LESS_EQUAL ? order <= 0
               : operation == DURE_OPERATOR_GREATER    ? order > 0
                                                       : order >= 0;
  return NULL;
}

// a < b < c: each with its neighbour.
static dure_status evaluate_comparison(state_of *state, const node *comparison, value *out_value) {
  value left, right;
  bool truth = true;
  DURE_TRY(evaluate(state, comparison->first, &left));
  for (const node *next = comparison->children; next != NULL && truth; next = next->next) {
    DURE_TRY(evaluate(state, next->first, &right));
    state->line = comparison->line;
    DURE_TRY(compare(state, next->operation, &left, &right, &truth));
    left = right;
  }
  *out_value = dure_template_boolean(truth);
  return NULL;
}

static dure_status evaluate_binary(state_of *state, const node *binary, value *out_value) {
  value left, right;
  DURE_TRY(evaluate(state, binary->first, &left));
  DURE_TRY(evaluate(state, binary->second, &right));
  state->line = binary->line;
  return dure_template_compute(state, binary->operation, &left, &right, out_value);
}

static dure_status evaluate_sign(state_of *state, const node *sign, value *out_value) {
  value operand;
  const value zero = dure_template_integer(0);
  DURE_TRY(evaluate(state, sign->first, &operand));
  state->line = sign->line;
  if (operand.kind == DURE_VALUE_NUMBER) {
    *out_value = dure_template_number(sign->kind == DURE_NODE_NEGATIVE ? -operand.number : operand.number);
    return NULL;
  }
  return dure_template_compute(state, sign->kind == DURE_NODE_NEGATIVE ? DURE_OPERATOR_SUBTRACT : DURE_OPERATOR_ADD,
                               &zero, &operand, out_value);
}

static dure_status evaluate_choice(state_of *state, const node *choice, value *out_value) {
  value condition;
  if (choice->kind == DURE_NODE_CONDITIONAL) {
    DURE_TRY(evaluate(state, choice->second, &condition));
    const node *chosen = dure_template_is_true(&condition) ? choice->first : choice->third;
    if (chosen != NULL) return evaluate(state, chosen, out_value);
    *out_value = dure_template_undefined("", 0);
    return NULL;
  }
  DURE_TRY(evaluate(state, choice->first, out_value));
  if (choice->kind == DURE_NODE_NOT) {
    *out_value = dure_template_boolean(!dure_template_is_true(out_value));
    return NULL;
  }
  const bool is_decided = dure_template_is_true(out_value) == (choice->kind == DURE_NODE_OR);
  return is_decided ? NULL : evaluate(state, choice->second, out_value);
}

static dure_status evaluate_capture(state_of *state, const node *block, value *out_value) {
  dure_template_scope inner = {.parent = state->scope};
  state->scope = &inner;
  DURE_TRY(capture(state, block->children, out_value));
  state->scope = inner.parent;
  return NULL;
}

static dure_status evaluate_node(state_of *state, const node *expression, value *out_value) {
  switch (expression->kind) {
    case DURE_NODE_NAME: return find_name(state, expression, out_value);
    case DURE_NODE_NONE: *out_value = dure_template_none(); return NULL;
    case DURE_NODE_TRUE:
    case DURE_NODE_FALSE: *out_value = dure_template_boolean(expression->kind == DURE_NODE_TRUE); return NULL;
    case DURE_NODE_TEXT: *out_value = dure_template_text_value(expression->text, expression->length); return NULL;
    case DURE_NODE_INTEGER: *out_value = dure_template_integer(expression->integer); return NULL;
    case DURE_NODE_NUMBER: *out_value = dure_template_number(expression->number); return NULL;
    case DURE_NODE_LIST:
    case DURE_NODE_TUPLE: return evaluate_elements(state, expression, out_value);
    case DURE_NODE_MAP: return evaluate_map(state, expression, out_value);
    case DURE_NODE_ATTRIBUTE: return evaluate_attribute(state, expression, out_value);
    case DURE_NODE_ITEM: return evaluate_item(state, expression, out_value);
    case DURE_NODE_SLICE: return evaluate_slice(state, expression, out_value);
    case DURE_NODE_CALL: return evaluate_call(state, expression, out_value);
    case DURE_NODE_FILTER:
    case DURE_NODE_TEST: return evaluate_function(state, expression, out_value);
    case DURE_NODE_NEGATIVE:
    case DURE_NODE_POSITIVE: return evaluate_sign(state, expression, out_value);
    case DURE_NODE_NOT:
    case DURE_NODE_AND:
    case DURE_NODE_OR:
    case DURE_NODE_CONDITIONAL: return evaluate_choice(state, expression, out_value);
    case DURE_NODE_BINARY: return evaluate_binary(state, expression, out_value);
    case DURE_NODE_COMPARE: return evaluate_comparison(state, expression, out_value);
    case DURE_NODE_CAPTURE: return evaluate_capture(state, expression, out_value);
    default: break;
  }
  return dure_fail(DURE_INTERNAL, "a template's expression of kind %d", (int)expression->kind);
}

static dure_status enter(state_of *state, const node *what) {
  state->line = what->line;
  DURE_TRY(dure_template_step(state, 1));
  if (++state->depth <= depth_most) return NULL;
  return DURE_TEMPLATE_FAIL(state, "expressions or calls within each other more than %d levels deep", depth_most);
}

static dure_status evaluate(state_of *state, const node *expression, value *out_value) {
  *out_value = dure_template_none();
  DURE_TRY(enter(state, expression));
  DURE_TRY(evaluate_node(state, expression, out_value));
  state->depth--;
  return NULL;
}

// ---- statements ----------------------------------------------------------------------------------------------------

// The items that a loop's condition keeps.
static dure_status keep_items(state_of *state, const node *loop, const dure_template_list *items,
                              dure_template_list **out_items) {
  value kept;
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, &kept));
  for (size_t i = 0; i < items->count; i++) {
    dure_template_scope inner = {.parent = state->scope};
    value condition;
    state->scope = &inner;
    DURE_TRY(assign(state, loop->first, items->items[i]));
    DURE_TRY(evaluate(state, loop->filter, &condition));
    if (dure_template_is_true(&condition)) DURE_TRY(dure_template_push(state, kept.list, items->items[i]));
    state->scope = inner.parent;
  }
  *out_items = kept.list;
  return NULL;
}

static dure_status run_turn(state_of *state, const node *statement, dure_template_loop *loop) {
  dure_template_scope inner = {.parent = state->scope};
  state->scope = &inner;
  DURE_TRY(set_name(state, "loop", 4, (value){.kind = DURE_VALUE_LOOP, .loop = loop}));
  DURE_TRY(assign(state, statement->first, loop->items->items[loop->index]));
  DURE_TRY(run_all(state, statement->children));
  state->scope = inner.parent;
  return NULL;
}

static dure_status run_for(state_of *state, const node *statement) {
  value from;
  dure_template_list *items;
  dure_template_loop *loop;
  DURE_TRY(evaluate(state, statement->second, &from));
  state->line = statement->line;
  DURE_TRY(dure_template_items(state, &from, &items));
  if (statement->filter != NULL) DURE_TRY(keep_items(state, statement, items, &items));
  DURE_TRY(dure_template_allocate(&state->arena, sizeof(*loop), &loop));
  loop->items = items;
  for (loop->index = 0; loop->index < items->count; loop->index++) {
    DURE_TRY(run_turn(state, statement, loop));
    const bool is_over = state->leaving == DURE_LEAVING_BREAK;
    state->leaving = DURE_LEAVING_NOT;
    if (is_over) return NULL;
  }
  return items->count == 0 && statement->third != NULL ? run_all(state, statement->third->children) : NULL;
}

static dure_status run_if(state_of *state, const node *statement) {
  value condition;
  DURE_TRY(evaluate(state, statement->first, &condition));
  if (dure_template_is_true(&condition)) return run_all(state, statement->children);
  return statement->third != NULL ? run_all(state, statement->third->children) : NULL;
}

static dure_status run_set(state_of *state, const node *statement) {
  value to;
  DURE_TRY(evaluate(state, statement->second, &to));
  state->line = statement->line;
  return assign(state, statement->first, to);
}

static dure_status run_with(state_of *state, const node *statement) {
  dure_template_scope inner = {.parent = state->scope};
  state->scope = &inner;
  DURE_TRY(run_all(state, statement->second->children));
  DURE_TRY(run_all(state, statement->children));
  state->scope = inner.parent;
  return NULL;
}

static dure_status run_output(state_of *state, const node *statement) {
  value printed;
  DURE_TRY(evaluate(state, statement->first, &printed));
  state->line = statement->line;
  return dure_template_print(state, state->output, &printed);
}

static dure_status run(state_of *state, const node *statement) {
  switch (statement->kind) {
    case DURE_NODE_DATA: return dure_template_append(state, state->output, statement->text, statement->length);
    case DURE_NODE_OUTPUT: return run_output(state, statement);
    case DURE_NODE_IF: return run_if(state, statement);
    case DURE_NODE_FOR: return run_for(state, statement);
    case DURE_NODE_SET: return run_set(state, statement);
    case DURE_NODE_WITH: return run_with(state, statement);
    case DURE_NODE_BODY: return run_all(state, statement->children);
    case DURE_NODE_MACRO:
      return set_name(state, statement->text, statement->length, (value){.kind = DURE_VALUE_MACRO, .macro = statement});
    case DURE_NODE_BREAK: state->leaving = DURE_LEAVING_BREAK; return NULL;
    case DURE_NODE_CONTINUE: state->leaving = DURE_LEAVING_CONTINUE; return NULL;
    default: break;
  }
  return dure_fail(DURE_INTERNAL, "a template's statement of kind %d", (int)statement->kind);
}

static dure_status run_all(state_of *state, const node *first) {
  for (const node *statement = first; statement != NULL && state->leaving == DURE_LEAVING_NOT;
       statement = statement->next) {
    DURE_TRY(enter(state, statement));
    DURE_TRY(run(state, statement));
    state->depth--;
  }
  return NULL;
}

// ---- whole templates -----------------------------------------------------------------------------------------------

static dure_status render(state_of *state, const json_t *variables, char **out_text, size_t *out_length) {
  dure_template_text text = {0};
  dure_template_scope given = {0}, own = {.parent = &given};
  value map;
  state->output = &text;
  if (!json_is_object(variables)) return dure_fail(DURE_INVALID_ARGUMENT, "a template's variables are an object");
  DURE_TRY(dure_template_from_json(state, variables, &map));
  given.names = *map.map;
  state->scope = state->root = &own;
  DURE_TRY(run_all(state, state->parsed->body->children));
  char *copy = malloc(text.length + 1);
  if (copy == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a text of %zu bytes", text.length);
  if (text.length > 0) memcpy(copy, text.data, text.length);
  copy[text.length] = '\0';
  *out_text = copy;
  *out_length = text.length;
  return NULL;
}

dure_status dure_template_render(const dure_template *parsed, const json_t *variables, int64_t unix_seconds,
                                 const dure_template_limits *limits, char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  const dure_template_limits given = limits != NULL ? *limits : (dure_template_limits){0};
  state_of state = {
      .arena = {.limit = given.memory > 0 ? given.memory : (size_t)256 << 20},
      .parsed = parsed,
      .steps_left = given.steps > 0 ? given.steps : 20000000,
      .output_limit = given.output > 0 ? given.output : (size_t)64 << 20,
      .unix_seconds = unix_seconds >= 0 ? unix_seconds : dure_os_unix_seconds(),
  };
  dure_status status = render(&state, variables, out_text, out_length);
  dure_template_arena_free(&state.arena);
  return status;
}
