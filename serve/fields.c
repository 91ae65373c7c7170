#include "serve/fields.h"

#include <math.h>
#include <string.h>

dure_status body_parse(const char *bytes, size_t length, json_t **out_object) {
  json_error_t error;
  *out_object = NULL;
  if (length == 0) return dure_fail(DURE_INVALID_ARGUMENT, "the body is empty; it must be a JSON object");
  json_t *parsed = json_loadb(bytes, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
  if (parsed == NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "the body is not JSON: %s at line %d, column %d (byte %d)", error.text,
                     error.line, error.column, error.position);
  if (!json_is_object(parsed)) {
    json_decref(parsed);
    return dure_fail(DURE_INVALID_ARGUMENT, "the body must be a JSON object");
  }
  *out_object = parsed;
  return NULL;
}

void field_refuse(field_reader *reader, const char *name, dure_status status) {
  if (reader->status != NULL || status == NULL) {
    dure_status_free(status);
    return;
  }
  reader->field = name;
  reader->status = status;
}

static void check_name(field_reader *reader, const char *name, const json_t *value, const field_row *rows,
                       size_t count) {
  size_t i = 0;
  while (i < count && strcmp(rows[i].name, name) != 0) i++;
  if (i == count) {
    field_refuse(reader, name, dure_fail(DURE_INVALID_ARGUMENT, "there is no option '%.60s'", name));
    return;
  }
  if (rows[i].use != FIELD_REFUSED || json_is_null(value)) return;
  json_t *neutral = rows[i].neutral != NULL ? json_loads(rows[i].neutral, JSON_DECODE_ANY, NULL) : NULL;
  const bool is_neutral = neutral != NULL && json_equal(neutral, value);
  json_decref(neutral);
  if (is_neutral) return;
  field_refuse(reader, rows[i].name,
               dure_fail(DURE_UNSUPPORTED, "'%s' is not supported%s%s", rows[i].name,
                         rows[i].neutral != NULL ? "; leave it out, or give " : "; leave it out",
                         rows[i].neutral != NULL ? rows[i].neutral : ""));
}

void field_check_names(field_reader *reader, const field_row *rows, size_t count) {
  const char *name = NULL;
  json_t *value = NULL;
  json_t *object = (json_t *)(size_t)reader->object;
  json_object_foreach(object, name, value) check_name(reader, name, value, rows, count);
}

const json_t *field_value(const field_reader *reader, const char *name) {
  const json_t *value = json_object_get(reader->object, name);
  return json_is_null(value) ? NULL : value;
}

double field_number(field_reader *reader, const char *name, double least, double most, double otherwise) {
  const json_t *value = field_value(reader, name);
  if (value == NULL) return otherwise;
  const double number = json_number_value(value);
  if (json_is_number(value) && number >= least && number <= most) return number;
  field_refuse(reader, name,
               isinf(most)
                   ? dure_fail(DURE_INVALID_ARGUMENT, "'%s' must be a number of at least %g", name, least)
                   : dure_fail(DURE_INVALID_ARGUMENT, "'%s' must be a number from %g to %g", name, least, most));
  return otherwise;
}

json_int_t field_integer(field_reader *reader, const char *name, json_int_t least, json_int_t most,
                         json_int_t otherwise) {
  const json_t *value = field_value(reader, name);
  if (value == NULL) return otherwise;
  const json_int_t integer = json_integer_value(value);
  if (json_is_integer(value) && integer >= least && integer <= most) return integer;
  field_refuse(reader, name,
               dure_fail(DURE_INVALID_ARGUMENT, "'%s' must be an integer from %lld to %lld", name, (long long)least,
                         (long long)most));
  return otherwise;
}

bool field_flag(field_reader *reader, const char *name, bool otherwise) {
  const json_t *value = field_value(reader, name);
  if (value == NULL) return otherwise;
  if (!json_is_boolean(value))
    field_refuse(reader, name, dure_fail(DURE_INVALID_ARGUMENT, "'%s' must be true or false", name));
  return json_is_true(value);
}
