// A conversation on a pseudo-terminal: messages, an answer that Ctrl-C ends, commands, Ctrl-D.
#define _XOPEN_SOURCE 600
#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/os.h"
#include "tests/suite.h"

static char folder[64], seen[1 << 18];
static size_t seen_length;
static int terminal;
static pid_t child;

static void copy_file(const char *name) {
  char from[512], to[256], *text = NULL;
  size_t length = 0;
  snprintf(from, sizeof(from), "%s/tests/golden/gpt2/even/%s", getenv("DURE_SOURCE_DIR"), name);
  snprintf(to, sizeof(to), "%s/%s", folder, name);
  require(dure_os_read_file(from, 1 << 24, &text, &length));
  require(dure_os_write_file(to, text, length));
  free(text);
}

// The program on the terminal's other end, which its signals then come from.
static void start(void) {
  static const char template[] = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>";
  char path[256];
  snprintf(folder, sizeof(folder), "/tmp/dure-chat-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  copy_file("config.json");
  copy_file("model.safetensors");
  copy_file("tokenizer.json");
  snprintf(path, sizeof(path), "%s/chat_template.jinja", folder);
  require(dure_os_write_file(path, template, strlen(template)));
  terminal = posix_openpt(O_RDWR | O_NOCTTY);
  ck_assert_int_ge(terminal, 0);
  ck_assert_int_eq(grantpt(terminal) | unlockpt(terminal), 0);
  child = fork();
  if (child == 0) {
    setsid();
    const int other = open(ptsname(terminal), O_RDWR);
    for (int i = 0; i < 3; i++) dup2(other, i);
    // Its answers have no end of their own: the context is shifted for ever.
    execl(getenv("DURE_PROGRAM"), "dure", "generate", folder, "--chat", "--device", "reference", "--shift",
          "--no-stop-at-end", "--max-tokens", "1000000", (char *)NULL);
    _exit(127);
  }
}

static void wait_for(const char *text) {
  size_t from = 0;
  while (strstr(seen + from, text) == NULL) {
    struct pollfd ready = {.fd = terminal, .events = POLLIN};
    ck_assert_msg(poll(&ready, 1, 30000) == 1, "no '%s' after '%s'", text, seen);
    const ssize_t count = read(terminal, seen + seen_length, sizeof(seen) - 1 - seen_length);
    ck_assert_msg(count > 0, "it ended before '%s'", text);
    for (ssize_t i = 0; i < count; i++) {  // what a random model says may hold anything
      if (seen[seen_length + (size_t)i] == '\0') seen[seen_length + (size_t)i] = '?';
    }
    seen_length += (size_t)count;
    seen[seen_length] = '\0';
    if (seen_length > sizeof(seen) / 2) from = seen_length = 0;
  }
  seen_length = 0;
  seen[0] = '\0';
}

static void type(const char *text) { ck_assert_int_eq((int)write(terminal, text, strlen(text)), (int)strlen(text)); }

START_TEST(an_answer_is_interrupted_and_the_conversation_goes_on) {
  char path[128], line[256];
  int status = 0;
  start();
  wait_for("> ");
  type("one\\\n");
  wait_for(". ");
  type("two\n");
  wait_for("two\r\n");
  struct pollfd ready = {.fd = terminal, .events = POLLIN};
  ck_assert_int_eq(poll(&ready, 1, 30000), 1);  // the answer has begun
  type("\x03");
  wait_for("\r\n> ");
  snprintf(path, sizeof(path), "%s/saved.json", folder);
  snprintf(line, sizeof(line), "/save %s\n", path);
  type(line);
  wait_for("\r\n> ");
  json_t *messages = json_load_file(path, JSON_ALLOW_NUL, NULL);
  ck_assert_uint_eq(json_array_size(messages), 2);
  ck_assert_str_eq(json_string_value(json_object_get(json_array_get(messages, 0), "content")), "one\ntwo");
  ck_assert_str_eq(json_string_value(json_object_get(json_array_get(messages, 1), "role")), "assistant");
  json_decref(messages);
  type("/system Be short.\n");
  wait_for("\r\n> ");
  type(line);
  wait_for("\r\n> ");
  messages = json_load_file(path, JSON_ALLOW_NUL, NULL);
  ck_assert_uint_eq(json_array_size(messages), 1);
  ck_assert_str_eq(json_string_value(json_object_get(json_array_get(messages, 0), "role")), "system");
  json_decref(messages);
  type("\x04");
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_int_eq(status, 0);
  close(terminal);
  require(dure_os_remove_tree(folder));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("chat_session");
  TCase *tests = tcase_create("chat_session");
  tcase_set_timeout(tests, 120);
  tcase_add_test(tests, an_answer_is_interrupted_and_the_conversation_goes_on);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
