#include "model/json_schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/json_schema_internal.h"

// Of every grammar. Exponents have two digits, so that no reader overflows.
static const char shared_rules[] =
    "ws ::= \"\" | \" \" | \"\\n\" [ \\t]{0,20}\n"
    "keychar ::= [^\"\\\\\\x00-\\x1f]\n"
    "char ::= keychar | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9a-cA-CefEF] hex | [dD] [0-7]) hex hex)\n"
    "hex ::= [0-9a-fA-F]\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "integer ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15})\n"
    "number ::= integer (\".\" [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?\n"
    "boolean ::= \"true\" | \"false\"\n"
    "value ::= object | array | string | number | boolean | \"null\"\n"
    "object ::= \"{\" ws (string ws \":\" ws value (ws \",\" ws string ws \":\" ws value)*)? ws \"}\"\n"
    "array ::= \"[\" ws (value (ws \",\" ws value)*)? ws \"]\"\n"
    "octet ::= [0-9] | [1-9] [0-9] | \"1\" [0-9] [0-9] | \"2\" [0-4] [0-9] | \"25\" [0-5]\n"
    "date ::= [0-9]{4} \"-\" (\"0\" [1-9] | \"1\" [0-2]) \"-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8])\n"
    "time ::= ([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,9})? "
    "(\"Z\" | [+-] ([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9])\n";

void schema_print(dure_bytes *out, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  dure_bytes_append_text(out, text);
}

dure_status schema_fail(const schema_writer *w, dure_code code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  dure_status status = dure_fail_v(code, format, arguments);
  va_end(arguments);
  return dure_status_prefix(status, "schema, %s", w->place);
}

dure_status schema_charge(schema_writer *w, size_t parts) {
  if (parts <= SCHEMA_PARTS_MOST && (w->parts += (uint32_t)parts) <= SCHEMA_PARTS_MOST) return NULL;
  return schema_fail(w, DURE_UNSUPPORTED, "the schema has more than %d parts", SCHEMA_PARTS_MOST);
}

void schema_add_rule(schema_writer *w, uint32_t rule, const dure_bytes *body) {
  schema_print(&w->rules, "s%u ::= ", rule);
  dure_bytes_append(&w->rules, body->data, body->size);
  dure_bytes_append_text(&w->rules, "\n");
  if (body->is_failed) w->rules.is_failed = true;
}

dure_status schema_count(const schema_writer *w, const json_t *schema, const char *key, json_int_t otherwise,
                         json_int_t *out_count) {
  const json_t *value = json_object_get(schema, key);
  *out_count = otherwise;
  if (value == NULL) return NULL;
  if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > DURE_GRAMMAR_STATES_MOST)
    return schema_fail(w, DURE_INVALID_ARGUMENT, "'%s' must be a whole number from 0 to %d", key,
                       DURE_GRAMMAR_STATES_MOST);
  *out_count = json_integer_value(value);
  return NULL;
}

dure_status schema_write_literal(const json_t *value, dure_bytes *out) {
  char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(16));
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema");
  dure_bytes_append_text(out, "\"");
  for (const char *c = text; *c != '\0'; c++) {
    if (*c == '"' || *c == '\\') dure_bytes_append_text(out, "\\");
    dure_bytes_append(out, c, 1);
  }
  dure_bytes_append_text(out, "\"");
  free(text);
  return NULL;
}

// ---- keywords ----------------------------------------------------------------------------------------------------

typedef enum keyword_kind {
  KEYWORD_TEXT,   // says nothing about instances
  KEYWORD_PLACE,  // where schemas lie
  KEYWORD_ANY,    // about instances of every type
  KEYWORD_OBJECT,
  KEYWORD_ARRAY,
  KEYWORD_STRING,
  KEYWORD_NUMBER,
} keyword_kind;

static const struct {
  const char *name;
  keyword_kind kind;
} keywords[] = {
    {"title", KEYWORD_TEXT},
    {"description", KEYWORD_TEXT},
    {"default", KEYWORD_TEXT},
    {"examples", KEYWORD_TEXT},
    {"example", KEYWORD_TEXT},
    {"$schema", KEYWORD_TEXT},
    {"$id", KEYWORD_TEXT},
    {"$comment", KEYWORD_TEXT},
    {"deprecated", KEYWORD_TEXT},
    {"readOnly", KEYWORD_TEXT},
    {"writeOnly", KEYWORD_TEXT},
    {"$defs", KEYWORD_PLACE},
    {"definitions", KEYWORD_PLACE},
    {"$ref", KEYWORD_ANY},
    {"type", KEYWORD_ANY},
    {"enum", KEYWORD_ANY},
    {"const", KEYWORD_ANY},
    {"anyOf", KEYWORD_ANY},
    {"oneOf", KEYWORD_ANY},
    {"allOf", KEYWORD_ANY},
    {"properties", KEYWORD_OBJECT},
    {"required", KEYWORD_OBJECT},
    {"additionalProperties", KEYWORD_OBJECT},
    {"minProperties", KEYWORD_OBJECT},
    {"maxProperties", KEYWORD_OBJECT},
    {"items", KEYWORD_ARRAY},
    {"prefixItems", KEYWORD_ARRAY},
    {"minItems", KEYWORD_ARRAY},
    {"maxItems", KEYWORD_ARRAY},
    {"uniqueItems", KEYWORD_ARRAY},
    {"minLength", KEYWORD_STRING},
    {"maxLength", KEYWORD_STRING},
    {"pattern", KEYWORD_STRING},
    {"format", KEYWORD_STRING},
    {"minimum", KEYWORD_NUMBER},
    {"maximum", KEYWORD_NUMBER},
    {"exclusiveMinimum", KEYWORD_NUMBER},
    {"exclusiveMaximum", KEYWORD_NUMBER},
    {"multipleOf", KEYWORD_NUMBER},
};

static bool find_keyword(const char *name, keyword_kind *out_kind) {
  for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++) {
    if (strcmp(keywords[i].name, name) != 0) continue;
    *out_kind = keywords[i].kind;
    return true;
  }
  return false;
}

typedef enum schema_type {
  TYPE_OBJECT,
  TYPE_ARRAY,
  TYPE_STRING,
  TYPE_NUMBER,
  TYPE_INTEGER,
  TYPE_BOOLEAN,
  TYPE_NULL,
  TYPE_COUNT
} schema_type;
static const char *const type_names[TYPE_COUNT] = {"object", "array", "string", "number", "integer", "boolean", "null"};
#define ALL_TYPES ((1U << TYPE_COUNT) - 1)

static dure_status add_type(const schema_writer *w, const json_t *name, uint32_t *types) {
  const char *text = json_string_value(name);
  for (uint32_t i = 0; i < TYPE_COUNT && text != NULL; i++) {
    if (strcmp(type_names[i], text) != 0) continue;
    *types |= 1U << i;
    return NULL;
  }
  return schema_fail(w, DURE_INVALID_ARGUMENT, "'type' %.40s is none", text != NULL ? text : "that is no text");
}

// The types that a schema allows by its 'type', or else those that its keywords are about. Refuses what is not known.
static dure_status read_types(const schema_writer *w, const json_t *schema, uint32_t *out_types) {
  const json_t *type = json_object_get(schema, "type");
  uint32_t implied = 0;
  const char *name = NULL;
  json_t *value = NULL, *object = (json_t *)(size_t)schema;
  *out_types = 0;
  json_object_foreach(object, name, value) {
    keyword_kind kind = KEYWORD_TEXT;
    if (!find_keyword(name, &kind)) return schema_fail(w, DURE_UNSUPPORTED, "'%.60s' is not supported", name);
    if (kind == KEYWORD_OBJECT) implied |= 1U << TYPE_OBJECT;
    if (kind == KEYWORD_ARRAY) implied |= 1U << TYPE_ARRAY;
    if (kind == KEYWORD_STRING) implied |= 1U << TYPE_STRING;
    if (kind == KEYWORD_NUMBER) implied |= 1U << TYPE_NUMBER;
  }
  for (size_t i = 0; i < json_array_size(type); i++) DURE_TRY(add_type(w, json_array_get(type, i), out_types));
  if (type != NULL && !json_is_array(type)) DURE_TRY(add_type(w, type, out_types));
  if (json_is_array(type) && json_array_size(type) == 0)
    return schema_fail(w, DURE_INVALID_ARGUMENT, "'type' must not be an empty list");
  if (type == NULL) *out_types = implied != 0 ? implied : ALL_TYPES;
  return NULL;
}

static bool has_type(const json_t *value, uint32_t types) {
  switch (json_typeof(value)) {
    case JSON_OBJECT: return (types & 1U << TYPE_OBJECT) != 0;
    case JSON_ARRAY: return (types & 1U << TYPE_ARRAY) != 0;
    case JSON_STRING: return (types & 1U << TYPE_STRING) != 0;
    case JSON_INTEGER: return (types & (1U << TYPE_NUMBER | 1U << TYPE_INTEGER)) != 0;
    case JSON_REAL: return (types & 1U << TYPE_NUMBER) != 0;
    case JSON_NULL: return (types & 1U << TYPE_NULL) != 0;
    default: return (types & 1U << TYPE_BOOLEAN) != 0;
  }
}

// ---- bodies ------------------------------------------------------------------------------------------------------

// enum and const, of the types allowed.
static dure_status write_listed(const schema_writer *w, const json_t *schema, uint32_t types, dure_bytes *out) {
  const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
  const char *name = NULL;
  json_t *value = NULL, *object = (json_t *)(size_t)schema;
  bool is_first = true;
  json_object_foreach(object, name, value) {
    keyword_kind kind = KEYWORD_TEXT;
    if (!find_keyword(name, &kind) || kind > KEYWORD_ANY)
      return schema_fail(w, DURE_UNSUPPORTED, "'%.60s' beside 'enum' or 'const' is not supported", name);
  }
  if (list != NULL && !json_is_array(list)) return schema_fail(w, DURE_INVALID_ARGUMENT, "'enum' must be a list");
  for (size_t i = 0; i < (list != NULL ? json_array_size(list) : 1); i++) {
    const json_t *candidate = list != NULL ? json_array_get(list, i) : one;
    if (!has_type(candidate, types) || (list != NULL && one != NULL && !json_equal(candidate, one))) continue;
    dure_bytes_append_text(out, is_first ? "" : " | ");
    DURE_TRY(schema_write_literal(candidate, out));
    is_first = false;
  }
  return is_first ? schema_fail(w, DURE_INVALID_ARGUMENT, "none of the listed values is of the 'type'") : NULL;
}

static dure_status write_types(schema_writer *w, const json_t *schema, uint32_t types, dure_bytes *out) {
  bool is_first = true;
  if ((types & 1U << TYPE_NUMBER) != 0) types &= ~(1U << TYPE_INTEGER);
  for (uint32_t type = 0; type < TYPE_COUNT; type++) {
    if ((types & 1U << type) == 0) continue;
    dure_bytes_append_text(out, is_first ? "" : " | ");
    is_first = false;
    switch ((schema_type)type) {
      case TYPE_OBJECT: DURE_TRY(schema_write_object(w, schema, out)); break;
      case TYPE_ARRAY: DURE_TRY(schema_write_array(w, schema, out)); break;
      case TYPE_STRING: DURE_TRY(schema_write_string(w, schema, out)); break;
      case TYPE_NUMBER: DURE_TRY(schema_write_number(w, schema, false, out)); break;
      case TYPE_INTEGER: DURE_TRY(schema_write_number(w, schema, true, out)); break;
      case TYPE_BOOLEAN: dure_bytes_append_text(out, "boolean"); break;
      default: dure_bytes_append_text(out, "\"null\"");
    }
  }
  return NULL;
}

static json_t *copy_without(schema_writer *w, const json_t *schema, const char *key) {
  json_t *copy = json_copy((json_t *)(size_t)schema);
  if (copy == NULL) return NULL;
  json_object_del(copy, key);
  return json_array_append_new(w->made, copy) == 0 ? copy : NULL;
}

// Each alternative, joined with what stands beside.
static dure_status write_alternatives(schema_writer *w, const json_t *schema, const char *key, dure_bytes *out) {
  const json_t *list = json_object_get(schema, key), *rest = copy_without(w, schema, key);
  if (rest == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema");
  if (!json_is_array(list) || json_array_size(list) == 0)
    return schema_fail(w, DURE_INVALID_ARGUMENT, "'%s' must be a list of schemas", key);
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *joined = NULL;
    uint32_t rule = 0;
    DURE_TRY(schema_join(w, rest, json_array_get(list, i), &joined));
    DURE_TRY(schema_write(w, joined, key, &rule));
    schema_print(out, "%ss%u", i > 0 ? " | " : "", rule);
  }
  return NULL;
}

static dure_status write_joined(schema_writer *w, const json_t *schema, const char *key, dure_bytes *out) {
  const json_t *list = json_object_get(schema, key), *joined = copy_without(w, schema, key);
  uint32_t rule = 0;
  if (joined == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema");
  if (strcmp(key, "$ref") == 0) {
    const json_t *target = NULL;
    DURE_TRY(schema_resolve(w, list, &target));
    DURE_TRY(schema_join(w, joined, target, &joined));
  } else if (!json_is_array(list)) {
    return schema_fail(w, DURE_INVALID_ARGUMENT, "'%s' must be a list of schemas", key);
  }
  for (size_t i = 0; i < json_array_size(list); i++) DURE_TRY(schema_join(w, joined, json_array_get(list, i), &joined));
  DURE_TRY(schema_write(w, joined, key, &rule));
  schema_print(out, "s%u", rule);
  return NULL;
}

// Whether a $ref stands alone, so that its target's rule is all there is.
static bool is_only_reference(const json_t *schema) {
  const char *name = NULL;
  json_t *value = NULL, *object = (json_t *)(size_t)schema;
  json_object_foreach(object, name, value) {
    keyword_kind kind = KEYWORD_ANY;
    if (strcmp(name, "$ref") != 0 && find_keyword(name, &kind) && kind > KEYWORD_PLACE) return false;
  }
  return json_object_get(schema, "$ref") != NULL;
}

static dure_status write_body(schema_writer *w, const json_t *schema, dure_bytes *out) {
  if (json_is_true(schema)) {
    dure_bytes_append_text(out, "value");
    return NULL;
  }
  if (json_is_false(schema)) return schema_fail(w, DURE_INVALID_ARGUMENT, "no value fits 'false'");
  if (!json_is_object(schema))
    return schema_fail(w, DURE_INVALID_ARGUMENT, "a schema must be an object, true or false");
  uint32_t types = 0;
  DURE_TRY(read_types(w, schema, &types));
  if (json_object_get(schema, "$ref") != NULL) return write_joined(w, schema, "$ref", out);
  if (json_object_get(schema, "allOf") != NULL) return write_joined(w, schema, "allOf", out);
  if (json_object_get(schema, "anyOf") != NULL) return write_alternatives(w, schema, "anyOf", out);
  if (json_object_get(schema, "oneOf") != NULL) return write_alternatives(w, schema, "oneOf", out);
  if (json_object_get(schema, "enum") != NULL || json_object_get(schema, "const") != NULL)
    return write_listed(w, schema, types, out);
  if (types == ALL_TYPES) {
    dure_bytes_append_text(out, "value");
    return NULL;
  }
  return write_types(w, schema, types, out);
}

// ---- rules -------------------------------------------------------------------------------------------------------

static dure_status remember(schema_writer *w, const json_t *schema, uint32_t rule) {
  if (w->known_count == w->known_capacity) {
    const size_t capacity = w->known_capacity * 2 + 16;
    schema_rule *grown = realloc(w->known, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema");
    w->known = grown;
    w->known_capacity = capacity;
  }
  w->known[w->known_count++] = (schema_rule){schema, rule};
  return NULL;
}

static dure_status write_rule(schema_writer *w, const json_t *schema, uint32_t *out_rule) {
  dure_bytes body = {0};
  *out_rule = w->rule_count++;
  DURE_TRY(remember(w, schema, *out_rule));
  dure_status status = write_body(w, schema, &body);
  if (status == NULL) schema_add_rule(w, *out_rule, &body);
  dure_bytes_free(&body);
  return status;
}

dure_status schema_write(schema_writer *w, const json_t *schema, const char *step, uint32_t *out_rule) {
  const size_t length = strlen(w->place);
  const json_t *root = w->root;
  dure_status status = NULL;
  *out_rule = 0;
  if (json_object_get(schema, "$id") != NULL) w->root = schema;  // references below begin there
  if (step != NULL) snprintf(w->place + length, sizeof(w->place) - length, "/%.60s", step);
  status = schema_charge(w, 1);
  if (status == NULL && w->rules.size > DURE_GRAMMAR_TEXT_MOST)
    status = schema_fail(w, DURE_UNSUPPORTED, "the schema's grammar has more than %d bytes", DURE_GRAMMAR_TEXT_MOST);
  if (status == NULL && w->depth++ > SCHEMA_DEPTH_MOST)
    status = schema_fail(w, DURE_UNSUPPORTED, "the schema is more than %d deep", SCHEMA_DEPTH_MOST);
  for (uint32_t hops = 0; status == NULL && is_only_reference(schema); hops++) {
    uint32_t types = 0;
    status = read_types(w, schema, &types);
    if (status == NULL) status = schema_resolve(w, json_object_get(schema, "$ref"), &schema);
    if (status == NULL && hops > SCHEMA_DEPTH_MOST)
      status = schema_fail(w, DURE_INVALID_ARGUMENT, "the references lead in a circle");
  }
  size_t known = 0;
  while (known < w->known_count && w->known[known].schema != schema) known++;
  if (status == NULL && known < w->known_count) *out_rule = w->known[known].rule;
  if (status == NULL && known == w->known_count) status = write_rule(w, schema, out_rule);
  if (status == NULL) {
    w->depth--;
    w->place[length] = '\0';
  }
  w->root = root;
  return status;
}

// ---- references --------------------------------------------------------------------------------------------------

// The next part of a JSON pointer (RFC 6901), unescaped.
static bool read_step(const char **at, char *out_step, size_t capacity) {
  size_t length = 0;
  for (++*at; **at != '\0' && **at != '/'; ++*at) {
    char c = **at;
    if (c == '%' || length + 1 >= capacity) return false;
    if (c == '~') c = *++*at == '0' ? '~' : '/';
    if (**at == '\0') return false;
    out_step[length++] = c;
  }
  out_step[length] = '\0';
  return true;
}

dure_status schema_resolve(schema_writer *w, const json_t *reference, const json_t **out_schema) {
  const char *text = json_string_value(reference);
  char step[256];
  *out_schema = w->root;
  if (text == NULL || text[0] != '#' || (text[1] != '\0' && text[1] != '/'))
    return schema_fail(w, DURE_UNSUPPORTED, "'$ref' must point into the same schema (#/$defs/...)%s%.60s",
                       text != NULL ? ", found " : "", text != NULL ? text : "");
  for (const char *at = text + 1; *at == '/' && *out_schema != NULL;) {
    if (!read_step(&at, step, sizeof(step)))
      return schema_fail(w, DURE_UNSUPPORTED, "'$ref' %.60s is not supported", text);
    *out_schema = json_is_array(*out_schema) ? json_array_get(*out_schema, (size_t)strtoul(step, NULL, 10))
                                             : json_object_get(*out_schema, step);
  }
  return *out_schema != NULL ? NULL : schema_fail(w, DURE_INVALID_ARGUMENT, "'$ref' %.60s points to nothing", text);
}

// ---- the grammar -------------------------------------------------------------------------------------------------

static void writer_clear(schema_writer *w) {
  dure_bytes_free(&w->rules);
  free(w->known);
  json_decref(w->made);
}

dure_status dure_json_schema_text(const json_t *schema, const char *before, const char *after, char **out_text) {
  schema_writer w = {.root = schema, .made = json_array(), .place = "#"};
  uint32_t rule = 0;
  *out_text = NULL;
  dure_status status = w.made != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a schema");
  if (status == NULL && schema != NULL) status = schema_write(&w, schema, NULL, &rule);
  if (status == NULL) {
    if (schema == NULL) schema_print(&w.rules, "root ::= %s object %s\n", before, after);
    if (schema != NULL) schema_print(&w.rules, "root ::= %s s%u %s\n", before, rule, after);
    dure_bytes_append(&w.rules, shared_rules, sizeof(shared_rules));  // its NUL too
    status = dure_bytes_status(&w.rules);
  }
  if (status == NULL) {
    *out_text = w.rules.data;
    w.rules = (dure_bytes){0};
  }
  writer_clear(&w);
  return status;
}

dure_status dure_json_schema_compile(const json_t *schema, dure_grammar **out_grammar) {
  char *text = NULL;
  *out_grammar = NULL;
  DURE_TRY(dure_json_schema_text(schema, "", "", &text));
  dure_status status = dure_status_prefix(dure_grammar_parse(text, strlen(text), out_grammar), "schema");
  free(text);
  return status;
}

dure_status dure_json_schema_parse(const char *text, size_t length, dure_grammar **out_grammar) {
  json_error_t error;
  *out_grammar = NULL;
  if (length > DURE_GRAMMAR_TEXT_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "a schema may have %d bytes at most", DURE_GRAMMAR_TEXT_MOST);
  json_t *schema = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
  if (schema == NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "the schema is not JSON: line %d, column %d: %s", error.line, error.column,
                     error.text);
  dure_status status = dure_json_schema_compile(schema, out_grammar);
  json_decref(schema);
  return status;
}
