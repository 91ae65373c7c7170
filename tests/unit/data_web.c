// What pages hold besides their text: character references, encodings, licences; and lists of words that none may have.
#include "data/decode.h"
#include "data/encoding_names.h"
#include "data/html_entities.h"
#include "data/licence.h"
#include "data/word_list.h"
#include "tests/unit/data_files.h"

// ---- character references ----

static void require_reference(const char *text, size_t taken, const char *characters) {
  char decoded[8];
  size_t size = 0;
  ck_assert_msg(dure_html_reference(text, strlen(text), decoded, &size) == taken, "%s", text);
  ck_assert_msg(taken == 0 || (size == strlen(characters) && memcmp(decoded, characters, size) == 0), "%s", text);
}

START_TEST(all_named_references_of_html_5_are_known) {
  char path[512], name[64], hex[32], text[80];
  snprintf(path, sizeof(path), "%s/tests/golden/html/entities.tsv", getenv("DURE_SOURCE_DIR"));
  FILE *file = fopen(path, "r");
  ck_assert_ptr_nonnull(file);
  int count = 0;
  for (; fscanf(file, "%63s %31s", name, hex) == 2; count++) {
    char characters[16] = "";
    for (size_t i = 0; i < strlen(hex) / 2; i++) {
      const char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
      characters[i] = (char)strtoul(pair, NULL, 16);
    }
    snprintf(text, sizeof(text), "&%s.", name);
    require_reference(text, strlen(name) + 1, characters);
  }
  fclose(file);
  ck_assert_int_eq(count, 2231);
}
END_TEST

START_TEST(references_end_as_the_standard_says) {
  require_reference("&notit;", 4, "¬");
  require_reference("&notin;", 7, "∉");
  require_reference("&copy2026", 5, "©");
  require_reference("&alpha ", 0, "");  // too new to stand without its semicolon
  require_reference("&nosuchname;", 0, "");
  require_reference("&;", 0, "");
  require_reference("&", 0, "");
  require_reference("&am", 0, "");
  require_reference("&amp", 4, "&");
  require_reference("&#54620;", 8, "한");
  require_reference("&#xD55C", 7, "한");
  require_reference("&#128;", 6, "€");
  require_reference("&#xd800;", 8, "\xef\xbf\xbd");
  require_reference("&#;", 0, "");
}
END_TEST

// ---- encodings ----

static void require_decoding(const char *encoding, dure_format format, const char *bytes, const char *expected) {
  const dure_document document = {.format = format, .bytes = bytes, .size = strlen(bytes), .encoding = encoding};
  dure_bytes out = {0};
  char message[DURE_DECODE_MESSAGE];
  dure_decoding decoding = dure_decode(&document, NULL, false, &out, message);
  ck_assert_msg(decoding == (expected != NULL ? DURE_DECODED : DURE_DECODED_NOT), "%s: %s", bytes, message);
  if (expected != NULL) {
    dure_bytes_append(&out, "", 1);
    ck_assert_str_eq(out.data, expected);
  } else {
    ck_assert_uint_gt(strlen(message), 8);
  }
  dure_bytes_free(&out);
}

START_TEST(encodings_are_read_as_browsers_read_them) {
  static const struct {
    const char *encoding, *bytes, *expected;
  } cases[] = {
      {"EUC-KR", "\xb0\xa1 \x8c\x63", "가 똠"},  // the second is CP949's alone
      {"ISO-8859-1", "caf\xe9 \x93quoted\x94 \x80", "café “quoted” €"},
      {"latin1", "\x81\xe9", "\xc2\x81é"},  // open in Windows-1252
      {"Shift_JIS", "\x93\xfa\x96\x7b\x8c\xea \x87\x40", "日本語 ①"},
      {"x-sjis", "\xc3\xbd\xc4", "ﾃｽﾄ"},
      {"EUC-JP", "\xc6\xfc\xcb\xdc\xb8\xec", "日本語"},
      {"gb2312", "\xd6\xd0\xce\xc4 \x81\x30\x81\x30", "中文 \xc2\x80"},
      {"Big5", "\xa4\xa4\xa4\xe5", "中文"},
      {"windows-1251", "\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"},
      {"KOI8-R", "\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"},
      {"windows-1253", "\xc3\xe5\xe9\xdc", "Γειά"},
      {"tis-620", "\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี"},
      {"EUC-KR", "한글", "한글"},  // declared wrongly: UTF-8 all the same
      {"ISO-8859-1", "\xc0\xcc \xb1\xdb\xc0\xba \xc7\xd1\xb1\xdb\xc0\xcc\xb4\xd9", "이 글은 한글이다"},
      {"EUC-KR", "\xb0\xa1\xff\xff", NULL},
      {"utf-8", "caf\xe9", NULL},
      {NULL, "caf\xe9", NULL},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    require_decoding(cases[i].encoding, DURE_FORMAT_TEXT, cases[i].bytes, cases[i].expected);
  }
  require_decoding("x-no-such", DURE_FORMAT_TEXT, "caf\xe9", NULL);
}
END_TEST

START_TEST(a_page_declares_its_encoding_in_meta_alone) {
  require_decoding(NULL, DURE_FORMAT_HTML,
                   "<script charset=\"big5\" src=a></script><meta http-equiv='Content-Type' content='text/html; "
                   "charset=shift_jis'><p>\x93\xfa\x96\x7b",
                   "<script charset=\"big5\" src=a></script><meta http-equiv='Content-Type' content='text/html; "
                   "charset=shift_jis'><p>日本");
  ck_assert_str_eq(dure_encoding_name("KS_C_5601-1987"), "CP949");
  ck_assert_str_eq(dure_encoding_name("x"), "x");
  ck_assert_str_eq(dure_encoding_name(""), "");
}
END_TEST

// ---- licences ----

static void require_licence(const char *markup, const char *expected) {
  dure_bytes out = {0};
  bool is_found = dure_licence_find(markup, strlen(markup), &out);
  dure_bytes_append(&out, "", 1);
  ck_assert_msg(is_found == (expected != NULL), "%s", markup);
  if (expected != NULL) ck_assert_str_eq(out.data, expected);
  dure_bytes_free(&out);
}

START_TEST(licences_are_found_where_pages_state_them) {
  require_licence("<a rel='license' href=\"https://creativecommons.org/licenses/by-sa/4.0/deed.ko\">x</a>",
                  "CC-BY-SA-4.0");
  require_licence("<A HREF=http://creativecommons.org/licenses/by-nc-nd/2.0/kr/ REL=\"nofollow License\">x</A>",
                  "CC-BY-NC-ND-2.0");
  require_licence("<link rel=license href='https://example.com/a?b=1&amp;c=2'>", "https://example.com/a?b=1&c=2");
  require_licence("<meta name=\"dcterms.license\" content=\"https://creativecommons.org/publicdomain/zero/1.0/\">",
                  "CC0-1.0");
  require_licence("<meta name='DC.Rights' content='공공누리 제1유형'>", "공공누리 제1유형");
  require_licence("<license href=\"http://creativecommons.org/licenses/by-sa/3.0/\"/>", "CC-BY-SA-3.0");
  require_licence("<p>under <a href='//creativecommons.org/licenses/by/4.0/'>CC BY</a></p>", "CC-BY-4.0");
  require_licence(
      "<a href='//creativecommons.org/licenses/by/4.0/'>a</a>"
      "<a href='//creativecommons.org/licenses/by-sa/2.0/'>b</a>",
      NULL);  // of two pictures, perhaps
  require_licence("<a href='//creativecommons.org/licenses/'>all of them</a> license, rights", NULL);
  require_licence("<p>This license grants rights. https://creativecommons.org/licenses/by/4.0/", NULL);
  require_licence("license", NULL);
  require_licence("<a rel=license href=", NULL);
  require_licence("", NULL);
}
END_TEST

// ---- lists of words ----

static uint64_t count_words(const dure_word_list *list, dure_language language, const char *text) {
  dure_text_words words = {0};
  require(dure_text_words_find(text, strlen(text), &words));
  uint64_t count = dure_word_list_count(list, language, &words);
  dure_text_words_free(&words);
  return count;
}

START_TEST(words_of_a_list_are_found_whole_and_with_particles) {
  make_test_directory();
  write_test_text("all.txt", "# a comment\nsome phrase\nBadword\n\n");
  write_test_text("ko.txt", "나쁜말\n");
  char files[1200];
  snprintf(files, sizeof(files), "%s,ko=%s", in_test_directory("all.txt"), in_test_directory("ko.txt"));
  dure_word_list *list = NULL;
  require(dure_word_list_open(files, &list));
  ck_assert_uint_eq(count_words(list, DURE_ENGLISH, "A BADWORD, some\nphrase; badwords are none."), 2);
  ck_assert_uint_eq(count_words(list, DURE_KOREAN, "나쁜말을 하고 나쁜말이 badword. 나쁜말솜씨"), 3);
  ck_assert_uint_eq(count_words(list, DURE_ENGLISH, "나쁜말"), 0);
  ck_assert_uint_eq(count_words(list, DURE_ENGLISH, ""), 0);
  dure_word_list_destroy(list);
  list = NULL;
  require_failure(dure_word_list_open(in_test_directory("missing"), &list), DURE_NOT_FOUND, "");
  require_failure(dure_word_list_open(write_test_text("empty.txt", "# nothing\n"), &list), DURE_INVALID_ARGUMENT, "");
  require_failure(dure_word_list_open(write_test_text("bad.txt", "caf\xe9\n"), &list), DURE_CORRUPT, "");
  ck_assert_ptr_null(list);
  remove_test_directory();
}
END_TEST

int main(void) {
  Suite *suite = suite_create("web");
  TCase *test_case = tcase_create("web");
  tcase_add_test(test_case, all_named_references_of_html_5_are_known);
  tcase_add_test(test_case, references_end_as_the_standard_says);
  tcase_add_test(test_case, encodings_are_read_as_browsers_read_them);
  tcase_add_test(test_case, a_page_declares_its_encoding_in_meta_alone);
  tcase_add_test(test_case, licences_are_found_where_pages_state_them);
  tcase_add_test(test_case, words_of_a_list_are_found_whole_and_with_particles);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
