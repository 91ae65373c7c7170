// Values as text: Python's str(), repr() and json.dumps().
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template_parts.h"

dure_status dure_template_append(dure_template_state *state, dure_template_text *text, const char *bytes,
                                 size_t length) {
  if (length == 0) return NULL;
  if (length > state->output_limit || text->length > state->output_limit - length)
    return DURE_TEMPLATE_FAIL(state, "a text of more than %zu bytes", state->output_limit);
  if (text->capacity - text->length < length) {
    size_t capacity = 2 * text->capacity > 256 ? 2 * text->capacity : 256;
    while (capacity - text->length < length) capacity *= 2;
    char *larger;
    DURE_TRY(dure_template_allocate(&state->arena, capacity, &larger));
    if (text->length > 0) memcpy(larger, text->data, text->length);
    text->data = larger;
    text->capacity = capacity;
  }
  memcpy(text->data + text->length, bytes, length);
  text->length += length;
  return dure_template_step(state, length / 256);
}

enum { deepest = 400 };

static dure_status put(dure_template_state *state, dure_template_text *text, const char *words) {
  return dure_template_append(state, text, words, strlen(words));
}

// The shortest digits that give the number again, as Python's repr() lays them out.
static dure_status print_number(dure_template_state *state, dure_template_text *text, double number, bool is_json) {
  char digits[40], laid[400];
  if (!isfinite(number)) {
    static const char *const names[2][3] = {{"nan", "inf", "-inf"}, {"NaN", "Infinity", "-Infinity"}};
    return put(state, text, names[is_json][isnan(number) ? 0 : number > 0 ? 1 : 2]);
  }
  int precision = 0;
  do {
    snprintf(digits, sizeof(digits), "%.*e", precision, number);
  } while (strtod(digits, NULL) != number && ++precision <= 17);
  const int exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
  if (exponent >= -4 && exponent < 16) {
    const int decimals = precision > exponent ? precision - exponent : 1;
    snprintf(laid, sizeof(laid), "%.*f", decimals, number);
  } else {
    snprintf(laid, sizeof(laid), "%s", digits);
  }
  return put(state, text, laid);
}

static dure_status print_scalar(dure_template_state *state, dure_template_text *text, const dure_template_value *value,
                                bool is_json) {
  char digits[32];
  switch (value->kind) {
    case DURE_VALUE_NONE: return put(state, text, is_json ? "null" : "None");
    case DURE_VALUE_BOOLEAN:
      if (is_json) return put(state, text, value->truth ? "true" : "false");
      return put(state, text, value->truth ? "True" : "False");
    case DURE_VALUE_INTEGER:
      snprintf(digits, sizeof(digits), "%" PRId64, value->integer);
      return put(state, text, digits);
    case DURE_VALUE_NUMBER: return print_number(state, text, value->number, is_json);
    default: break;
  }
  return DURE_TEMPLATE_FAIL(state, "%s has no text", dure_template_kind_name(value));
}

// ---- repr() --------------------------------------------------------------------------------------------------------

static dure_status print_quoted(dure_template_state *state, dure_template_text *text,
                                const dure_template_value *value) {
  const char quote = value->length > 0 && memchr(value->text, '\'', value->length) != NULL &&
                             memchr(value->text, '"', value->length) == NULL
                         ? '"'
                         : '\'';
  DURE_TRY(dure_template_append(state, text, &quote, 1));
  for (size_t i = 0; i < value->length; i++) {
    const unsigned char c = (unsigned char)value->text[i];
    char escape[8] = {(char)c};
    if (c == '\n')
      snprintf(escape, sizeof(escape), "\\n");
    else if (c == '\t')
      snprintf(escape, sizeof(escape), "\\t");
    else if (c == '\r')
      snprintf(escape, sizeof(escape), "\\r");
    else if (c == '\\' || c == (unsigned char)quote)
      snprintf(escape, sizeof(escape), "\\%c", c);
    else if (c < 0x20 || c == 0x7F)
      snprintf(escape, sizeof(escape), "\\x%02x", c);
    DURE_TRY(put(state, text, escape));
  }
  return dure_template_append(state, text, &quote, 1);
}

static dure_status print_nested(dure_template_state *state, dure_template_text *text, const dure_template_value *value);

static dure_status print_map(dure_template_state *state, dure_template_text *text, const dure_template_map *map) {
  DURE_TRY(put(state, text, "{"));
  for (size_t i = 0; i < map->count; i++) {
    if (i > 0) DURE_TRY(put(state, text, ", "));
    DURE_TRY(print_nested(state, text, &map->entries[i].key));
    DURE_TRY(put(state, text, ": "));
    DURE_TRY(print_nested(state, text, &map->entries[i].value));
  }
  return put(state, text, "}");
}

static dure_status print_list(dure_template_state *state, dure_template_text *text, const dure_template_list *list,
                              bool is_tuple) {
  DURE_TRY(put(state, text, is_tuple ? "(" : "["));
  for (size_t i = 0; i < list->count; i++) {
    if (i > 0) DURE_TRY(put(state, text, ", "));
    DURE_TRY(print_nested(state, text, &list->items[i]));
  }
  if (is_tuple && list->count == 1) DURE_TRY(put(state, text, ","));
  return put(state, text, is_tuple ? ")" : "]");
}

static dure_status print_nested(dure_template_state *state, dure_template_text *text,
                                const dure_template_value *value) {
  DURE_TRY(dure_template_step(state, 1));
  if (value->kind == DURE_VALUE_UNDEFINED) return put(state, text, "Undefined");
  if (value->kind == DURE_VALUE_TEXT) return print_quoted(state, text, value);
  return dure_template_print(state, text, value);
}

dure_status dure_template_print(dure_template_state *state, dure_template_text *text,
                                const dure_template_value *value) {
  if (value->kind == DURE_VALUE_UNDEFINED) return NULL;
  if (value->kind == DURE_VALUE_TEXT) return dure_template_append(state, text, value->text, value->length);
  const bool is_list = value->kind == DURE_VALUE_LIST || value->kind == DURE_VALUE_TUPLE;
  if (!is_list && value->kind != DURE_VALUE_MAP) return print_scalar(state, text, value, false);
  if (++state->depth > deepest) return DURE_TEMPLATE_FAIL(state, "values more than %d levels deep", deepest);
  DURE_TRY(is_list ? print_list(state, text, value->list, value->kind == DURE_VALUE_TUPLE)
                   : print_map(state, text, value->map));
  state->depth--;
  return NULL;
}

dure_status dure_template_to_text(dure_template_state *state, const dure_template_value *value,
                                  dure_template_value *out_text) {
  dure_template_text text = {0};
  *out_text = *value;
  if (value->kind == DURE_VALUE_TEXT) return NULL;
  DURE_TRY(dure_template_print(state, &text, value));
  *out_text = dure_template_text_value(text.length > 0 ? text.data : "", text.length);
  return NULL;
}

// ---- json.dumps() --------------------------------------------------------------------------------------------------

// A character beyond ASCII as \uXXXX, in two where it needs them; the bytes it took.
static size_t escape_character(const char *text, size_t left, char *out, size_t size) {
  const unsigned char head = (unsigned char)text[0];
  const size_t bytes = head < 0xE0 ? 2 : head < 0xF0 ? 3 : 4;
  uint32_t code = head & (0x3Fu >> (bytes - 1));
  for (size_t i = 1; i < bytes && i < left; i++) code = code << 6 | ((unsigned char)text[i] & 0x3F);
  if (code < 0x10000) {
    snprintf(out, size, "\\u%04" PRIx32, code);
  } else {
    snprintf(out, size, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD800 + ((code - 0x10000) >> 10), 0xDC00 + (code & 0x3FF));
  }
  return bytes;
}

static dure_status print_json_text(dure_template_state *state, dure_template_text *text,
                                   const dure_template_json_style *style, const dure_template_value *value) {
  static const char letters[][2] = {{'"', '"'},  {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'},
                                    {'\t', 't'}, {'\b', 'b'},  {'\f', 'f'}};
  DURE_TRY(put(state, text, "\""));
  for (size_t i = 0; i < value->length;) {
    const unsigned char c = (unsigned char)value->text[i];
    char escape[16] = {(char)c};
    size_t taken = 1;
    if (c < 0x20) snprintf(escape, sizeof(escape), "\\u%04x", c);
    for (size_t k = 0; k < sizeof(letters) / sizeof(letters[0]); k++) {
      if (c == (unsigned char)letters[k][0]) snprintf(escape, sizeof(escape), "\\%c", letters[k][1]);
    }
    if (c >= 0x80 && style->escapes_other)
      taken = escape_character(value->text + i, value->length - i, escape, sizeof(escape));
    DURE_TRY(dure_template_append(state, text, escape, c == 0 ? 6 : strlen(escape)));
    i += taken;
  }
  return put(state, text, "\"");
}

static dure_status print_line(dure_template_state *state, dure_template_text *text,
                              const dure_template_json_style *style, uint32_t level) {
  if (style->indent < 0) return NULL;
  DURE_TRY(put(state, text, "\n"));
  for (uint64_t i = 0; i < (uint64_t)style->indent * level; i++) DURE_TRY(put(state, text, " "));
  return NULL;
}

static dure_status print_json(dure_template_state *state, dure_template_text *text,
                              const dure_template_json_style *style, const dure_template_value *value, uint32_t level);

static int by_key(const void *a, const void *b) {
  const dure_template_value *left = a, *right = b;  // an entry begins with its key
  const uint32_t common = left->length < right->length ? left->length : right->length;
  const int order = memcmp(left->text, right->text, common);
  return order != 0 ? order : (left->length > right->length) - (left->length < right->length);
}

static dure_status print_json_map(dure_template_state *state, dure_template_text *text,
                                  const dure_template_json_style *style, const dure_template_map *map, uint32_t level) {
  struct dure_template_entry *entries = map->entries;
  if (map->count == 0) return put(state, text, "{}");
  for (size_t i = 0; i < map->count; i++) {
    if (map->entries[i].key.kind != DURE_VALUE_TEXT)
      return DURE_TEMPLATE_FAIL(state, "tojson takes maps whose keys are texts");
  }
  if (style->sorts_keys) {
    DURE_TRY(dure_template_allocate(&state->arena, map->count * sizeof(*entries), &entries));
    memcpy(entries, map->entries, map->count * sizeof(*entries));
    qsort(entries, map->count, sizeof(*entries), by_key);
  }
  DURE_TRY(put(state, text, "{"));
  for (size_t i = 0; i < map->count; i++) {
    if (i > 0) DURE_TRY(dure_template_append(state, text, style->item, style->item_length));
    DURE_TRY(print_line(state, text, style, level + 1));
    DURE_TRY(print_json_text(state, text, style, &entries[i].key));
    DURE_TRY(dure_template_append(state, text, style->key, style->key_length));
    DURE_TRY(print_json(state, text, style, &entries[i].value, level + 1));
  }
  DURE_TRY(print_line(state, text, style, level));
  return put(state, text, "}");
}

static dure_status print_json(dure_template_state *state, dure_template_text *text,
                              const dure_template_json_style *style, const dure_template_value *value, uint32_t level) {
  DURE_TRY(dure_template_step(state, 1));
  if (level > deepest) return DURE_TEMPLATE_FAIL(state, "values more than %d levels deep", deepest);
  if (value->kind == DURE_VALUE_TEXT) return print_json_text(state, text, style, value);
  if (value->kind == DURE_VALUE_MAP) return print_json_map(state, text, style, value->map, level);
  if (value->kind != DURE_VALUE_LIST && value->kind != DURE_VALUE_TUPLE) return print_scalar(state, text, value, true);
  if (value->list->count == 0) return put(state, text, "[]");
  DURE_TRY(put(state, text, "["));
  for (size_t i = 0; i < value->list->count; i++) {
    if (i > 0) DURE_TRY(dure_template_append(state, text, style->item, style->item_length));
    DURE_TRY(print_line(state, text, style, level + 1));
    DURE_TRY(print_json(state, text, style, &value->list->items[i], level + 1));
  }
  DURE_TRY(print_line(state, text, style, level));
  return put(state, text, "]");
}

dure_status dure_template_print_json(dure_template_state *state, dure_template_text *text,
                                     const dure_template_json_style *style, const dure_template_value *value) {
  return print_json(state, text, style, value, 0);
}
