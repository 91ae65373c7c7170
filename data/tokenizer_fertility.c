#include "data/tokenizer_fertility.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/bytes.h"
#include "data/tokenizer_bytes.h"
#include "data/tokenizer_json_text.h"
#include "runtime/os.h"

// ---- units ----

static bool is_latin(uint32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xC0 && c < 0x250 && c != 0xD7 && c != 0xF7);
}

// Accented letters are looked at without their accents.
static bool is_vowel(uint32_t c) {
  utf8proc_int32_t parts[4];
  int boundary = 0;
  if (c >= 0xC0 && utf8proc_decompose_char((utf8proc_int32_t)c, parts, 4, UTF8PROC_DECOMPOSE, &boundary) > 0)
    c = (uint32_t)parts[0];
  return c < 0x80 && c != 0 && strchr("aeiouyAEIOUY", (int)c) != NULL;
}

static bool is_letter(uint32_t c) {
  utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

void dure_text_units_add(dure_text_units *units, const char *text, size_t length) {
  bool in_word = false, in_latin = false, in_vowels = false;
  uint64_t latin_vowels = 0;
  units->bytes += length;
  for (size_t at = 0; at < length;) {
    uint32_t c;
    size_t size = dure_utf8_character(text + at, length - at, &c);
    at += size > 0 ? size : 1;
    if (size == 0) continue;
    units->characters++;
    bool is_space = dure_utf8_is_space(c), latin = is_latin(c), vowel = latin && is_vowel(c);
    units->words += !is_space && !in_word;
    in_word = !is_space;
    if (in_latin && !latin) units->syllables += latin_vowels == 0;  // "hmm"
    if (latin && !in_latin) latin_vowels = 0;
    if (vowel && !in_vowels) {
      units->syllables++;
      latin_vowels++;
    }
    units->syllables += !latin && is_letter(c);
    in_latin = latin;
    in_vowels = vowel;
  }
  if (in_latin) units->syllables += latin_vowels == 0;
}

static dure_status add_line(dure_fertility *fertility, const dure_tokenizer *const *tokenizers, const char *line,
                            size_t length, dure_ids *ids) {
  bool is_text = dure_utf8_valid_prefix(line, length) == length;
  dure_language language = is_text ? dure_language_guess(line, length) : DURE_OTHER_LANGUAGE;
  fertility->units[language].lines++;
  dure_text_units_add(&fertility->units[language], line, length);
  for (size_t i = 0; i < fertility->row_count; i++) {
    uint32_t unknown = UINT32_MAX;
    ids->count = 0;
    DURE_TRY(dure_tokenizer_encode(tokenizers[i], line, length, NULL, ids));
    fertility->rows[i].tokens[language] += ids->count;
    if (!dure_tokenizer_unknown(tokenizers[i], &unknown)) continue;
    for (size_t k = 0; k < ids->count; k++) fertility->rows[i].unknown[language] += ids->ids[k] == unknown;
  }
  return NULL;
}

dure_status dure_fertility_add(dure_fertility *fertility, const dure_tokenizer *const *tokenizers, const char *text,
                               size_t length) {
  dure_ids ids = {0};
  dure_status status = NULL;
  for (size_t at = 0; at < length && status == NULL;) {
    const char *newline = memchr(text + at, '\n', length - at);
    size_t size = newline != NULL ? (size_t)(newline - (text + at)) : length - at;
    if (size > 0) status = add_line(fertility, tokenizers, text + at, size, &ids);
    at += size + 1;
  }
  dure_ids_free(&ids);
  return status;
}

// ---- picture ----

static double per_syllable(const dure_fertility *fertility, size_t row, int language) {
  uint64_t syllables = fertility->units[language].syllables;
  return syllables > 0 ? (double)fertility->rows[row].tokens[language] / (double)syllables : 0;
}

static void put_text(dure_bytes *out, double x, double y, const char *anchor, const char *text) {
  dure_json_put(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
  for (; *text != '\0'; text++) {
    const char *entity = *text == '<' ? "&lt;" : *text == '&' ? "&amp;" : *text == '>' ? "&gt;" : NULL;
    if (entity != NULL) {
      dure_bytes_append_text(out, entity);
    } else {
      dure_bytes_append(out, text, 1);
    }
  }
  dure_bytes_append_text(out, "</text>\n");
}

enum { bar_height = 18, bar_gap = 4, group_gap = 34, left_edge = 220, bar_width = 420, right_edge = 80 };

static double put_group(dure_bytes *out, const dure_fertility *fertility, int language, double highest, double y) {
  static const char *const colours[] = {"#2563a8", "#d97706", "#2f855a", "#9b2c5e", "#6b46c1", "#4a5568"};
  dure_bytes_append_text(out, "<g font-weight=\"bold\">");
  put_text(out, 8, y, "start", dure_language_name((dure_language)language));
  dure_bytes_append_text(out, "</g>\n");
  for (size_t i = 0; i < fertility->row_count; i++) {
    double value = per_syllable(fertility, i, language), width = value / highest * bar_width;
    char label[32];
    y += bar_gap;
    put_text(out, left_edge - 8, y + bar_height - 5, "end", fertility->rows[i].name);
    dure_json_put(out, "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", left_edge, y, width,
                  bar_height, colours[i % (sizeof(colours) / sizeof(colours[0]))]);
    snprintf(label, sizeof(label), "%.3f", value);
    put_text(out, left_edge + width + 6, y + bar_height - 5, "start", label);
    y += bar_height;
  }
  return y + group_gap;
}

dure_status dure_fertility_draw(const dure_fertility *fertility, const char *path) {
  double highest = 0, y = 64;
  size_t groups = 0;
  dure_bytes out = {0};
  for (int language = 0; language < DURE_LANGUAGE_COUNT; language++) {
    groups += fertility->units[language].syllables > 0;
    for (size_t i = 0; i < fertility->row_count; i++) {
      double value = per_syllable(fertility, i, language);
      if (value > highest) highest = value;
    }
  }
  double height = y + (double)groups * ((double)fertility->row_count * (bar_height + bar_gap) + group_gap);
  dure_json_put(&out,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" font-family=\"sans-serif\" "
                "font-size=\"13\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
                left_edge + bar_width + right_edge, height);
  put_text(&out, 8, 24, "start", "Tokens per syllable (fewer is better)");
  for (int language = 0; language < DURE_LANGUAGE_COUNT; language++) {
    if (fertility->units[language].syllables > 0)
      y = put_group(&out, fertility, language, highest > 0 ? highest : 1, y);
  }
  dure_bytes_append_text(&out, "</svg>\n");
  dure_status status = dure_bytes_status(&out);
  if (status == NULL) status = dure_os_write_file(path, out.data, out.size);
  dure_bytes_free(&out);
  return status;
}
