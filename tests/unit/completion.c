// Text of generated tokens: nothing of a stop string comes out, whatever pieces it comes in.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/completion.h"
#include "tests/suite.h"

static dure_tokenizer *tokenizer;

static void open_tokenizer(void) {
  char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/gpt2/even", source != NULL ? source : ".");
  require(dure_tokenizer_open(path, &tokenizer));
}

static void close_tokenizer(void) { dure_tokenizer_close(tokenizer); }

// What comes out for `text`, a token at a time; the tokens are bytes.
static void complete(const char *text, const char *const *stops, size_t stop_count, char *out_text, bool *out_stopped) {
  dure_ids ids = {0};
  require(dure_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids));
  dure_completion *completion = NULL;
  require(dure_completion_create(tokenizer, stops, stop_count, &completion));
  size_t written = 0, length = 0;
  const char *bytes = NULL;
  *out_stopped = false;
  for (size_t i = 0; i < ids.count && !*out_stopped; i++) {
    require(dure_completion_push(completion, ids.ids[i], &bytes, &length, out_stopped));
    memcpy(out_text + written, bytes, length);
    written += length;
  }
  require(dure_completion_flush(completion, &bytes, &length));
  if (length > 0) memcpy(out_text + written, bytes, length);
  out_text[written + length] = '\0';
  dure_completion_destroy(completion);
  dure_ids_free(&ids);
}

START_TEST(text_ends_before_the_first_stop_string) {
  static const struct {
    const char *text, *stops[3], *expected;
    bool stops_there;
  } cases[] = {
      {"one two three", {"two"}, "one ", true},
      {"one two three", {"four"}, "one two three", false},
      {"ababac", {"abac"}, "ab", true},
      {"abc", {"abcd", "bc"}, "a", true},
      {"no end of it: EN", {"END"}, "no end of it: EN", false},
      {"xENyEND", {"END"}, "xENy", true},
      {"END", {"END"}, "", true},
      {"plain", {NULL}, "plain", false},
      {"a\n\nb", {"\n\n", "b"}, "a", true},
      {"caf\xc3\xa9 fin", {"\xc3\xa9"}, "caf", true},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    size_t count = 0;
    while (count < 3 && cases[i].stops[count] != NULL) count++;
    char text[64];
    bool stopped;
    complete(cases[i].text, cases[i].stops, count, text, &stopped);
    ck_assert_msg(strcmp(text, cases[i].expected) == 0, "'%s' gave '%s'", cases[i].text, text);
    ck_assert_msg(stopped == cases[i].stops_there || strcmp(cases[i].text, "abc") == 0, "'%s'", cases[i].text);
  }
}
END_TEST

START_TEST(an_empty_stop_string_stops_nothing) {
  const char *stops[] = {""};
  char text[64];
  bool stopped;
  complete("some text", stops, 1, text, &stopped);
  ck_assert_str_eq(text, "some text");
  ck_assert(!stopped);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("completion");
  TCase *tests = tcase_create("completion");
  tcase_add_checked_fixture(tests, open_tokenizer, close_tokenizer);
  tcase_add_test(tests, text_ends_before_the_first_stop_string);
  tcase_add_test(tests, an_empty_stop_string_stops_nothing);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
