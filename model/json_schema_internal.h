// JSON schemas between their parts.
#ifndef DURE_MODEL_JSON_SCHEMA_INTERNAL_H_
#define DURE_MODEL_JSON_SCHEMA_INTERNAL_H_

#include <jansson.h>
#include <stdint.h>

#include "data/bytes.h"
#include "model/json_schema.h"

enum { SCHEMA_DEPTH_MOST = 64, SCHEMA_PARTS_MOST = 20000 };

// A schema that has a rule already: the value of a $ref.
typedef struct schema_rule {
  const json_t *schema;
  uint32_t rule;
} schema_rule;

typedef struct schema_writer {
  const json_t *root;
  dure_bytes rules;  // finished ones
  uint32_t rule_count, depth, parts;
  schema_rule *known;
  size_t known_count, known_capacity;
  json_t *made;     // list of schemas that were put together
  char place[256];  // of what is being written: "#/properties/age"
} schema_writer;

// A failure at the present place.
DURE_MUST_CHECK dure_status schema_fail(const schema_writer *w, dure_code code, const char *format, ...)
    DURE_PRINTF(3, 4);
void schema_print(dure_bytes *out, const char *format, ...) DURE_PRINTF(2, 3);

// Counts what takes time or memory as so many more parts.
DURE_MUST_CHECK dure_status schema_charge(schema_writer *w, size_t parts);
// The number of the rule for `schema`, which is written; `step` is its name below the present place (NULL: the same).
DURE_MUST_CHECK dure_status schema_write(schema_writer *w, const json_t *schema, const char *step, uint32_t *out_rule);
// Adds the rule with number `rule`.
void schema_add_rule(schema_writer *w, uint32_t rule, const dure_bytes *body);
// One schema that asks for both; owned by the writer.
DURE_MUST_CHECK dure_status schema_join(schema_writer *w, const json_t *a, const json_t *b, const json_t **out_schema);
DURE_MUST_CHECK dure_status schema_resolve(schema_writer *w, const json_t *reference, const json_t **out_schema);
// A text of the grammar for a JSON value.
DURE_MUST_CHECK dure_status schema_write_literal(const json_t *value, dure_bytes *out);
// A whole number; `otherwise` where there is none.
DURE_MUST_CHECK dure_status schema_count(const schema_writer *w, const json_t *schema, const char *key,
                                         json_int_t otherwise, json_int_t *out_count);

// Bodies of rules, by type.
DURE_MUST_CHECK dure_status schema_write_object(schema_writer *w, const json_t *schema, dure_bytes *out);
DURE_MUST_CHECK dure_status schema_write_array(schema_writer *w, const json_t *schema, dure_bytes *out);
DURE_MUST_CHECK dure_status schema_write_string(schema_writer *w, const json_t *schema, dure_bytes *out);
DURE_MUST_CHECK dure_status schema_write_number(schema_writer *w, const json_t *schema, bool is_integer,
                                                dure_bytes *out);

#endif  // DURE_MODEL_JSON_SCHEMA_INTERNAL_H_
