// Reading a request's body: JSON whose every field is known, in the range it may have, or refused by name.
#ifndef DURE_SERVE_FIELDS_H_
#define DURE_SERVE_FIELDS_H_

#include <jansson.h>
#include <stddef.h>

#include "runtime/status.h"

// Parses an object. DURE_INVALID_ARGUMENT naming line and column for what is not JSON or not UTF-8. Release with
// json_decref.
DURE_MUST_CHECK dure_status body_parse(const char *bytes, size_t length, json_t **out_object);

typedef enum field_use {
  FIELD_TAKEN,
  FIELD_IGNORED,  // OpenAI has it; it changes nothing here
  FIELD_REFUSED,  // OpenAI has it, and it would; only null and its neutral value are let through
} field_use;

typedef struct field_row {
  const char *name;
  field_use use;
  const char *neutral;  // JSON; NULL: none but null
} field_row;

// The first mistake sticks, with the field that made it; readers then give defaults. Start from {.object = ...}.
typedef struct field_reader {
  const json_t *object;
  const char *field;   // of the mistake: owned by `object` or a literal
  dure_status status;  // owned by whoever reads the fields
} field_reader;

void field_refuse(field_reader *reader, const char *name, dure_status status);  // takes the status; NULL is fine
// Every field of the object must have a row.
void field_check_names(field_reader *reader, const field_row *rows, size_t count);
// A missing or null field gives `otherwise`. Names must be literals.
double field_number(field_reader *reader, const char *name, double least, double most, double otherwise);
json_int_t field_integer(field_reader *reader, const char *name, json_int_t least, json_int_t most,
                         json_int_t otherwise);
bool field_flag(field_reader *reader, const char *name, bool otherwise);
const json_t *field_value(const field_reader *reader, const char *name);  // NULL: missing or null

#endif  // DURE_SERVE_FIELDS_H_
