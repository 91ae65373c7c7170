#define _GNU_SOURCE  // POLLRDHUP
#include "serve/watch.h"

#include <poll.h>

#include "runtime/os.h"
#include "serve/job.h"

// Half a connection is none: whoever has closed its side gets no answer, as with other servers.
static bool has_left(const job *self) {
  if (self->descriptor < 0 || self->connection == NULL) return false;
  struct pollfd poll_one = {.fd = self->descriptor, .events = POLLRDHUP};
  return poll(&poll_one, 1, 0) > 0 && (poll_one.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void expire(job *self) {
  bool is_waiting = self->choices == NULL;
  for (uint32_t i = 0; i < self->choice_count && !is_waiting; i++) is_waiting = self->choices[i].id == 0;
  self->is_expired = true;
  if (is_waiting) {
    job_fail(self, 503, "the request's time was over before it was its turn; try again later");
    return;
  }
  for (uint32_t i = 0; i < self->choice_count; i++)
    dure_engine_cancel(self->server->served.engine, self->choices[i].id);
}

void watch_jobs(dure_server *server) {
  const uint64_t now = dure_os_nanoseconds();
  uint64_t left = 0;
  pthread_mutex_lock(&server->lock);
  for (job *self = server->jobs, *next; self != NULL; self = next) {
    next = self->next;
    job_hold(self);
    if (atomic_load(&self->is_cancelled)) {
      // its choices end soon
    } else if (has_left(self)) {
      left++;
      job_cancel(self);
      job_wake(self);
    } else if (now > self->deadline && !self->is_expired) {
      expire(self);
    }
    job_let_go(self);
  }
  pthread_mutex_unlock(&server->lock);
  if (left > 0) serve_metrics_add(&server->metrics, &server->metrics.clients_left, left);
}
