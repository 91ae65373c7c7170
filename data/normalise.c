#include "data/normalise.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { MARK_LIMIT = 30 };

// ---- form C ----

// Copies, leaving out marks beyond MARK_LIMIT in a row.
static void copy_stream_safe(const char *text, size_t size, dure_bytes *out) {
  size_t marks = 0;
  for (size_t i = 0; i < size;) {
    utf8proc_int32_t character = 0;
    utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(size - i), &character);
    if (length <= 0) break;  // cannot be: the text is valid
    marks = utf8proc_get_property(character)->combining_class != 0 ? marks + 1 : 0;
    if (marks <= MARK_LIMIT) dure_bytes_append(out, text + i, (size_t)length);
    i += (size_t)length;
  }
}

static void compose_stretch(const char *text, size_t size, dure_bytes *out) {
  utf8proc_uint8_t *composed = NULL;
  utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &composed,
                                         UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (length >= 0) {
    dure_bytes_append(out, composed, (size_t)length);
  } else {
    out->is_failed = true;  // of valid text, only memory can have failed
  }
  free(composed);
}

void dure_text_compose(const char *text, size_t size, dure_bytes *out) {
  // U+11A7 stands one before the final consonants. It composes with nothing, but utf8proc 2.8 drops it after a
  // syllable.
  static const char base[] = "\xE1\x86\xA7";
  dure_bytes safe = {0};
  copy_stream_safe(text, size, &safe);
  size_t start = 0;
  for (size_t at = 0; at < safe.size && !safe.is_failed; at++) {
    if (safe.data[at] != base[0] || safe.size - at < 3 || memcmp(safe.data + at, base, 3) != 0 || at == start) continue;
    compose_stretch(safe.data + start, at - start, out);
    start = at;
  }
  if (safe.is_failed) {
    out->is_failed = true;
  } else {
    compose_stretch(safe.data + start, safe.size - start, out);
  }
  dure_bytes_free(&safe);
}

// ---- what becomes of a character ----

typedef enum fate { KEEP, KEEP_COMPOSE, REMOVE, SPACE, NEWLINE } fate;

// Characters of U+2000..U+20FF by code point.
static fate fate_of_punctuation(unsigned code) {
  if (code <= 0x200a || code == 0x202f || code == 0x205f) return SPACE;
  if (code == 0x2028 || code == 0x2029) return NEWLINE;
  if (code == 0x200b || code == 0x200e || code == 0x200f || code == 0x2060) return REMOVE;
  if ((code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069)) return REMOVE;
  return code >= 0x20d0 ? KEEP_COMPOSE : KEEP;
}

// KEEP promises that the character is composed already and composes with nothing before it; anything doubtful is
// KEEP_COMPOSE, which only costs time.
static fate fate_of_three_bytes(const unsigned char *bytes) {
  unsigned code = (bytes[0] & 0x0fu) << 12 | (bytes[1] & 0x3fu) << 6 | (bytes[2] & 0x3fu);
  if (code >= 0xac00 && code <= 0xd7a3) return KEEP;  // Hangul syllables
  if (code >= 0x4e00 && code <= 0x9fff) return KEEP;  // unified ideographs
  if (code >= 0x2000 && code <= 0x20ff) return fate_of_punctuation(code);
  if (code == 0x3000) return SPACE;
  if (code > 0x3000 && code < 0x302a) return KEEP;
  if (code >= 0x3041 && code <= 0x3096) return KEEP;  // kana
  if (code >= 0x30a1 && code <= 0x30fa) return KEEP;
  if (code >= 0x2140 && code < 0x2300) return KEEP;   // arrows, operators
  if (code >= 0x2400 && code < 0x2a00) return KEEP;   // boxes, symbols
  if (code >= 0xff01 && code <= 0xffef) return KEEP;  // full and half width
  if (code == 0xfeff || code >= 0xfffe || (code >= 0xfdd0 && code <= 0xfdef)) return REMOVE;
  return KEEP_COMPOSE;
}

static fate fate_of(const unsigned char *bytes, size_t length) {
  if (length == 1) {
    if (bytes[0] == '\n' || bytes[0] == '\f') return NEWLINE;
    if (bytes[0] == '\t') return KEEP;
    return bytes[0] == '\v' ? SPACE : bytes[0] < 0x20 || bytes[0] == 0x7f ? REMOVE : KEEP;
  }
  if (length == 2) {
    unsigned code = (bytes[0] & 0x1fu) << 6 | (bytes[1] & 0x3fu);
    if (code == 0x85) return NEWLINE;
    if (code == 0xa0) return SPACE;
    if (code < 0xa0 || code == 0xad) return REMOVE;
    return code < 0x300 || (code >= 0x400 && code < 0x480) ? KEEP : KEEP_COMPOSE;  // Latin; Cyrillic
  }
  if (length == 3) return fate_of_three_bytes(bytes);
  unsigned code = (bytes[0] & 7u) << 18 | (bytes[1] & 0x3fu) << 12 | (bytes[2] & 0x3fu) << 6 | (bytes[3] & 0x3fu);
  if ((code & 0xfffe) == 0xfffe) return REMOVE;
  return code >= 0x1f000 && code < 0x20000 ? KEEP : KEEP_COMPOSE;  // emoji
}

// ---- lines ----

typedef struct line_writer {
  dure_bytes *out;
  size_t text_start;  // in `out`
  size_t line_start;
  size_t blank_lines;  // ended since the last line with text
  bool needs_composing;
  bool has_text;  // in this line: only indentation so far when false
  bool collapse;
} line_writer;

static void compose_line(line_writer *writer) {
  dure_bytes *out = writer->out;
  dure_bytes line = {0};
  dure_text_compose(out->data + writer->line_start, out->size - writer->line_start, &line);
  out->size = writer->line_start;
  dure_bytes_append(out, line.data, line.size);
  out->is_failed = out->is_failed || line.is_failed;
  dure_bytes_free(&line);
}

static void end_line(line_writer *writer) {
  dure_bytes *out = writer->out;
  while (out->size > writer->line_start && (out->data[out->size - 1] == ' ' || out->data[out->size - 1] == '\t'))
    out->size--;
  if (out->size == writer->line_start) {
    // What begin_line put before mere indentation belongs to the next line with text.
    while (out->size > writer->text_start && out->data[out->size - 1] == '\n') out->size--;
    writer->blank_lines++;
  } else {
    if (writer->needs_composing) compose_line(writer);
    writer->blank_lines = 0;
  }
  writer->line_start = out->size;
  writer->needs_composing = false;
  writer->has_text = false;
}

// Before the first byte of a line: the line feeds that end the line before it.
static void begin_line(line_writer *writer) {
  dure_bytes *out = writer->out;
  if (out->size != writer->line_start || out->size == writer->text_start) return;
  dure_bytes_append(out, "\n\n", writer->blank_lines > 0 ? 2 : 1);
  writer->line_start = out->size;
}

static void write_space(line_writer *writer, char space) {
  dure_bytes *out = writer->out;
  if (writer->collapse && writer->has_text) {
    if (out->data[out->size - 1] == ' ') return;
    space = ' ';
  }
  begin_line(writer);
  dure_bytes_append(out, &space, 1);
}

// How many bytes from here need no thought: printable ASCII and Hangul syllables.
static size_t plain_run(const unsigned char *bytes, size_t size) {
  size_t i = 0;
  while (i < size) {
    if (bytes[i] > 0x20 && bytes[i] < 0x7f) {
      i++;
    } else if (bytes[i] == 0xeb || bytes[i] == 0xec) {
      i += 3;
    } else {
      break;
    }
  }
  return i;
}

void dure_text_normalise(const char *text, size_t size, bool collapse, dure_bytes *out) {
  line_writer writer = {.out = out, .text_start = out->size, .line_start = out->size, .collapse = collapse};
  const unsigned char *bytes = (const unsigned char *)text;
  dure_bytes_reserve(out, size + 1);
  for (size_t i = 0; i < size && !out->is_failed;) {
    size_t length = plain_run(bytes + i, size - i);
    fate what = KEEP;
    if (length == 0) {
      length = bytes[i] < 0x80 ? 1 : bytes[i] < 0xe0 ? 2 : bytes[i] < 0xf0 ? 3 : 4;
      what = fate_of(bytes + i, length);
      if (bytes[i] == '\r') what = i + 1 < size && bytes[i + 1] == '\n' ? REMOVE : NEWLINE;
    }
    if (what == NEWLINE) {
      end_line(&writer);
    } else if (what == SPACE || bytes[i] == ' ' || bytes[i] == '\t') {
      write_space(&writer, bytes[i] == '\t' ? '\t' : ' ');
    } else if (what != REMOVE) {
      begin_line(&writer);
      writer.has_text = true;
      writer.needs_composing = writer.needs_composing || what == KEEP_COMPOSE;
      dure_bytes_append(out, bytes + i, length);
    }
    i += length;
  }
  end_line(&writer);
  while (out->size > writer.text_start && out->data[out->size - 1] == '\n') out->size--;
}
