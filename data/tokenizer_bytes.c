#include "data/tokenizer_bytes.h"

#include <string.h>

static bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

size_t dure_utf8_character(const char *bytes, size_t length, uint32_t *out_character) {
  const uint8_t *b = (const uint8_t *)bytes;
  uint32_t character = 0;
  size_t size = 0;
  if (length == 0) return 0;
  if (b[0] < 0x80) {
    character = b[0];
    size = 1;
  } else if (b[0] >= 0xC2 && b[0] < 0xE0 && length >= 2 && is_continuation(b[1])) {
    character = (uint32_t)(b[0] & 0x1F) << 6 | (b[1] & 0x3F);
    size = 2;
  } else if ((b[0] & 0xF0) == 0xE0 && length >= 3 && is_continuation(b[1]) && is_continuation(b[2])) {
    character = (uint32_t)(b[0] & 0x0F) << 12 | (uint32_t)(b[1] & 0x3F) << 6 | (b[2] & 0x3F);
    if (character < 0x800 || (character >= 0xD800 && character < 0xE000)) return 0;
    size = 3;
  } else if (b[0] >= 0xF0 && b[0] < 0xF5 && length >= 4 && is_continuation(b[1]) && is_continuation(b[2]) &&
             is_continuation(b[3])) {
    character =
        (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3F) << 12 | (uint32_t)(b[2] & 0x3F) << 6 | (b[3] & 0x3F);
    if (character < 0x10000 || character > 0x10FFFF) return 0;
    size = 4;
  }
  if (out_character != NULL) *out_character = character;
  return size;
}

size_t dure_utf8_valid_prefix(const char *bytes, size_t length) {
  size_t i = 0;
  while (i < length) {
    uint64_t eight;
    while (i + 8 <= length && (memcpy(&eight, bytes + i, 8), (eight & 0x8080808080808080u) == 0)) i += 8;
    if (i >= length) break;
    size_t size = dure_utf8_character(bytes + i, length - i, NULL);
    if (size == 0) break;
    i += size;
  }
  return i;
}

size_t dure_utf8_invalid_prefix(const char *bytes, size_t length) {
  size_t i = 0;
  while (i < length && dure_utf8_character(bytes + i, length - i, NULL) == 0) i++;
  return i;
}

size_t dure_utf8_unfinished_suffix(const char *bytes, size_t length) {
  // The smallest second byte that a first byte allows; the largest. Further bytes are any continuation.
  for (size_t back = 1; back <= 3 && back <= length; back++) {
    const uint8_t *b = (const uint8_t *)bytes + length - back;
    if (is_continuation(b[0])) continue;
    size_t wanted = b[0] >= 0xF0 && b[0] < 0xF5   ? 4
                    : b[0] >= 0xE0 && b[0] < 0xF0 ? 3
                    : b[0] >= 0xC2 && b[0] < 0xE0 ? 2
                                                  : 0;
    if (wanted <= back) return 0;
    if (back >= 2) {
      uint8_t lowest = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
      uint8_t highest = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
      if (b[1] < lowest || b[1] > highest) return 0;
    }
    return back;
  }
  return 0;
}

size_t dure_utf8_write(uint32_t character, char *out_bytes) {
  if (character < 0x80) {
    out_bytes[0] = (char)character;
    return 1;
  }
  if (character < 0x800) {
    out_bytes[0] = (char)(0xC0 | character >> 6);
    out_bytes[1] = (char)(0x80 | (character & 0x3F));
    return 2;
  }
  if (character < 0x10000) {
    out_bytes[0] = (char)(0xE0 | character >> 12);
    out_bytes[1] = (char)(0x80 | (character >> 6 & 0x3F));
    out_bytes[2] = (char)(0x80 | (character & 0x3F));
    return 3;
  }
  out_bytes[0] = (char)(0xF0 | character >> 18);
  out_bytes[1] = (char)(0x80 | (character >> 12 & 0x3F));
  out_bytes[2] = (char)(0x80 | (character >> 6 & 0x3F));
  out_bytes[3] = (char)(0x80 | (character & 0x3F));
  return 4;
}

// The 68 bytes that do not print, in order: 0..32, 127..160, 173.
enum { low_count = 33, high_first = 127, high_count = 34, soft_hyphen = 173 };

uint32_t dure_byte_to_character(uint8_t byte) {
  if (byte < low_count) return 256u + byte;
  if (byte >= high_first && byte < high_first + high_count) return 256u + low_count + (byte - high_first);
  if (byte == soft_hyphen) return 256u + low_count + high_count;
  return byte;
}

int dure_character_to_byte(uint32_t character) {
  if (character >= 256) {
    uint32_t index = character - 256;
    if (index < low_count) return (int)index;
    if (index < low_count + high_count) return (int)(index - low_count + high_first);
    return index == low_count + high_count ? soft_hyphen : -1;
  }
  return dure_byte_to_character((uint8_t)character) == character ? (int)character : -1;
}

bool dure_characters_to_bytes(const char *text, size_t length, char *out_bytes, size_t *out_length) {
  size_t count = 0;
  *out_length = 0;
  for (size_t i = 0; i < length;) {
    uint32_t character;
    size_t size = dure_utf8_character(text + i, length - i, &character);
    int byte = size > 0 ? dure_character_to_byte(character) : -1;
    if (byte < 0) return false;
    out_bytes[count++] = (char)byte;
    i += size;
  }
  *out_length = count;
  return true;
}

size_t dure_bytes_to_characters(const char *bytes, size_t length, char *out_text) {
  size_t count = 0;
  for (size_t i = 0; i < length; i++)
    count += dure_utf8_write(dure_byte_to_character((uint8_t)bytes[i]), out_text + count);
  return count;
}

bool dure_utf8_is_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t dure_utf8_character_before(const char *text, size_t end, uint32_t *out_character) {
  for (size_t size = 1; size <= 4 && size <= end; size++) {
    if (dure_utf8_character(text + end - size, size, out_character) == size) return size;
  }
  return 0;
}

size_t dure_utf8_skip_spaces(const char *text, size_t length, size_t at) {
  uint32_t c;
  for (size_t size; (size = dure_utf8_character(text + at, length - at, &c)) > 0 && dure_utf8_is_space(c);) at += size;
  return at;
}

size_t dure_utf8_skip_spaces_back(const char *text, size_t start, size_t end) {
  uint32_t c;
  for (size_t size; end > start && (size = dure_utf8_character_before(text, end, &c)) > 0 && dure_utf8_is_space(c);)
    end -= size;
  return end > start ? end : start;
}

static int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool dure_base64_decode(const char *text, size_t length, char *out_bytes, size_t *out_length) {
  *out_length = 0;
  while (length > 0 && text[length - 1] == '=') length--;
  uint32_t bits = 0;
  for (size_t i = 0; i < length; i++) {
    int value = base64_value(text[i]);
    if (value < 0) return false;
    bits = bits << 6 | (uint32_t)value;
    // Of each four characters, the second to fourth finish a byte.
    if (i % 4 != 0) out_bytes[(*out_length)++] = (char)(uint8_t)(bits >> (6 - 2 * (i % 4)));
  }
  return length % 4 != 1;
}

void dure_base64_encode(const char *bytes, size_t length, char *out_text) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const uint8_t *b = (const uint8_t *)bytes;
  for (size_t i = 0; i < length; i += 3) {
    size_t left = length - i;
    uint32_t bits = (uint32_t)b[i] << 16 | (left > 1 ? (uint32_t)b[i + 1] << 8 : 0) | (left > 2 ? b[i + 2] : 0);
    *out_text++ = letters[bits >> 18];
    *out_text++ = letters[bits >> 12 & 63];
    *out_text++ = left > 1 ? letters[bits >> 6 & 63] : '=';
    *out_text++ = left > 2 ? letters[bits & 63] : '=';
  }
  *out_text = '\0';
}
