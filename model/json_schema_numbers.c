// Numbers between bounds, by their digits.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/json_schema_internal.h"

enum { DIGITS_MOST = 16 };
static const json_int_t largest = INT64_C(9999999999999999);  // of that many digits

static void write_digits(dure_bytes *out, size_t count) {
  if (count > 0) schema_print(out, " [0-9]{%zu}", count);
}

// Numbers of as many digits as both have, from `low` to `high` (texts of `count` digits).
static void write_same_length(dure_bytes *out, const char *low, const char *high, size_t count) {
  size_t same = 0;
  while (same < count && low[same] == high[same]) same++;
  schema_print(out, "(\"%.*s\"", (int)same, low);
  if (same == count) {
    dure_bytes_append_text(out, ")");
    return;
  }
  const size_t rest = count - same - 1;
  const bool is_low_round = strspn(low + same + 1, "0") >= rest, is_high_round = strspn(high + same + 1, "9") >= rest;
  const char from = (char)(low[same] + (is_low_round ? 0 : 1)), to = (char)(high[same] - (is_high_round ? 0 : 1));
  char nines[DIGITS_MOST + 8], zeros[DIGITS_MOST + 8];
  memset(nines, '9', sizeof(nines));
  memset(zeros, '0', sizeof(zeros));
  nines[rest] = zeros[rest] = '\0';
  dure_bytes_append_text(out, " (");
  bool is_first = true;
  if (from <= to) {
    schema_print(out, "[%c-%c]", from, to);
    write_digits(out, rest);
    is_first = false;
  }
  if (!is_low_round) {
    schema_print(out, "%s\"%c\" ", is_first ? "" : " | ", low[same]);
    write_same_length(out, low + same + 1, nines, rest);
    is_first = false;
  }
  if (!is_high_round) {
    schema_print(out, "%s\"%c\" ", is_first ? "" : " | ", high[same]);
    write_same_length(out, zeros, high + same + 1, rest);
  }
  dure_bytes_append_text(out, "))");
}

// Whole numbers, 0 <= low <= high, without sign.
static void write_range(dure_bytes *out, json_int_t low, json_int_t high) {
  char from[32], to[32], nines[32];
  bool is_first = true;
  dure_bytes_append_text(out, "(");
  for (;;) {
    snprintf(from, sizeof(from), "%" JSON_INTEGER_FORMAT, low);
    snprintf(to, sizeof(to), "%" JSON_INTEGER_FORMAT, high);
    const size_t digits = strlen(from);
    const bool is_last = digits == strlen(to);
    memset(nines, '9', digits);
    nines[digits] = '\0';
    dure_bytes_append_text(out, is_first ? "" : " | ");
    write_same_length(out, from, is_last ? to : nines, digits);
    if (is_last) break;
    is_first = false;
    for (low = 1; digits + 1 > 0 && snprintf(NULL, 0, "%" JSON_INTEGER_FORMAT, low) <= (int)digits;) low *= 10;
  }
  dure_bytes_append_text(out, ")");
}

typedef struct bounds {
  json_int_t low, high;
  bool excludes_low, excludes_high;  // of numbers that need not be whole
} bounds;

static dure_status read_bound(const schema_writer *w, const json_t *schema, const char *key, json_int_t *out_bound,
                              bool *out_is_there) {
  const json_t *value = json_object_get(schema, key);
  *out_is_there = value != NULL;
  if (value == NULL) return NULL;
  if (!json_is_number(value)) return schema_fail(w, DURE_INVALID_ARGUMENT, "'%s' must be a number", key);
  const double number = json_number_value(value);
  if (floor(number) != number || fabs(number) > (double)largest)
    return schema_fail(w, DURE_UNSUPPORTED,
                       "'%s' of %g is not supported: bounds must be whole numbers of at most %d digits", key, number,
                       DIGITS_MOST);
  *out_bound = json_is_integer(value) ? json_integer_value(value) : (json_int_t)number;
  return NULL;
}

static dure_status read_bounds(const schema_writer *w, const json_t *schema, bounds *b) {
  *b = (bounds){.low = -largest, .high = largest};
  json_int_t other = 0;
  bool is_there = false;
  DURE_TRY(read_bound(w, schema, "minimum", &b->low, &is_there));
  DURE_TRY(read_bound(w, schema, "exclusiveMinimum", &other, &is_there));
  if (is_there && other >= b->low) b->low = other, b->excludes_low = true;
  DURE_TRY(read_bound(w, schema, "maximum", &b->high, &is_there));
  DURE_TRY(read_bound(w, schema, "exclusiveMaximum", &other, &is_there));
  if (is_there && other <= b->high) b->high = other, b->excludes_high = true;
  return NULL;
}

static void write_whole(dure_bytes *out, json_int_t low, json_int_t high) {
  if (low < 0) {
    dure_bytes_append_text(out, "\"-\" ");
    write_range(out, high < 0 ? -high : 1, -low);
    if (high >= 0) dure_bytes_append_text(out, " | ");
  }
  if (high >= 0) write_range(out, low > 0 ? low : 0, high);
}

// Numbers without sign, 0 <= low <= high, that need not be whole. Nothing is written where there are none; *is_first
// says whether something was.
static void write_fractions(dure_bytes *out, bounds b, const char *sign, bool *is_first) {
  if (b.low == b.high) {
    if (b.excludes_low || b.excludes_high) return;
    schema_print(out, "%s%s\"%" JSON_INTEGER_FORMAT "\" (\".\" \"0\"{1,9})?", *is_first ? "" : " | ", sign, b.low);
    *is_first = false;
    return;
  }
  schema_print(out, "%s%s\"%" JSON_INTEGER_FORMAT "\" ", *is_first ? "" : " | ", sign, b.low);
  dure_bytes_append_text(out, b.excludes_low ? "\".\" [0-9]{0,8} [1-9] [0-9]{0,7}" : "(\".\" [0-9]{1,16})?");
  if (b.low + 1 < b.high) {
    schema_print(out, " | %s", sign);
    write_range(out, b.low + 1, b.high - 1);
    dure_bytes_append_text(out, " (\".\" [0-9]{1,16})?");
  }
  if (!b.excludes_high) schema_print(out, " | %s\"%" JSON_INTEGER_FORMAT "\" (\".\" \"0\"{1,9})?", sign, b.high);
  *is_first = false;
}

static dure_status check_multiple(const schema_writer *w, const json_t *schema, bool is_integer) {
  const json_t *value = json_object_get(schema, "multipleOf");
  if (value == NULL || (is_integer && json_is_integer(value) && json_integer_value(value) == 1)) return NULL;
  return schema_fail(w, DURE_UNSUPPORTED, "'multipleOf' is not supported (but 1, of integers)");
}

dure_status schema_write_number(schema_writer *w, const json_t *schema, bool is_integer, dure_bytes *out) {
  static const char *const keys[] = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"};
  bool is_bounded = false, is_first = true;
  bounds b;
  DURE_TRY(check_multiple(w, schema, is_integer));
  for (size_t i = 0; i < 4; i++) is_bounded = is_bounded || json_object_get(schema, keys[i]) != NULL;
  if (!is_bounded) {
    dure_bytes_append_text(out, is_integer ? "integer" : "number");
    return NULL;
  }
  DURE_TRY(read_bounds(w, schema, &b));
  if (is_integer) {
    b.low += b.excludes_low ? 1 : 0;
    b.high -= b.excludes_high ? 1 : 0;
    if (b.low <= b.high) write_whole(out, b.low, b.high);
    is_first = b.low > b.high;
  } else if (b.low <= b.high) {
    const bool crosses = b.low < 0 && b.high > 0;
    if (b.low < 0) {
      const bounds mirrored = {crosses ? 0 : -b.high, -b.low, !crosses && b.excludes_high, b.excludes_low};
      write_fractions(out, mirrored, "\"-\" ", &is_first);
    }
    if (b.high > 0 || (b.low == 0 && b.high == 0)) {
      const bounds positive = {crosses ? 0 : b.low, b.high, !crosses && b.excludes_low, b.excludes_high};
      write_fractions(out, positive, "", &is_first);
    }
  }
  return is_first ? schema_fail(w, DURE_INVALID_ARGUMENT, "no number lies between the bounds") : NULL;
}
