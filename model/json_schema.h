// JSON Schema as a grammar (model/grammar.h): every text of the grammar is a valid instance of the schema.
//
// Not every valid instance is a text of it: properties come in the order of the schema, whitespace is a space or a
// line's end with up to 20 blanks, numbers have 16 digits before and after the point at most, and properties that the
// schema does not name are written only where additionalProperties says so (or no property is named). oneOf is taken as
// anyOf: where two of its schemas overlap, what fits both may be written.
//
// Taken: type (also a list), properties, required, additionalProperties, minProperties, maxProperties, items,
// prefixItems, minItems, maxItems, minLength, maxLength, pattern (model/json_pattern.h), format (date, time, date-time,
// uuid, ipv4), minimum, maximum, exclusiveMinimum, exclusiveMaximum (of whole numbers), multipleOf 1, enum, const,
// anyOf, oneOf, allOf (joined), $ref into the same schema, also recursive, $defs, definitions, true and false; title,
// description, default, examples and their like. Everything else is refused by its name: DURE_UNSUPPORTED.
#ifndef DURE_MODEL_JSON_SCHEMA_H_
#define DURE_MODEL_JSON_SCHEMA_H_

#include "model/grammar.h"

struct json_t;

// The grammar's text, NUL-terminated, with expressions for what comes before and after the value ("": nothing); free().
// NULL for `schema`: any JSON object. DURE_INVALID_ARGUMENT for what is no
// schema or has no instance, DURE_UNSUPPORTED for what is not taken, both with its place ("#/properties/age").
DURE_MUST_CHECK dure_status dure_json_schema_text(const struct json_t *schema, const char *before, const char *after,
                                                  char **out_text);
// The same, compiled.
DURE_MUST_CHECK dure_status dure_json_schema_compile(const struct json_t *schema, dure_grammar **out_grammar);
// The same for the text of a schema.
DURE_MUST_CHECK dure_status dure_json_schema_parse(const char *text, size_t length, dure_grammar **out_grammar);

#endif  // DURE_MODEL_JSON_SCHEMA_H_
