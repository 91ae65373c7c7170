// Chats: a model's template and special tokens from every place where they are, and back.
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/chat.h"
#include "model/companions.h"
#include "runtime/os.h"
#include "tests/suite.h"

#define TURN "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"

static char folder[64];

static void put(const char *name, const char *text) {
  char *path = dure_os_path_join(folder, name);
  require(dure_os_write_file(path, text, strlen(text)));
  free(path);
}

static void copy(const char *name) {
  char from[4096], *bytes;
  size_t size;
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(from, sizeof(from), "%s/tests/golden/gpt2/even/%s", source != NULL ? source : ".", name);
  require(dure_os_read_file(from, 1 << 24, &bytes, &size));
  put(name, bytes);
  free(bytes);
}

static void setup(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-chat-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  copy("tokenizer.json");
  copy("config.json");
}

static void teardown(void) { require(dure_os_remove_tree(folder)); }

static dure_chat *open_chat(void) {
  dure_tokenizer *tokenizer;
  dure_chat *chat;
  require(dure_tokenizer_open(folder, &tokenizer));
  require(dure_chat_open(folder, tokenizer, &chat));
  dure_tokenizer_close(tokenizer);
  return chat;
}

static void check_text(const char *request_text, const char *wanted) {
  dure_chat *chat = open_chat();
  json_t *request = json_loads(request_text, 0, NULL);
  char *text;
  size_t length;
  ck_assert_ptr_nonnull(request);
  require(dure_chat_render(chat, request, &text, &length));
  ck_assert_str_eq(text, wanted);
  ck_assert_uint_eq(length, strlen(wanted));
  free(text);
  json_decref(request);
  dure_chat_close(chat);
}

#define ASK "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}"
#define ASK_WITH_TOOLS "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"tools\": [{\"name\": \"t\"}]}"

START_TEST(templates_are_found_where_models_have_them) {
  put("tokenizer_config.json", "{\"eos_token\": \"</s>\", \"chat_template\": \"" TURN "\"}");
  check_text(ASK, "<user>hi</s>");
  put("tokenizer_config.json",
      "{\"eos_token\": {\"content\": \"<e>\"}, \"chat_template\": [{\"name\": \"default\", \"template\": \"" TURN
      "\"}, {\"name\": \"tool_use\", \"template\": \"{{ tools[0].name }}\"}]}");
  check_text(ASK, "<user>hi<e>");
  check_text(ASK_WITH_TOOLS, "t");
  put("chat_template.jinja", "{{ messages | length }}{{ add_generation_prompt }}{{ tools is none }}\n");
  check_text(ASK, "1TrueTrue");
}
END_TEST

START_TEST(special_tokens_are_found_beside_the_tokenizer) {
  put("special_tokens_map.json", "{\"bos_token\": \"<b>\", \"eos_token\": {\"content\": \"<e>\"}}");
  put("chat_template.jinja", "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}");
  check_text(ASK, "<b><e>False");
}
END_TEST

START_TEST(every_end_of_an_answer_is_known) {
  put("generation_config.json", "{\"eos_token_id\": [3, 5, 3, -1, \"x\"]}");
  dure_chat *chat = open_chat();
  size_t count;
  const uint32_t *ends = dure_chat_ends(chat, &count);
  ck_assert_uint_ge(count, 2);
  ck_assert_uint_eq(ends[0], 3);
  ck_assert_uint_eq(ends[1], 5);
  for (size_t i = 2; i < count; i++) ck_assert(ends[i] != 3 && ends[i] != 5);
  dure_chat_close(chat);
}
END_TEST

static void check_refused(const char *request_text, dure_code code, const char *words) {
  dure_chat *chat = open_chat();
  json_t *request = json_loads(request_text, 0, NULL);
  char *text;
  size_t length;
  dure_status status = dure_chat_render(chat, request, &text, &length);
  ck_assert_msg(dure_status_code(status) == code && strstr(dure_status_message(status), words) != NULL, "%s: %s",
                request_text, dure_status_message(status));
  ck_assert_ptr_null(text);
  dure_status_free(status);
  json_decref(request);
  dure_chat_close(chat);
}

START_TEST(wrong_requests_are_refused) {
  check_refused(ASK, DURE_NOT_FOUND, "no chat template");
  put("chat_template.jinja", "{{ raise_exception('only one turn') }}");
  check_refused(ASK, DURE_INVALID_ARGUMENT, "only one turn");
  check_refused("{\"messages\": []}", DURE_INVALID_ARGUMENT, "at least one message");
  check_refused("{\"messages\": [1]}", DURE_INVALID_ARGUMENT, "message 0");
  check_refused("[]", DURE_INVALID_ARGUMENT, "\"messages\"");
}
END_TEST

START_TEST(wrong_files_are_refused) {
  dure_companions companions;
  put("tokenizer_config.json", "{");
  dure_status status = dure_companions_read(folder, &companions);
  ck_assert_int_eq(dure_status_code(status), DURE_CORRUPT);
  dure_status_free(status);
  put("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"default\"}]}");
  status = dure_companions_read(folder, &companions);
  ck_assert_int_eq(dure_status_code(status), DURE_CORRUPT);
  dure_status_free(status);
}
END_TEST

START_TEST(what_was_read_is_written) {
  dure_companions companions, again;
  put("tokenizer_config.json", "{\"eos_token\": \"<e>\", \"chat_template\": \"" TURN "\", \"own\": [1]}");
  require(dure_companions_read(folder, &companions));
  require(dure_companions_write(&companions, 77, folder));
  require(dure_companions_read(folder, &again));
  ck_assert_str_eq(again.chat_template, TURN);
  ck_assert_str_eq(dure_companions_token(&again, "eos_token"), "<e>");
  ck_assert_int_eq(json_integer_value(json_object_get(again.tokenizer_config, "model_max_length")), 77);
  ck_assert_uint_eq(json_array_size(json_object_get(again.tokenizer_config, "own")), 1);
  dure_companions_clear(&companions);
  dure_companions_clear(&again);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("chat");
  TCase *cases = tcase_create("all");
  tcase_add_checked_fixture(cases, setup, teardown);
  tcase_add_test(cases, templates_are_found_where_models_have_them);
  tcase_add_test(cases, special_tokens_are_found_beside_the_tokenizer);
  tcase_add_test(cases, every_end_of_an_answer_is_known);
  tcase_add_test(cases, wrong_requests_are_refused);
  tcase_add_test(cases, wrong_files_are_refused);
  tcase_add_test(cases, what_was_read_is_written);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
