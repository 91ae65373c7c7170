// Cleaning: what a reader would read stays, what hostile documents try fails, and the same bytes come out every time.
#include <jansson.h>
#include <utf8proc.h>

#include "data/clean.h"
#include "data/decode.h"
#include "data/markup.h"
#include "data/normalise.h"
#include "data_files.h"
#include "tests/amount.h"

static dure_clean_summary summary;

static dure_clean_options default_options(void) {
  dure_clean_options options = {
      .output = in_test_directory("out.jsonl"), .languages = {true, true, true}, .threads = 1};
  return options;
}

// Cleans one file and gives the text of its only document, or NULL when it was dropped. To be freed.
static char *clean_file(const char *path, const dure_clean_options *options) {
  require(dure_clean(&path, 1, options, &summary));
  char *line = read_test_file(options->output, NULL), *text = NULL;
  if (summary.kept == 1) {
    json_t *object = json_loads(line, 0, NULL);
    ck_assert_ptr_nonnull(object);
    text = strdup(json_string_value(json_object_get(object, "text")));
    json_decref(object);
  }
  free(line);
  return text;
}

static void require_text(const char *name, const void *bytes, size_t size, const char *expected) {
  dure_clean_options options = default_options();
  char *text = clean_file(write_test_file(name, bytes, size), &options);
  if (expected == NULL) {
    ck_assert_msg(text == NULL, "%s: kept as '%s'", name, text);
  } else {
    ck_assert_msg(text != NULL, "%s: dropped, expected '%s'", name, expected);
    ck_assert_str_eq(text, expected);
  }
  free(text);
}

static void require_clean(const char *name, const char *document, const char *expected) {
  require_text(name, document, strlen(document), expected);
}

// ---- layout ----

START_TEST(html_becomes_what_a_reader_reads) {
  require_clean(
      "page.html",
      "<!DOCTYPE html><html><head><title>No</title><style>p{}</style></head><body>"
      "<nav><a href='/'>Home</a></nav><header>Site</header><script>var x = '<p>no</p>';</script>"
      "<h1>Title  of\n it</h1><!-- no --><p>First <b>bold</b> and&nbsp;<i>it</i>alic &amp; more.<br>Second line.</p>"
      "<ul><li>one</li><li><p>two</p></li><li>three<ul><li>deep</li></ul></li></ul>"
      "<ol><li>first<li>second</ol>"
      "<table><tr><th>Name</th><th>Size</th></tr><tr><td><p>swap</p></td><td>2</td></tr></table>"
      "<pre>\n  keep   this\n\tas is\n</pre><dl><dt>Term<dd>What it is</dl>"
      "<p>Last.</p><footer>Copyright</footer></body></html>",
      "Title of it\n\nFirst bold and italic & more.\nSecond line.\n\n- one\n- two\n- three\n  - deep\n\n"
      "1. first\n2. second\n\nName | Size\nswap | 2\n\n  keep   this\n\tas is\n\nTerm\nWhat it is\n\nLast.");
}
END_TEST

START_TEST(broken_lines_and_given_numbers_are_kept) {
  require_clean("news.html",
                "<div class=gnb>메뉴</div><div class='top sns_share'>공유</div>첫 문단.<br><br>\n둘째 문단.<br>다음 줄."
                "<div class='ad-banner x'>광고</div><ol start=3><li>a<br><br>b<li value='7'>c<li>d</ol>"
                "<ul><li value=9>e</ul><ol start=x><li value=-1>f</ol>",
                "첫 문단.\n\n둘째 문단.\n다음 줄.\n\n3. a\nb\n7. c\n8. d\n\n- e\n\n1. f");
}
END_TEST

START_TEST(footnotes_stay_where_other_asides_go) {
  require_clean("notes.html",
                "<p>Text<a href='#1'>[1]</a></p><aside><p>Subscribe!</p></aside>"
                "<aside class='footnote brackets' role='note'><p>What it means.</p></aside>",
                "Text[1]\n\nWhat it means.");
}
END_TEST

START_TEST(menus_and_named_boilerplate_go) {
  require_clean(
      "page.html",
      "<html><body><div class='navheader'>Prev Next</div><div id='Toc'>1. A 2. B</div>"
      "<h1>Real heading</h1><p>Real text with a <a href='x'>link</a>.<a class='headerlink' href='#'>\xc2\xb6</a></p>"
      "<div role='navigation'>menu</div><p hidden>unseen</p>"
      "<h2>See also</h2><ul><li><a>One</a></li><li><a>Two</a></li><li><a>Three</a></li></ul></body></html>",
      "Real heading\n\nReal text with a link.");
  require_clean("main.html", "<body><p>Outside.</p><main><p>Inside.</p></main><p>Outside again.</p></body>", "Inside.");
  require_clean("empty.html", "<html><body><nav>only a menu</nav></body></html>", NULL);
  ck_assert_uint_eq(summary.dropped[DURE_DROP_EMPTY], 1);
}
END_TEST

START_TEST(mallard_loses_its_metadata_and_keeps_its_steps) {
  require_clean(
      "topic.page",
      "<page xmlns='http://projectmallard.org/1.0/'><info><desc>no</desc><credit><name>No One</name></credit></info>"
      "<title>탄력키 켜기</title><p>Press <keyseq><key>Ctrl</key><key>C</key></keyseq> in "
      "<guiseq><gui>File</gui> <gui>Edit</gui></guiseq>, type <code>ls  -l</code>.</p>"
      "<steps><item><p>First.</p></item><item><p>Second.</p><p>More of it.</p></item><item><p>Third.</p></item></steps>"
      "<code>\nint main;\n  return;\n</code><terms><item><title>Term</title><p>Meaning.</p></item></terms></page>",
      "탄력키 켜기\n\nPress Ctrl+C in File > Edit, type ls -l.\n\n1. First.\n2. Second.\n\nMore of it.\n\n3. Third.\n\n"
      "int main;\n  return;\n\nTerm\n\nMeaning.");
}
END_TEST

START_TEST(docbook_and_unknown_xml_are_read) {
  require_clean(
      "a.xml",
      "<article><info><author>No</author></info><title>T</title><para>One<indexterm><primary>no</primary></indexterm> "
      "<emphasis>two</emphasis>.</para><itemizedlist><listitem><para>x</para></listitem></itemizedlist></article>",
      "T\n\nOne two.\n\n- x");
  require_clean("b.xml", "<data><row><a>1</a><b>2</b></row></data>", "1\n2");
}
END_TEST

// ---- hostile documents ----

START_TEST(xml_never_reads_another_file) {
  const char *secret = write_test_text("secret.txt", "SECRET");
  char document[1024];
  snprintf(
      document, sizeof(document),
      "<!DOCTYPE p [<!ENTITY x SYSTEM \"file://%s\"><!ENTITY inner \"fine\"><!ENTITY %% p SYSTEM \"file://%s\"> %%p;]>"
      "<para>before &x; &inner; after</para>",
      secret, secret);
  dure_clean_options options = default_options();
  char *text = clean_file(write_test_text("xxe.xml", document), &options);
  ck_assert(text == NULL || strstr(text, "SECRET") == NULL);
  free(text);
  snprintf(
      document, sizeof(document),
      "<!DOCTYPE p [<!ENTITY x SYSTEM \"file://%s\"><!ENTITY inner \"fine\">]><para>before &x; &inner; after</para>",
      secret);
  require_clean("xxe2.xml", document, "before fine after");
  snprintf(document, sizeof(document),
           "<r xmlns:xi='http://www.w3.org/2001/XInclude'><p>text</p><xi:include href='%s' parse='text'/></r>", secret);
  require_clean("xinclude.xml", document, "text");
}
END_TEST

START_TEST(entities_do_not_multiply) {
  char document[4096] = "<!DOCTYPE p [<!ENTITY a0 \"aaaaaaaaaa\">";
  for (int i = 1; i < 10; i++) {
    char line[160];
    snprintf(line, sizeof(line), "<!ENTITY a%d \"&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;\">", i, i - 1,
             i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    strcat(document, line);
  }
  strcat(document, "]><para>&a9; end</para>");
  dure_clean_options options = default_options();
  char *text = clean_file(write_test_text("laughs.xml", document), &options);
  ck_assert(text == NULL || strlen(text) < 10000);
  free(text);
}
END_TEST

START_TEST(broken_markup_is_read_or_counted) {
  require_clean("cut.html", "<html><body><p>Whole paragraph.</p><p>Cut in the mid",
                "Whole paragraph.\n\nCut in the mid");
  require_clean("cut2.html", "<html><body><p>Text</p><a href=\"unfinished", "Text");
  require_clean("cut.page", "<page><title>T</title><p>Cut", NULL);
  ck_assert_uint_eq(summary.dropped[DURE_DROP_MALFORMED], 1);
  require_clean("not.xml", "just words", NULL);
  ck_assert_uint_eq(summary.dropped[DURE_DROP_MALFORMED], 1);
  static const char *const empty[] = {"no.html", "no.xml", "no.txt"};
  for (int i = 0; i < 3; i++) {
    require_clean(empty[i], "", NULL);
    ck_assert_uint_eq(summary.dropped[DURE_DROP_EMPTY] + summary.dropped[DURE_DROP_MALFORMED], i < 2);
  }
  require_text("nul.html", "<p>a\0b</p>", 10, "a b");
  // Deep nesting is given up, not followed: the tree is never built, but stacks are.
  size_t size = 0;
  char *deep = malloc(400000);
  for (int i = 0; i < 100000; i++) size += (size_t)sprintf(deep + size, "<b>");
  require_text("deep.html", deep, size, NULL);
  ck_assert_uint_eq(summary.dropped[DURE_DROP_MALFORMED], 1);
  free(deep);
}
END_TEST

START_TEST(random_bytes_and_mutations_never_harm) {
  unsigned seed = 20240607;
  const char *start = "<html><body><table><tr><td><ul><li>a<pre>b</pre></ul></table>&#x1100;&#x1161;</body>";
  const int rounds = is_full() ? 300 : 60;
  for (int round = 0; round < rounds; round++) {
    char bytes[160];
    size_t size = strlen(start);
    memcpy(bytes, start, size);
    for (int i = 0; i < 12; i++) {
      seed = seed * 1664525u + 1013904223u;
      bytes[(seed >> 8) % size] = (char)(seed >> 24);
    }
    dure_clean_options options = default_options();
    options.repair = true;
    static const char *const names[] = {"f.html", "f.xml", "f.txt", "f.jsonl"};
    free(clean_file(write_test_file(names[round % 4], bytes, size), &options));
  }
}
END_TEST

// ---- text ----

START_TEST(decomposed_hangul_is_composed) {
  const char *decomposed =
      "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab\xe1\x84\x80\xe1\x85\xb3\xe1\x86\xaf e\xcc\x81 \xe2\x84\xab";
  require_clean("nfd.txt", decomposed, "한글 é Å");
  char html[256];
  snprintf(html, sizeof(html), "<p>%s &#x1112;&#x1161;&#x11ab;</p>", decomposed);
  require_clean("nfd.html", html, "한글 é Å 한");
}
END_TEST

START_TEST(white_space_and_control_characters_are_tidied) {
  require_clean("space.txt",
                "\xef\xbb\xbf  one\x01\x1b  two\xc2\xa0\xe3\x80\x80three \t\r\nfour\r\n\r\n \r\n\r\n\xe2\x80\x8b"
                "fi\xc2\xadve\x0csix\xe2\x80\xa8seven\n\n",
                "  one two three\nfour\n\nfive\nsix\nseven");
}
END_TEST

// Normalising skips composition for characters that it knows to need none: it must be right about each of them, alone
// and behind a letter that marks compose with.
START_TEST(every_character_is_composed_or_needs_no_composing) {
  for (unsigned code = 1; code < 0x30000; code++) {
    if (code >= 0xd800 && code < 0xe000) continue;
    utf8proc_uint8_t text[16] = {'a'};
    utf8proc_ssize_t size = 1 + utf8proc_encode_char((utf8proc_int32_t)code, text + 1);
    text[size++] = 'z';
    dure_bytes composed = {0}, one = {0}, two = {0};
    dure_text_compose((const char *)text, (size_t)size, &composed);
    dure_text_normalise((const char *)text, (size_t)size, false, &one);
    dure_text_normalise(composed.data, composed.size, false, &two);
    ck_assert_msg(one.size == two.size && memcmp(one.data, two.data, one.size) == 0, "U+%04X", code);
    dure_bytes_free(&composed);
    dure_bytes_free(&one);
    dure_bytes_free(&two);
  }
}
END_TEST

START_TEST(runs_of_marks_are_bounded) {
  dure_bytes text = {0}, out = {0};
  dure_bytes_append_text(&text, "a");
  for (int i = 0; i < 100000; i++) dure_bytes_append_text(&text, i % 2 == 0 ? "\xcc\xa3" : "\xcc\x81");
  dure_text_normalise(text.data, text.size, true, &out);
  ck_assert_uint_lt(out.size, 100);
  dure_bytes_free(&text);
  dure_bytes_free(&out);
}
END_TEST

START_TEST(invalid_utf8_is_counted_or_repaired) {
  static const struct {
    const char *bytes, *repaired;
  } cases[] = {
      {"good \xff bad", "good \xef\xbf\xbd bad"},
      {"cut \xea\xb0", "cut \xef\xbf\xbd"},
      {"overlong \xc0\xaf", "overlong \xef\xbf\xbd"},
      {"surrogate \xed\xa0\x80 end", "surrogate \xef\xbf\xbd end"},
      {"beyond \xf4\x90\x80\x80 end", "beyond \xef\xbf\xbd end"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    require_clean("bad.txt", cases[i].bytes, NULL);
    ck_assert_uint_eq(summary.dropped[DURE_DROP_INVALID_UTF8], 1);
    dure_clean_options options = default_options();
    options.repair = true;
    char *text = clean_file(write_test_text("bad.txt", cases[i].bytes), &options);
    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, cases[i].repaired);
    ck_assert_uint_eq(summary.repaired, 1);
    free(text);
  }
}
END_TEST

START_TEST(declared_and_named_encodings_are_converted) {
  require_clean("euckr.html", "<meta charset=\"euc-kr\"><p>\xc7\xd1\xb1\xdb</p>", "한글");
  require_clean("latin.xml", "<?xml version='1.0' encoding='ISO-8859-1'?><para>caf\xe9</para>", "café");
  require_text("utf16.txt", "\xff\xfe\x5c\xd5\x00\xae!\0", 8, "한글!");
  dure_clean_options options = default_options();
  options.encoding = "cp949";
  char *text = clean_file(write_test_text("cp949.txt", "\xc7\xd1\xb1\xdb"), &options);
  ck_assert_str_eq(text, "한글");
  free(text);
}
END_TEST

START_TEST(languages_are_told_apart) {
  static const struct {
    const char *text;
    dure_language language;
  } cases[] = {
      {"데비안은 자유 소프트웨어를 개발합니다.", DURE_KOREAN},
      {"Debian GNU/Linux에서 apt install 명령을 사용해 보십시오.", DURE_KOREAN},
      {"The installer asks only the questions that it has to ask.", DURE_ENGLISH},
      {"Das Installationsprogramm fragt nur, was es unbedingt wissen muss, und nimmt sonst die Werte, die im Handbuch "
       "des "
       "Systems als Vorgaben genannt sind und die meistens passen.",
       DURE_OTHER_LANGUAGE},
      {"インストールを開始します。", DURE_OTHER_LANGUAGE},
      {"12345 !?", DURE_OTHER_LANGUAGE},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    ck_assert_msg(dure_language_guess(cases[i].text, strlen(cases[i].text)) == cases[i].language, "%s", cases[i].text);
  }
}
END_TEST

// ---- inputs and outputs ----

START_TEST(jsonl_lines_are_documents_and_bad_ones_are_counted) {
  const char *input =
      write_test_text("in.jsonl",
                      "{\"text\": \"first  document\", \"id\": 1}\n\nnot json\n{\"text\": 5}\n{\"text\": \"\\ud800\"}\n"
                      "{\"text\": \"tab\\tline\\nquote\\\"\\u0000\"}");
  dure_clean_options options = default_options();
  require(dure_clean(&input, 1, &options, &summary));
  ck_assert_uint_eq(summary.kept, 2);
  ck_assert_uint_eq(summary.dropped[DURE_DROP_MALFORMED], 3);
  char *out = read_test_file(options.output, NULL);
  ck_assert_ptr_nonnull(strstr(out, "{\"text\": \"first document\", \"source\": \""));
  ck_assert_ptr_nonnull(strstr(out, "in.jsonl:6\", \"language\": \"en\"}\n"));
  ck_assert_ptr_nonnull(strstr(out, "\"tab line\\nquote\\\"\""));
  free(out);
}
END_TEST

static size_t position_of(const char *text, const char *word) {
  size_t position = 0;
  while (text[position] != '\0' && strncmp(text + position, word, strlen(word)) != 0) position++;
  return position;
}

START_TEST(directories_are_walked_in_order_without_loops_twice_the_same) {
  require(dure_os_make_directories(in_test_directory("d/b")));
  write_test_text("d/z.txt", "the last one");
  write_test_text("d/b/m.html", "<p>in the middle</p>");
  write_test_text("d/a.txt", "the first one");
  write_test_text("d/picture.png", "not text");
  ck_assert_int_eq(symlink("..", in_test_directory("d/b/loop")), 0);
  ck_assert_int_eq(symlink("nowhere", in_test_directory("d/broken.txt")), 0);
  const char *input = in_test_directory("d");
  dure_clean_options options = default_options(), again = default_options();
  again.output = in_test_directory("again.jsonl");
  require(dure_clean(&input, 1, &options, &summary));
  ck_assert_uint_eq(summary.kept, 3);
  ck_assert_uint_eq(summary.read.files_skipped, 2);
  require(dure_clean(&input, 1, &again, &summary));
  require_same_files(options.output, again.output);
  char *out = read_test_file(options.output, NULL);
  ck_assert_uint_lt(position_of(out, "first"), position_of(out, "middle"));
  ck_assert_uint_lt(position_of(out, "middle"), position_of(out, "last"));
  free(out);
}
END_TEST

START_TEST(long_texts_are_cut_at_blank_lines_and_lose_nothing) {
  char *text = malloc(20001);
  for (int i = 0; i < 20000; i++) text[i] = i % 100 == 99 || i % 100 == 98 ? '\n' : (char)('a' + i % 7);
  text[20000] = '\0';
  const char *input = write_test_text("long.txt", text);
  dure_clean_options options = default_options();
  options.document_limit = 1024;
  require(dure_clean(&input, 1, &options, &summary));
  ck_assert_uint_gt(summary.kept, 15);
  ck_assert_uint_eq(summary.text_bytes, 20000 - 2 * summary.kept);  // the line feeds at the end of each part
  free(text);
}
END_TEST

START_TEST(failures_leave_what_was_there) {
  const char *missing = in_test_directory("missing.txt");
  dure_clean_options options = default_options();
  write_test_text("out.jsonl", "precious");
  require_failure(dure_clean(&missing, 1, &options, &summary), DURE_NOT_FOUND, "");
  const char *full = "/dev/full";
  const char *input = write_test_text("in.txt", "some text to be written");
  if (access(full, W_OK) == 0) {
    dure_clean_options to_full = default_options();
    to_full.output = full;
    require_failure(dure_clean(&input, 1, &to_full, &summary), DURE_IO, "");
  }
  char *kept = read_test_file(options.output, NULL);
  ck_assert_str_eq(kept, "precious");
  free(kept);
  char **names = NULL;
  size_t count = 0;
  require(dure_os_list(test_directory, &names, &count));
  ck_assert_uint_eq(count, 2);  // nothing half-written is left
  dure_os_names_free(names, count);
  options.output = input;
  require_failure(dure_clean(&input, 1, &options, &summary), DURE_INVALID_ARGUMENT, "");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_clean");
  TCase *test_case = tcase_create("clean");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 120);
  tcase_add_test(test_case, html_becomes_what_a_reader_reads);
  tcase_add_test(test_case, broken_lines_and_given_numbers_are_kept);
  tcase_add_test(test_case, footnotes_stay_where_other_asides_go);
  tcase_add_test(test_case, menus_and_named_boilerplate_go);
  tcase_add_test(test_case, mallard_loses_its_metadata_and_keeps_its_steps);
  tcase_add_test(test_case, docbook_and_unknown_xml_are_read);
  tcase_add_test(test_case, xml_never_reads_another_file);
  tcase_add_test(test_case, entities_do_not_multiply);
  tcase_add_test(test_case, broken_markup_is_read_or_counted);
  tcase_add_test(test_case, random_bytes_and_mutations_never_harm);
  tcase_add_test(test_case, decomposed_hangul_is_composed);
  tcase_add_test(test_case, white_space_and_control_characters_are_tidied);
  tcase_add_test(test_case, every_character_is_composed_or_needs_no_composing);
  tcase_add_test(test_case, runs_of_marks_are_bounded);
  tcase_add_test(test_case, invalid_utf8_is_counted_or_repaired);
  tcase_add_test(test_case, declared_and_named_encodings_are_converted);
  tcase_add_test(test_case, languages_are_told_apart);
  tcase_add_test(test_case, jsonl_lines_are_documents_and_bad_ones_are_counted);
  tcase_add_test(test_case, directories_are_walked_in_order_without_loops_twice_the_same);
  tcase_add_test(test_case, long_texts_are_cut_at_blank_lines_and_lose_nothing);
  tcase_add_test(test_case, failures_leave_what_was_there);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
