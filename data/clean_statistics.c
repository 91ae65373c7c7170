#include "data/clean_statistics.h"

#include <string.h>
#include <strings.h>

static bool is_space(char byte) { return byte == ' ' || byte == '\n' || byte == '\t'; }

static bool ends_with(const char *text, size_t size, const char *ending) {
  size_t length = strlen(ending);
  return size >= length && memcmp(text + size - length, ending, length) == 0;
}

static bool begins_with(const char *text, size_t size, const char *beginning) {
  size_t length = strlen(beginning);
  return size >= length && memcmp(text, beginning, length) == 0;
}

// ---- words ----

// Gopher's eight, of which a text should hold two.
static int english_stop_word(const char *word, size_t size) {
  static const char *const words[] = {"the", "be", "to", "of", "and", "that", "have", "with"};
  for (int i = 0; i < 8; i++) {
    if ((word[0] | 0x20) == words[i][0] && strlen(words[i]) == size && strncasecmp(word, words[i], size) == 0) return i;
  }
  return -1;
}

// What Korean sentences cannot do without: the endings of eojeol, particles and verbs alike.
static int korean_ending(const char *word, size_t size) {
  static const char *const endings[] = {"은", "는", "이", "가", "을", "를", "의", "에",
                                        "로", "다", "고", "도", "와", "과", "한", "요"};
  while (size > 0 && (word[size - 1] == '.' || word[size - 1] == ',' || word[size - 1] == '?')) size--;
  if (size < 6) return -1;  // an ending needs a stem
  for (int i = 0; i < 16; i++) {
    if (memcmp(word + size - 3, endings[i], 3) == 0) return i;
  }
  return -1;
}

static void measure_word(const char *word, size_t size, dure_language language, uint32_t *seen, dure_statistics *out) {
  uint64_t characters = 0;
  bool is_alphabetic = false;
  for (size_t i = 0; i < size; i++) {
    unsigned char byte = (unsigned char)word[i], low = byte | 0x20;
    if ((byte & 0xc0) == 0x80) continue;
    characters++;
    // Letters of ASCII and everything beyond Latin-1's signs that is no general punctuation.
    is_alphabetic = is_alphabetic || (low >= 'a' && low <= 'z') || (byte >= 0xc3 && byte != 0xe2);
    out->hashes += byte == '#' && (i == 0 || word[i - 1] != '#');  // a row of them is one sign
    out->curly_brackets += byte == '{';
  }
  out->words++;
  out->word_characters += characters;
  out->alphabetic_words += is_alphabetic;
  int found = -1;
  if (language == DURE_ENGLISH && size <= 4) found = english_stop_word(word, size);
  if (language == DURE_KOREAN) found = korean_ending(word, size);
  if (found >= 0) *seen |= 1u << found;
  if (size > 1 && (strchr(".!?", word[size - 1]) != NULL || dure_statistics_ends_sentence(word, size)))
    out->sentences++;
  out->lorem_ipsum += size == 5 && strncasecmp(word, "ipsum", 5) == 0;
}

bool dure_statistics_ends_sentence(const char *line, size_t size) {
  if (size == 0) return false;
  char last = line[size - 1];
  if (last == '.' || last == '!' || last == '?' || last == '"') return true;
  if (last != ')' && last != '\'' && (unsigned char)last < 0x80) return false;
  static const char *const endings[] = {"。", "！", "？", "”", "’", "」", ".)", "?)", "!)", ".'"};
  for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
    if (ends_with(line, size, endings[i])) return true;
  }
  return false;
}

uint64_t dure_statistics_count_words(const char *line, size_t size) {
  uint64_t words = 0;
  for (size_t i = 0; i < size; i++) words += !is_space(line[i]) && (i == 0 || is_space(line[i - 1]));
  return words;
}

static void measure_line(const char *line, size_t size, dure_statistics *out) {
  while (size > 0 && is_space(*line)) {
    line++;
    size--;
  }
  if (size == 0) return;
  out->lines++;
  static const char *const bullets[] = {"- ", "* ", "• ", "‣ ", "◦ ", "● ", "○ ", "■ ", "□ ", "▪ ", "· ", "– "};
  for (size_t i = 0; i < sizeof(bullets) / sizeof(bullets[0]); i++) {
    if (line[0] != bullets[i][0] || !begins_with(line, size, bullets[i])) continue;
    out->bullet_lines++;
    break;
  }
  out->ellipsis_lines += ends_with(line, size, "...") || ends_with(line, size, "…");
}

static void count_ellipses(const char *text, size_t size, dure_statistics *out) {
  for (const char *dot = text; (dot = memchr(dot, '.', size - (size_t)(dot - text))) != NULL;) {
    size_t run = 1, left = size - (size_t)(dot - text);
    while (run < left && dot[run] == '.') run++;
    out->ellipses += run >= 3;
    dot += run;
    if ((size_t)(dot - text) >= size) break;
  }
  for (size_t i = 0; i + 3 <= size; i++) {
    const char *found = memchr(text + i, 0xe2, size - i - 2);
    if (found == NULL) break;
    out->ellipses += memcmp(found, "…", 3) == 0;
    i = (size_t)(found - text);
  }
}

void dure_statistics_measure(const char *text, size_t size, dure_language language, dure_statistics *out_statistics) {
  *out_statistics = (dure_statistics){0};
  uint32_t seen = 0;
  for (size_t i = 0; i < size;) {
    const char *newline = memchr(text + i, '\n', size - i);
    size_t end = newline != NULL ? (size_t)(newline - text) : size;
    measure_line(text + i, end - i, out_statistics);
    while (i < end) {
      size_t start = i;
      while (i < end && !is_space(text[i])) i++;
      if (i > start) measure_word(text + start, i - start, language, &seen, out_statistics);
      while (i < end && is_space(text[i])) i++;
    }
    i = end + 1;
  }
  for (; seen != 0; seen &= seen - 1) out_statistics->stop_words++;
  for (size_t i = 0; i < size; i++) out_statistics->characters += ((unsigned char)text[i] & 0xc0) != 0x80;
  if (size > 0) count_ellipses(text, size, out_statistics);
}
