#include "model/json_pattern.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANGES_MOST = 256, DEPTH_MOST = 60, LAST_CODE = 0x10ffff };

typedef struct code_set {
  struct {
    uint32_t low, high;
  } ranges[RANGES_MOST];
  uint32_t count;
} code_set;

typedef struct pattern_reader {
  const char *pattern, *at;
  dure_bytes *out;
  uint32_t depth;
} pattern_reader;

static dure_status refuse(const pattern_reader *r, const char *what) {
  return dure_fail(DURE_UNSUPPORTED, "'pattern' %.80s: %s (at character %zu) is not supported", r->pattern, what,
                   (size_t)(r->at - r->pattern) + 1);
}

static void write_format(dure_bytes *out, const char *format, uint32_t a, uint32_t b) {
  char text[64];
  snprintf(text, sizeof(text), format, a, b);
  dure_bytes_append_text(out, text);
}

// ---- sets of characters ------------------------------------------------------------------------------------------

static dure_status add_range(const pattern_reader *r, code_set *set, uint32_t low, uint32_t high) {
  if (set->count == RANGES_MOST) return refuse(r, "a class of so many characters");
  set->ranges[set->count].low = low;
  set->ranges[set->count++].high = high;
  return NULL;
}

// All other characters than those of `set`, which is replaced.
static dure_status invert(const pattern_reader *r, code_set *set) {
  code_set others = {.count = 0};
  uint32_t next = 0;
  while (next <= LAST_CODE) {  // the next range that ends at or after `next`, the lowest
    uint32_t low = LAST_CODE + 1, high = LAST_CODE;
    for (uint32_t i = 0; i < set->count; i++) {
      if (set->ranges[i].high < next || set->ranges[i].low >= low) continue;
      low = set->ranges[i].low;
      high = set->ranges[i].high;
    }
    if (low > next) DURE_TRY(add_range(r, &others, next, low - 1));
    next = (low > next ? low : next) > LAST_CODE ? LAST_CODE + 1 : high + 1;
  }
  *set = others;
  return NULL;
}

static dure_status add_kind(const pattern_reader *r, char kind, code_set *set) {
  code_set found = {.count = 0};
  switch (kind | 0x20) {
    case 'd': DURE_TRY(add_range(r, &found, '0', '9')); break;
    case 'w':
      DURE_TRY(add_range(r, &found, '0', '9'));
      DURE_TRY(add_range(r, &found, 'A', 'Z'));
      DURE_TRY(add_range(r, &found, '_', '_'));
      DURE_TRY(add_range(r, &found, 'a', 'z'));
      break;
    default: {
      static const uint32_t spaces[][2] = {{9, 13},          {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680},
                                           {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
                                           {0x3000, 0x3000}, {0xfeff, 0xfeff}};
      for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++)
        DURE_TRY(add_range(r, &found, spaces[i][0], spaces[i][1]));
    }
  }
  if (kind < 'a') DURE_TRY(invert(r, &found));
  for (uint32_t i = 0; i < found.count; i++) DURE_TRY(add_range(r, set, found.ranges[i].low, found.ranges[i].high));
  return NULL;
}

// A character that a JSON string must escape.
static void write_escaped(dure_bytes *out, uint32_t code) {
  static const char codes[] = "\"\\\n\r\t\b\f", names[] = "\"\\nrtbf";
  const char *found = code != 0 ? strchr(codes, (int)code) : NULL;
  if (found == NULL) {
    write_format(out, "\"\\\\u00%02x\"", code, 0);
  } else if (*found == '"' || *found == '\\') {
    dure_bytes_append_text(out, *found == '"' ? "\"\\\\\\\"\"" : "\"\\\\\\\\\"");
  } else {
    write_format(out, "\"\\\\%c\"", (uint32_t)names[found - codes], 0);
  }
}

static bool must_escape(uint32_t code) { return code < 0x20 || code == '"' || code == '\\'; }

// The part of low .. high that stands for itself.
static bool write_plain(dure_bytes *out, uint32_t low, uint32_t high) {
  static const uint32_t parts[][2] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0xd7ff}, {0xe000, LAST_CODE}};
  bool has_any = false;
  for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
    const uint32_t from = low > parts[i][0] ? low : parts[i][0], to = high < parts[i][1] ? high : parts[i][1];
    if (from > to) continue;
    if (out != NULL) write_format(out, "\\U%08x-\\U%08x", from, to);
    has_any = true;
  }
  return has_any;
}

static dure_status write_set(const pattern_reader *r, const code_set *set) {
  dure_bytes *out = r->out;
  bool has_plain = false, is_first = true;
  for (uint32_t i = 0; i < set->count; i++)
    has_plain = write_plain(NULL, set->ranges[i].low, set->ranges[i].high) || has_plain;
  dure_bytes_append_text(out, "(");
  if (has_plain) {
    dure_bytes_append_text(out, "[");
    for (uint32_t i = 0; i < set->count; i++) write_plain(out, set->ranges[i].low, set->ranges[i].high);
    dure_bytes_append_text(out, "]");
    is_first = false;
  }
  for (uint32_t code = 0; code <= '\\'; code++) {
    bool is_in = false;
    for (uint32_t i = 0; i < set->count; i++)
      is_in = is_in || (set->ranges[i].low <= code && code <= set->ranges[i].high);
    if (!is_in || !must_escape(code)) continue;
    if (!is_first) dure_bytes_append_text(out, "|");
    write_escaped(out, code);
    is_first = false;
  }
  dure_bytes_append_text(out, ")");
  return is_first ? refuse(r, "a class without characters") : NULL;
}

// ---- characters --------------------------------------------------------------------------------------------------

static dure_status read_hex(pattern_reader *r, uint32_t digits, uint32_t *out_code) {
  *out_code = 0;
  for (uint32_t i = 0; i < digits; i++, r->at++) {
    const char c = *r->at;
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return refuse(r, "an escape without its digits");
    *out_code = *out_code * 16 + (uint32_t)digit;
  }
  if (*out_code >= 0xd800 && *out_code < 0xe000) return refuse(r, "half a character (surrogate)");
  return NULL;
}

// A character of UTF-8, which jansson has checked.
static uint32_t read_plain(pattern_reader *r) {
  const uint8_t first = (uint8_t)*r->at++;
  const uint32_t extra = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
  uint32_t code = extra == 0 ? first : first & (0x3fU >> extra);
  for (uint32_t i = 0; i < extra && *r->at != '\0'; i++) code = code << 6 | ((uint8_t)*r->at++ & 0x3f);
  return code;
}

// After a backslash: one character, or a kind of them (added to `set`; *out_is_kind).
static dure_status read_escape(pattern_reader *r, code_set *set, uint32_t *out_code, bool *out_is_kind) {
  static const char names[] = "tnrfv0", codes[] = "\t\n\r\f\v\0";
  const char c = *r->at;
  *out_is_kind = c != '\0' && strchr("dDwWsS", c) != NULL;
  *out_code = 0;
  if (*out_is_kind) {
    DURE_TRY(add_kind(r, c, set));
    r->at++;
    return NULL;
  }
  const char *found = c != '\0' ? strchr(names, c) : NULL;
  if (c == 'x' || c == 'u') {
    r->at++;
    return read_hex(r, c == 'x' ? 2 : 4, out_code);
  }
  if (c == 'c' && ((r->at[1] | 0x20) >= 'a' && (r->at[1] | 0x20) <= 'z')) {
    *out_code = (uint32_t)r->at[1] & 0x1f;
    r->at += 2;
    return NULL;
  }
  if (found == NULL && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '\0'))
    return refuse(r, "this escape");
  *out_code = found != NULL ? (uint8_t)codes[found - names] : read_plain(r);
  if (found != NULL) r->at++;
  return NULL;
}

static dure_status read_class(pattern_reader *r) {
  code_set *set = calloc(1, sizeof(*set));
  if (set == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a pattern");
  dure_status status = NULL;
  const bool is_negated = r->at[1] == '^';
  r->at += is_negated ? 2 : 1;
  while (*r->at != ']' && *r->at != '\0' && status == NULL) {
    uint32_t low = 0, high = 0;
    bool is_kind = false, is_last_kind = false;
    if (*r->at == '\\') {
      r->at++;
      status = *r->at == 'b' ? (low = 8, r->at++, NULL) : read_escape(r, set, &low, &is_kind);
    } else {
      low = read_plain(r);
    }
    high = low;
    if (status == NULL && *r->at == '-' && r->at[1] != ']' && r->at[1] != '\0') {
      r->at++;
      if (*r->at == '\\') {
        r->at++;
        status = read_escape(r, set, &high, &is_last_kind);
      } else {
        high = read_plain(r);
      }
      if (status == NULL && (is_kind || is_last_kind || high < low)) status = refuse(r, "such a range");
    }
    if (status == NULL && !is_kind) status = add_range(r, set, low, high);
  }
  if (status == NULL && *r->at != ']') status = refuse(r, "a class without its end");
  if (status == NULL) r->at++;
  if (status == NULL && is_negated) status = invert(r, set);
  if (status == NULL) status = write_set(r, set);
  free(set);
  return status;
}

// ---- expressions -------------------------------------------------------------------------------------------------

static dure_status read_alternatives(pattern_reader *r, uint32_t *out_count);

static dure_status read_group(pattern_reader *r) {
  uint32_t count = 0;
  r->at++;
  if (*r->at == '?') {
    if (r->at[1] != ':') return refuse(r, "a group of this kind (look-around, named)");
    r->at += 2;
  }
  if (++r->depth > DEPTH_MOST) return refuse(r, "so deep a group");
  dure_bytes_append_text(r->out, "(");
  DURE_TRY(read_alternatives(r, &count));
  r->depth--;
  if (*r->at != ')') return refuse(r, "a group without its end");
  r->at++;
  dure_bytes_append_text(r->out, ")");
  return NULL;
}

static dure_status read_one(pattern_reader *r) {
  code_set set = {.count = 0};
  uint32_t code = 0;
  bool is_kind = false;
  switch (*r->at) {
    case '(': return read_group(r);
    case '[': return read_class(r);
    case '^':
    case '$': return refuse(r, "an anchor in the middle");
    case '*':
    case '+':
    case '?':
    case '{': return refuse(r, "a repetition of nothing");
    case '.':
      r->at++;
      DURE_TRY(add_range(r, &set, '\n', '\n'));
      DURE_TRY(add_range(r, &set, '\r', '\r'));
      DURE_TRY(add_range(r, &set, 0x2028, 0x2029));
      DURE_TRY(invert(r, &set));
      return write_set(r, &set);
    case '\\':
      r->at++;
      DURE_TRY(read_escape(r, &set, &code, &is_kind));
      if (is_kind) return write_set(r, &set);
      break;
    default: code = read_plain(r);
  }
  DURE_TRY(add_range(r, &set, code, code));
  return write_set(r, &set);
}

// {n}, {n,}, {n,m}: the grammar writes them alike.
static dure_status read_bounds(pattern_reader *r) {
  const char *begin = r->at++;
  bool has_digit = false;
  for (int commas = 0; *r->at != '}'; r->at++) {
    const bool is_digit = *r->at >= '0' && *r->at <= '9';
    has_digit = has_digit || (is_digit && commas == 0);
    if (!is_digit && (*r->at != ',' || commas++ > 0 || !has_digit)) return refuse(r, "such a repetition");
  }
  r->at++;
  if (!has_digit) return refuse(r, "such a repetition");
  dure_bytes_append(r->out, begin, (size_t)(r->at - begin));
  return NULL;
}

static dure_status read_repeats(pattern_reader *r) {
  if (*r->at == '*' || *r->at == '+' || *r->at == '?') {
    dure_bytes_append(r->out, r->at++, 1);
  } else if (*r->at == '{') {
    DURE_TRY(read_bounds(r));
  } else {
    return NULL;
  }
  if (*r->at == '?') r->at++;  // lazy: the same texts
  return NULL;
}

static dure_status read_alternatives(pattern_reader *r, uint32_t *out_count) {
  *out_count = 1;
  for (bool is_empty = true;; is_empty = false) {
    const bool is_end = *r->at == '$' && r->at[1] == '\0';
    if (*r->at == '\0' || *r->at == ')' || is_end) return NULL;
    if (*r->at == '|') {
      dure_bytes_append_text(r->out, "|");
      r->at++;
      ++*out_count;
      continue;
    }
    if (!is_empty) dure_bytes_append_text(r->out, " ");
    DURE_TRY(read_one(r));
    DURE_TRY(read_repeats(r));
  }
}

dure_status json_pattern_write(const char *pattern, dure_bytes *out) {
  pattern_reader r = {.pattern = pattern, .at = pattern, .out = out};
  const bool is_begun = *pattern == '^';
  uint32_t count = 0;
  if (is_begun) r.at++;
  dure_bytes_append_text(out, is_begun ? "(" : "char* (");
  DURE_TRY(read_alternatives(&r, &count));
  const bool is_ended = *r.at == '$';
  if (*r.at != '\0' && !is_ended) return refuse(&r, "a ) without its group");
  if (count > 1 && (is_begun || is_ended)) return refuse(&r, "an anchor of one alternative (put all into a group)");
  dure_bytes_append_text(out, is_ended ? ")" : ") char*");
  return NULL;
}
