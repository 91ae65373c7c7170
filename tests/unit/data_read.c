// Reading: every container and format gives its documents with their origin; what is damaged is counted with its place,
// and never ends a run that is to go on.
#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>

#include "data/clean.h"
#include "data_files.h"

static dure_clean_summary summary;

// The JSON lines of cleaning one input; to be released with json_decref.
static json_t *clean_input(const char *path, const dure_clean_options *options) {
  require(dure_clean(&path, 1, options, &summary));
  char *bytes = read_test_file(options->output, NULL);
  json_t *documents = json_array();
  for (char *line = bytes; *line != '\0';) {
    char *newline = strchr(line, '\n');
    json_array_append_new(documents, json_loadb(line, (size_t)(newline - line), 0, NULL));
    line = newline + 1;
  }
  free(bytes);
  ck_assert_uint_eq(json_array_size(documents), summary.kept);
  return documents;
}

static dure_clean_options default_options(void) {
  dure_clean_options options = {
      .output = in_test_directory("out.jsonl"), .languages = {true, true, true}, .threads = 1};
  return options;
}

static const char *field_of(const json_t *documents, size_t index, const char *name) {
  const char *value = json_string_value(json_object_get(json_array_get(documents, index), name));
  return value != NULL ? value : "";
}

static void require_field(const json_t *documents, size_t index, const char *name, const char *expected) {
  ck_assert_str_eq(field_of(documents, index, name), expected);
}

static void require_ending(const json_t *documents, size_t index, const char *name, const char *ending) {
  const char *value = field_of(documents, index, name);
  size_t length = strlen(value), expected = strlen(ending);
  ck_assert_msg(length >= expected && strcmp(value + length - expected, ending) == 0, "'%s' does not end in '%s'",
                value, ending);
}

// Writes an archive of entries (name, bytes); filter and format as libarchive numbers them.
typedef struct entry {
  const char *name, *bytes;
  size_t size;
} entry;

static const char *write_archive(const char *name, int format, int filter, const entry *entries, size_t count) {
  const char *path = in_test_directory(name);
  struct archive *archive = archive_write_new();
  ck_assert_int_eq(archive_write_set_format(archive, format), ARCHIVE_OK);
  ck_assert_int_eq(archive_write_add_filter(archive, filter), ARCHIVE_OK);
  ck_assert_int_eq(archive_write_open_filename(archive, path), ARCHIVE_OK);
  for (size_t i = 0; i < count; i++) {
    struct archive_entry *header = archive_entry_new();
    archive_entry_copy_pathname(header, entries[i].name);
    archive_entry_set_filetype(header, AE_IFREG);
    archive_entry_set_perm(header, 0644);
    archive_entry_set_size(header, (la_int64_t)entries[i].size);
    ck_assert_int_eq(archive_write_header(archive, header), ARCHIVE_OK);
    ck_assert_int_eq(archive_write_data(archive, entries[i].bytes, entries[i].size), (la_ssize_t)entries[i].size);
    archive_entry_free(header);
  }
  ck_assert_int_eq(archive_write_close(archive), ARCHIVE_OK);
  archive_write_free(archive);
  return path;
}

static entry text_entry(const char *name, const char *text) { return (entry){name, text, strlen(text)}; }

// ---- containers ----

START_TEST(compressed_files_are_read_as_what_is_inside) {
  static const struct {
    const char *name;
    int filter;
  } cases[] = {{"a.txt.gz", ARCHIVE_FILTER_GZIP},
               {"a.txt.zst", ARCHIVE_FILTER_ZSTD},
               {"a.txt.xz", ARCHIVE_FILTER_XZ},
               {"a.txt.bz2", ARCHIVE_FILTER_BZIP2}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    const entry one = text_entry("a.txt", "압축된 글입니다.");
    dure_clean_options options = default_options();
    json_t *documents =
        clean_input(write_archive(cases[i].name, ARCHIVE_FORMAT_RAW, cases[i].filter, &one, 1), &options);
    ck_assert_uint_eq(summary.kept, 1);
    require_field(documents, 0, "text", "압축된 글입니다.");
    require_ending(documents, 0, "source", cases[i].name);
    json_decref(documents);
  }
}
END_TEST

START_TEST(archives_are_walked_with_korean_names_from_windows) {
  // "한글/문서.txt" in CP949, and a name that is none of ours.
  const entry entries[] = {text_entry("\xc7\xd1\xb1\xdb/\xb9\xae\xbc\xad.txt", "첫 문서"),
                           text_entry("page.html", "<p>둘째 문서</p>"), text_entry("photo.jpg", "no text")};
  dure_clean_options options = default_options();
  json_t *documents =
      clean_input(write_archive("a.zip", ARCHIVE_FORMAT_ZIP, ARCHIVE_FILTER_NONE, entries, 3), &options);
  ck_assert_uint_eq(summary.kept, 2);
  ck_assert_uint_eq(summary.read.files_skipped, 1);
  require_ending(documents, 0, "source", "a.zip/한글/문서.txt");
  require_field(documents, 1, "text", "둘째 문서");
  json_decref(documents);
  // A compressed file inside a compressed archive.
  const entry inner = text_entry("x", "{\"text\": \"deep inside\"}\n");
  size_t size = 0;
  char *bytes = read_test_file(write_archive("inner", ARCHIVE_FORMAT_RAW, ARCHIVE_FILTER_GZIP, &inner, 1), &size);
  const entry outer = {"b.jsonl.gz", bytes, size};
  documents =
      clean_input(write_archive("b.tar.zst", ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FILTER_ZSTD, &outer, 1), &options);
  require_ending(documents, 0, "source", "b.tar.zst/b.jsonl.gz:1");
  require_field(documents, 0, "text", "deep inside");
  json_decref(documents);
  free(bytes);
}
END_TEST

// ---- formats ----

static size_t add_record(char *out, const char *type, const char *url, const char *content_type, const char *body) {
  return (size_t)sprintf(out,
                         "WARC/1.0\r\nWARC-Type: %s\r\nWARC-Target-URI: %s\r\nContent-Type: %s\r\n"
                         "Content-Length: %zu\r\n\r\n%s\r\n\r\n",
                         type, url, content_type, strlen(body), body);
}

START_TEST(crawls_give_their_pages_with_address_and_encoding) {
  char file[4096];
  size_t size = add_record(file, "warcinfo", "", "application/warc-fields", "software: x\r\n");
  size += add_record(file + size, "response", "http://a.kr/1", "application/http",
                     "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=euc-kr\r\n\r\n<p>\xc7\xd1\xb1\xdb</p>");
  size += add_record(file + size, "response", "http://a.kr/2", "application/http",
                     "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "5\r\n<p>to\r\n8\r\ngether</\r\n2\r\np>\r\n0\r\n\r\n");
  size += add_record(file + size, "response", "http://a.kr/3", "application/http",
                     "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n<p>no</p>");
  size += add_record(file + size, "response", "http://a.kr/4", "application/http",
                     "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\nno");
  size += add_record(file + size, "conversion", "http://a.kr/5", "text/plain", "본문입니다.");
  dure_clean_options options = default_options();
  json_t *documents = clean_input(write_test_file("crawl.warc", file, size), &options);
  ck_assert_uint_eq(summary.kept, 3);
  ck_assert_uint_eq(summary.read.records_skipped, 3);
  require_field(documents, 0, "text", "한글");
  require_field(documents, 0, "url", "http://a.kr/1");
  require_field(documents, 1, "text", "together");
  require_field(documents, 2, "text", "본문입니다.");
  ck_assert_int_gt(json_integer_value(json_object_get(json_array_get(documents, 0), "offset")), 0);
  json_decref(documents);
}
END_TEST

START_TEST(damage_in_a_crawl_costs_its_record_alone) {
  char file[4096];
  size_t size = add_record(file, "conversion", "http://a.kr/1", "text/plain", "first");
  size += (size_t)sprintf(file + size, "garbage\r\nWARC/1.0\r\nContent-Length: x\r\n\r\n");
  size += add_record(file + size, "conversion", "http://a.kr/2", "text/plain", "second");
  size_t whole = size;
  size += add_record(file + size, "conversion", "http://a.kr/3", "text/plain", "third");
  dure_clean_options options = default_options();
  json_decref(clean_input(write_test_file("bad.warc", file, size), &options));
  ck_assert_uint_eq(summary.kept, 3);
  ck_assert_uint_eq(summary.read.unreadable, 2);
  json_decref(clean_input(write_test_file("cut.warc", file, whole + 100), &options));
  ck_assert_uint_eq(summary.kept, 2);
  ck_assert_uint_eq(summary.read.unreadable, 3);
}
END_TEST

START_TEST(tables_of_sentences_give_their_rows) {
  dure_clean_options options = default_options();
  const char *table = "\xef\xbb\xbfID,원문,번역문\r\n1,\"안녕, \"\"너\"\"\",Hello\r\n2,\"두\n줄\",Two\r\n";
  json_t *documents = clean_input(write_test_text("a.csv", table), &options);
  ck_assert_uint_eq(summary.kept, 2);
  require_field(documents, 0, "text", "안녕, \"너\"\nHello");
  require_ending(documents, 0, "source", "a.csv:2");
  require_ending(documents, 1, "source", "a.csv:3");
  json_decref(documents);
  options.field = "번역문,1";
  documents = clean_input(write_test_text("a.csv", table), &options);
  require_field(documents, 1, "text", "Two\n2");
  json_decref(documents);
  options.field = NULL;
  documents = clean_input(write_test_text("a.tsv", "나는 간다\tI go\n"), &options);
  require_field(documents, 0, "text", "나는 간다\nI go");
  json_decref(documents);
}
END_TEST

START_TEST(markdown_keeps_text_and_loses_what_is_not_read) {
  dure_clean_options options = default_options();
  json_t *documents = clean_input(
      write_test_text(
          "a.md",
          "---\ntitle: x\n---\n# Title #\n\nA [link](http://x.y) and ![pic](p.png), `[as](is)`.\n"
          "<!-- not\nthis -->\n- item\n\n```\n# code [a](b)\n```\n\n[ref]: http://x.y\nSetext\n======\nend\n"),
      &options);
  require_field(documents, 0, "text",
                "Title\n\nA link and pic, `[as](is)`.\n\n- item\n\n```\n# code [a](b)\n```\n\nSetext\nend");
  json_decref(documents);
}
END_TEST

START_TEST(other_fields_and_origins_of_jsonl_are_carried) {
  dure_clean_options options = default_options();
  options.field = "body.content";
  options.licence = "CC0";
  json_t *documents = clean_input(
      write_test_text(
          "a.jsonl",
          "{\"body\": {\"content\": \"one\"}, \"url\": \"http://x\", \"license\": \"MIT\", \"source\": \"s\"}\n"
          "{\"body\": {\"content\": \"two\"}}\n{\"text\": \"three\"}\n"),
      &options);
  ck_assert_uint_eq(summary.kept, 2);
  ck_assert_uint_eq(summary.dropped[DURE_DROP_MALFORMED], 1);
  require_field(documents, 0, "source", "s");
  require_field(documents, 0, "url", "http://x");
  require_field(documents, 0, "licence", "MIT");
  require_field(documents, 1, "licence", "CC0");
  json_decref(documents);
}
END_TEST

START_TEST(encodings_are_found_without_being_declared) {
  dure_clean_options options = default_options();
  // "이것은 한글로 쓴 글이다." in CP949.
  json_t *documents = clean_input(
      write_test_text("cp949.txt",
                      "\xc0\xcc\xb0\xcd\xc0\xba \xc7\xd1\xb1\xdb\xb7\xce \xbe\xb4 \xb1\xdb\xc0\xcc\xb4\xd9."),
      &options);
  ck_assert_uint_eq(summary.kept, 1);
  require_field(documents, 0, "text", "이것은 한글로 쓴 글이다.");
  json_decref(documents);
  // UTF-16 without a mark, and JSONL in UTF-16 with a lone surrogate.
  char bytes[200];
  const char *text = "plain ASCII as UTF-16 without a mark";
  for (size_t i = 0; i < strlen(text); i++) {
    bytes[2 * i] = text[i];
    bytes[2 * i + 1] = '\0';
  }
  documents = clean_input(write_test_file("u16.txt", bytes, 2 * strlen(text)), &options);
  require_field(documents, 0, "text", text);
  json_decref(documents);
  json_decref(clean_input(write_test_file("lone.txt", "\xff\xfe\x61\x00\x00\xd8\x62\x00", 8), &options));
  ck_assert_uint_eq(summary.dropped[DURE_DROP_INVALID_UTF8], 1);
  options.repair = true;
  documents =
      clean_input(write_test_text("lone.jsonl", "{\"text\": \"a \\ud83d b \\ud83d\\ude00 \\\\ud800\"}"), &options);
  require_field(documents, 0, "text", "a \xef\xbf\xbd b \xf0\x9f\x98\x80 \\ud800");
  ck_assert_uint_eq(summary.repaired, 1);
  json_decref(documents);
}
END_TEST

// ---- bad input ----

static uint64_t problems;
static char last_problem[512];

static void note_problem(void *context, const dure_document_problem *problem) {
  (void)context;
  problems++;
  snprintf(last_problem, sizeof(last_problem), "%s:%llu:%llu: %s", problem->path, (unsigned long long)problem->line,
           (unsigned long long)problem->offset, problem->message);
}

START_TEST(a_truncated_file_is_reported_and_the_others_are_read) {
  require(dure_os_make_directories(in_test_directory("d")));
  char text[4000];
  for (size_t i = 0; i < sizeof(text); i++) text[i] = (char)(i % 40 == 39 ? '\n' : 'a' + (int)(i * i * 7 % 26));
  const entry one = {"x", text, sizeof(text)};
  size_t size = 0;
  char *bytes = read_test_file(write_archive("a.gz", ARCHIVE_FORMAT_RAW, ARCHIVE_FILTER_GZIP, &one, 1), &size);
  write_test_file("d/a.txt.gz", bytes, size / 2);
  write_test_text("d/b.txt", "the file behind it");
  write_test_text("d/c.zip", "PK\x03\x04 not a zip");
  free(bytes);
  problems = 0;
  dure_clean_options options = default_options();
  options.problem = note_problem;
  options.dropped = in_test_directory("dropped.jsonl");
  json_decref(clean_input(in_test_directory("d"), &options));
  ck_assert_uint_eq(problems, 2);
  ck_assert_uint_eq(summary.read.unreadable, 2);
  ck_assert_uint_eq(summary.dropped[DURE_DROP_UNREADABLE], 2);
  ck_assert_uint_ge(summary.kept, 1);
  char *dropped = read_test_file(options.dropped, NULL);
  ck_assert_ptr_nonnull(strstr(dropped, "{\"reason\": \"unreadable\", \"source\": \""));
  ck_assert_ptr_nonnull(strstr(dropped, "a.txt.gz"));
  free(dropped);
  options.stop_on_error = true;
  const char *input = in_test_directory("d");
  require_failure(dure_clean(&input, 1, &options, &summary), DURE_CORRUPT, "");
}
END_TEST

START_TEST(a_line_beyond_the_limit_is_passed_over_with_its_place) {
  size_t size = 3 << 20;
  char *line = malloc(size + 100);
  memset(line, 'x', size);
  memcpy(line, "{\"text\": \"", 10);
  strcpy(line + size, "\"}\n{\"text\": \"the second line\"}\n");
  problems = 0;
  dure_clean_options options = default_options();
  options.problem = note_problem;
  options.document_limit = 1 << 16;
  json_t *documents = clean_input(write_test_text("long.jsonl", line), &options);
  free(line);
  ck_assert_uint_eq(summary.kept, 1);
  ck_assert_uint_eq(summary.read.too_large, 1);
  ck_assert_uint_eq(problems, 1);
  ck_assert_ptr_nonnull(strstr(last_problem, "long.jsonl:1:0: a document larger than --max-document (65536 bytes)"));
  require_ending(documents, 0, "source", "long.jsonl:2");
  json_decref(documents);
}
END_TEST

START_TEST(binary_files_and_unbalanced_quotes_are_counted) {
  problems = 0;
  dure_clean_options options = default_options();
  options.problem = note_problem;
  json_decref(clean_input(write_test_file("nul.txt", "abc\0def", 7), &options));
  ck_assert_uint_eq(summary.dropped[DURE_DROP_BINARY], 1);
  ck_assert_uint_eq(problems, 1);
  options.document_limit = 64;
  char table[400] = "\"never closed,";
  for (int i = 0; i < 10; i++) strcat(table, "and on and on\n");
  json_decref(clean_input(write_test_text("open.csv", table), &options));
  ck_assert_uint_ge(summary.read.too_large, 1);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_read");
  TCase *test_case = tcase_create("read");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 120);
  tcase_add_test(test_case, compressed_files_are_read_as_what_is_inside);
  tcase_add_test(test_case, archives_are_walked_with_korean_names_from_windows);
  tcase_add_test(test_case, crawls_give_their_pages_with_address_and_encoding);
  tcase_add_test(test_case, damage_in_a_crawl_costs_its_record_alone);
  tcase_add_test(test_case, tables_of_sentences_give_their_rows);
  tcase_add_test(test_case, markdown_keeps_text_and_loses_what_is_not_read);
  tcase_add_test(test_case, other_fields_and_origins_of_jsonl_are_carried);
  tcase_add_test(test_case, encodings_are_found_without_being_declared);
  tcase_add_test(test_case, a_truncated_file_is_reported_and_the_others_are_read);
  tcase_add_test(test_case, a_line_beyond_the_limit_is_passed_over_with_its_place);
  tcase_add_test(test_case, binary_files_and_unbalanced_quotes_are_counted);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
