#include "serve/connections.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/os.h"

enum { KEPT_SECONDS = 60, SURPLUS_SECONDS = 5 };

dure_status connections_create(connection_list *list, uint32_t most, double read_seconds) {
  *list = (connection_list){.most = most, .read_nanoseconds = (uint64_t)(read_seconds * 1e9)};
  if (pthread_mutex_init(&list->mutex, NULL) != 0) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a server");
  return NULL;
}

void connections_clear(connection_list *list) {
  while (list->first != NULL) connections_remove(list, list->first);
  pthread_mutex_destroy(&list->mutex);
}

connection *connections_add(connection_list *list, int descriptor) {
  connection *added = calloc(1, sizeof(*added));
  if (added == NULL) return NULL;
  added->descriptor = descriptor;
  added->since = dure_os_nanoseconds();
  pthread_mutex_lock(&list->mutex);
  added->is_surplus = list->count >= list->most;
  added->next = list->first;
  added->place = &list->first;
  if (added->next != NULL) added->next->place = &added->next;
  list->first = added;
  list->count++;
  list->opened++;
  list->refused += added->is_surplus;
  pthread_mutex_unlock(&list->mutex);
  return added;
}

void connections_remove(connection_list *list, connection *gone) {
  pthread_mutex_lock(&list->mutex);
  *gone->place = gone->next;
  if (gone->next != NULL) gone->next->place = gone->place;
  list->count--;
  pthread_mutex_unlock(&list->mutex);
  free(gone);
}

void connections_set(connection_list *list, connection *one, connection_phase phase) {
  if (one == NULL) return;
  pthread_mutex_lock(&list->mutex);
  one->phase = phase;
  one->since = dure_os_nanoseconds();
  pthread_mutex_unlock(&list->mutex);
}

uint32_t connections_busy(connection_list *list) {
  uint32_t count = 0;
  pthread_mutex_lock(&list->mutex);
  for (const connection *one = list->first; one != NULL; one = one->next) count += one->phase == CONNECTION_BUSY;
  pthread_mutex_unlock(&list->mutex);
  return count;
}

// Nothing of an answer has been sent in these phases, so that this is one; the transport then finds the end of the
// connection, and closes it.
static void tell_and_end(connection *one, const char *answer) {
  const ssize_t sent = send(one->descriptor, answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)sent;
  shutdown(one->descriptor, SHUT_RDWR);
  one->phase = CONNECTION_BUSY;
}

void connections_watch(connection_list *list, uint64_t now) {
  static const char too_slow[] =
      "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: "
      "106\r\n\r\n"
      "{\"error\":{\"message\":\"the request did not arrive in "
      "time\",\"type\":\"invalid_request_error\",\"code\":\"timeout\"}}";
  static const char too_many[] =
      "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
  const uint64_t second = 1000000000;
  pthread_mutex_lock(&list->mutex);
  for (connection *one = list->first; one != NULL; one = one->next) {
    const uint64_t age = now > one->since ? now - one->since : 0;
    if (one->phase == CONNECTION_BUSY) continue;
    if (one->phase == CONNECTION_KEPT) {
      if (age > KEPT_SECONDS * second) shutdown(one->descriptor, SHUT_RDWR);
    } else if (one->is_surplus && age > SURPLUS_SECONDS * second) {
      tell_and_end(one, too_many);
    } else if (age > list->read_nanoseconds) {
      list->timed_out++;
      tell_and_end(one, too_slow);
    }
  }
  pthread_mutex_unlock(&list->mutex);
}
