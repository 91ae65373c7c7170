// Two schemas as one that asks for both.
#include <string.h>

#include "model/json_schema_internal.h"

static dure_status out_of_memory(void) { return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema"); }

static bool is_one_of(const char *name, const char *const *names) {
  while (*names != NULL && strcmp(*names, name) != 0) names++;
  return *names != NULL;
}

// {"allOf": [a, b]}
static json_t *both(json_t *a, json_t *b) { return json_pack("{s[OO]}", "allOf", a, b); }

static json_t *join_properties(json_t *a, json_t *b) {
  json_t *joined = json_copy(a);
  const char *name = NULL;
  json_t *value = NULL;
  json_object_foreach(b, name, value) {
    json_t *known = json_object_get(a, name);
    if (known == NULL) {
      json_object_set(joined, name, value);
    } else {
      json_object_set_new(joined, name, both(known, value));
    }
  }
  return joined;
}

// Members of both lists (`is_common`), or of either.
static json_t *join_lists(const json_t *a, const json_t *b, bool is_common) {
  json_t *joined = json_array();
  for (size_t i = 0; i < json_array_size(a) + json_array_size(b); i++) {
    const size_t k = i - json_array_size(a);
    json_t *one = i < json_array_size(a) ? json_array_get(a, i) : json_array_get(b, k);
    bool is_known = false, is_in_b = false;
    for (size_t j = 0; j < json_array_size(joined); j++)
      is_known = is_known || json_equal(json_array_get(joined, j), one);
    for (size_t j = 0; j < json_array_size(b); j++) is_in_b = is_in_b || json_equal(json_array_get(b, j), one);
    if (is_known || (is_common && (!is_in_b || i >= json_array_size(a)))) continue;
    json_array_append(joined, one);
  }
  return joined;
}

static bool allows(const json_t *types, const char *name) {
  if (json_is_string(types)) return strcmp(json_string_value(types), name) == 0;
  for (size_t i = 0; i < json_array_size(types); i++) {
    const char *one = json_string_value(json_array_get(types, i));
    if (one != NULL && strcmp(one, name) == 0) return true;
  }
  return false;
}

static json_t *join_types(const json_t *a, const json_t *b) {
  static const char *const names[] = {"object", "array", "string", "number", "integer", "boolean", "null"};
  json_t *joined = json_array();
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    const bool is_integer = strcmp(names[i], "integer") == 0;
    const bool in_a = allows(a, names[i]) || (is_integer && allows(a, "number"));
    const bool in_b = allows(b, names[i]) || (is_integer && allows(b, "number"));
    if (in_a && in_b) json_array_append_new(joined, json_string(names[i]));
  }
  return joined;
}

// The value of a keyword that both have; NULL: they cannot be joined, or memory is out.
static json_t *join_values(const char *name, json_t *a, json_t *b) {
  static const char *const largest[] = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", NULL};
  static const char *const smallest[] = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", NULL};
  if (json_equal(a, b)) return json_incref(a);
  if (json_is_number(a) && json_is_number(b) && is_one_of(name, largest))
    return json_incref(json_number_value(a) > json_number_value(b) ? a : b);
  if (json_is_number(a) && json_is_number(b) && is_one_of(name, smallest))
    return json_incref(json_number_value(a) < json_number_value(b) ? a : b);
  if (strcmp(name, "properties") == 0 && json_is_object(a) && json_is_object(b)) return join_properties(a, b);
  if (strcmp(name, "required") == 0) return join_lists(a, b, false);
  if (strcmp(name, "enum") == 0) return join_lists(a, b, true);
  if (strcmp(name, "type") == 0) return join_types(a, b);
  if (strcmp(name, "items") == 0) return both(a, b);
  if (strcmp(name, "allOf") == 0 && json_is_array(a) && json_is_array(b)) {
    json_t *joined = json_copy(a);
    if (joined != NULL && json_array_extend(joined, b) != 0) return NULL;
    return joined;
  }
  return NULL;
}

// Parts that a joined value counts for: lists and objects are copied, members of lists compared with each other.
static size_t join_cost(const json_t *a, const json_t *b) {
  const size_t a_size = json_array_size(a) + json_object_size(a), b_size = json_array_size(b) + json_object_size(b);
  return a != NULL ? (a_size + b_size) / 16 + a_size * b_size / 4096 : 0;
}

// `b` is a reference, with what stands beside it.
static dure_status join_reference(schema_writer *w, const json_t *a, const json_t *b, const json_t **out_schema) {
  const json_t *target = NULL;
  json_t *rest = json_copy((json_t *)(size_t)b);
  *out_schema = a;
  if (rest == NULL || json_array_append_new(w->made, rest) != 0) return out_of_memory();
  json_object_del(rest, "$ref");
  if (w->depth > SCHEMA_DEPTH_MOST)
    return schema_fail(w, DURE_UNSUPPORTED, "the schema is more than %d deep", SCHEMA_DEPTH_MOST);
  DURE_TRY(schema_resolve(w, json_object_get(b, "$ref"), &target));
  w->depth++;
  DURE_TRY(schema_join(w, a, rest, out_schema));
  DURE_TRY(schema_join(w, *out_schema, target, out_schema));
  w->depth--;
  return NULL;
}

// Whether one's additionalProperties is about properties that only the other names.
static bool forbids_names(const json_t *a, const json_t *b) {
  const json_t *additional = json_object_get(a, "additionalProperties"), *own = json_object_get(a, "properties");
  const char *name = NULL;
  json_t *value = NULL, *others = json_object_get(b, "properties");
  if (additional == NULL || json_is_true(additional)) return false;
  json_object_foreach(others, name, value) {
    if (json_object_get(own, name) == NULL) return true;
  }
  return false;
}

dure_status schema_join(schema_writer *w, const json_t *a, const json_t *b, const json_t **out_schema) {
  // What says nothing of instances, and where others lie: references go by the whole schema.
  static const char *const dropped[] = {"title",     "description", "default",     "examples", "example",
                                        "$schema",   "$id",         "$comment",    "readOnly", "deprecated",
                                        "writeOnly", "$defs",       "definitions", NULL};
  *out_schema = a;
  if (json_is_true(b)) return NULL;
  if (json_is_true(a) || json_is_false(b)) {
    *out_schema = b;
    return NULL;
  }
  if (!json_is_object(a) || !json_is_object(b))
    return schema_fail(w, DURE_INVALID_ARGUMENT, "a schema must be an object, true or false");
  if (json_object_get(b, "$ref") != NULL) return join_reference(w, a, b, out_schema);
  DURE_TRY(schema_charge(w, 1 + (json_object_size(a) + json_object_size(b)) / 16));
  if (forbids_names(a, b) || forbids_names(b, a))
    return schema_fail(w, DURE_UNSUPPORTED,
                       "joined schemas one of which has 'additionalProperties' beside properties of the other are not "
                       "supported");
  const json_t *a_prefix = json_object_get(a, "prefixItems"), *b_prefix = json_object_get(b, "prefixItems");
  if ((a_prefix != NULL || b_prefix != NULL) && !json_equal(a_prefix, b_prefix) &&
      (json_object_get(a, "items") != NULL || json_object_get(b, "items") != NULL))
    return schema_fail(w, DURE_UNSUPPORTED, "'items' of one and 'prefixItems' of the other cannot be joined");
  json_t *joined = json_copy((json_t *)(size_t)a), *value = NULL;
  const char *name = NULL;
  if (joined == NULL || json_array_append_new(w->made, joined) != 0) return out_of_memory();
  for (size_t i = 0; dropped[i] != NULL; i++) json_object_del(joined, dropped[i]);
  json_t *other = (json_t *)(size_t)b;
  json_object_foreach(other, name, value) {
    json_t *own = json_object_get(joined, name);
    if (is_one_of(name, dropped)) continue;
    DURE_TRY(schema_charge(w, join_cost(own, value)));
    json_t *found = own != NULL ? join_values(name, own, value) : json_incref(value);
    if (found == NULL) return schema_fail(w, DURE_UNSUPPORTED, "two '%.60s' cannot be joined", name);
    if (json_object_set_new(joined, name, found) != 0) return out_of_memory();
  }
  *out_schema = joined;
  return NULL;
}
