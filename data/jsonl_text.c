// Flat objects of strings, short numbers, true, false and null are read here; whatever else a line holds, and whatever
// is wrong with it, is left to the JSON library.
#include "data/jsonl_text.h"

#include <string.h>

#include "data/decode.h"
#include "data/jsonl.h"
#include "data/tokenizer_bytes.h"

enum { MOST_KEYS = 16, LONGEST_NUMBER = 17 };

typedef struct line_cursor {
  const char *at, *end;
} line_cursor;

typedef struct key {
  const char *text;
  size_t length;
} key;

static void skip_space(line_cursor *line) {
  while (line->at < line->end && (*line->at == ' ' || *line->at == '\t' || *line->at == '\r' || *line->at == '\n')) {
    line->at++;
  }
}

static bool take(line_cursor *line, char character) {
  skip_space(line);
  if (line->at == line->end || *line->at != character) return false;
  line->at++;
  return true;
}

static int hexadecimal(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

// \uXXXX outside the surrogates and NUL.
static bool take_unit(line_cursor *line, dure_bytes *out) {
  uint32_t unit = 0;
  if (line->end - line->at < 4) return false;
  for (int i = 0; i < 4; i++) {
    const int digit = hexadecimal(*line->at++);
    if (digit < 0) return false;
    unit = unit << 4 | (uint32_t)digit;
  }
  if (unit == 0 || (unit >= 0xd800 && unit <= 0xdfff)) return false;
  char bytes[4];
  if (out != NULL) dure_bytes_append(out, bytes, dure_utf8_write(unit, bytes));
  return true;
}

static bool take_escape(line_cursor *line, dure_bytes *out) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  if (line->at == line->end) return false;
  const char name = *line->at++;
  if (name == 'u') return take_unit(line, out);
  const char *found = name != '\0' ? strchr(names, name) : NULL;
  if (found == NULL) return false;
  if (out != NULL) dure_bytes_append(out, values + (found - names), 1);
  return true;
}

// The rest of a string behind its quote, appended to `out` if that is not NULL.
static bool take_string(line_cursor *line, dure_bytes *out) {
  for (;;) {
    const char *start = line->at;
    while (line->at < line->end && *line->at != '"' && *line->at != '\\' && (unsigned char)*line->at >= 0x20)
      line->at++;
    if (out != NULL) dure_bytes_append(out, start, (size_t)(line->at - start));
    if (line->at == line->end) return false;
    const char character = *line->at++;
    if (character == '"') return true;
    if (character != '\\' || !take_escape(line, out)) return false;
  }
}

static size_t take_digits(line_cursor *line) {
  const char *start = line->at;
  while (line->at < line->end && *line->at >= '0' && *line->at <= '9') line->at++;
  return (size_t)(line->at - start);
}

static bool take_number(line_cursor *line) {
  if (*line->at == '-') line->at++;
  const bool begins_with_zero = line->at < line->end && *line->at == '0';
  const size_t digits = take_digits(line);
  if (digits == 0 || digits > LONGEST_NUMBER || (begins_with_zero && digits > 1)) return false;
  if (line->at == line->end || *line->at != '.') return true;
  line->at++;
  const size_t decimals = take_digits(line);
  return decimals > 0 && decimals <= LONGEST_NUMBER;
}

static bool take_word(line_cursor *line, const char *word) {
  const size_t length = strlen(word);
  if ((size_t)(line->end - line->at) < length || memcmp(line->at, word, length) != 0) return false;
  line->at += length;
  return true;
}

static bool skip_value(line_cursor *line) {
  skip_space(line);
  if (line->at == line->end) return false;
  switch (*line->at) {
    case '"': line->at++; return take_string(line, NULL);
    case 't': return take_word(line, "true");
    case 'f': return take_word(line, "false");
    case 'n': return take_word(line, "null");
    default: return take_number(line);
  }
}

// A key without escapes that did not stand before.
static bool take_key(line_cursor *line, key *keys, size_t *count) {
  if (*count == MOST_KEYS || !take(line, '"')) return false;
  const char *start = line->at;
  while (line->at < line->end && *line->at != '"' && *line->at != '\\' && (unsigned char)*line->at >= 0x20) line->at++;
  const key found = {start, (size_t)(line->at - start)};
  for (size_t i = 0; i < *count; i++) {
    if (keys[i].length == found.length && memcmp(keys[i].text, found.text, found.length) == 0) return false;
  }
  keys[(*count)++] = found;
  return line->at < line->end && *line->at++ == '"' && take(line, ':');
}

// False: not sure, `out` holds anything.
static bool read_flat(const char *bytes, size_t size, dure_bytes *out) {
  line_cursor line = {bytes, bytes + size};
  key keys[MOST_KEYS];
  size_t count = 0;
  bool has_text = false;
  if (dure_utf8_valid_length(bytes, size) != size || !take(&line, '{')) return false;
  do {
    if (!take_key(&line, keys, &count)) return false;
    const key *last = &keys[count - 1];
    if (last->length == 4 && memcmp(last->text, "text", 4) == 0) {
      has_text = true;
      if (!take(&line, '"') || !take_string(&line, out)) return false;
    } else if (!skip_value(&line)) {
      return false;
    }
  } while (take(&line, ','));
  if (!take(&line, '}')) return false;
  skip_space(&line);
  return has_text && line.at == line.end;
}

dure_status dure_jsonl_read_text(const dure_document *document, dure_bytes *decoded, const char **out_text,
                                 size_t *out_length) {
  json_t *object = NULL;
  dure_bytes_clear(decoded);
  if (document->format != DURE_FORMAT_JSONL) {
    return dure_jsonl_document_text(document, &object, out_text, out_length);
  }
  if (!read_flat(document->bytes, document->size, decoded)) {
    dure_bytes_clear(decoded);
    DURE_TRY(dure_jsonl_document_text(document, &object, out_text, out_length));
    dure_bytes_append(decoded, *out_text, *out_length);
    json_decref(object);
  }
  *out_text = decoded->data != NULL ? decoded->data : "";
  *out_length = decoded->size;
  return dure_bytes_status(decoded);
}
