// Objects, arrays and strings.
#include <stdlib.h>
#include <string.h>

#include "model/json_pattern.h"
#include "model/json_schema_internal.h"

// ---- strings -----------------------------------------------------------------------------------------------------

static const struct {
  const char *name, *body;
} formats[] = {
    {"date", "date"},
    {"time", "time"},
    {"date-time", "date \"T\" time"},
    {"uuid", "hex{8} \"-\" hex{4} \"-\" hex{4} \"-\" hex{4} \"-\" hex{12}"},
    {"ipv4", "octet (\".\" octet){3}"},
};

dure_status schema_write_string(schema_writer *w, const json_t *schema, dure_bytes *out) {
  const json_t *format = json_object_get(schema, "format"), *pattern = json_object_get(schema, "pattern");
  json_int_t least = 0, most = -1;
  DURE_TRY(schema_count(w, schema, "minLength", 0, &least));
  DURE_TRY(schema_count(w, schema, "maxLength", -1, &most));
  if (most >= 0 && most < least) return schema_fail(w, DURE_INVALID_ARGUMENT, "'maxLength' is less than 'minLength'");
  const bool has_length = least > 0 || most >= 0;
  if ((format != NULL) + (pattern != NULL) + has_length > 1)
    return schema_fail(w, DURE_UNSUPPORTED, "of 'pattern', 'format' and a length only one is supported");
  dure_bytes_append_text(out, "\"\\\"\" ");
  if (pattern != NULL) {
    const char *text = json_string_value(pattern);
    if (text == NULL || strlen(text) != json_string_length(pattern))
      return schema_fail(w, DURE_INVALID_ARGUMENT, "'pattern' must be a text without NUL");
    DURE_TRY(dure_status_prefix(json_pattern_write(text, out), "%s", w->place));
  } else if (format != NULL) {
    const char *name = json_string_value(format);
    size_t i = 0;
    while (i < sizeof(formats) / sizeof(formats[0]) && (name == NULL || strcmp(formats[i].name, name) != 0)) i++;
    if (i == sizeof(formats) / sizeof(formats[0]))
      return schema_fail(w, DURE_UNSUPPORTED, "'format' %.40s is not supported", name != NULL ? name : "of this type");
    dure_bytes_append_text(out, formats[i].body);
  } else if (most >= 0) {
    schema_print(out, "char{%lld,%lld}", (long long)least, (long long)most);
  } else {
    schema_print(out, "char{%lld,}", (long long)least);
  }
  dure_bytes_append_text(out, " \"\\\"\"");
  return NULL;
}

// ---- arrays ------------------------------------------------------------------------------------------------------

// `separated`: something stands before. Between `least` and `most` (-1: any number) of rule `rule`.
static void write_items(dure_bytes *out, const char *item, json_int_t least, json_int_t most, bool is_separated) {
  if (most == 0) return;
  if (is_separated) {
    if (most < 0) schema_print(out, "(ws \",\" ws %s){%lld,} ", item, (long long)least);
    if (most > 0) schema_print(out, "(ws \",\" ws %s){%lld,%lld} ", item, (long long)least, (long long)most);
    return;
  }
  schema_print(out, "(%s ", item);
  write_items(out, item, least > 0 ? least - 1 : 0, most < 0 ? -1 : most - 1, true);
  dure_bytes_append_text(out, least > 0 ? ") " : ")? ");
}

dure_status schema_write_array(schema_writer *w, const json_t *schema, dure_bytes *out) {
  const json_t *items = json_object_get(schema, "items"), *prefix = json_object_get(schema, "prefixItems");
  const json_t *unique = json_object_get(schema, "uniqueItems");
  json_int_t least = 0, most = -1, fixed = (json_int_t)json_array_size(prefix);
  char item[32] = "value";
  uint32_t rule = 0;
  DURE_TRY(schema_count(w, schema, "minItems", 0, &least));
  DURE_TRY(schema_count(w, schema, "maxItems", -1, &most));
  if (unique != NULL && !json_is_false(unique))
    return schema_fail(w, DURE_UNSUPPORTED, "'uniqueItems' is not supported");
  if (prefix != NULL && !json_is_array(prefix))
    return schema_fail(w, DURE_INVALID_ARGUMENT, "'prefixItems' must be a list of schemas");
  if (json_is_array(items))
    return schema_fail(w, DURE_UNSUPPORTED, "'items' as a list is not supported: use 'prefixItems'");
  if (most >= 0 && fixed > most) fixed = most;
  if (json_is_false(items) && (most < 0 || most > fixed)) most = fixed;
  if (most >= 0 && most < least)
    return schema_fail(w, DURE_INVALID_ARGUMENT, "no list can have so few and so many items");
  dure_bytes_append_text(out, "\"[\" ws ");
  for (json_int_t i = 0; i < fixed; i++) {
    DURE_TRY(schema_write(w, json_array_get(prefix, (size_t)i), "prefixItems", &rule));
    schema_print(out, "%ss%u ", i > 0 ? "ws \",\" ws " : "", rule);
  }
  const json_int_t left_most = most < 0 ? -1 : most - fixed, left_least = least > fixed ? least - fixed : 0;
  if (items != NULL && left_most != 0) {
    DURE_TRY(schema_write(w, items, "items", &rule));
    snprintf(item, sizeof(item), "s%u", rule);
  }
  write_items(out, item, left_least, left_most, fixed > 0);
  dure_bytes_append_text(out, "ws \"]\"");
  return NULL;
}

// ---- keys that are none of some names ----------------------------------------------------------------------------

static bool is_plain_name(const char *name) {
  for (; *name != '\0'; name++) {
    if ((uint8_t)*name < 0x20 || *name == '"' || *name == '\\') return false;
  }
  return true;
}

static size_t character_length(const char *text) {
  const uint8_t first = (uint8_t)*text;
  return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static int compare_names(const void *left, const void *right) {
  return strcmp(*(const char *const *)left, *(const char *const *)right);
}

// What may follow `depth` bytes that names[0 .. count) share, so that the whole is none of them.
static dure_status write_other_rest(schema_writer *w, const char *const *names, size_t count, size_t depth,
                                    uint32_t *out_rule) {
  const bool is_name = strlen(names[0]) == depth;
  const size_t first = is_name ? 1 : 0;
  dure_bytes body = {0}, others = {0};
  dure_status status = NULL;
  *out_rule = w->rule_count++;
  if (++w->parts > SCHEMA_PARTS_MOST || ++w->depth > 4 * SCHEMA_DEPTH_MOST)
    status =
        schema_fail(w, DURE_UNSUPPORTED, "'additionalProperties' beside so many or so long names is not supported");
  for (size_t i = first; i < count && status == NULL;) {
    const size_t length = character_length(names[i] + depth);
    size_t end = i + 1;
    uint32_t rest = 0;
    while (end < count && strncmp(names[end] + depth, names[i] + depth, length) == 0) end++;
    status = write_other_rest(w, names + i, end - i, depth + length, &rest);
    const bool is_marked = strchr("]^-[", names[i][depth]) != NULL;
    schema_print(&others, "%s%.*s", is_marked ? "\\" : "", (int)length, names[i] + depth);
    schema_print(&body, "\"%.*s\" s%u | ", (int)length, names[i] + depth, rest);
    i = end;
  }
  schema_print(&body, "[^\"\\\\\\x00-\\x1f");
  dure_bytes_append(&body, others.data, others.size);
  dure_bytes_append_text(&body, is_name ? "] keychar*" : "] keychar* | \"\"");
  schema_add_rule(w, *out_rule, &body);
  if (w->depth > 0) w->depth--;
  dure_bytes_free(&body);
  dure_bytes_free(&others);
  return status;
}

// A rule for keys, without their quotes, that are no property's.
static dure_status write_other_keys(schema_writer *w, const json_t *properties, uint32_t *out_rule) {
  const char **names = malloc((json_object_size(properties) + 1) * sizeof(*names));
  const char *key = NULL;
  json_t *value = NULL;
  size_t count = 0;
  if (names == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema");
  json_t *object = (json_t *)(size_t)properties;
  json_object_foreach(object, key, value) {
    if (is_plain_name(key)) names[count++] = key;
  }
  qsort((void *)names, count, sizeof(*names), compare_names);
  if (count == 0) names[count++] = "\x1f";  // no key has it
  dure_status status = write_other_rest(w, names, count, 0, out_rule);
  free((void *)names);
  return status;
}

// ---- objects -----------------------------------------------------------------------------------------------------

static bool is_required(const json_t *required, const char *name) {
  for (size_t i = 0; i < json_array_size(required); i++) {
    const char *one = json_string_value(json_array_get(required, i));
    if (one != NULL && strcmp(one, name) == 0) return true;
  }
  return false;
}

static dure_status check_required(const schema_writer *w, const json_t *required, const json_t *properties) {
  if (required != NULL && !json_is_array(required))
    return schema_fail(w, DURE_INVALID_ARGUMENT, "'required' must be a list of names");
  for (size_t i = 0; i < json_array_size(required); i++) {
    const char *name = json_string_value(json_array_get(required, i));
    if (name == NULL) return schema_fail(w, DURE_INVALID_ARGUMENT, "'required' must be a list of names");
    if (json_object_get(properties, name) == NULL)
      return schema_fail(w, DURE_UNSUPPORTED, "'required' names '%.60s', which 'properties' does not describe", name);
  }
  return NULL;
}

// The rest of an object from property `at` on: rules for "something stands before" and for "nothing does".
typedef struct object_rest {
  char tail[160], head[320];
} object_rest;

// Properties that the schema does not name.
static dure_status begin_rest(schema_writer *w, const json_t *schema, const json_t *properties, object_rest *rest) {
  const json_t *additional = json_object_get(schema, "additionalProperties");
  const bool has_names = json_object_size(properties) > 0;
  json_int_t least = 0, most = -1;
  uint32_t value = 0, key = 0, pair = 0;
  *rest = (object_rest){.tail = "\"\"", .head = "\"\""};
  DURE_TRY(schema_count(w, schema, "minProperties", 0, &least));
  DURE_TRY(schema_count(w, schema, "maxProperties", -1, &most));
  if (most >= 0 && most < least)
    return schema_fail(w, DURE_INVALID_ARGUMENT, "'maxProperties' is less than 'minProperties'");
  if (has_names && (least > 0 || most >= 0))
    return schema_fail(w, DURE_UNSUPPORTED,
                       "'minProperties' and 'maxProperties' beside 'properties' are not supported");
  if (json_is_false(additional) || most == 0 || (additional == NULL && has_names))
    return least > 0 ? schema_fail(w, DURE_INVALID_ARGUMENT, "no object can have so many properties") : NULL;
  if (additional != NULL) {
    DURE_TRY(schema_write(w, additional, "additionalProperties", &value));
  } else {
    DURE_TRY(schema_write(w, json_true(), NULL, &value));
  }
  DURE_TRY(write_other_keys(w, properties, &key));
  dure_bytes body = {0};
  pair = w->rule_count++;
  schema_print(&body, "\"\\\"\" s%u \"\\\"\" ws \":\" ws s%u", key, value);
  schema_add_rule(w, pair, &body);
  dure_bytes_free(&body);
  char bounds[64] = "*";
  if (least > 1 || most >= 0)
    snprintf(bounds, sizeof(bounds), most < 0 ? "{%lld,}" : "{%lld,%lld}", (long long)(least > 0 ? least - 1 : 0),
             (long long)(most - 1));
  snprintf(rest->tail, sizeof(rest->tail), "(ws \",\" ws s%u)*", pair);
  snprintf(rest->head, sizeof(rest->head), "(s%u (ws \",\" ws s%u)%s)%s", pair, pair, bounds, least > 0 ? "" : "?");
  return NULL;
}

// Property `name` before `rest`, which becomes the rest from it on.
static dure_status add_property(schema_writer *w, const char *name, const json_t *schema, bool required,
                                object_rest *rest) {
  uint32_t value = 0;
  DURE_TRY(schema_write(w, schema, name, &value));
  json_t *text = json_string(name);
  dure_bytes pair = {0}, tail = {0}, head = {0};
  dure_status status =
      text != NULL ? schema_write_literal(text, &pair) : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema");
  json_decref(text);
  const uint32_t pair_rule = w->rule_count++, tail_rule = w->rule_count++, head_rule = w->rule_count++;
  schema_print(&pair, " ws \":\" ws s%u", value);
  schema_print(&tail, required ? "ws \",\" ws s%u %s" : "(ws \",\" ws s%u)? %s", pair_rule, rest->tail);
  schema_print(&head, required ? "s%u %s" : "s%u %s | %s", pair_rule, rest->tail, rest->head);
  schema_add_rule(w, pair_rule, &pair);
  schema_add_rule(w, tail_rule, &tail);
  schema_add_rule(w, head_rule, &head);
  dure_bytes_free(&pair);
  dure_bytes_free(&tail);
  dure_bytes_free(&head);
  snprintf(rest->tail, sizeof(rest->tail), "s%u", tail_rule);
  snprintf(rest->head, sizeof(rest->head), "s%u", head_rule);
  return status;
}

dure_status schema_write_object(schema_writer *w, const json_t *schema, dure_bytes *out) {
  const json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
  const char **names = NULL, *key = NULL;
  json_t *value = NULL;
  size_t count = 0;
  object_rest rest;
  if (properties != NULL && !json_is_object(properties))
    return schema_fail(w, DURE_INVALID_ARGUMENT, "'properties' must be an object");
  DURE_TRY(check_required(w, required, properties));
  DURE_TRY(schema_charge(w, json_object_size(properties) * json_array_size(required) / 4096));
  DURE_TRY(begin_rest(w, schema, properties, &rest));
  names = malloc((json_object_size(properties) + 1) * sizeof(*names));
  if (names == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema");
  json_t *object = (json_t *)(size_t)properties;
  json_object_foreach(object, key, value) names[count++] = key;
  dure_status status = NULL;
  while (count > 0 && status == NULL) {
    const char *name = names[--count];
    const json_t *one = json_object_get(properties, name);
    if (json_is_false(one) && !is_required(required, name)) continue;  // may not be there
    status = add_property(w, name, one, is_required(required, name), &rest);
  }
  free((void *)names);
  DURE_TRY(status);
  schema_print(out, "\"{\" ws %s ws \"}\"", rest.head);
  return NULL;
}
