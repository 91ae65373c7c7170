// Tests ("is defined") and functions, and how parameters get their arguments.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "data/template_parts.h"

typedef dure_template_state state_of;
typedef dure_template_value value;
typedef const dure_template_call *call_of;

static dure_status answer(bool truth, value *out_value) {
  *out_value = dure_template_boolean(truth);
  return NULL;
}

// ---- tests by kind -------------------------------------------------------------------------------------------------

#define KIND_TEST(name, condition)                                                  \
  static dure_status test_##name(state_of *state, call_of call, value *out_value) { \
    const dure_template_kind kind = call->self.kind;                                \
    (void)state;                                                                    \
    return answer(condition, out_value);                                            \
  }
KIND_TEST(defined, kind != DURE_VALUE_UNDEFINED)
KIND_TEST(undefined, kind == DURE_VALUE_UNDEFINED)
KIND_TEST(none, kind == DURE_VALUE_NONE)
KIND_TEST(string, kind == DURE_VALUE_TEXT)
KIND_TEST(number, kind == DURE_VALUE_INTEGER || kind == DURE_VALUE_NUMBER || kind == DURE_VALUE_BOOLEAN)
KIND_TEST(integer, kind == DURE_VALUE_INTEGER)
KIND_TEST(float, kind == DURE_VALUE_NUMBER)
KIND_TEST(boolean, kind == DURE_VALUE_BOOLEAN)
KIND_TEST(true, kind == DURE_VALUE_BOOLEAN && call->self.truth)
KIND_TEST(false, kind == DURE_VALUE_BOOLEAN && !call->self.truth)
KIND_TEST(mapping, kind == DURE_VALUE_MAP)
KIND_TEST(sequence, kind == DURE_VALUE_LIST || kind == DURE_VALUE_TUPLE || kind == DURE_VALUE_TEXT ||
                        kind == DURE_VALUE_MAP || kind == DURE_VALUE_UNDEFINED)
KIND_TEST(callable, kind == DURE_VALUE_FUNCTION || kind == DURE_VALUE_MACRO)

// ---- tests against something ---------------------------------------------------------------------------------------

static dure_status test_equal(state_of *state, call_of call, value *out_value) {
  bool truth;
  DURE_TRY(dure_template_equal(state, &call->self, &call->parameters[0], &truth));
  return answer(truth, out_value);
}
static dure_status test_unequal(state_of *state, call_of call, value *out_value) {
  DURE_TRY(test_equal(state, call, out_value));
  return answer(!out_value->truth, out_value);
}

#define ORDER_TEST(name, condition)                                                  \
  static dure_status test_##name(state_of *state, call_of call, value *out_value) {  \
    int order;                                                                       \
    DURE_TRY(dure_template_order(state, &call->self, &call->parameters[0], &order)); \
    return answer(condition, out_value);                                             \
  }
ORDER_TEST(less, order < 0)
ORDER_TEST(less_equal, order <= 0)
ORDER_TEST(greater, order > 0)
ORDER_TEST(greater_equal, order >= 0)

static dure_status test_in(state_of *state, call_of call, value *out_value) {
  bool truth;
  DURE_TRY(dure_template_contains(state, &call->parameters[0], &call->self, &truth));
  return answer(truth, out_value);
}

static dure_status test_same(state_of *state, call_of call, value *out_value) {
  if (call->self.kind != call->parameters[0].kind) return answer(false, out_value);
  return test_equal(state, call, out_value);
}

static dure_status remainder_is(state_of *state, const value *number, int64_t divisor, int64_t wanted,
                                value *out_value) {
  const value by = dure_template_integer(divisor);
  value left;
  int64_t integer;
  DURE_TRY(dure_template_compute(state, DURE_OPERATOR_REMAINDER, number, &by, &left));
  return answer(dure_template_is_integer(&left, &integer) ? integer == wanted : left.number == (double)wanted,
                out_value);
}
static dure_status test_even(state_of *state, call_of call, value *out_value) {
  return remainder_is(state, &call->self, 2, 0, out_value);
}
static dure_status test_odd(state_of *state, call_of call, value *out_value) {
  return remainder_is(state, &call->self, 2, 1, out_value);
}
static dure_status test_divisible(state_of *state, call_of call, value *out_value) {
  int64_t by;
  if (!dure_template_is_integer(&call->parameters[0], &by))
    return DURE_TEMPLATE_FAIL(state, "divisibleby takes a whole number");
  return remainder_is(state, &call->self, by, 0, out_value);
}

static dure_status has_case(state_of *state, call_of call, dure_template_case how, value *out_value) {
  value text, other, changed;
  bool is_same;
  DURE_TRY(dure_template_to_text(state, &call->self, &text));
  DURE_TRY(dure_template_change_case(state, how, &text, &changed));
  DURE_TRY(dure_template_change_case(state, how == DURE_CASE_UPPER ? DURE_CASE_LOWER : DURE_CASE_UPPER, &text, &other));
  DURE_TRY(dure_template_equal(state, &text, &changed, &is_same));
  if (!is_same) return answer(false, out_value);
  DURE_TRY(dure_template_equal(state, &text, &other, &is_same));  // without any letter it is neither
  return answer(!is_same, out_value);
}
static dure_status test_upper(state_of *state, call_of call, value *out_value) {
  return has_case(state, call, DURE_CASE_UPPER, out_value);
}
static dure_status test_lower(state_of *state, call_of call, value *out_value) {
  return has_case(state, call, DURE_CASE_LOWER, out_value);
}

#define OTHER {"other"}, 1, false
static const dure_template_function tests[] = {
    {"defined", test_defined, {0}, 0, false},
    {"undefined", test_undefined, {0}, 0, false},
    {"none", test_none, {0}, 0, false},
    {"string", test_string, {0}, 0, false},
    {"number", test_number, {0}, 0, false},
    {"integer", test_integer, {0}, 0, false},
    {"float", test_float, {0}, 0, false},
    {"boolean", test_boolean, {0}, 0, false},
    {"true", test_true, {0}, 0, false},
    {"false", test_false, {0}, 0, false},
    {"mapping", test_mapping, {0}, 0, false},
    {"iterable", test_sequence, {0}, 0, false},
    {"sequence", test_sequence, {0}, 0, false},
    {"callable", test_callable, {0}, 0, false},
    {"even", test_even, {0}, 0, false},
    {"odd", test_odd, {0}, 0, false},
    {"upper", test_upper, {0}, 0, false},
    {"lower", test_lower, {0}, 0, false},
    {"divisibleby", test_divisible, {"num"}, 1, false},
    {"eq", test_equal, OTHER},
    {"equalto", test_equal, OTHER},
    {"==", test_equal, OTHER},
    {"ne", test_unequal, OTHER},
    {"!=", test_unequal, OTHER},
    {"lt", test_less, OTHER},
    {"lessthan", test_less, OTHER},
    {"<", test_less, OTHER},
    {"le", test_less_equal, OTHER},
    {"<=", test_less_equal, OTHER},
    {"gt", test_greater, OTHER},
    {"greaterthan", test_greater, OTHER},
    {">", test_greater, OTHER},
    {"ge", test_greater_equal, OTHER},
    {">=", test_greater_equal, OTHER},
    {"in", test_in, {"seq"}, 1, false},
    {"sameas", test_same, OTHER},
};

// ---- functions -----------------------------------------------------------------------------------------------------

static dure_status call_range(state_of *state, call_of call, value *out_value) {
  int64_t bounds[3] = {0, 0, 1};
  const dure_template_arguments *given = call->arguments;
  if (given->count < 1 || given->count > 3 || given->named_count > 0)
    return DURE_TEMPLATE_FAIL(state, "range takes one to three whole numbers");
  for (size_t i = 0; i < given->count; i++) {
    if (!dure_template_is_integer(&given->values[i], &bounds[i]))
      return DURE_TEMPLATE_FAIL(state, "range takes whole numbers; found %s",
                                dure_template_kind_name(&given->values[i]));
  }
  if (given->count == 1) {
    bounds[1] = bounds[0];
    bounds[0] = 0;
  }
  if (bounds[2] == 0) return DURE_TEMPLATE_FAIL(state, "range by steps of 0");
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1];) {
    if (out_value->list->count == 100000)  // as in Jinja's sandbox
      return DURE_TEMPLATE_FAIL(state, "a range of more than 100000 numbers");
    DURE_TRY(dure_template_push(state, out_value->list, dure_template_integer(i)));
    if (__builtin_add_overflow(i, bounds[2], &i)) break;
  }
  return NULL;
}

static dure_status call_dict(state_of *state, call_of call, value *out_value) {
  const dure_template_arguments *given = call->arguments;
  DURE_TRY(dure_template_new_map(state, out_value));
  if (given->count > 1 || (given->count == 1 && given->values[0].kind != DURE_VALUE_MAP))
    return DURE_TEMPLATE_FAIL(state, "a map or arguments with names are wanted");
  for (size_t i = 0; given->count == 1 && i < given->values[0].map->count; i++) {
    const struct dure_template_entry *entry = &given->values[0].map->entries[i];
    DURE_TRY(dure_template_map_set(state, out_value->map, entry->key, entry->value));
  }
  for (size_t i = 0; i < given->named_count; i++)
    DURE_TRY(dure_template_map_set(state, out_value->map, given->names[i], given->values[given->count + i]));
  return NULL;
}

static dure_status call_namespace(state_of *state, call_of call, value *out_value) {
  DURE_TRY(call_dict(state, call, out_value));
  out_value->kind = DURE_VALUE_NAMESPACE;
  return NULL;
}

static dure_status call_raise(state_of *state, call_of call, value *out_value) {
  value text;
  *out_value = dure_template_none();
  DURE_TRY(dure_template_to_text(state, &call->parameters[0], &text));
  return dure_fail(DURE_INVALID_ARGUMENT, "the template '%s' says: %.*s", state->parsed->name,
                   (int)(text.length < 2000 ? text.length : 2000), text.text);
}

// The date of a day counted from 1970-01-01 (Howard Hinnant's algorithm for the proleptic Gregorian calendar).
typedef struct date {
  int64_t year, month, day, day_of_year;
} date;
static date date_of(int64_t days) {
  const int64_t shifted = days + 719468, era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
  const int64_t of_era = shifted - era * 146097;
  const int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  const int64_t from_march = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t month = (5 * from_march + 2) / 153;
  date found = {.year = year_of_era + era * 400, .day = from_march - (153 * month + 2) / 5 + 1};
  found.month = month < 10 ? month + 3 : month - 9;
  found.year += found.month <= 2;
  const bool is_leap = (found.year % 4 == 0 && found.year % 100 != 0) || found.year % 400 == 0;
  found.day_of_year = from_march >= 306 ? from_march - 305 : from_march + 60 + is_leap;
  return found;
}

static const char *const month_names[] = {"January", "February", "March",     "April",   "May",      "June",
                                          "July",    "August",   "September", "October", "November", "December"};
static const char *const day_names[] = {"Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"};

// One conversion of strftime; false for one that is not known. `is_bare`: without leading zeros.
static bool print_time(int64_t seconds, char what, bool is_bare, char *out_text, size_t size) {
  const int64_t days = seconds / 86400, of_day = seconds % 86400, hour = of_day / 3600;
  const date today = date_of(days);
  const struct {
    char letter;
    int width;
    int64_t number;
  } numbers[] = {{'d', 2, today.day},          {'m', 2, today.month},   {'Y', 4, today.year},
                 {'y', 2, today.year % 100},   {'H', 2, hour},          {'I', 2, hour % 12 == 0 ? 12 : hour % 12},
                 {'M', 2, of_day / 60 % 60},   {'S', 2, of_day % 60},   {'j', 3, today.day_of_year},
                 {'u', 1, (days + 3) % 7 + 1}, {'w', 1, (days + 4) % 7}};
  for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
    if (numbers[i].letter != what) continue;
    snprintf(out_text, size, "%0*" PRId64, is_bare ? 1 : numbers[i].width, numbers[i].number);
    return true;
  }
  const char *month = month_names[today.month - 1], *day = day_names[days % 7];
  switch (what) {
    case 'B': snprintf(out_text, size, "%s", month); return true;
    case 'b': snprintf(out_text, size, "%.3s", month); return true;
    case 'A': snprintf(out_text, size, "%s", day); return true;
    case 'a': snprintf(out_text, size, "%.3s", day); return true;
    case 'e': snprintf(out_text, size, "%2" PRId64, today.day); return true;
    case 'p': snprintf(out_text, size, "%s", hour < 12 ? "AM" : "PM"); return true;
    case '%': snprintf(out_text, size, "%%"); return true;
    default: return false;
  }
}

static dure_status put_time(state_of *state, dure_template_text *text, char what, bool is_bare) {
  static const struct {
    char letter;
    const char *parts;
  } compound[] = {{'F', "Y-m-d"}, {'T', "H:M:S"}, {'R', "H:M"}, {'D', "m/d/y"}};
  char printed[32];
  for (size_t i = 0; i < sizeof(compound) / sizeof(compound[0]); i++) {
    for (const char *part = compound[i].parts; compound[i].letter == what && *part != '\0'; part++) {
      const bool is_letter = print_time(state->unix_seconds, *part, false, printed, sizeof(printed));
      DURE_TRY(dure_template_append(state, text, is_letter ? printed : part, is_letter ? strlen(printed) : 1));
    }
    if (compound[i].letter == what) return NULL;
  }
  if (!print_time(state->unix_seconds, what, is_bare, printed, sizeof(printed)))
    return DURE_TEMPLATE_FAIL(state, "strftime_now does not know this conversion");
  return dure_template_append(state, text, printed, strlen(printed));
}

static dure_status call_strftime(state_of *state, call_of call, value *out_value) {
  const value *format = &call->parameters[0];
  dure_template_text text = {0};
  if (format->kind != DURE_VALUE_TEXT) return DURE_TEMPLATE_FAIL(state, "strftime_now takes a text");
  for (size_t i = 0; i < format->length; i++) {
    if (format->text[i] != '%') {
      DURE_TRY(dure_template_append(state, &text, &format->text[i], 1));
      continue;
    }
    const bool is_bare = i + 1 < format->length && format->text[i + 1] == '-';
    i += 1 + (size_t)is_bare;
    DURE_TRY(put_time(state, &text, i < format->length ? format->text[i] : '\0', is_bare));
  }
  *out_value = dure_template_text_value(text.length > 0 ? text.data : "", text.length);
  return NULL;
}

static const dure_template_function globals[] = {
    {"range", call_range, {0}, 0, true},
    {"dict", call_dict, {0}, 0, true},
    {"namespace", call_namespace, {0}, 0, true},
    {"raise_exception", call_raise, {"message"}, 1, false},
    {"strftime_now", call_strftime, {"format"}, 1, false},
};

// ---- finding and calling -------------------------------------------------------------------------------------------

const dure_template_function *dure_template_search(const dure_template_function *rows, size_t count, const char *name,
                                                   size_t length) {
  for (size_t i = 0; i < count; i++) {
    if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) return &rows[i];
  }
  return NULL;
}

const dure_template_function *dure_template_test(const char *name, size_t length) {
  return DURE_TEMPLATE_SEARCH(tests, name, length);
}
const dure_template_function *dure_template_global(const char *name, size_t length) {
  return DURE_TEMPLATE_SEARCH(globals, name, length);
}

static dure_status fail_arguments(state_of *state, const dure_template_function *function, const char *what) {
  return DURE_TEMPLATE_FAIL(state, "\"%s\" %s", function->name, what);
}

// Arguments by position, then by name, into the row's parameters.
static dure_status bind(state_of *state, const dure_template_function *function,
                        const dure_template_arguments *arguments, dure_template_call *call) {
  uint32_t most = 0;
  while (most < DURE_TEMPLATE_PARAMETERS_MOST && function->parameters[most] != NULL) most++;
  if (arguments->count > most) return fail_arguments(state, function, "takes fewer arguments");
  for (size_t i = 0; i < arguments->count; i++) call->parameters[i] = arguments->values[i];
  for (size_t i = 0; i < arguments->named_count; i++) {
    uint32_t at = 0;
    while (at < most && !dure_template_is_text(&arguments->names[i], function->parameters[at])) at++;
    if (at == most || call->parameters[at].kind != DURE_VALUE_ABSENT)
      return fail_arguments(state, function, "does not take an argument of such a name");
    call->parameters[at] = arguments->values[arguments->count + i];
  }
  for (uint32_t i = 0; i < function->required; i++) {
    if (call->parameters[i].kind == DURE_VALUE_ABSENT) return fail_arguments(state, function, "takes more arguments");
  }
  return NULL;
}

dure_status dure_template_run(state_of *state, const dure_template_function *function, const value *self,
                              const dure_template_arguments *arguments, value *out_value) {
  dure_template_call call = {.arguments = arguments};
  *out_value = dure_template_none();
  if (self != NULL) call.self = *self;
  if (!function->takes_any) DURE_TRY(bind(state, function, arguments, &call));
  return function->run(state, &call, out_value);
}
