#include "data/html_entities.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <libxml/HTMLparser.h>
#include <utf8proc.h>

enum { NAME_LIMIT = 32 };

// HTML 5 names that HTML 4 does not have.
static const struct {
  const char *name;
  uint32_t code;
} newer_names[] = {
    {"Tab", '\t'},      {"NewLine", '\n'},  {"excl", '!'},      {"num", '#'},        {"dollar", '$'},
    {"percnt", '%'},    {"lpar", '('},      {"rpar", ')'},      {"ast", '*'},        {"plus", '+'},
    {"comma", ','},     {"period", '.'},    {"sol", '/'},       {"colon", ':'},      {"semi", ';'},
    {"equals", '='},    {"quest", '?'},     {"commat", '@'},    {"lsqb", '['},       {"lbrack", '['},
    {"bsol", '\\'},     {"rsqb", ']'},      {"rbrack", ']'},    {"Hat", '^'},        {"lowbar", '_'},
    {"grave", '`'},     {"lcub", '{'},      {"lbrace", '{'},    {"verbar", '|'},     {"vert", '|'},
    {"rcub", '}'},      {"rbrace", '}'},    {"hyphen", 0x2010}, {"dash", 0x2010},    {"horbar", 0x2015},
    {"nldr", 0x2025},   {"mldr", 0x2026},   {"numero", 0x2116}, {"phone", 0x260e},   {"check", 0x2713},
    {"cross", 0x2717},  {"star", 0x2606},   {"starf", 0x2605},  {"bigstar", 0x2605}, {"squ", 0x25a1},
    {"square", 0x25a1}, {"rarrw", 0x219d},  {"hearts", 0x2665}, {"larrhk", 0x21a9},  {"rarrhk", 0x21aa},
    {"nearr", 0x2197},  {"searr", 0x2198},  {"utri", 0x25b5},   {"rtri", 0x25b9},    {"dtri", 0x25bf},
    {"ltri", 0x25c3},   {"utrif", 0x25b4},  {"rtrif", 0x25b8},  {"dtrif", 0x25be},   {"ltrif", 0x25c2},
    {"half", 0xbd},     {"lsquor", 0x201a}, {"ldquor", 0x201e}, {"laquo", 0xab},     {"raquo", 0xbb},
    {"AMP", '&'},       {"LT", '<'},        {"GT", '>'},        {"QUOT", '"'},       {"COPY", 0xa9},
    {"REG", 0xae},      {"TRADE", 0x2122},
};

// 0 when there is no such name.
static uint32_t named_code(const char *name, size_t length) {
  switch (length) {
    case 2:
      if (memcmp(name, "lt", 2) == 0) return '<';
      if (memcmp(name, "gt", 2) == 0) return '>';
      break;
    case 3:
      if (memcmp(name, "amp", 3) == 0) return '&';
      break;
    case 4:
      if (memcmp(name, "nbsp", 4) == 0) return 0xa0;
      if (memcmp(name, "quot", 4) == 0) return '"';
      if (memcmp(name, "apos", 4) == 0) return '\'';
      break;
    default: break;
  }
  char terminated[NAME_LIMIT];
  memcpy(terminated, name, length);
  terminated[length] = '\0';
  const htmlEntityDesc *entity = htmlEntityLookup((const xmlChar *)terminated);
  if (entity != NULL) return entity->value;
  for (size_t i = 0; i < sizeof(newer_names) / sizeof(newer_names[0]); i++) {
    if (strcmp(newer_names[i].name, terminated) == 0) return newer_names[i].code;
  }
  return 0;
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

static size_t named_reference(const char *text, size_t size, uint32_t *out_code) {
  size_t length = 0;
  while (1 + length < size && length < NAME_LIMIT - 1) {
    char low = (char)(text[1 + length] | 0x20);
    if ((low < 'a' || low > 'z') && (text[1 + length] < '0' || text[1 + length] > '9')) break;
    length++;
  }
  if (length < 2) return 0;
  bool is_ended = 1 + length < size && text[1 + length] == ';';
  *out_code = named_code(text + 1, length);
  // Only the oldest names may stand without a semicolon.
  if (*out_code == 0 || (!is_ended && *out_code > 0xff)) return 0;
  return 1 + length + is_ended;
}

size_t dure_html_reference(const char *text, size_t size, char out_utf8[8], size_t *out_size) {
  uint32_t code = 0;
  size_t taken = size > 2 && text[1] == '#' ? numeric_reference(text, size, &code) : named_reference(text, size, &code);
  *out_size = 0;
  if (taken == 0) return 0;
  *out_size = (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out_utf8);
  return taken;
}
