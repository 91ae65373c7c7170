#include "data/html_entities.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <utf8proc.h>

// Each a name, `?` when it may stand without a semicolon and `;` when not, and the characters that it stands for.
static const char *const table[] = {
#include "data/html_entity_names.inc"
};

enum { ENTITY_COUNT = sizeof(table) / sizeof(table[0]), LONGEST_NAME = 31, LONGEST_LEGACY_NAME = 6 };

static bool ends_name(char byte) { return byte == '?' || byte == ';'; }

// Like strcmp, of `length` bytes and the name that begins a row.
static int compare_name(const char *name, size_t length, const char *row) {
  for (size_t i = 0; i < length; i++) {
    if (ends_name(row[i])) return 1;
    if (name[i] != row[i]) return (unsigned char)name[i] < (unsigned char)row[i] ? -1 : 1;
  }
  return ends_name(row[length]) ? 0 : -1;
}

// The rest of the row of a name, which begins with `?` or `;`; NULL when there is no such name.
static const char *find_name(const char *name, size_t length) {
  size_t low = 0, high = ENTITY_COUNT;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = compare_name(name, length, table[middle]);
    if (order == 0) return table[middle] + length;
    if (order < 0) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return NULL;
}

// What pages mean by numbers that are control characters: Windows-1252.
static uint32_t repaired_code(uint32_t code) {
  static const uint16_t windows[32] = {0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                       0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8d,   0x017d, 0x8f,
                                       0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                       0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178};
  if (code >= 0x80 && code < 0xa0) return windows[code - 0x80];
  bool is_character = code != 0 && code < 0x110000 && (code < 0xd800 || code > 0xdfff);
  return is_character ? code : 0xfffd;
}

static int digit_value(char byte, bool is_hexadecimal) {
  char low = (char)(byte | 0x20);
  if (byte >= '0' && byte <= '9') return byte - '0';
  return is_hexadecimal && low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

static size_t numeric_reference(const char *text, size_t size, uint32_t *out_code) {
  bool is_hexadecimal = size > 2 && (text[2] | 0x20) == 'x';
  size_t start = is_hexadecimal ? 3 : 2, i = start;
  uint32_t code = 0;
  for (; i < size; i++) {
    int value = digit_value(text[i], is_hexadecimal);
    if (value < 0) break;
    if (code < 0x200000) code = code * (is_hexadecimal ? 16 : 10) + (uint32_t)value;
  }
  if (i == start) return 0;
  *out_code = repaired_code(code);
  return i + (i < size && text[i] == ';');
}

static void take_characters(const char *row, char out_utf8[8], size_t *out_size) {
  *out_size = strlen(row + 1);
  memcpy(out_utf8, row + 1, *out_size);
}

// A name with its semicolon, or else the longest beginning that may stand without one: &notit; is &not; and "it;".
static size_t named_reference(const char *text, size_t size, char out_utf8[8], size_t *out_size) {
  size_t length = 0;
  while (1 + length < size && length <= LONGEST_NAME) {
    char low = (char)(text[1 + length] | 0x20);
    if ((low < 'a' || low > 'z') && (text[1 + length] < '0' || text[1 + length] > '9')) break;
    length++;
  }
  bool is_ended = 1 + length < size && text[1 + length] == ';';
  const char *found = is_ended ? find_name(text + 1, length) : NULL;
  if (found != NULL) {
    take_characters(found, out_utf8, out_size);
    return 1 + length + 1;
  }
  for (size_t part = length < LONGEST_LEGACY_NAME ? length : LONGEST_LEGACY_NAME; part >= 2; part--) {
    found = find_name(text + 1, part);
    if (found == NULL || *found != '?') continue;
    take_characters(found, out_utf8, out_size);
    return 1 + part;
  }
  return 0;
}

size_t dure_html_reference(const char *text, size_t size, char out_utf8[8], size_t *out_size) {
  *out_size = 0;
  if (size <= 2 || text[1] != '#') return named_reference(text, size, out_utf8, out_size);
  uint32_t code = 0;
  size_t taken = numeric_reference(text, size, &code);
  if (taken > 0) *out_size = (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out_utf8);
  return taken;
}
