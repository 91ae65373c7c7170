// What a value has: methods of texts, maps and lists as Python names them, a loop's attributes, elements.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/template_parts.h"

typedef dure_template_state state_of;
typedef dure_template_value value;
typedef const dure_template_call *call_of;

static bool is_given(const value *parameter) { return parameter->kind != DURE_VALUE_ABSENT; }

// ---- white space, case, replacing: shared with filters -------------------------------------------------------------

bool dure_template_space_at(const char *text, size_t length, size_t *out_bytes) {
  utf8proc_int32_t code;
  *out_bytes = 1;
  if (length == 0) return false;
  const unsigned char c = (unsigned char)text[0];
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  const utf8proc_ssize_t bytes =
      utf8proc_iterate((const utf8proc_uint8_t *)text, length < 4 ? (utf8proc_ssize_t)length : 4, &code);
  if (bytes <= 0) return false;
  *out_bytes = (size_t)bytes;
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

// Whether the character at `text` is to be stripped, and its bytes.
static bool strips(const char *text, size_t length, const value *characters, size_t *out_bytes) {
  if (characters == NULL) return dure_template_space_at(text, length, out_bytes);
  size_t bytes = 1;
  while (bytes < length && ((unsigned char)text[bytes] & 0xC0) == 0x80) bytes++;
  *out_bytes = bytes;
  for (size_t i = 0; i + bytes <= characters->length; i++) {
    const bool begins = ((unsigned char)characters->text[i] & 0xC0) != 0x80;
    if (begins && memcmp(characters->text + i, text, bytes) == 0) return true;
  }
  return false;
}

dure_template_value dure_template_strip(const value *text, const value *characters, dure_template_side side) {
  size_t begin = 0, end = text->length, bytes;
  while ((side & DURE_SIDE_LEFT) && begin < end && strips(text->text + begin, end - begin, characters, &bytes))
    begin += bytes;
  while ((side & DURE_SIDE_RIGHT) && begin < end) {
    size_t last = end - 1;
    while (last > begin && ((unsigned char)text->text[last] & 0xC0) == 0x80) last--;
    if (!strips(text->text + last, end - last, characters, &bytes)) break;
    end = last;
  }
  return dure_template_text_value(text->text + begin, end - begin);
}

static bool is_cased(utf8proc_int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

dure_status dure_template_change_case(state_of *state, dure_template_case how, const value *text, value *out_text) {
  dure_template_text changed = {0};
  bool begins = true;
  for (size_t i = 0; i < text->length;) {
    utf8proc_int32_t code;
    utf8proc_uint8_t bytes[4];
    const size_t left = text->length - i;
    const utf8proc_ssize_t used =
        utf8proc_iterate((const utf8proc_uint8_t *)text->text + i, left < 4 ? (utf8proc_ssize_t)left : 4, &code);
    if (used <= 0) return DURE_TEMPLATE_FAIL(state, "a text that is not UTF-8");
    const bool raises = how == DURE_CASE_UPPER || (how != DURE_CASE_LOWER && begins);
    begins = how == DURE_CASE_TITLE && !is_cased(code);
    code = raises ? utf8proc_toupper(code) : utf8proc_tolower(code);
    DURE_TRY(dure_template_append(state, &changed, (const char *)bytes, (size_t)utf8proc_encode_char(code, bytes)));
    i += (size_t)used;
  }
  *out_text = dure_template_text_value(changed.length > 0 ? changed.data : "", changed.length);
  return NULL;
}

// The next place of `part` in `text` from `from`; SIZE_MAX: none.
static size_t find(const value *text, const value *part, size_t from) {
  if (part->length == 0) return from <= text->length ? from : SIZE_MAX;
  while (text->length >= part->length && from <= text->length - part->length) {
    const char *hit = memchr(text->text + from, part->text[0], text->length - part->length - from + 1);
    if (hit == NULL) return SIZE_MAX;
    from = (size_t)(hit - text->text);
    if (memcmp(hit, part->text, part->length) == 0) return from;
    from++;
  }
  return SIZE_MAX;
}

dure_status dure_template_replace(state_of *state, const value *text, const value *from, const value *to, int64_t most,
                                  value *out_text) {
  dure_template_text changed = {0};
  size_t done = 0;
  for (int64_t i = 0; most < 0 || i < most; i++) {
    DURE_TRY(dure_template_step(state, 1));
    const size_t hit = find(text, from, done + (from->length == 0 && i > 0));
    if (hit == SIZE_MAX) break;
    size_t at = hit;
    while (from->length == 0 && at < text->length && ((unsigned char)text->text[at] & 0xC0) == 0x80) at++;
    DURE_TRY(dure_template_append(state, &changed, text->text + done, at - done));
    DURE_TRY(dure_template_append(state, &changed, to->text, to->length));
    done = at + from->length;
  }
  DURE_TRY(dure_template_append(state, &changed, text->text + done, text->length - done));
  *out_text = dure_template_text_value(changed.length > 0 ? changed.data : "", changed.length);
  return NULL;
}

dure_status dure_template_join(state_of *state, const dure_template_list *items, const value *separator,
                               value *out_text) {
  dure_template_text joined = {0};
  for (size_t i = 0; i < items->count; i++) {
    if (i > 0) DURE_TRY(dure_template_append(state, &joined, separator->text, separator->length));
    DURE_TRY(dure_template_print(state, &joined, &items->items[i]));
  }
  *out_text = dure_template_text_value(joined.length > 0 ? joined.data : "", joined.length);
  return NULL;
}

dure_status dure_template_pairs(state_of *state, const dure_template_map *map, value *out_list) {
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_list));
  for (size_t i = 0; i < map->count; i++) {
    value pair;
    DURE_TRY(dure_template_new_list(state, DURE_VALUE_TUPLE, &pair));
    DURE_TRY(dure_template_push(state, pair.list, map->entries[i].key));
    DURE_TRY(dure_template_push(state, pair.list, map->entries[i].value));
    DURE_TRY(dure_template_push(state, out_list->list, pair));
  }
  return NULL;
}

// ---- methods of texts ----------------------------------------------------------------------------------------------

static dure_status need_text(state_of *state, const value *parameter) {
  if (parameter->kind == DURE_VALUE_TEXT) return NULL;
  return DURE_TEMPLATE_FAIL(state, "a text is wanted; found %s", dure_template_kind_name(parameter));
}

static dure_status strip_side(state_of *state, call_of call, dure_template_side side, value *out_value) {
  const value *characters = &call->parameters[0];
  const bool has_any = is_given(characters) && characters->kind != DURE_VALUE_NONE;
  if (has_any) DURE_TRY(need_text(state, characters));
  *out_value = dure_template_strip(&call->self, has_any ? characters : NULL, side);
  return NULL;
}
static dure_status text_strip(state_of *state, call_of call, value *out_value) {
  return strip_side(state, call, DURE_SIDE_BOTH, out_value);
}
static dure_status text_lstrip(state_of *state, call_of call, value *out_value) {
  return strip_side(state, call, DURE_SIDE_LEFT, out_value);
}
static dure_status text_rstrip(state_of *state, call_of call, value *out_value) {
  return strip_side(state, call, DURE_SIDE_RIGHT, out_value);
}
static dure_status text_upper(state_of *state, call_of call, value *out_value) {
  return dure_template_change_case(state, DURE_CASE_UPPER, &call->self, out_value);
}
static dure_status text_lower(state_of *state, call_of call, value *out_value) {
  return dure_template_change_case(state, DURE_CASE_LOWER, &call->self, out_value);
}
static dure_status text_title(state_of *state, call_of call, value *out_value) {
  return dure_template_change_case(state, DURE_CASE_TITLE, &call->self, out_value);
}
static dure_status text_capitalize(state_of *state, call_of call, value *out_value) {
  return dure_template_change_case(state, DURE_CASE_CAPITAL, &call->self, out_value);
}

// Words between white space.
static dure_status split_words(state_of *state, const value *text, int64_t most, dure_template_list *list) {
  value left = dure_template_strip(text, NULL, DURE_SIDE_LEFT);
  while (left.length > 0) {
    size_t end = 0, bytes;
    if (most >= 0 && (int64_t)list->count == most) return dure_template_push(state, list, left);
    while (end < left.length && !dure_template_space_at(left.text + end, left.length - end, &bytes)) end += bytes;
    DURE_TRY(dure_template_push(state, list, dure_template_text_value(left.text, end)));
    left = dure_template_text_value(left.text + end, left.length - end);
    left = dure_template_strip(&left, NULL, DURE_SIDE_LEFT);
  }
  return NULL;
}

static dure_status text_split(state_of *state, call_of call, value *out_value) {
  const value *separator = &call->parameters[0];
  int64_t most = -1;
  size_t done = 0;
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  if (is_given(&call->parameters[1]) && !dure_template_is_integer(&call->parameters[1], &most))
    return DURE_TEMPLATE_FAIL(state, "split takes a whole number of splits");
  if (!is_given(separator) || separator->kind == DURE_VALUE_NONE) {
    const value whole = dure_template_strip(&call->self, NULL, most < 0 ? DURE_SIDE_BOTH : DURE_SIDE_LEFT);
    return split_words(state, &whole, most, out_value->list);
  }
  DURE_TRY(need_text(state, separator));
  if (separator->length == 0) return DURE_TEMPLATE_FAIL(state, "split by an empty text");
  while (most < 0 || (int64_t)out_value->list->count < most) {
    const size_t hit = find(&call->self, separator, done);
    if (hit == SIZE_MAX) break;
    DURE_TRY(dure_template_push(state, out_value->list, dure_template_text_value(call->self.text + done, hit - done)));
    done = hit + separator->length;
  }
  return dure_template_push(state, out_value->list,
                            dure_template_text_value(call->self.text + done, call->self.length - done));
}

// From the right, which only a limit makes different.
static dure_status text_rsplit(state_of *state, call_of call, value *out_value) {
  const value *separator = &call->parameters[0];
  int64_t most = -1;
  if (!dure_template_is_integer(&call->parameters[1], &most) || most < 0) return text_split(state, call, out_value);
  dure_template_call all = *call;
  value parts, joined, last;
  DURE_TRY(need_text(state, separator));
  all.parameters[1] = (value){0};
  DURE_TRY(text_split(state, &all, &parts));
  const size_t count = parts.list->count, ends = (uint64_t)most < count - 1 ? (size_t)most : count - 1;
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  dure_template_list first = {.items = parts.list->items, .count = count - ends};
  DURE_TRY(dure_template_join(state, &first, separator, &joined));
  DURE_TRY(dure_template_push(state, out_value->list, joined));
  for (size_t i = count - ends; i < count; i++) {
    last = parts.list->items[i];
    DURE_TRY(dure_template_push(state, out_value->list, last));
  }
  return NULL;
}

static dure_status text_splitlines(state_of *state, call_of call, value *out_value) {
  const value *text = &call->self;
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (size_t i = 0, begin = 0; i <= text->length; i++) {
    const bool is_end = i == text->length, breaks = !is_end && (text->text[i] == '\n' || text->text[i] == '\r');
    if (!breaks && !(is_end && begin < i)) continue;
    DURE_TRY(dure_template_push(state, out_value->list, dure_template_text_value(text->text + begin, i - begin)));
    if (!is_end && text->text[i] == '\r' && i + 1 < text->length && text->text[i + 1] == '\n') i++;
    begin = i + 1;
  }
  return NULL;
}

static bool has_edge(const value *text, const value *edge, bool is_end) {
  if (edge->length > text->length) return false;
  return memcmp(text->text + (is_end ? text->length - edge->length : 0), edge->text, edge->length) == 0;
}

static dure_status check_edge(state_of *state, call_of call, bool is_end, value *out_value) {
  const value *edges = &call->parameters[0];
  bool has_any = false;
  if (edges->kind == DURE_VALUE_TUPLE) {
    for (size_t i = 0; i < edges->list->count && !has_any; i++) {
      DURE_TRY(need_text(state, &edges->list->items[i]));
      has_any = has_edge(&call->self, &edges->list->items[i], is_end);
    }
  } else {
    DURE_TRY(need_text(state, edges));
    has_any = has_edge(&call->self, edges, is_end);
  }
  *out_value = dure_template_boolean(has_any);
  return NULL;
}
static dure_status text_startswith(state_of *state, call_of call, value *out_value) {
  return check_edge(state, call, false, out_value);
}
static dure_status text_endswith(state_of *state, call_of call, value *out_value) {
  return check_edge(state, call, true, out_value);
}

static dure_status remove_edge(state_of *state, call_of call, bool is_end, value *out_value) {
  const value *text = &call->self, *edge = &call->parameters[0];
  DURE_TRY(need_text(state, edge));
  const size_t less = has_edge(text, edge, is_end) ? edge->length : 0;
  *out_value = dure_template_text_value(text->text + (is_end ? 0 : less), text->length - less);
  return NULL;
}
static dure_status text_removeprefix(state_of *state, call_of call, value *out_value) {
  return remove_edge(state, call, false, out_value);
}
static dure_status text_removesuffix(state_of *state, call_of call, value *out_value) {
  return remove_edge(state, call, true, out_value);
}

static dure_status text_replace(state_of *state, call_of call, value *out_value) {
  int64_t most = -1;
  DURE_TRY(need_text(state, &call->parameters[0]));
  DURE_TRY(need_text(state, &call->parameters[1]));
  if (is_given(&call->parameters[2]) && !dure_template_is_integer(&call->parameters[2], &most))
    return DURE_TEMPLATE_FAIL(state, "replace takes a whole number of times");
  return dure_template_replace(state, &call->self, &call->parameters[0], &call->parameters[1], most, out_value);
}

static dure_status text_find(state_of *state, call_of call, value *out_value) {
  DURE_TRY(need_text(state, &call->parameters[0]));
  const size_t hit = find(&call->self, &call->parameters[0], 0);
  *out_value = dure_template_integer(hit == SIZE_MAX ? -1 : (int64_t)dure_template_characters(call->self.text, hit));
  return NULL;
}

static dure_status text_rfind(state_of *state, call_of call, value *out_value) {
  int64_t last = -1;
  DURE_TRY(need_text(state, &call->parameters[0]));
  for (size_t hit = find(&call->self, &call->parameters[0], 0); hit != SIZE_MAX;
       hit = find(&call->self, &call->parameters[0], hit + 1)) {
    DURE_TRY(dure_template_step(state, 1));
    last = (int64_t)hit;
  }
  *out_value = dure_template_integer(last < 0 ? -1 : (int64_t)dure_template_characters(call->self.text, (size_t)last));
  return NULL;
}

static dure_status text_count(state_of *state, call_of call, value *out_value) {
  const value *part = &call->parameters[0];
  int64_t count = 0;
  DURE_TRY(need_text(state, part));
  if (part->length == 0) {
    *out_value = dure_template_integer((int64_t)dure_template_characters(call->self.text, call->self.length) + 1);
    return NULL;
  }
  for (size_t hit = find(&call->self, part, 0); hit != SIZE_MAX; hit = find(&call->self, part, hit + part->length)) {
    DURE_TRY(dure_template_step(state, 1));
    count++;
  }
  *out_value = dure_template_integer(count);
  return NULL;
}

static dure_status text_join(state_of *state, call_of call, value *out_value) {
  dure_template_list *items;
  DURE_TRY(dure_template_items(state, &call->parameters[0], &items));
  for (size_t i = 0; i < items->count; i++) DURE_TRY(need_text(state, &items->items[i]));
  return dure_template_join(state, items, &call->self, out_value);
}

typedef bool (*character_check)(utf8proc_int32_t code);
static bool is_digit(utf8proc_int32_t code) { return utf8proc_category(code) == UTF8PROC_CATEGORY_ND; }
static bool is_alphabetic(utf8proc_int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
static bool is_alphanumeric(utf8proc_int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return is_alphabetic(code) || (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static dure_status check_all(call_of call, character_check check, value *out_value) {
  bool all = call->self.length > 0;
  for (size_t i = 0; i < call->self.length && all;) {
    utf8proc_int32_t code = -1;
    const utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)call->self.text + i,
                                                   (utf8proc_ssize_t)(call->self.length - i), &code);
    all = used > 0 && check(code);
    i += used > 0 ? (size_t)used : 1;
  }
  *out_value = dure_template_boolean(all);
  return NULL;
}
static dure_status text_isdigit(state_of *state, call_of call, value *out_value) {
  (void)state;
  return check_all(call, is_digit, out_value);
}
static dure_status text_isalpha(state_of *state, call_of call, value *out_value) {
  (void)state;
  return check_all(call, is_alphabetic, out_value);
}
static dure_status text_isalnum(state_of *state, call_of call, value *out_value) {
  (void)state;
  return check_all(call, is_alphanumeric, out_value);
}
static dure_status text_isspace(state_of *state, call_of call, value *out_value) {
  (void)state;
  *out_value = dure_template_boolean(call->self.length > 0 &&
                                     dure_template_strip(&call->self, NULL, DURE_SIDE_LEFT).length == 0);
  return NULL;
}

// ---- methods of maps, lists and loops ------------------------------------------------------------------------------

static dure_status map_items(state_of *state, call_of call, value *out_value) {
  return dure_template_pairs(state, call->self.map, out_value);
}

static dure_status map_parts(state_of *state, call_of call, bool are_keys, value *out_value) {
  const dure_template_map *map = call->self.map;
  DURE_TRY(dure_template_new_list(state, DURE_VALUE_LIST, out_value));
  for (size_t i = 0; i < map->count; i++)
    DURE_TRY(dure_template_push(state, out_value->list, are_keys ? map->entries[i].key : map->entries[i].value));
  return NULL;
}
static dure_status map_keys(state_of *state, call_of call, value *out_value) {
  return map_parts(state, call, true, out_value);
}
static dure_status map_values(state_of *state, call_of call, value *out_value) {
  return map_parts(state, call, false, out_value);
}

static dure_status map_get(state_of *state, call_of call, value *out_value) {
  value *found;
  DURE_TRY(dure_template_map_find(state, call->self.map, &call->parameters[0], &found));
  *out_value = found != NULL ? *found : is_given(&call->parameters[1]) ? call->parameters[1] : dure_template_none();
  return NULL;
}

static dure_status list_seek(state_of *state, call_of call, int64_t *out_first, int64_t *out_count) {
  *out_first = -1;
  *out_count = 0;
  for (size_t i = 0; i < call->self.list->count; i++) {
    bool is_equal;
    DURE_TRY(dure_template_equal(state, &call->self.list->items[i], &call->parameters[0], &is_equal));
    if (is_equal && *out_first < 0) *out_first = (int64_t)i;
    *out_count += is_equal;
  }
  return NULL;
}
static dure_status list_index(state_of *state, call_of call, value *out_value) {
  int64_t first, count;
  DURE_TRY(list_seek(state, call, &first, &count));
  *out_value = dure_template_integer(first);
  return first >= 0 ? NULL : DURE_TEMPLATE_FAIL(state, "the list has no such element");
}
static dure_status list_count(state_of *state, call_of call, value *out_value) {
  int64_t first, count;
  DURE_TRY(list_seek(state, call, &first, &count));
  *out_value = dure_template_integer(count);
  return NULL;
}

static dure_status loop_cycle(state_of *state, call_of call, value *out_value) {
  const dure_template_arguments *arguments = call->arguments;
  if (arguments->count == 0) return DURE_TEMPLATE_FAIL(state, "loop.cycle takes something to choose from");
  *out_value = arguments->values[call->self.loop->index % arguments->count];
  return NULL;
}

static const dure_template_function text_methods[] = {
    {"strip", text_strip, {"chars"}, 0, false},
    {"lstrip", text_lstrip, {"chars"}, 0, false},
    {"rstrip", text_rstrip, {"chars"}, 0, false},
    {"upper", text_upper, {0}, 0, false},
    {"lower", text_lower, {0}, 0, false},
    {"title", text_title, {0}, 0, false},
    {"capitalize", text_capitalize, {0}, 0, false},
    {"split", text_split, {"sep", "maxsplit"}, 0, false},
    {"rsplit", text_rsplit, {"sep", "maxsplit"}, 0, false},
    {"splitlines", text_splitlines, {0}, 0, false},
    {"startswith", text_startswith, {"prefix"}, 1, false},
    {"endswith", text_endswith, {"suffix"}, 1, false},
    {"removeprefix", text_removeprefix, {"prefix"}, 1, false},
    {"removesuffix", text_removesuffix, {"suffix"}, 1, false},
    {"replace", text_replace, {"old", "new", "count"}, 2, false},
    {"find", text_find, {"sub"}, 1, false},
    {"rfind", text_rfind, {"sub"}, 1, false},
    {"count", text_count, {"sub"}, 1, false},
    {"join", text_join, {"iterable"}, 1, false},
    {"isdigit", text_isdigit, {0}, 0, false},
    {"isalpha", text_isalpha, {0}, 0, false},
    {"isalnum", text_isalnum, {0}, 0, false},
    {"isspace", text_isspace, {0}, 0, false},
};
static const dure_template_function map_methods[] = {
    {"items", map_items, {0}, 0, false},
    {"keys", map_keys, {0}, 0, false},
    {"values", map_values, {0}, 0, false},
    {"get", map_get, {"key", "default"}, 1, false},
};
static const dure_template_function list_methods[] = {
    {"index", list_index, {"value"}, 1, false},
    {"count", list_count, {"value"}, 1, false},
};
static const dure_template_function loop_methods[] = {{"cycle", loop_cycle, {0}, 0, true}};

const dure_template_function *dure_template_method(const value *self, const char *name, size_t length) {
  switch (self->kind) {
    case DURE_VALUE_TEXT: return DURE_TEMPLATE_SEARCH(text_methods, name, length);
    case DURE_VALUE_MAP: return DURE_TEMPLATE_SEARCH(map_methods, name, length);
    case DURE_VALUE_LIST:
    case DURE_VALUE_TUPLE: return DURE_TEMPLATE_SEARCH(list_methods, name, length);
    case DURE_VALUE_LOOP: return DURE_TEMPLATE_SEARCH(loop_methods, name, length);
    default: break;
  }
  return NULL;
}

// ---- attributes and elements ---------------------------------------------------------------------------------------

static value loop_attribute(const dure_template_loop *loop, const value *name) {
  const int64_t index = (int64_t)loop->index, count = (int64_t)loop->items->count;
  const struct {
    const char *name;
    int64_t number;
  } numbers[] = {{"index", index + 1},
                 {"index0", index},
                 {"length", count},
                 {"revindex", count - index},
                 {"revindex0", count - index - 1},
                 {"depth", 1},
                 {"depth0", 0}};
  for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
    if (dure_template_is_text(name, numbers[i].name)) return dure_template_integer(numbers[i].number);
  }
  if (dure_template_is_text(name, "first")) return dure_template_boolean(index == 0);
  if (dure_template_is_text(name, "last")) return dure_template_boolean(index + 1 == count);
  if (dure_template_is_text(name, "previtem") && index > 0) return loop->items->items[index - 1];
  if (dure_template_is_text(name, "nextitem") && index + 1 < count) return loop->items->items[index + 1];
  return dure_template_undefined(name->text, name->length);
}

static dure_status fail_undefined(state_of *state, const value *from, const value *key) {
  return DURE_TEMPLATE_FAIL(state, "\"%.*s\" is undefined, so it has no \"%.*s\"",
                            (int)(from->length < 60 ? from->length : 60), from->text,
                            (int)(key->length < 60 ? key->length : 60), key->kind == DURE_VALUE_TEXT ? key->text : "");
}

dure_status dure_template_attribute(state_of *state, const value *from, const char *name, size_t length,
                                    value *out_value) {
  const value key = dure_template_text_value(name, length);
  *out_value = dure_template_undefined(name, length);
  const dure_template_function *method = dure_template_method(from, name, length);
  if (method != NULL) {
    value *self;
    DURE_TRY(dure_template_allocate(&state->arena, sizeof(*self), &self));
    *self = *from;
    *out_value = (value){.kind = DURE_VALUE_FUNCTION, .function = method, .self = self};
    return NULL;
  }
  if (from->kind == DURE_VALUE_MAP || from->kind == DURE_VALUE_NAMESPACE) {
    value *found;
    DURE_TRY(dure_template_map_find(state, from->map, &key, &found));
    if (found != NULL) *out_value = *found;
  } else if (from->kind == DURE_VALUE_LOOP) {
    *out_value = loop_attribute(from->loop, &key);
  } else if (from->kind == DURE_VALUE_UNDEFINED) {
    return fail_undefined(state, from, &key);
  }
  return NULL;
}

dure_status dure_template_item(state_of *state, const value *from, const value *key, value *out_value) {
  int64_t index;
  *out_value = dure_template_undefined("element", 7);
  if (from->kind == DURE_VALUE_UNDEFINED) return fail_undefined(state, from, key);
  if (from->kind == DURE_VALUE_MAP) {
    value *found;
    DURE_TRY(dure_template_map_find(state, from->map, key, &found));
    if (found != NULL) {
      *out_value = *found;
      return NULL;
    }
  }
  if (key->kind == DURE_VALUE_TEXT) return dure_template_attribute(state, from, key->text, key->length, out_value);
  const bool is_list = from->kind == DURE_VALUE_LIST || from->kind == DURE_VALUE_TUPLE;
  if (!dure_template_is_integer(key, &index) || (!is_list && from->kind != DURE_VALUE_TEXT)) return NULL;
  const size_t count = is_list ? from->list->count : dure_template_characters(from->text, from->length);
  if (index < 0) index += (int64_t)count;
  if (index < 0 || (uint64_t)index >= count) return NULL;
  if (is_list) {
    *out_value = from->list->items[index];
    return NULL;
  }
  DURE_TRY(dure_template_step(state, from->length / 64));
  const size_t begin = dure_template_character_offset(from->text, from->length, (size_t)index);
  const size_t bytes = dure_template_character_offset(from->text + begin, from->length - begin, 1);
  *out_value = dure_template_text_value(from->text + begin, bytes);
  return NULL;
}
