// Several ranks of one test: forked processes that find each other by RANK, WORLD_SIZE and a free port, as under any
// launcher. A rank that fails says so and ends with 1; `ranks_run` asserts what each of them ends with.
#ifndef DURE_TESTS_UNIT_RANKS_H_
#define DURE_TESTS_UNIT_RANKS_H_

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/os.h"
#include "runtime/socket.h"
#include "runtime/world.h"

enum { RANKS_MAX = 8, RANKS_STATUS_KILLED = 256 };

typedef void (*ranks_body)(uint32_t rank, uint32_t size, void *context);

#define RANK_EXPECT(condition, ...)                                   \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      fprintf(stderr, __VA_ARGS__);                                   \
      fputc('\n', stderr);                                            \
      _exit(1);                                                       \
    }                                                                 \
  } while (0)

#define RANK_OK(expression)                                                                            \
  do {                                                                                                 \
    dure_status rank_status = (expression);                                                            \
    RANK_EXPECT(rank_status == NULL, "rank %s: %s", getenv("RANK"), dure_status_message(rank_status)); \
  } while (0)

static inline uint16_t ranks_free_port(void) {
  int socket = -1;
  uint16_t port = 0;
  ck_assert_ptr_null(dure_socket_listen(0, &socket, &port));
  dure_socket_close(socket);
  return port;
}

static inline void ranks_set(const char *name, uint64_t value) {
  char text[24];
  snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
  setenv(name, text, 1);
}

static inline void ranks_start(uint32_t size, ranks_body body, void *context, pid_t pids[RANKS_MAX]) {
  const uint16_t port = ranks_free_port();
  for (uint32_t rank = 0; rank < size; rank++) {
    pids[rank] = fork();
    ck_assert_int_ge(pids[rank], 0);
    if (pids[rank] != 0) continue;
    ranks_set("RANK", rank);
    ranks_set("WORLD_SIZE", size);
    ranks_set("MASTER_PORT", port);
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    body(rank, size, context);
    exit(0);  // with the leak check
  }
}

// Exit status, or RANKS_STATUS_KILLED where a signal ended it. Ends it itself after `seconds`.
static inline int ranks_wait(pid_t pid, double seconds) {
  const uint64_t deadline = dure_os_nanoseconds() + (uint64_t)(seconds * 1e9);
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (dure_os_nanoseconds() > deadline) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      return -1;
    }
    dure_os_sleep(2000000);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : RANKS_STATUS_KILLED;
}

static inline void ranks_run(uint32_t size, ranks_body body, void *context) {
  pid_t pids[RANKS_MAX];
  ranks_start(size, body, context, pids);
  int codes[RANKS_MAX] = {0};
  for (uint32_t rank = 0; rank < size; rank++) codes[rank] = ranks_wait(pids[rank], 120);
  for (uint32_t rank = 0; rank < size; rank++)
    ck_assert_msg(codes[rank] == 0, "rank %u of %u ended with %d", rank, size, codes[rank]);
}

#endif  // DURE_TESTS_UNIT_RANKS_H_
