// What a template computes with: values with the meaning that Python gives them.
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template_parts.h"

// ---- memory and failures -------------------------------------------------------------------------------------------

typedef struct dure_template_block {
  struct dure_template_block *next;
  size_t used, size;
  alignas(max_align_t) char bytes[];
} dure_template_block;

enum { block_bytes = 16 << 10, values_deep_most = 400 };

dure_status dure_template_allocate(dure_template_arena *arena, size_t size, void *out_memory) {
  void **out = out_memory;
  *out = NULL;
  if (size > arena->limit || arena->used > arena->limit - size)
    return dure_fail(DURE_INVALID_ARGUMENT, "the template needs more than the %zu MiB that templates may have",
                     arena->limit >> 20);
  const size_t rounded = (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
  dure_template_block *block = arena->blocks;
  if (block == NULL || block->size - block->used < rounded) {
    const size_t bytes = rounded > block_bytes ? rounded : block_bytes;
    block = calloc(1, sizeof(*block) + bytes);
    if (block == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu bytes of a template", size);
    block->size = bytes;
    block->next = arena->blocks;
    arena->blocks = block;
  }
  *out = block->bytes + block->used;
  block->used += rounded;
  arena->used += rounded;
  return NULL;
}

void dure_template_arena_free(dure_template_arena *arena) {
  while (arena->blocks != NULL) {
    dure_template_block *next = arena->blocks->next;
    free(arena->blocks);
    arena->blocks = next;
  }
}

dure_status dure_template_fail(const char *name, uint32_t line, dure_code code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  dure_status status = dure_fail_v(code, format, arguments);
  va_end(arguments);
  return dure_status_prefix(status, "'%s', line %" PRIu32, name, line);
}

dure_status dure_template_step(dure_template_state *state, uint64_t steps) {
  if (steps >= state->steps_left) return DURE_TEMPLATE_FAIL(state, "more steps than a template may take");
  state->steps_left -= steps;
  return NULL;
}

// ---- making values -------------------------------------------------------------------------------------------------

dure_template_value dure_template_undefined(const char *name, size_t length) {
  return (dure_template_value){.kind = DURE_VALUE_UNDEFINED, .text = name, .length = (uint32_t)length};
}
dure_template_value dure_template_none(void) { return (dure_template_value){.kind = DURE_VALUE_NONE}; }
dure_template_value dure_template_boolean(bool truth) {
  return (dure_template_value){.kind = DURE_VALUE_BOOLEAN, .truth = truth};
}
dure_template_value dure_template_integer(int64_t integer) {
  return (dure_template_value){.kind = DURE_VALUE_INTEGER, .integer = integer};
}
dure_template_value dure_template_number(double number) {
  return (dure_template_value){.kind = DURE_VALUE_NUMBER, .number = number};
}
dure_template_value dure_template_text_value(const char *text, size_t length) {
  return (dure_template_value){.kind = DURE_VALUE_TEXT, .text = text, .length = (uint32_t)length};
}
bool dure_template_is_text(const dure_template_value *value, const char *text) {
  return value->kind == DURE_VALUE_TEXT && value->length == strlen(text) &&
         memcmp(value->text, text, value->length) == 0;
}

dure_status dure_template_new_list(dure_template_state *state, dure_template_kind kind, dure_template_value *out_list) {
  *out_list = (dure_template_value){.kind = kind};
  return dure_template_allocate(&state->arena, sizeof(*out_list->list), &out_list->list);
}

dure_status dure_template_push(dure_template_state *state, dure_template_list *list, dure_template_value item) {
  if (list->count == list->capacity) {
    const size_t capacity = list->capacity > 0 ? 2 * list->capacity : 4;
    dure_template_value *larger;
    DURE_TRY(dure_template_allocate(&state->arena, capacity * sizeof(*larger), &larger));
    if (list->count > 0) memcpy(larger, list->items, list->count * sizeof(*larger));
    list->items = larger;
    list->capacity = capacity;
  }
  list->items[list->count++] = item;
  return dure_template_step(state, 1);
}

dure_status dure_template_new_map(dure_template_state *state, dure_template_value *out_map) {
  *out_map = (dure_template_value){.kind = DURE_VALUE_MAP};
  return dure_template_allocate(&state->arena, sizeof(*out_map->map), &out_map->map);
}

dure_status dure_template_map_find(dure_template_state *state, const dure_template_map *map,
                                   const dure_template_value *key, dure_template_value **out_value) {
  *out_value = NULL;
  DURE_TRY(dure_template_step(state, 1 + map->count / 16));
  for (size_t i = 0; i < map->count && *out_value == NULL; i++) {
    const dure_template_value *other = &map->entries[i].key;
    if (key->kind == DURE_VALUE_TEXT && other->kind == DURE_VALUE_TEXT) {
      if (key->length == other->length && memcmp(key->text, other->text, key->length) == 0)
        *out_value = &map->entries[i].value;
      continue;
    }
    bool is_equal;
    DURE_TRY(dure_template_equal(state, key, other, &is_equal));
    if (is_equal) *out_value = &map->entries[i].value;
  }
  return NULL;
}

dure_status dure_template_map_set(dure_template_state *state, dure_template_map *map, dure_template_value key,
                                  dure_template_value value) {
  dure_template_value *found;
  DURE_TRY(dure_template_map_find(state, map, &key, &found));
  if (found != NULL) {
    *found = value;
    return NULL;
  }
  if (map->count == map->capacity) {
    const size_t capacity = map->capacity > 0 ? 2 * map->capacity : 8;
    struct dure_template_entry *larger;
    DURE_TRY(dure_template_allocate(&state->arena, capacity * sizeof(*larger), &larger));
    if (map->count > 0) memcpy(larger, map->entries, map->count * sizeof(*larger));
    map->entries = larger;
    map->capacity = capacity;
  }
  map->entries[map->count].key = key;
  map->entries[map->count++].value = value;
  return NULL;
}

static dure_status text_from_json(dure_template_state *state, const char *text, size_t length,
                                  dure_template_value *out_value) {
  char *copy;
  if (length >= UINT32_MAX) return dure_fail(DURE_INVALID_ARGUMENT, "a text of %zu bytes for a template", length);
  DURE_TRY(dure_template_allocate(&state->arena, length + 1, &copy));
  memcpy(copy, text, length);
  *out_value = dure_template_text_value(copy, length);
  return NULL;
}

static dure_status map_from_json(dure_template_state *state, const json_t *json, dure_template_value *out_value) {
  const char *key = NULL;
  json_t *element = NULL;
  DURE_TRY(dure_template_new_map(state, out_value));
  json_object_foreach((json_t *)(uintptr_t)json, key, element) {
    dure_template_value name, value;
    DURE_TRY(text_from_json(state, key, strlen(key), &name));
    DURE_TRY(dure_template_from_json(state, element, &value));
    DURE_TRY(dure_template_map_set(state, out_value->map, name, value));
  }
  return NULL;
}

dure_status dure_template_from_json(dure_template_state *state, const json_t *json, dure_template_value *out_value) {
  *out_value = dure_template_none();
  DURE_TRY(dure_template_step(state, 1));
  switch (json == NULL ? JSON_NULL : json_typeof(json)) {
    case JSON_NULL: return NULL;
    case JSON_TRUE:
    case JSON_FALSE: *out_value = dure_template_boolean(json_is_true(json)); return NULL;
    case JSON_INTEGER: *out_value = dure_template_integer(json_integer_value(json)); return NULL;
    case JSON_REAL: *out_value = dure_template_number(json_real_value(json)); return NULL;
    case JSON_STRING: return text_from_json(state, json_string_value(json), json_string_length(json), out_value);
    case JSON_OBJECT: return map_from_json(state, json, out_value);
    case JSON_ARRAY: break;
  }
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (size_t i = 0; i < json_array_size(json); i++) {
    dure_template_value element;
    DURE_TRY(dure_template_from_json(state, json_array_get(json, i), &element));
    DURE_TRY(dure_template_push(state, out_value->list, element));
  }
  return NULL;
}

// ---- asking values -------------------------------------------------------------------------------------------------

const char *dure_template_kind_name(const dure_template_value *value) {
  switch (value->kind) {
    case DURE_VALUE_ABSENT:
    case DURE_VALUE_UNDEFINED: return "an undefined value";
    case DURE_VALUE_NONE: return "none";
    case DURE_VALUE_BOOLEAN: return "a truth value";
    case DURE_VALUE_INTEGER: return "a whole number";
    case DURE_VALUE_NUMBER: return "a number";
    case DURE_VALUE_TEXT: return "a text";
    case DURE_VALUE_LIST: return "a list";
    case DURE_VALUE_TUPLE: return "a tuple";
    case DURE_VALUE_MAP: return "a map";
    case DURE_VALUE_NAMESPACE: return "a namespace";
    case DURE_VALUE_LOOP: return "a loop";
    case DURE_VALUE_FUNCTION:
    case DURE_VALUE_MACRO: break;
  }
  return "a function";
}

bool dure_template_is_true(const dure_template_value *value) {
  switch (value->kind) {
    case DURE_VALUE_ABSENT:
    case DURE_VALUE_UNDEFINED:
    case DURE_VALUE_NONE: return false;
    case DURE_VALUE_BOOLEAN: return value->truth;
    case DURE_VALUE_INTEGER: return value->integer != 0;
    case DURE_VALUE_NUMBER: return value->number != 0;
    case DURE_VALUE_TEXT: return value->length > 0;
    case DURE_VALUE_LIST:
    case DURE_VALUE_TUPLE: return value->list->count > 0;
    case DURE_VALUE_MAP: return value->map->count > 0;
    default: return true;
  }
}

bool dure_template_is_integer(const dure_template_value *value, int64_t *out_integer) {
  *out_integer = value->kind == DURE_VALUE_BOOLEAN   ? value->truth
                 : value->kind == DURE_VALUE_INTEGER ? value->integer
                                                     : 0;
  return value->kind == DURE_VALUE_BOOLEAN || value->kind == DURE_VALUE_INTEGER;
}

bool dure_template_is_number(const dure_template_value *value, double *out_number) {
  int64_t integer;
  const bool is_integer = dure_template_is_integer(value, &integer);
  *out_number = is_integer ? (double)integer : value->kind == DURE_VALUE_NUMBER ? value->number : 0;
  return is_integer || value->kind == DURE_VALUE_NUMBER;
}

static bool is_sequence(const dure_template_value *value) {
  return value->kind == DURE_VALUE_LIST || value->kind == DURE_VALUE_TUPLE;
}

static dure_status enter(dure_template_state *state) {
  if (state->depth++ < values_deep_most) return NULL;
  return DURE_TEMPLATE_FAIL(state, "values within each other more than %d levels deep", values_deep_most);
}

static dure_status equal_lists(dure_template_state *state, const dure_template_list *a, const dure_template_list *b,
                               bool *out_equal) {
  *out_equal = a->count == b->count;
  for (size_t i = 0; i < a->count && *out_equal; i++)
    DURE_TRY(dure_template_equal(state, &a->items[i], &b->items[i], out_equal));
  return NULL;
}

static dure_status equal_maps(dure_template_state *state, const dure_template_map *a, const dure_template_map *b,
                              bool *out_equal) {
  *out_equal = a->count == b->count;
  for (size_t i = 0; i < a->count && *out_equal; i++) {
    dure_template_value *other;
    DURE_TRY(dure_template_map_find(state, b, &a->entries[i].key, &other));
    *out_equal = other != NULL;
    if (other != NULL) DURE_TRY(dure_template_equal(state, &a->entries[i].value, other, out_equal));
  }
  return NULL;
}

dure_status dure_template_equal(dure_template_state *state, const dure_template_value *a, const dure_template_value *b,
                                bool *out_equal) {
  double left, right;
  int64_t whole, other;
  *out_equal = false;
  DURE_TRY(dure_template_step(state, 1));
  if (dure_template_is_integer(a, &whole) && dure_template_is_integer(b, &other)) {
    *out_equal = whole == other;
  } else if (dure_template_is_number(a, &left) && dure_template_is_number(b, &right)) {
    *out_equal = left == right;
  } else if (a->kind != b->kind) {
    return NULL;
  } else if (a->kind == DURE_VALUE_TEXT) {
    *out_equal = a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
    DURE_TRY(dure_template_step(state, a->length / 256));
  } else if (is_sequence(a) || a->kind == DURE_VALUE_MAP) {
    DURE_TRY(enter(state));
    DURE_TRY(is_sequence(a) ? equal_lists(state, a->list, b->list, out_equal)
                            : equal_maps(state, a->map, b->map, out_equal));
    state->depth--;
  } else {
    *out_equal = a->kind == DURE_VALUE_NONE || a->kind == DURE_VALUE_UNDEFINED || a->text == b->text;
  }
  return NULL;
}

static dure_status order_lists(dure_template_state *state, const dure_template_list *a, const dure_template_list *b,
                               int *out_order) {
  const size_t count = a->count < b->count ? a->count : b->count;
  DURE_TRY(enter(state));
  for (size_t i = 0; i < count; i++) {
    bool is_equal;
    DURE_TRY(dure_template_equal(state, &a->items[i], &b->items[i], &is_equal));
    if (is_equal) continue;
    DURE_TRY(dure_template_order(state, &a->items[i], &b->items[i], out_order));
    state->depth--;
    return NULL;
  }
  state->depth--;
  *out_order = (a->count > b->count) - (a->count < b->count);
  return NULL;
}

dure_status dure_template_order(dure_template_state *state, const dure_template_value *a, const dure_template_value *b,
                                int *out_order) {
  double left, right;
  int64_t whole, other;
  *out_order = 0;
  DURE_TRY(dure_template_step(state, 1));
  if (dure_template_is_integer(a, &whole) && dure_template_is_integer(b, &other)) {
    *out_order = (whole > other) - (whole < other);
  } else if (dure_template_is_number(a, &left) && dure_template_is_number(b, &right)) {
    *out_order = (left > right) - (left < right);
  } else if (a->kind == DURE_VALUE_TEXT && b->kind == DURE_VALUE_TEXT) {
    const int found = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    DURE_TRY(dure_template_step(state, a->length / 256));
    *out_order = found != 0 ? found : (a->length > b->length) - (a->length < b->length);
  } else if (is_sequence(a) && a->kind == b->kind) {
    return order_lists(state, a->list, b->list, out_order);
  } else {
    return DURE_TEMPLATE_FAIL(state, "%s and %s have no order", dure_template_kind_name(a), dure_template_kind_name(b));
  }
  return NULL;
}

dure_status dure_template_contains(dure_template_state *state, const dure_template_value *container,
                                   const dure_template_value *item, bool *out_contains) {
  *out_contains = false;
  if (container->kind == DURE_VALUE_TEXT) {
    if (item->kind != DURE_VALUE_TEXT)
      return DURE_TEMPLATE_FAIL(state, "%s cannot be in a text", dure_template_kind_name(item));
    DURE_TRY(dure_template_step(state, container->length / 64));
    for (size_t i = 0; i + item->length <= container->length && !*out_contains; i++) {
      const char *hit =
          item->length == 0 ? container->text : memchr(container->text + i, item->text[0], container->length - i);
      if (hit == NULL) break;
      i = (size_t)(hit - container->text);
      *out_contains = container->length - i >= item->length && memcmp(hit, item->text, item->length) == 0;
    }
    return NULL;
  }
  if (container->kind == DURE_VALUE_MAP || container->kind == DURE_VALUE_NAMESPACE) {
    dure_template_value *found;
    DURE_TRY(dure_template_map_find(state, container->map, item, &found));
    *out_contains = found != NULL;
    return NULL;
  }
  dure_template_list *items;
  DURE_TRY(dure_template_items(state, container, &items));
  for (size_t i = 0; i < items->count && !*out_contains; i++)
    DURE_TRY(dure_template_equal(state, &items->items[i], item, out_contains));
  return NULL;
}

// ---- texts and elements --------------------------------------------------------------------------------------------

static size_t character_bytes(const char *text, size_t left) {
  size_t bytes = 1;
  while (bytes < left && ((unsigned char)text[bytes] & 0xC0) == 0x80) bytes++;
  return bytes;
}

size_t dure_template_characters(const char *text, size_t length) {
  size_t count = 0;
  for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80;
  return count;
}

size_t dure_template_character_offset(const char *text, size_t length, size_t index) {
  size_t offset = 0;
  while (offset < length && index-- > 0) offset += character_bytes(text + offset, length - offset);
  return offset;
}

dure_status dure_template_items(dure_template_state *state, const dure_template_value *value,
                                dure_template_list **out_items) {
  dure_template_value list;
  *out_items = is_sequence(value) ? value->list : NULL;
  if (is_sequence(value)) return NULL;
  const bool is_map = value->kind == DURE_VALUE_MAP;
  if (!is_map && value->kind != DURE_VALUE_TEXT && value->kind != DURE_VALUE_UNDEFINED)
    return DURE_TEMPLATE_FAIL(state, "%s has no elements to go through", dure_template_kind_name(value));
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, &list));
  for (size_t i = 0; is_map && i < value->map->count; i++)
    DURE_TRY(dure_template_push(state, list.list, value->map->entries[i].key));
  for (size_t i = 0; value->kind == DURE_VALUE_TEXT && i < value->length;) {
    const size_t bytes = character_bytes(value->text + i, value->length - i);
    DURE_TRY(dure_template_push(state, list.list, dure_template_text_value(value->text + i, bytes)));
    i += bytes;
  }
  *out_items = list.list;
  return NULL;
}

// ---- operators -----------------------------------------------------------------------------------------------------

static dure_status concatenate(dure_template_state *state, const dure_template_value *a, const dure_template_value *b,
                               dure_template_value *out_value) {
  dure_template_text text = {0};
  DURE_TRY(dure_template_print(state, &text, a));
  DURE_TRY(dure_template_print(state, &text, b));
  *out_value = dure_template_text_value(text.length > 0 ? text.data : "", text.length);
  return NULL;
}

static dure_status add_lists(dure_template_state *state, const dure_template_value *a, const dure_template_value *b,
                             dure_template_value *out_value) {
  DURE_TRY(dure_template_new_list(state, a->kind, out_value));
  for (size_t i = 0; i < a->list->count; i++) DURE_TRY(dure_template_push(state, out_value->list, a->list->items[i]));
  for (size_t i = 0; i < b->list->count; i++) DURE_TRY(dure_template_push(state, out_value->list, b->list->items[i]));
  return NULL;
}

static dure_status repeat(dure_template_state *state, const dure_template_value *a, int64_t times,
                          dure_template_value *out_value) {
  dure_template_text text = {0};
  if (a->kind == DURE_VALUE_TEXT) {
    for (int64_t i = 0; i < times && a->length > 0; i++) {
      DURE_TRY(dure_template_step(state, 1));
      DURE_TRY(dure_template_append(state, &text, a->text, a->length));
    }
    *out_value = dure_template_text_value(text.length > 0 ? text.data : "", text.length);
    return NULL;
  }
  DURE_TRY(dure_template_new_list(state, a->kind, out_value));
  for (int64_t i = 0; i < times && a->list->count > 0; i++) {
    for (size_t k = 0; k < a->list->count; k++) DURE_TRY(dure_template_push(state, out_value->list, a->list->items[k]));
  }
  return NULL;
}

static dure_status compute_integers(dure_template_state *state, dure_template_operator operation, int64_t a, int64_t b,
                                    dure_template_value *out_value) {
  const bool divides = operation == DURE_OPERATOR_FLOOR_DIVIDE || operation == DURE_OPERATOR_REMAINDER;
  int64_t result = 0;
  bool overflows = false;
  if (divides && (b == 0 || (a == INT64_MIN && b == -1))) return DURE_TEMPLATE_FAIL(state, "a division by zero");
  switch (operation) {
    case DURE_OPERATOR_ADD: overflows = __builtin_add_overflow(a, b, &result); break;
    case DURE_OPERATOR_SUBTRACT: overflows = __builtin_sub_overflow(a, b, &result); break;
    case DURE_OPERATOR_MULTIPLY: overflows = __builtin_mul_overflow(a, b, &result); break;
    case DURE_OPERATOR_FLOOR_DIVIDE: result = a / b - (a % b != 0 && (a % b < 0) != (b < 0)); break;
    case DURE_OPERATOR_REMAINDER: result = a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0); break;
    default: {  // a power
      const bool is_small = a >= -1 && a <= 1;
      const int64_t times = is_small && b > 0 ? 2 - b % 2 : b;
      overflows = times > 63;
      result = 1;
      for (int64_t i = 0; i < times && !overflows; i++) overflows = __builtin_mul_overflow(result, a, &result);
      break;
    }
  }
  if (overflows) return DURE_TEMPLATE_FAIL(state, "a whole number beyond 64 bits");
  *out_value = dure_template_integer(result);
  return NULL;
}

static dure_status compute_numbers(dure_template_state *state, dure_template_operator operation, double a, double b,
                                   dure_template_value *out_value) {
  const bool divides = operation == DURE_OPERATOR_DIVIDE || operation == DURE_OPERATOR_FLOOR_DIVIDE ||
                       operation == DURE_OPERATOR_REMAINDER;
  double result;
  if (divides && b == 0) return DURE_TEMPLATE_FAIL(state, "a division by zero");
  switch (operation) {
    case DURE_OPERATOR_ADD: result = a + b; break;
    case DURE_OPERATOR_SUBTRACT: result = a - b; break;
    case DURE_OPERATOR_MULTIPLY: result = a * b; break;
    case DURE_OPERATOR_DIVIDE: result = a / b; break;
    case DURE_OPERATOR_FLOOR_DIVIDE: result = floor(a / b); break;
    case DURE_OPERATOR_REMAINDER: result = a - b * floor(a / b); break;
    default: result = pow(a, b); break;
  }
  *out_value = dure_template_number(result);
  return NULL;
}

dure_status dure_template_compute(dure_template_state *state, dure_template_operator operation,
                                  const dure_template_value *a, const dure_template_value *b,
                                  dure_template_value *out_value) {
  int64_t whole, other;
  double left, right;
  if (operation == DURE_OPERATOR_CONCATENATE) return concatenate(state, a, b, out_value);
  const bool are_whole = dure_template_is_integer(a, &whole) && dure_template_is_integer(b, &other);
  if (are_whole && operation != DURE_OPERATOR_DIVIDE && !(operation == DURE_OPERATOR_POWER && other < 0))
    return compute_integers(state, operation, whole, other, out_value);
  if (dure_template_is_number(a, &left) && dure_template_is_number(b, &right))
    return compute_numbers(state, operation, left, right, out_value);
  const bool a_repeats = a->kind == DURE_VALUE_TEXT || is_sequence(a);
  if (operation == DURE_OPERATOR_MULTIPLY && a_repeats && dure_template_is_integer(b, &other))
    return repeat(state, a, other, out_value);
  if (operation == DURE_OPERATOR_MULTIPLY && (b->kind == DURE_VALUE_TEXT || is_sequence(b)) &&
      dure_template_is_integer(a, &whole))
    return repeat(state, b, whole, out_value);
  if (operation == DURE_OPERATOR_ADD && a->kind == b->kind && a->kind == DURE_VALUE_TEXT)
    return concatenate(state, a, b, out_value);
  if (operation == DURE_OPERATOR_ADD && a->kind == b->kind && is_sequence(a)) return add_lists(state, a, b, out_value);
  const dure_template_value *missing = a->kind == DURE_VALUE_UNDEFINED ? a : b;
  if (missing->kind == DURE_VALUE_UNDEFINED)
    return DURE_TEMPLATE_FAIL(state, "\"%.*s\" is undefined", (int)(missing->length < 60 ? missing->length : 60),
                              missing->text);
  return DURE_TEMPLATE_FAIL(state, "this operator does not take %s and %s", dure_template_kind_name(a),
                            dure_template_kind_name(b));
}
