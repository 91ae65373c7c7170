// What a tokenizer_config.json beside a tokenizer changes. The expectations with a tokenizer.json are those of
// `transformers` 5.23.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/tokenizer.h"
#include "runtime/os.h"
#include "tests/suite.h"

#define OBJECT "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define TOKENIZER                                                                                     \
  "{\"added_tokens\":[{\"id\":3,\"content\":\"<end>\",\"special\":true,\"normalized\":false}],\"pre_" \
  "tokenizer\":" OBJECT ",\"decoder\":" OBJECT                                                        \
  ",\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"x\":5},\"merges\":[\"a b\"]}}"
#define VOCAB "{\"a\":0,\"b\":1,\"ab\":2,\"<end>\":3,\"x\":5}"
#define MERGES "#version: 0.2\na b\n"
#define ADDED "{\"added_tokens_decoder\":{"

static void write_file(const char *folder, const char *name, const char *text) {
  char *path = dure_os_path_join(folder, name);
  require(dure_os_write_file(path, text, strlen(text)));
  free(path);
}

static char *text_of(const dure_tokenizer *tokenizer, const char *text) {
  static char out[256];
  dure_ids ids = {0};
  size_t length = 0;
  require(dure_tokenizer_encode(tokenizer, text, strlen(text), &(dure_encode_options){true, true, 0, 0}, &ids));
  out[0] = '\0';
  for (size_t i = 0; i < ids.count; i++)
    length += (size_t)snprintf(out + length, sizeof(out) - length, i > 0 ? " %u" : "%u", ids.ids[i]);
  dure_ids_free(&ids);
  return out;
}

static const struct {
  bool is_pair;  // vocab.json and merges.txt, else a tokenizer.json
  const char *config, *text, *ids;
} rows[] = {
    {false, "{}", "ab<end>x", "2 3 5"},
    {false, ADDED "\"4\":{\"content\":\"<t>\",\"special\":true}}}", "a<t>b", "0 4 1"},
    {false, ADDED "\"4\":{\"content\":\"<t>\"},\"6\":{\"content\":\"<u>\"}}}", "<u><t>", "6 4"},
    {false, ADDED "\"3\":{\"content\":\"<end>\",\"special\":true,\"lstrip\":true}}}", "x  <end>x", "5 3 5"},
    {false, ADDED "\"9\":{\"content\":\"x\",\"special\":true}}}", "axb", "0 5 1"},  // the model's id is the one
    {false, "{\"pad_token\":{\"content\":\"b\"},\"eos_token\":\"not there\"}", "ab", "0 1"},
    {false, "{\"bos_token\":\"<end>\",\"eos_token\":\"<end>\",\"add_bos_token\":true,\"add_eos_token\":true}", "ab",
     "2"},
    {true, "{\"bos_token\":\"<end>\",\"add_bos_token\":true,\"add_eos_token\":false}", "ab", "3 2"},
    {true, "{\"eos_token\":{\"content\":\"<end>\"},\"add_eos_token\":true}", "ab", "2 3"},
    {true, "{\"bos_token\":\"x\",\"eos_token\":\"<end>\",\"add_bos_token\":true,\"add_eos_token\":true}", "ab",
     "5 2 3"},
    {true, "{\"bos_token\":\"<end>\",\"add_bos_token\":false}", "ab", "2"},
};

static void make_folder(char *folder, bool is_pair, const char *config) {
  ck_assert_ptr_nonnull(mkdtemp(folder));
  if (is_pair) {
    write_file(folder, "vocab.json", VOCAB);
    write_file(folder, "merges.txt", MERGES);
  } else {
    write_file(folder, "tokenizer.json", TOKENIZER);
  }
  write_file(folder, "tokenizer_config.json", config);
}

START_TEST(a_config_beside_the_file_changes_ids) {
  char folder[] = "/tmp/dure-config-XXXXXX";
  dure_tokenizer *tokenizer, *again;
  make_folder(folder, rows[_i].is_pair, rows[_i].config);
  require(dure_tokenizer_open(folder, &tokenizer));
  ck_assert_str_eq(text_of(tokenizer, rows[_i].text), rows[_i].ids);
  // What is saved of it says the same without the config.
  size_t length;
  const char *json = dure_tokenizer_json(tokenizer, &length);
  require(dure_tokenizer_parse(json, length, &again));
  ck_assert_str_eq(text_of(again, rows[_i].text), rows[_i].ids);
  dure_tokenizer_close(again);
  dure_tokenizer_close(tokenizer);
  require(dure_os_remove_tree(folder));
}
END_TEST

START_TEST(a_config_that_says_nothing_leaves_the_file_as_it_is) {
  char folder[] = "/tmp/dure-config-XXXXXX";
  dure_tokenizer *tokenizer;
  size_t length;
  make_folder(folder, false, ADDED "\"3\":{\"content\":\"<end>\",\"special\":true,\"normalized\":false}}}");
  require(dure_tokenizer_open(folder, &tokenizer));
  // The row had no "single_word" and so on; readers give it the same values.
  ck_assert_str_eq(text_of(tokenizer, "ab<end>"), "2 3");
  dure_tokenizer_close(tokenizer);
  write_file(folder, "tokenizer_config.json", "{\"model_max_length\":5,\"eos_token\":\"<end>\"}");
  require(dure_tokenizer_open(folder, &tokenizer));
  const char *json = dure_tokenizer_json(tokenizer, &length);
  ck_assert_uint_eq(length, strlen(TOKENIZER));
  ck_assert_mem_eq(json, TOKENIZER, length);
  dure_tokenizer_close(tokenizer);
  require(dure_os_remove_tree(folder));
}
END_TEST

static const struct {
  bool is_pair;
  const char *config, *words;
} bad_rows[] = {
    {false, "{", "not JSON"},
    {false, "[]", "expected an object, found an array"},
    {false, "{\"added_tokens_decoder\":[]}", "added_tokens_decoder: expected an object"},
    {false, ADDED "\"x\":{\"content\":\"c\"}}}", "expected token ids below"},
    {false, ADDED "\"4 \":{\"content\":\"c\"}}}", "expected token ids below"},
    {false, ADDED "\"4194304\":{\"content\":\"c\"}}}", "expected token ids below"},
    {false, ADDED "\"4\":7}}", "with a whole number"},
    {false, ADDED "\"4\":{}}}", "content: expected a string, found nothing"},
    {false, ADDED "\"4\":{\"content\":\"c\",\"special\":1}}}", "special: expected true or false"},
    {false, ADDED "\"1\":{\"content\":\"c\"}}}", "another token's"},
    {true, "{\"add_bos_token\":true}", "add_bos_token is true"},
    {true, "{\"add_eos_token\":true,\"eos_token\":\"none\"}", "'none', is no token"},
    {true, "{\"add_eos_token\":5}", "add_eos_token: expected true or false"},
};

START_TEST(a_bad_config_is_refused_by_what_is_wrong_with_it) {
  char folder[] = "/tmp/dure-config-XXXXXX";
  dure_tokenizer *tokenizer;
  make_folder(folder, bad_rows[_i].is_pair, bad_rows[_i].config);
  dure_status status = dure_tokenizer_open(folder, &tokenizer);
  ck_assert_ptr_null(tokenizer);
  ck_assert_int_eq(dure_status_code(status), DURE_CORRUPT);
  ck_assert_msg(strstr(dure_status_message(status), bad_rows[_i].words) != NULL, "expected '%s', found: %s",
                bad_rows[_i].words, dure_status_message(status));
  dure_status_free(status);
  require(dure_os_remove_tree(folder));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer_config");
  TCase *cases = tcase_create("config");
  tcase_add_loop_test(cases, a_config_beside_the_file_changes_ids, 0, sizeof(rows) / sizeof(rows[0]));
  tcase_add_test(cases, a_config_that_says_nothing_leaves_the_file_as_it_is);
  tcase_add_loop_test(cases, a_bad_config_is_refused_by_what_is_wrong_with_it, 0,
                      sizeof(bad_rows) / sizeof(bad_rows[0]));
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
