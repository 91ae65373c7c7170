// Filters, tests and functions: three tables. A row's parameters are Jinja's names for them.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template_parts.h"

typedef dure_template_state state_of;
typedef dure_template_value value;
typedef const dure_template_call *call_of;

// ---- parameters ----------------------------------------------------------------------------------------------------

static bool is_given(const value *parameter) {
  return parameter->kind != DURE_VALUE_ABSENT && parameter->kind != DURE_VALUE_NONE;
}
static bool is_flag(const value *parameter, bool fallback) {
  return parameter->kind == DURE_VALUE_ABSENT ? fallback : dure_template_is_true(parameter);
}

static dure_status whole_number(state_of *state, const value *parameter, int64_t fallback, int64_t *out_number) {
  *out_number = fallback;
  if (!is_given(parameter) || dure_template_is_integer(parameter, out_number)) return NULL;
  return DURE_TEMPLATE_FAIL(state, "a whole number is wanted; found %s", dure_template_kind_name(parameter));
}

static bool is_list(const value *of) { return of->kind == DURE_VALUE_LIST || of->kind == DURE_VALUE_TUPLE; }

// "a.b.0" of an item.
static dure_status dotted(state_of *state, const value *item, const value *path, value *out_value) {
  *out_value = *item;
  if (path->kind != DURE_VALUE_TEXT) return dure_template_item(state, item, path, out_value);
  for (size_t begin = 0; begin <= path->length;) {
    size_t end = begin;
    while (end < path->length && path->text[end] != '.') end++;
    value key = dure_template_text_value(path->text + begin, end - begin);
    const value from = *out_value;
    int64_t number = 0;
    size_t digits = 0;
    for (; begin + digits < end && digits < 9 && path->text[begin + digits] >= '0' && path->text[begin + digits] <= '9';
         digits++)
      number = 10 * number + (path->text[begin + digits] - '0');
    if (digits > 0 && begin + digits == end) key = dure_template_integer(number);
    DURE_TRY(dure_template_item(state, &from, &key, out_value));
    begin = end + 1;
  }
  return NULL;
}

// ---- filters of texts ----------------------------------------------------------------------------------------------

static dure_status filter_trim(state_of *state, call_of call, value *out_value) {
  value text;
  const bool has_characters = is_given(&call->parameters[0]);
  DURE_TRY(dure_template_to_text(state, &call->self, &text));
  if (has_characters && call->parameters[0].kind != DURE_VALUE_TEXT)
    return DURE_TEMPLATE_FAIL(state, "trim takes a text of characters");
  *out_value = dure_template_strip(&text, has_characters ? &call->parameters[0] : NULL, DURE_SIDE_BOTH);
  return NULL;
}

static dure_status change_case(state_of *state, call_of call, dure_template_case how, value *out_value) {
  value text;
  DURE_TRY(dure_template_to_text(state, &call->self, &text));
  return dure_template_change_case(state, how, &text, out_value);
}
static dure_status filter_upper(state_of *state, call_of call, value *out_value) {
  return change_case(state, call, DURE_CASE_UPPER, out_value);
}
static dure_status filter_lower(state_of *state, call_of call, value *out_value) {
  return change_case(state, call, DURE_CASE_LOWER, out_value);
}
static dure_status filter_capitalize(state_of *state, call_of call, value *out_value) {
  return change_case(state, call, DURE_CASE_CAPITAL, out_value);
}

// Words as Jinja has them, which are not str.title()'s: between spaces, hyphens and opening brackets.
static dure_status filter_title(state_of *state, call_of call, value *out_value) {
  value text;
  dure_template_text titled = {0};
  DURE_TRY(dure_template_to_text(state, &call->self, &text));
  for (size_t begin = 0; begin < text.length;) {
    size_t end = begin, bytes;
    value word;
    const bool is_gap = strchr("-({[<", text.text[begin]) != NULL ||
                        dure_template_space_at(text.text + begin, text.length - begin, &bytes);
    while (end < text.length && !is_gap && strchr("-({[<", text.text[end]) == NULL &&
           !dure_template_space_at(text.text + end, text.length - end, &bytes))
      end += bytes;
    if (is_gap) end += dure_template_character_offset(text.text + begin, text.length - begin, 1);
    word = dure_template_text_value(text.text + begin, end - begin);
    DURE_TRY(dure_template_change_case(state, DURE_CASE_CAPITAL, &word, &word));
    DURE_TRY(dure_template_append(state, &titled, word.text, word.length));
    begin = end;
  }
  *out_value = dure_template_text_value(titled.length > 0 ? titled.data : "", titled.length);
  return NULL;
}

static dure_status filter_replace(state_of *state, call_of call, value *out_value) {
  value text, from, to;
  int64_t most;
  DURE_TRY(whole_number(state, &call->parameters[2], -1, &most));
  DURE_TRY(dure_template_to_text(state, &call->self, &text));
  DURE_TRY(dure_template_to_text(state, &call->parameters[0], &from));
  DURE_TRY(dure_template_to_text(state, &call->parameters[1], &to));
  return dure_template_replace(state, &text, &from, &to, most, out_value);
}

static dure_status filter_string(state_of *state, call_of call, value *out_value) {
  return dure_template_to_text(state, &call->self, out_value);
}

static dure_status filter_tojson(state_of *state, call_of call, value *out_value) {
  dure_template_text text = {0};
  dure_template_json_style style = {.sorts_keys = is_flag(&call->parameters[3], false), .indent = -1};
  style.escapes_other = is_flag(&call->parameters[0], false);
  DURE_TRY(whole_number(state, &call->parameters[1], -1, &style.indent));
  if (style.indent > 64) return DURE_TEMPLATE_FAIL(state, "tojson indents by up to 64");
  style.item = style.indent >= 0 ? "," : ", ";
  style.key = ": ";
  style.item_length = strlen(style.item);
  style.key_length = strlen(style.key);
  const value *separators = &call->parameters[2];
  if (is_given(separators)) {
    const bool are_two = is_list(separators) && separators->list->count == 2 &&
                         separators->list->items[0].kind == DURE_VALUE_TEXT &&
                         separators->list->items[1].kind == DURE_VALUE_TEXT;
    if (!are_two) return DURE_TEMPLATE_FAIL(state, "tojson takes two separators");
    style.item = separators->list->items[0].text;
    style.item_length = separators->list->items[0].length;
    style.key = separators->list->items[1].text;
    style.key_length = separators->list->items[1].length;
  }
  DURE_TRY(dure_template_print_json(state, &text, &style, &call->self));
  *out_value = dure_template_text_value(text.data, text.length);
  return NULL;
}

static dure_status filter_indent(state_of *state, call_of call, value *out_value) {
  value text;
  dure_template_text indented = {0};
  int64_t width;
  DURE_TRY(whole_number(state, &call->parameters[0], 4, &width));
  DURE_TRY(dure_template_to_text(state, &call->self, &text));
  if (width < 0 || width > 64) return DURE_TEMPLATE_FAIL(state, "indent takes a width of 0 to 64");
  const bool has_first = is_flag(&call->parameters[1], false), has_blank = is_flag(&call->parameters[2], false);
  for (size_t begin = 0; begin < text.length || begin == 0;) {
    const char *line = text.text + begin, *end = memchr(line, '\n', text.length - begin);
    const size_t length = end != NULL ? (size_t)(end - line) : text.length - begin;
    const bool is_first = begin == 0;
    char spaces[64];
    memset(spaces, ' ', sizeof(spaces));
    if (is_first ? has_first : length > 0 || has_blank)
      DURE_TRY(dure_template_append(state, &indented, spaces, (size_t)width));
    DURE_TRY(dure_template_append(state, &indented, line, length + (end != NULL)));
    begin += length + 1;
    if (end == NULL) break;
  }
  *out_value = dure_template_text_value(indented.length > 0 ? indented.data : "", indented.length);
  return NULL;
}

// ---- filters of numbers --------------------------------------------------------------------------------------------

// The number that a text is; false when it is none.
static bool read_number(state_of *state, const value *text, double *out_number) {
  char copy[64], *end;
  const value stripped = dure_template_strip(text, NULL, DURE_SIDE_BOTH);
  (void)state;
  if (stripped.length == 0 || stripped.length >= sizeof(copy)) return false;
  memcpy(copy, stripped.text, stripped.length);
  copy[stripped.length] = '\0';
  if (strspn(copy, "0123456789+-.eE") != stripped.length) return false;
  *out_number = strtod(copy, &end);
  return *end == '\0';
}

static dure_status filter_int(state_of *state, call_of call, value *out_value) {
  double number = 0;
  int64_t integer = 0;
  const bool is_text = call->self.kind == DURE_VALUE_TEXT;
  *out_value = call->parameters[0].kind == DURE_VALUE_ABSENT ? dure_template_integer(0) : call->parameters[0];
  if (dure_template_is_integer(&call->self, &integer)) {
    *out_value = dure_template_integer(integer);
  } else if (is_text ? read_number(state, &call->self, &number) : dure_template_is_number(&call->self, &number)) {
    if (fabs(number) < 9e18) *out_value = dure_template_integer((int64_t)number);
  }
  return NULL;
}

static dure_status filter_float(state_of *state, call_of call, value *out_value) {
  double number = 0;
  const bool is_text = call->self.kind == DURE_VALUE_TEXT;
  *out_value = call->parameters[0].kind == DURE_VALUE_ABSENT ? dure_template_number(0) : call->parameters[0];
  if (is_text ? read_number(state, &call->self, &number) : dure_template_is_number(&call->self, &number))
    *out_value = dure_template_number(number);
  return NULL;
}

static dure_status filter_abs(state_of *state, call_of call, value *out_value) {
  double number;
  *out_value = call->self;
  if (!dure_template_is_number(&call->self, &number)) return DURE_TEMPLATE_FAIL(state, "abs takes a number");
  if (call->self.kind == DURE_VALUE_NUMBER) *out_value = dure_template_number(fabs(number));
  if (call->self.kind == DURE_VALUE_INTEGER && call->self.integer < 0 && call->self.integer > INT64_MIN)
    *out_value = dure_template_integer(-call->self.integer);
  return NULL;
}

static dure_status filter_round(state_of *state, call_of call, value *out_value) {
  double number;
  int64_t digits;
  char text[400];
  DURE_TRY(whole_number(state, &call->parameters[0], 0, &digits));
  if (!dure_template_is_number(&call->self, &number) || digits < 0 || digits > 17)
    return DURE_TEMPLATE_FAIL(state, "round takes a number, and 0 to 17 digits");
  const double scale = pow(10, (double)digits);
  const value *method = &call->parameters[1];
  if (is_given(method) && dure_template_is_text(method, "ceil")) {
    number = ceil(number * scale) / scale;
  } else if (is_given(method) && dure_template_is_text(method, "floor")) {
    number = floor(number * scale) / scale;
  } else if (isfinite(number)) {
    snprintf(text, sizeof(text), "%.*f", (int)digits, number);  // from the exact decimal value, halves to even
    number = strtod(text, NULL);
  }
  *out_value = dure_template_number(number);
  return NULL;
}

// ---- filters of lists and maps -------------------------------------------------------------------------------------

static dure_status filter_length(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  if (call->self.kind == DURE_VALUE_TEXT) {
    *out_value = dure_template_integer((int64_t)dure_template_characters(call->self.text, call->self.length));
    return dure_template_step(state, call->self.length / 256);
  }
  DURE_TRY(dure_template_items(state, &call->self, &items));
  *out_value = dure_template_integer((int64_t)items->count);
  return NULL;
}

static dure_status filter_default(state_of *state, call_of call, value *out_value) {
  const bool is_missing = call->self.kind == DURE_VALUE_UNDEFINED ||
                          (is_flag(&call->parameters[1], false) && !dure_template_is_true(&call->self));
  (void)state;
  *out_value = !is_missing                                     ? call->self
               : call->parameters[0].kind == DURE_VALUE_ABSENT ? dure_template_text_value("", 0)
                                                               : call->parameters[0];
  return NULL;
}

static dure_status filter_join(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  value separator = dure_template_text_value("", 0), mapped;
  DURE_TRY(dure_template_items(state, &call->self, &items));
  if (is_given(&call->parameters[0])) DURE_TRY(dure_template_to_text(state, &call->parameters[0], &separator));
  if (!is_given(&call->parameters[1])) return dure_template_join(state, items, &separator, out_value);
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, &mapped));
  for (size_t i = 0; i < items->count; i++) {
    value part;
    DURE_TRY(dotted(state, &items->items[i], &call->parameters[1], &part));
    DURE_TRY(dure_template_push(state, mapped.list, part));
  }
  return dure_template_join(state, mapped.list, &separator, out_value);
}

static dure_status pick(state_of *state, call_of call, bool is_last, value *out_value) {
  dure_template_list *items;
  DURE_TRY(dure_template_items(state, &call->self, &items));
  *out_value = items->count > 0 ? items->items[is_last ? items->count - 1 : 0] : dure_template_undefined("element", 7);
  return NULL;
}
static dure_status filter_first(state_of *state, call_of call, value *out_value) {
  return pick(state, call, false, out_value);
}
static dure_status filter_last(state_of *state, call_of call, value *out_value) {
  return pick(state, call, true, out_value);
}

static dure_status filter_list(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  DURE_TRY(dure_template_items(state, &call->self, &items));
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (size_t i = 0; i < items->count; i++) DURE_TRY(dure_template_push(state, out_value->list, items->items[i]));
  return NULL;
}

static dure_status filter_reverse(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  const value nothing = dure_template_text_value("", 0);
  DURE_TRY(dure_template_items(state, &call->self, &items));
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (size_t i = items->count; i > 0; i--) DURE_TRY(dure_template_push(state, out_value->list, items->items[i - 1]));
  if (call->self.kind != DURE_VALUE_TEXT) return NULL;
  const value reversed = *out_value;
  return dure_template_join(state, reversed.list, &nothing, out_value);
}

static dure_status filter_items(state_of *state, call_of call, value *out_value) {
  if (call->self.kind == DURE_VALUE_MAP) return dure_template_pairs(state, call->self.map, out_value);
  if (call->self.kind != DURE_VALUE_UNDEFINED) return DURE_TEMPLATE_FAIL(state, "items takes a map");
  return dure_template_new_list(state, DURE_VALUE_LIST, out_value);
}

// What items are sorted and compared by: an attribute where one is named, texts without case unless it matters.
static dure_status sort_key(state_of *state, const value *item, const value *attribute, bool is_sensitive,
                            value *out_key) {
  *out_key = *item;
  if (is_given(attribute)) DURE_TRY(dotted(state, item, attribute, out_key));
  if (out_key->kind != DURE_VALUE_TEXT || is_sensitive) return NULL;
  const value text = *out_key;
  return dure_template_change_case(state, DURE_CASE_LOWER, &text, out_key);
}

static dure_status sort(state_of *state, const dure_template_list *items, const value *attribute, bool is_sensitive,
                        bool is_reversed, value *out_value) {
  value *keys;
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  DURE_TRY(dure_template_allocate(&state->arena, (items->count + 1) * sizeof(*keys), &keys));
  for (size_t i = 0; i < items->count; i++) {
    value key, item = items->items[i];
    size_t at = i;
    DURE_TRY(sort_key(state, &item, attribute, is_sensitive, &key));
    DURE_TRY(dure_template_push(state, out_value->list, item));
    for (; at > 0; at--) {  // stable; lists in templates are short
      int order;
      DURE_TRY(dure_template_order(state, &keys[at - 1], &key, &order));
      if (is_reversed ? order >= 0 : order <= 0) break;
      keys[at] = keys[at - 1];
      out_value->list->items[at] = out_value->list->items[at - 1];
    }
    keys[at] = key;
    out_value->list->items[at] = item;
  }
  return NULL;
}

static dure_status filter_sort(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  DURE_TRY(dure_template_items(state, &call->self, &items));
  return sort(state, items, &call->parameters[2], is_flag(&call->parameters[1], false),
              is_flag(&call->parameters[0], false), out_value);
}

static dure_status filter_dictsort(state_of *state, call_of call, value *out_value) {
  value pairs;
  const bool by_value = is_given(&call->parameters[1]) && dure_template_is_text(&call->parameters[1], "value");
  const value attribute = dure_template_integer(by_value);
  if (call->self.kind != DURE_VALUE_MAP) return DURE_TEMPLATE_FAIL(state, "dictsort takes a map");
  DURE_TRY(dure_template_pairs(state, call->self.map, &pairs));
  return sort(state, pairs.list, &attribute, is_flag(&call->parameters[0], false), is_flag(&call->parameters[2], false),
              out_value);
}

static dure_status extreme(state_of *state, call_of call, int wanted, value *out_value) {
  dure_template_list *items;
  value best = dure_template_undefined("element", 7), key, other;
  const bool is_sensitive = is_flag(&call->parameters[0], false);
  DURE_TRY(dure_template_items(state, &call->self, &items));
  for (size_t i = 0; i < items->count; i++) {
    int order = wanted;
    DURE_TRY(sort_key(state, &items->items[i], &call->parameters[1], is_sensitive, &key));
    if (i > 0) DURE_TRY(sort_key(state, &best, &call->parameters[1], is_sensitive, &other));
    if (i > 0) DURE_TRY(dure_template_order(state, &key, &other, &order));
    if (order * wanted > 0) best = items->items[i];
  }
  *out_value = best;
  return NULL;
}
static dure_status filter_min(state_of *state, call_of call, value *out_value) {
  return extreme(state, call, -1, out_value);
}
static dure_status filter_max(state_of *state, call_of call, value *out_value) {
  return extreme(state, call, 1, out_value);
}

static dure_status filter_sum(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  value sum = call->parameters[1].kind == DURE_VALUE_ABSENT ? dure_template_integer(0) : call->parameters[1];
  DURE_TRY(dure_template_items(state, &call->self, &items));
  for (size_t i = 0; i < items->count; i++) {
    value part = items->items[i];
    const value before = sum;
    if (is_given(&call->parameters[0])) DURE_TRY(dotted(state, &items->items[i], &call->parameters[0], &part));
    DURE_TRY(dure_template_compute(state, DURE_OPERATOR_ADD, &before, &part, &sum));
  }
  *out_value = sum;
  return NULL;
}

static dure_status filter_unique(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  value seen, key;
  DURE_TRY(dure_template_items(state, &call->self, &items));
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, &seen));
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (size_t i = 0; i < items->count; i++) {
    bool is_known;
    DURE_TRY(sort_key(state, &items->items[i], &call->parameters[1], is_flag(&call->parameters[0], false), &key));
    DURE_TRY(dure_template_contains(state, &seen, &key, &is_known));
    if (is_known) continue;
    DURE_TRY(dure_template_push(state, seen.list, key));
    DURE_TRY(dure_template_push(state, out_value->list, items->items[i]));
  }
  return NULL;
}

// map(attribute="a", default=d) or map("filter", ...).
static dure_status map_item(state_of *state, call_of call, const value *item, value *out_value) {
  const dure_template_arguments *given = call->arguments;
  const value *attribute = NULL, *fallback = NULL;
  for (size_t i = 0; i < given->named_count; i++) {
    if (dure_template_is_text(&given->names[i], "attribute")) attribute = &given->values[given->count + i];
    if (dure_template_is_text(&given->names[i], "default")) fallback = &given->values[given->count + i];
  }
  if (attribute != NULL) {
    DURE_TRY(dotted(state, item, attribute, out_value));
    if (out_value->kind == DURE_VALUE_UNDEFINED && fallback != NULL) *out_value = *fallback;
    return NULL;
  }
  const value *name = given->values;
  const dure_template_function *function =
      given->count > 0 && name->kind == DURE_VALUE_TEXT ? dure_template_filter(name->text, name->length) : NULL;
  if (function == NULL) return DURE_TEMPLATE_FAIL(state, "map takes attribute= or the name of a filter");
  dure_template_arguments rest = *given;
  rest.values++;
  rest.count--;
  return dure_template_run(state, function, item, &rest, out_value);
}

static dure_status filter_map(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  DURE_TRY(dure_template_items(state, &call->self, &items));
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (size_t i = 0; i < items->count; i++) {
    value part;
    DURE_TRY(map_item(state, call, &items->items[i], &part));
    DURE_TRY(dure_template_push(state, out_value->list, part));
  }
  return NULL;
}

// select("test", ...), selectattr("attribute", "test", ...): the items for which it is `wanted`.
static dure_status choose(state_of *state, call_of call, bool has_attribute, bool wanted, value *out_value) {
  dure_template_list *items;
  dure_template_arguments rest = *call->arguments;
  const value *attribute = has_attribute && rest.count > 0 ? rest.values : NULL;
  const dure_template_function *test = NULL;
  if (has_attribute && attribute == NULL) return DURE_TEMPLATE_FAIL(state, "the name of an attribute is wanted");
  if (has_attribute) {
    rest.values++;
    rest.count--;
  }
  if (rest.count > 0) {
    if (rest.values->kind == DURE_VALUE_TEXT) test = dure_template_test(rest.values->text, rest.values->length);
    if (test == NULL) return DURE_TEMPLATE_FAIL(state, "the name of a test is wanted");
    rest.values++;
    rest.count--;
  }
  DURE_TRY(dure_template_items(state, &call->self, &items));
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (size_t i = 0; i < items->count; i++) {
    value part = items->items[i], truth;
    if (attribute != NULL) DURE_TRY(dotted(state, &items->items[i], attribute, &part));
    truth = part;
    if (test != NULL) DURE_TRY(dure_template_run(state, test, &part, &rest, &truth));
    if (dure_template_is_true(&truth) == wanted) DURE_TRY(dure_template_push(state, out_value->list, items->items[i]));
  }
  return NULL;
}
static dure_status filter_select(state_of *state, call_of call, value *out_value) {
  return choose(state, call, false, true, out_value);
}
static dure_status filter_reject(state_of *state, call_of call, value *out_value) {
  return choose(state, call, false, false, out_value);
}
static dure_status filter_selectattr(state_of *state, call_of call, value *out_value) {
  return choose(state, call, true, true, out_value);
}
static dure_status filter_rejectattr(state_of *state, call_of call, value *out_value) {
  return choose(state, call, true, false, out_value);
}

static dure_status filter_safe(state_of *state, call_of call, value *out_value) {
  (void)state;
  *out_value = call->self;
  return NULL;
}

static const dure_template_function filters[] = {
    {"trim", filter_trim, {"chars"}, 0, false},
    {"length", filter_length, {0}, 0, false},
    {"count", filter_length, {0}, 0, false},
    {"tojson", filter_tojson, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0, false},
    {"upper", filter_upper, {0}, 0, false},
    {"lower", filter_lower, {0}, 0, false},
    {"title", filter_title, {0}, 0, false},
    {"capitalize", filter_capitalize, {0}, 0, false},
    {"default", filter_default, {"default_value", "boolean"}, 0, false},
    {"d", filter_default, {"default_value", "boolean"}, 0, false},
    {"join", filter_join, {"d", "attribute"}, 0, false},
    {"first", filter_first, {0}, 0, false},
    {"last", filter_last, {0}, 0, false},
    {"list", filter_list, {0}, 0, false},
    {"string", filter_string, {0}, 0, false},
    {"int", filter_int, {"default"}, 0, false},
    {"float", filter_float, {"default"}, 0, false},
    {"abs", filter_abs, {0}, 0, false},
    {"round", filter_round, {"precision", "method"}, 0, false},
    {"replace", filter_replace, {"old", "new", "count"}, 2, false},
    {"indent", filter_indent, {"width", "first", "blank"}, 0, false},
    {"items", filter_items, {0}, 0, false},
    {"dictsort", filter_dictsort, {"case_sensitive", "by", "reverse"}, 0, false},
    {"sort", filter_sort, {"reverse", "case_sensitive", "attribute"}, 0, false},
    {"unique", filter_unique, {"case_sensitive", "attribute"}, 0, false},
    {"reverse", filter_reverse, {0}, 0, false},
    {"min", filter_min, {"case_sensitive", "attribute"}, 0, false},
    {"max", filter_max, {"case_sensitive", "attribute"}, 0, false},
    {"sum", filter_sum, {"attribute", "start"}, 0, false},
    {"map", filter_map, {0}, 0, true},
    {"select", filter_select, {0}, 0, true},
    {"reject", filter_reject, {0}, 0, true},
    {"selectattr", filter_selectattr, {0}, 0, true},
    {"rejectattr", filter_rejectattr, {0}, 0, true},
    {"safe", filter_safe, {0}, 0, false},
};

const dure_template_function *dure_template_filter(const char *name, size_t length) {
  return DURE_TEMPLATE_SEARCH(filters, name, length);
}
