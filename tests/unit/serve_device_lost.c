// A server whose device is lost while it works: what runs and what waits is answered with 503, so is what comes later;
// /health tells, and the server stays up until it is told to end. The reference device, made to fail.
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/server.h"
#include "tests/suite.h"

enum { CLIENTS = 6 };  // more than the engine runs together

static dure_device *device;
static dure_device_vtable failing;
static const dure_device_vtable *intact;
static dure_server *server;
static atomic_bool is_lost, should_end;
static atomic_int submitted;

// Once it is to be lost the device takes two more submissions, fewer than any of the requests needs.
static dure_status submit_or_fail(dure_stream *stream, dure_recording *const *recordings, size_t count,
                                  dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                                  uint64_t signal_value) {
  if (atomic_load(&is_lost) && atomic_fetch_add(&submitted, 1) >= 2)
    return dure_fail(DURE_DEVICE_LOST, "the device is lost (made so by a test)");
  return intact->stream_submit(stream, recordings, count, wait_event, wait_value, signal_event, signal_value);
}

// ---- a client ----------------------------------------------------------------------------------------------------

typedef struct client {
  pthread_t thread;
  const char *head, *body;
  char answer[8192];
} client;

static void *ask(void *context) {
  client *self = context;
  char request[1024];
  size_t size = 0;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(dure_server_port(server))};
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  const int length =
      snprintf(request, sizeof(request),
               "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\n\r\n%s",
               self->head, strlen(self->body), self->body);
  if (connect(connection, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
      send(connection, request, (size_t)length, MSG_NOSIGNAL) == length) {
    ssize_t got = 0;
    while (size + 1 < sizeof(self->answer) &&
           (got = recv(connection, self->answer + size, sizeof(self->answer) - 1 - size, 0)) > 0)
      size += (size_t)got;
  }
  self->answer[size] = '\0';
  close(connection);
  return NULL;
}

static void expect(const char *head, const char *body, const char *status, const char *part) {
  client one = {.head = head, .body = body};
  ask(&one);
  ck_assert_msg(strncmp(one.answer, status, strlen(status)) == 0 && strstr(one.answer, part) != NULL, "%s: %s", head,
                one.answer);
}

static bool ends(void) { return atomic_load(&should_end); }

static void *run(void *context) {
  (void)context;
  return dure_server_run(server, ends);
}

// ---- the case ----------------------------------------------------------------------------------------------------

static const char completions[] = "POST /v1/completions";
static const char long_body[] = "{\"prompt\": \"hello\", \"max_tokens\": 40, \"ignore_eos\": true}";

static void check_lost(void) {
  client clients[CLIENTS];
  expect("GET /health", "", "HTTP/1.1 200 ", "ok");
  expect(completions, "{\"prompt\": \"hello\", \"max_tokens\": 2}", "HTTP/1.1 200 ", "\"finish_reason\":\"length\"");
  atomic_store(&is_lost, true);
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = (client){.head = completions, .body = long_body};
    ck_assert_int_eq(pthread_create(&clients[i].thread, NULL, ask, &clients[i]), 0);
  }
  for (int i = 0; i < CLIENTS; i++) {
    pthread_join(clients[i].thread, NULL);
    ck_assert_msg(strncmp(clients[i].answer, "HTTP/1.1 503 ", 13) == 0 && strstr(clients[i].answer, "device") != NULL,
                  "client %d: %s", i, clients[i].answer);
  }
  expect("GET /health", "", "HTTP/1.1 503 ", "device lost");
  expect(completions, long_body, "HTTP/1.1 503 ", "the device is lost; the server must be started again");
  expect("POST /v1/embeddings", "{\"input\": \"hello\"}", "HTTP/1.1 503 ", "the device is lost");
  expect("GET /metrics", "", "HTTP/1.1 200 ", "dure_device_lost 1");
  expect("POST /tokenize", "{\"prompt\": \"hello\"}", "HTTP/1.1 200 ", "\"count\":5");  // needs no device
}

START_TEST(requests_are_refused_and_the_server_stays) {
  char path[4096];
  dure_stream *stream = NULL;
  dure_model *model = NULL;
  dure_tokenizer *tokenizer = NULL;
  dure_chat *chat = NULL;
  dure_engine *engine = NULL;
  pthread_t thread;
  void *result = NULL;
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/gpt2/even", source != NULL ? source : ".");
  require(dure_device_open("reference", &device));
  intact = device->vtable;
  failing = *intact;
  failing.stream_submit = submit_or_fail;
  device->vtable = &failing;
  require(dure_stream_create(device, &stream));
  require(dure_model_open(path, device, stream, &model));
  require(dure_tokenizer_open(path, &tokenizer));
  require(dure_chat_open(path, tokenizer, &chat));
  require(dure_engine_create(
      model,
      &(dure_engine_options){.sequences = 2, .chunk = 8, .candidate_count = dure_tokenizer_vocabulary_size(tokenizer)},
      &engine));
  const dure_served_model served = {model, tokenizer, chat, engine};
  require(dure_server_start(&(dure_server_options){.name = "tiny"}, &served, &server));
  ck_assert_int_eq(pthread_create(&thread, NULL, run, NULL), 0);
  check_lost();
  atomic_store(&should_end, true);
  pthread_join(thread, &result);
  ck_assert_ptr_null(result);
  dure_server_stop(server);
  dure_engine_destroy(engine);
  dure_chat_close(chat);
  dure_tokenizer_close(tokenizer);
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  device->vtable = intact;
  dure_device_close(device);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("serve_device_lost");
  TCase *cases = tcase_create("lost");
  tcase_add_test(cases, requests_are_refused_and_the_server_stays);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
