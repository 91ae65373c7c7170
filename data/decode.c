#include "data/decode.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <libxml/encoding.h>
#include <libxml/tree.h>
#include <libxml/xmlerror.h>

#include "data/encoding_names.h"

enum { DECLARATION_SIZE = 4096, NAME_SIZE = 40, CHUNK_SIZE = 1 << 14 };

// ---- UTF-8 ----

// Length of the character that begins here, 0 when it is none (the Unicode Standard, table 3-7).
static size_t character_length(const unsigned char *text, size_t size) {
  unsigned char lead = text[0];
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (length > size) return 0;
  unsigned char lowest = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  unsigned char highest = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (text[1] < lowest || text[1] > highest) return 0;
  for (size_t i = 2; i < length; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

size_t dure_utf8_valid_length(const char *text, size_t size) {
  const unsigned char *bytes = (const unsigned char *)text;
  size_t position = 0;
  while (position < size) {
    uint64_t word;
    while (size - position >= sizeof(word)) {
      memcpy(&word, bytes + position, sizeof(word));
      if ((word & UINT64_C(0x8080808080808080)) != 0) break;
      position += sizeof(word);
    }
    if (position == size) break;
    size_t length = character_length(bytes + position, size - position);
    if (length == 0) break;
    position += length;
  }
  return position;
}

void dure_utf8_append_repaired(dure_bytes *out, const char *text, size_t size) {
  size_t position = 0;
  while (position < size) {
    size_t valid = dure_utf8_valid_length(text + position, size - position);
    dure_bytes_append(out, text + position, valid);
    position += valid;
    if (position == size) break;
    dure_bytes_append(out, "\xef\xbf\xbd", 3);
    while (position < size && character_length((const unsigned char *)text + position, size - position) == 0)
      position++;
  }
}

// ---- other encodings ----

static bool is_name_character(char character) {
  return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
         (character >= '0' && character <= '9') || character == '-' || character == '_' || character == '.' ||
         character == ':';
}

// Whether the tag around a place is this one.
static bool is_inside_tag(const char *text, size_t place, const char *tag) {
  while (place > 0 && text[place] != '<' && text[place] != '>') place--;
  return strncasecmp(text + place, tag, strlen(tag)) == 0;
}

// The encoding named behind `keyword` and an equals sign near the beginning, inside a tag (<script charset=...> says
// nothing about the page); false when there is none.
static bool find_declaration(const char *text, size_t size, const char *tag, const char *keyword,
                             char name[NAME_SIZE]) {
  if (size > DECLARATION_SIZE) size = DECLARATION_SIZE;
  size_t keyword_length = strlen(keyword);
  for (size_t i = 0; i + keyword_length < size; i++) {
    if (strncasecmp(text + i, keyword, keyword_length) != 0 || !is_inside_tag(text, i, tag)) continue;
    size_t cursor = i + keyword_length;
    bool has_equals = false;
    while (cursor < size && text[cursor] != '\0' && strchr(" \t\r\n=\"'", text[cursor]) != NULL) {
      has_equals = has_equals || text[cursor] == '=';
      cursor++;
    }
    size_t length = 0;
    while (cursor < size && length < NAME_SIZE - 1 && is_name_character(text[cursor])) name[length++] = text[cursor++];
    name[length] = '\0';
    if (length > 0 && has_equals) return true;
  }
  return false;
}

typedef struct conversion {
  xmlCharEncodingHandlerPtr handler;
  xmlBufferPtr input, output;
  size_t taken, repairs;
} conversion;

// Converts all of it, or with `may_repair` what can be. False when something could not be and may not be left out, or
// when so much of it could not that this is hardly the encoding.
static bool convert(conversion *state, const char *text, size_t size, bool may_repair, dure_bytes *out) {
  while (state->taken < size || xmlBufferLength(state->input) > 0) {
    size_t room = CHUNK_SIZE - (size_t)xmlBufferLength(state->input);
    size_t part = size - state->taken < room ? size - state->taken : room;
    if (part > 0 && xmlBufferAdd(state->input, (const xmlChar *)text + state->taken, (int)part) != 0) return false;
    state->taken += part;
    int before = xmlBufferLength(state->input);
    int result = xmlCharEncInFunc(state->handler, state->output, state->input);
    dure_bytes_append(out, xmlBufferContent(state->output), (size_t)xmlBufferLength(state->output));
    xmlBufferEmpty(state->output);
    if (result != -2 && xmlBufferLength(state->input) != before) continue;
    if (!may_repair || (++state->repairs > 1000 && state->repairs * 10 > state->taken)) return false;
    dure_bytes_append(out, "\xef\xbf\xbd", 3);
    xmlBufferShrink(state->input, 1);
  }
  return true;
}

static void ignore_error(void *context, xmlErrorPtr error) {
  (void)context;
  (void)error;
}

static dure_decoding decode_as(const char *name, const char *text, size_t size, bool may_repair, dure_bytes *out) {
  xmlSetStructuredErrorFunc(NULL, ignore_error);  // libxml2 would print what it cannot convert
  conversion state = {.handler = xmlFindCharEncodingHandler(name)};
  if (state.handler == NULL) return DURE_DECODED_NOT;
  state.input = xmlBufferCreateSize(CHUNK_SIZE);
  state.output = xmlBufferCreateSize(4 * CHUNK_SIZE);
  size_t kept = out->size;
  bool is_whole = state.input != NULL && state.output != NULL && convert(&state, text, size, may_repair, out);
  xmlBufferFree(state.input);
  xmlBufferFree(state.output);
  xmlCharEncCloseFunc(state.handler);
  // The converters are not ours: their result is checked like any other input.
  size_t size_out = out->size - kept;
  if (is_whole && (size_out == 0 || dure_utf8_valid_length(out->data + kept, size_out) == size_out)) {
    return state.repairs > 0 ? DURE_DECODED_REPAIRED : DURE_DECODED;
  }
  out->size = kept;
  return DURE_DECODED_NOT;
}

// Whether text that is no UTF-8 is Korean in CP949: all of it well-formed pairs, half of them Hangul, and among those
// the syllables that every Korean text is full of. (Chinese in GBK shares the codes, but not these frequencies.)
static bool looks_like_cp949(const char *text, size_t size) {
  static const char frequent[] =
      "\xc0\xcc\xb4\xd9\xb4\xc2\xc0\xc7\xbf\xa1\xc0\xbb\xb8\xa6\xb0\xa1\xc7\xd1\xc7\xcf"
      "\xb0\xed\xc1\xf6\xb7\xce\xc0\xba\xb5\xb5";  // i da neun ui e eul reul ga han ha go ji ro eun do
  const unsigned char *bytes = (const unsigned char *)text;
  uint64_t pairs = 0, hangul = 0, found = 0;
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] < 0x80) continue;
    if (i + 1 == size) break;  // cut in the middle
    unsigned char lead = bytes[i], trail = bytes[++i];
    bool is_pair = lead >= 0x81 && lead <= 0xfe && trail >= 0x41 && trail != 0xff && (trail < 0x5b || trail > 0x60) &&
                   (trail < 0x7b || trail > 0x80);
    if (!is_pair) return false;
    pairs++;
    if (lead < 0xb0 || lead > 0xc8 || trail < 0xa1) continue;
    hangul++;
    for (size_t f = 0; f + 1 < sizeof(frequent) && pairs < 100000; f += 2) {
      found += (unsigned char)frequent[f] == lead && (unsigned char)frequent[f + 1] == trail;
    }
  }
  uint64_t sampled = hangul < 100000 ? hangul : 100000;
  return hangul >= 4 && hangul * 2 >= pairs && found * 10 >= sampled;
}

static bool find_declared(const dure_document *document, char name[NAME_SIZE]) {
  if (document->encoding != NULL && strlen(document->encoding) < NAME_SIZE) {
    memcpy(name, document->encoding, strlen(document->encoding) + 1);
    return true;
  }
  if (document->format == DURE_FORMAT_HTML &&
      find_declaration(document->bytes, document->size, "<meta", "charset", name))
    return true;
  bool is_markup = document->format == DURE_FORMAT_HTML || document->format == DURE_FORMAT_XML;
  return is_markup && document->size > 5 && memcmp(document->bytes, "<?xml", 5) == 0 &&
         find_declaration(document->bytes, document->size < 256 ? document->size : 256, "<?xml", "encoding", name);
}

static bool is_western(const char *encoding) {
  return strcmp(encoding, "CP1252") == 0 || strncasecmp(encoding, "iso-8859-", 9) == 0;
}

// By the declared encoding, or the caller's. Any bytes are valid in the encodings of the West, which software of old
// declared whatever the page was in: what looks like Korean is not taken for one.
static dure_decoding decode_declared(const char *encoding, const char *text, size_t size, bool may_repair,
                                     dure_bytes *out) {
  if (is_western(encoding) && looks_like_cp949(text, size)) return DURE_DECODED_NOT;
  bool is_windows = strcmp(encoding, "CP1252") == 0;
  dure_decoding decoding = decode_as(encoding, text, size, may_repair && !is_windows, out);
  // Five bytes that Windows-1252 leaves open are control characters in ISO 8859-1.
  return decoding == DURE_DECODED_NOT && is_windows ? decode_as("ISO-8859-1", text, size, may_repair, out) : decoding;
}

static void explain(const char *declared, const char *text, size_t size, char out_message[DURE_DECODE_MESSAGE]) {
  if (out_message == NULL) return;
  const size_t valid = dure_utf8_valid_length(text, size);
  const char *name = dure_encoding_name(declared);
  xmlCharEncodingHandlerPtr handler = declared[0] != '\0' ? xmlFindCharEncodingHandler(name) : NULL;
  if (declared[0] == '\0' || strcmp(name, "UTF-8") == 0) {
    snprintf(out_message, DURE_DECODE_MESSAGE, "not valid UTF-8 at byte %zu%s", valid,
             declared[0] == '\0' ? ", and no encoding is declared: --encoding names one" : ", which it declares");
  } else {
    snprintf(out_message, DURE_DECODE_MESSAGE,
             handler != NULL ? "not valid in the encoding that it declares, '%s'"
                             : "it declares an encoding that this system does not know, '%s'",
             declared);
  }
  xmlCharEncCloseFunc(handler);
}

dure_decoding dure_decode(const dure_document *document, const char *fallback, bool may_repair, dure_bytes *out,
                          char out_message[DURE_DECODE_MESSAGE]) {
  const char *text = document->bytes;
  size_t size = document->size;
  if (out_message != NULL) out_message[0] = '\0';
  if (size >= 2 && memcmp(text, "\xff\xfe", 2) == 0) return decode_as("UTF-16LE", text + 2, size - 2, may_repair, out);
  if (size >= 2 && memcmp(text, "\xfe\xff", 2) == 0) return decode_as("UTF-16BE", text + 2, size - 2, may_repair, out);
  bool has_mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
  text += has_mark ? 3 : 0;
  size -= has_mark ? 3 : 0;
  char name[NAME_SIZE] = "";
  bool is_declared = find_declared(document, name);
  bool is_utf8 = dure_utf8_valid_length(text, size) == size;
  bool looks_like_ascii = is_declared && strncasecmp(name, "iso-2022", 8) == 0;
  if (is_utf8 && !looks_like_ascii) {
    dure_bytes_append(out, text, size);
    return DURE_DECODED;
  }
  const char *encoding = is_declared        ? dure_encoding_name(name)
                         : fallback != NULL ? dure_encoding_name(fallback)
                                            : NULL;
  if (encoding != NULL && strcmp(encoding, "UTF-8") != 0 && strncasecmp(encoding, "utf-16", 6) != 0) {
    dure_decoding decoding = decode_declared(encoding, text, size, may_repair, out);
    if (decoding != DURE_DECODED_NOT) return decoding;
  }
  if (looks_like_cp949(text, size)) {
    dure_decoding decoding = decode_as("CP949", text, size, may_repair, out);
    if (decoding != DURE_DECODED_NOT) return decoding;
  }
  if (!may_repair) {
    explain(name, text, size, out_message);
    return DURE_DECODED_NOT;
  }
  dure_utf8_append_repaired(out, text, size);
  return DURE_DECODED_REPAIRED;
}
