#include "data/language.h"

#include <stdint.h>
#include <string.h>

static const char *const names[DURE_LANGUAGE_COUNT] = {"ko", "en", "other"};

const char *dure_language_name(dure_language language) { return names[language]; }

bool dure_language_parse(const char *name, size_t length, dure_language *out_language) {
  *out_language = DURE_OTHER_LANGUAGE;
  for (int i = 0; i < DURE_LANGUAGE_COUNT; i++) {
    if (strlen(names[i]) != length || memcmp(names[i], name, length) != 0) continue;
    *out_language = (dure_language)i;
    return true;
  }
  return false;
}

enum { FOREIGN_WORDS = 20 };  // in how many words foreign ones are looked for

typedef struct letter_counts {
  uint64_t hangul, ascii, other;
  uint64_t words, frequent_words;  // of ASCII letters
  uint64_t foreign_words;          // frequent ones of other languages with these letters
} letter_counts;

// The 20 most frequent words of English prose (about a third of it).
static bool is_frequent(const char *word, size_t length) {
  static const char *const frequent[5] = {"", "a", "of to in is be or it on as", "the and for you are can",
                                          "that with this from"};
  if (length > 4) return false;
  for (const char *cursor = frequent[length]; *cursor != '\0'; cursor += length + 1) {
    if (memcmp(cursor, word, length) == 0) return true;
    if (cursor[length] == '\0') break;
  }
  return false;
}

// Words that are among the most frequent of German, French, Spanish, Italian, Portuguese, Dutch, Polish, Turkish,
// Indonesian or Swedish, and are no English words. They tell short texts that English ones may be too short to tell.
static bool is_foreign(const char *word, size_t length) {
  static const char *const foreign[6] = {
      "",
      "",
      "de la le el et en il un di da je zu na ve",
      "der das und ist ein von les des une est sur que por los las una che del het een nie jak dla ini och som mit",
      "eine nach auch wird sind oder pour dans avec para como mais esta este sono alla niet maar zijn voor yang",
      "nicht einen della sobre wordt untuk"};
  if (length < 2 || length > 5) return false;
  for (const char *cursor = foreign[length]; *cursor != '\0';
       cursor += strcspn(cursor, " "), cursor += *cursor == ' ') {
    if (strcspn(cursor, " ") == length && memcmp(cursor, word, length) == 0) return true;
  }
  return false;
}

static size_t count_word(const char *text, size_t size, letter_counts *counts) {
  char word[8];
  size_t length = 0;
  for (; length < size; length++) {
    char lower = (char)(text[length] | 0x20);
    if (lower < 'a' || lower > 'z' || (text[length] & 0x80) != 0) break;
    if (length < sizeof(word)) word[length] = lower;
  }
  counts->ascii += length;
  counts->words++;
  if (is_frequent(word, length)) {
    counts->frequent_words++;
  } else if (counts->words <= FOREIGN_WORDS && is_foreign(word, length)) {
    counts->foreign_words++;
  }
  return length;
}

static void count_character(const unsigned char *bytes, size_t length, letter_counts *counts) {
  if (length == 3) {
    uint32_t code = (bytes[0] & 0x0fu) << 12 | (bytes[1] & 0x3fu) << 6 | (bytes[2] & 0x3fu);
    if (code >= 0xac00 && code <= 0xd7a3) {
      counts->hangul++;
    } else if ((code >= 0x3040 && code <= 0x9fff) || code < 0x2000) {  // kana, ideographs; scripts below the symbols
      counts->other++;
    }
  } else if (length == 2 && bytes[0] >= 0xc3) {  // not Latin-1's punctuation
    counts->other++;
  }
}

dure_language dure_language_guess(const char *text, size_t size) {
  letter_counts counts = {0};
  for (size_t i = 0; i < size;) {
    unsigned char byte = (unsigned char)text[i];
    if (byte < 0x80) {
      bool is_letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
      i += is_letter ? count_word(text + i, size - i, &counts) : 1;
      continue;
    }
    size_t length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    if (length > size - i) break;
    count_character((const unsigned char *)text + i, length, &counts);
    i += length;
  }
  uint64_t letters = 2 * counts.hangul + counts.ascii + counts.other;
  if (letters == 0) return DURE_OTHER_LANGUAGE;
  if (2 * counts.hangul * 10 >= letters * 3) return DURE_KOREAN;
  bool is_ascii = counts.ascii * 10 >= letters * 9;
  bool reads_english =
      counts.words < 20 ? counts.foreign_words <= counts.frequent_words : counts.frequent_words * 20 >= counts.words;
  return is_ascii && reads_english ? DURE_ENGLISH : DURE_OTHER_LANGUAGE;
}
