// All open connections, and how long each has been doing what it does: a client that sends its request too slowly is
// told so (408) and one that is idle is let go, whatever the transport thinks of it.
#ifndef DURE_SERVE_CONNECTIONS_H_
#define DURE_SERVE_CONNECTIONS_H_

#include <pthread.h>

#include "runtime/status.h"

#include <stdint.h>

typedef enum connection_phase {
  CONNECTION_NEW,   // nothing of a request has been seen
  CONNECTION_BODY,  // a request's body is coming
  CONNECTION_BUSY,  // it is worked on, or its answer is being sent
  CONNECTION_KEPT,  // it was answered; another may come
} connection_phase;

typedef struct connection {
  struct connection *next, **place;
  int descriptor;
  connection_phase phase;
  uint64_t since;
  bool is_surplus;  // beyond the limit: its requests get 503
} connection;

typedef struct connection_list {
  pthread_mutex_t mutex;  // over what follows
  connection *first;
  uint32_t count, most;
  uint64_t opened, refused, timed_out;
  uint64_t read_nanoseconds;  // for a request to arrive
} connection_list;

DURE_MUST_CHECK dure_status connections_create(connection_list *list, uint32_t most, double read_seconds);
void connections_clear(connection_list *list);
connection *connections_add(connection_list *list, int descriptor);  // NULL: out of memory
void connections_remove(connection_list *list, connection *gone);
void connections_set(connection_list *list, connection *one, connection_phase phase);
uint32_t connections_busy(connection_list *list);  // whose requests are worked on, or answers being sent
void connections_watch(connection_list *list, uint64_t now);

#endif  // DURE_SERVE_CONNECTIONS_H_
