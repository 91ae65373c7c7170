// The four normal forms against Unicode's own NormalizationTest.txt (19,074 rows in Unicode 15), which Debian's package
// unicode-data has. Another file: DURE_NORMALIZATION_TEST=NormalizationTest.txt. Without one that test is skipped.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/normalise.h"
#include "data/tokenizer_bytes.h"
#include "data/tokenizer_normalize.h"
#include "tests/amount.h"
#include "tests/suite.h"

enum { columns = 5, forms = 4, code_points = 0x110000 };
static const char *const packed_file = "/usr/share/unicode/NormalizationTest.txt.bz2";

typedef struct column {
  char bytes[128];
  size_t length;
} column;

static const char *const form_names[forms] = {"NFC", "NFD", "NFKC", "NFKD"};
static dure_normalizer normalizers[forms];
static dure_normalize_scratch scratch;

// Check writes a few bytes to a pipe for each of its own assertions; these are millions.
// Release with close_test_file.
static FILE *open_test_file(void) {
  const char *own = getenv("DURE_NORMALIZATION_TEST");
  if (own != NULL) return fopen(own, "r");
  if (access(packed_file, R_OK) != 0) return NULL;
  char command[128];
  snprintf(command, sizeof(command), "bzip2 -dc %s", packed_file);
  return popen(command, "r");
}

static void close_test_file(FILE *file) {
  if (getenv("DURE_NORMALIZATION_TEST") != NULL) {
    fclose(file);
  } else {
    pclose(file);
  }
}

static void create_normalizers(void) {
  static const dure_normalizer_kind kinds[forms] = {DURE_NORMALIZER_NFC, DURE_NORMALIZER_NFD, DURE_NORMALIZER_NFKC,
                                                    DURE_NORMALIZER_NFKD};
  for (int i = 0; i < forms; i++)
    require(dure_normalizer_add(&normalizers[i], (dure_normalizer_step){.kind = kinds[i]}));
}

static void free_normalizers(void) {
  for (int i = 0; i < forms; i++) dure_normalizer_free(&normalizers[i]);
  dure_normalize_scratch_free(&scratch);
}

static void assert_form(int form, const column *source, const column *expected, const char *line) {
  dure_piece text = {source->bytes, source->length, NULL, 0}, normal;
  require(dure_normalize(&normalizers[form], &scratch, &text, false, &normal));
  if (normal.length == expected->length && memcmp(normal.bytes, expected->bytes, normal.length) == 0) return;
  ck_abort_msg("%s gives '%.*s', expected '%.*s': %s", form_names[form], (int)normal.length, normal.bytes,
               (int)expected->length, expected->bytes, line);
}

// Text that is cleaned is put into form C by other code.
static void assert_cleaned(const column *source, const column *expected, const char *line) {
  dure_bytes out = {0};
  dure_text_compose(source->bytes, source->length, &out);
  require(dure_bytes_status(&out));
  if (out.size != expected->length || memcmp(out.data, expected->bytes, out.size) != 0) {
    ck_abort_msg("cleaning gives '%.*s', expected '%.*s': %s", (int)out.size, out.data, (int)expected->length,
                 expected->bytes, line);
  }
  dure_bytes_free(&out);
}

// "0044 0307;..." Returns false for a heading or a comment.
static bool read_columns(const char *line, column *out) {
  if (strchr("0123456789ABCDEF", line[0]) == NULL || line[0] == '\0') return false;
  for (int i = 0; i < columns; i++) {
    out[i].length = 0;
    while (*line != ';') {
      char *end;
      uint32_t character = (uint32_t)strtoul(line, &end, 16);
      if (end == line || out[i].length + 4 > sizeof(out[i].bytes)) ck_abort_msg("not a row: %s", line);
      out[i].length += dure_utf8_write(character, out[i].bytes + out[i].length);
      line = *end == ' ' ? end + 1 : end;
    }
    line++;
  }
  return true;
}

// The rows' own promise: which column becomes which (section "CONFORMANCE" of the file).
static void check_row(const column *c, const char *line) {
  static const int becomes[forms][columns] = {{1, 1, 1, 3, 3}, {2, 2, 2, 4, 4}, {3, 3, 3, 3, 3}, {4, 4, 4, 4, 4}};
  for (int form = 0; form < forms; form++) {
    for (int i = 0; i < columns; i++) assert_form(form, &c[i], &c[becomes[form][i]], line);
  }
  for (int i = 0; i < columns; i++) assert_cleaned(&c[i], &c[becomes[0][i]], line);
}

START_TEST(every_row_of_the_conformance_test_holds) {
  FILE *file = open_test_file();
  ck_assert_ptr_nonnull(file);
  char line[1024];
  static const char heading[] = "# NormalizationTest-";
  size_t count = 0;
  ck_assert_ptr_nonnull(fgets(line, sizeof(line), file));
  ck_assert_msg(strncmp(line, heading, strlen(heading)) == 0, "not the test file: %s", line);
  unsigned long version = strtoul(line + strlen(heading), NULL, 10);
  bool *is_listed = calloc(code_points, 1);
  bool is_by_character = false;
  while (fgets(line, sizeof(line), file) != NULL) {
    column row[columns];
    if (strncmp(line, "@Part", 5) == 0) is_by_character = line[5] == '1';
    if (!read_columns(line, row)) continue;
    check_row(row, line);
    if (is_by_character) is_listed[strtoul(line, NULL, 16)] = true;
    count++;
  }
  close_test_file(file);
  if (version == 15) ck_assert_uint_eq(count, 19074);
  // Every other character is its own normal form. A part of them at a time, all with DURE_FULL=1.
  const size_t step = is_full() ? 1 : 13;
  for (uint32_t c = 1; c < code_points; c += (uint32_t)step) {
    column one;
    if (is_listed[c] || (c >= 0xD800 && c < 0xE000)) continue;
    one.length = dure_utf8_write(c, one.bytes);
    snprintf(line, sizeof(line), "U+%04X", c);
    for (int form = 0; form < forms; form++) assert_form(form, &one, &one, line);
  }
  free(is_listed);
  fprintf(stderr, "NormalizationTest of Unicode %lu: %zu rows hold\n", version, count);
}
END_TEST

// NormalizationTest.txt has no row for them.
static const struct {
  const char *text, *composed;
} syllables[] = {
    {"\u1100\u1168\u11A7", "\uACC4\u11A7"},        // what stands before the final consonants is none of them
    {"\uACC4\u11A7\u11A8", "\uACC4\u11A7\u11A8"},  // and keeps the next one away
    {"\u11A7\u0301e\u0301", "\u11A7\u0301\u00E9"}, {"\u1112\u1161\u11AB\u11A7\u1100\u1173\u11AF", "\uD55C\u11A7\uAE00"},
    {"\u1112\u1161\u11C3", "\uD558\u11C3"},  // one beyond them
};

START_TEST(what_is_beside_the_final_consonants_does_not_compose) {
  column source = {.length = strlen(syllables[_i].text)}, expected = {.length = strlen(syllables[_i].composed)};
  memcpy(source.bytes, syllables[_i].text, source.length);
  memcpy(expected.bytes, syllables[_i].composed, expected.length);
  assert_form(0, &source, &expected, syllables[_i].text);
  assert_form(2, &source, &expected, syllables[_i].text);
  assert_cleaned(&source, &expected, syllables[_i].text);
}
END_TEST

int main(void) {
  FILE *file = open_test_file();
  bool is_there = file != NULL && fgetc(file) != EOF;
  if (file != NULL) close_test_file(file);
  if (!is_there) {
    fprintf(stderr, "the conformance test is skipped: no %s (Debian's package unicode-data, and bzip2)\n", packed_file);
  }
  Suite *suite = suite_create("tokenizer_normalization");
  TCase *cases = tcase_create("normalization");
  tcase_set_timeout(cases, 300);
  tcase_add_unchecked_fixture(cases, create_normalizers, free_normalizers);
  tcase_add_loop_test(cases, what_is_beside_the_final_consonants_does_not_compose, 0,
                      sizeof(syllables) / sizeof(syllables[0]));
  if (is_there) tcase_add_test(cases, every_row_of_the_conformance_test_holds);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
