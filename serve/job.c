#include "serve/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"
#include "serve/http.h"
#include "serve/scheduler.h"

job *job_create(dure_server *server, const char *id_prefix, uint32_t turn) {
  job *self = calloc(1, sizeof(*self));
  if (self == NULL) return NULL;
  self->server = server;
  self->references = 1;
  self->created = dure_os_unix_seconds();
  self->arrived = dure_os_nanoseconds();
  self->deadline = self->arrived + (uint64_t)(server->options.request_seconds * 1e9);
  self->turn = turn;
  self->descriptor = -1;
  self->reply.status = 200;
  self->reply.content_type = "application/json";
  pthread_mutex_lock(&server->lock);
  const uint64_t number = ++server->last_job;
  pthread_mutex_unlock(&server->lock);
  snprintf(self->id, sizeof(self->id), "%s%llx%06llx", id_prefix, (unsigned long long)self->created,
           (unsigned long long)number);
  return self;
}

static void destroy(job *self) {
  for (uint32_t i = 0; self->choices != NULL && i < self->choice_count; i++) {
    choice *c = &self->choices[i];
    dure_completion_destroy(c->completion);
    dure_bytes_free(&c->text);
    free(c->pieces);
    free(c->alternatives);
  }
  free(self->choices);
  free(self->vectors);
  prompt_set_clear(&self->texts);
  generation_request_clear(&self->request);
  http_reply_clear(&self->reply);
  free(self);
}

void job_hold(job *self) { self->references++; }

void job_let_go(job *self) {
  if (--self->references == 0) destroy(self);
}

void job_release(job *self) {
  if (self == NULL) return;
  dure_server *server = self->server;
  pthread_mutex_lock(&server->lock);
  job_let_go(self);
  pthread_mutex_unlock(&server->lock);
}

void job_wake(job *self) {
  if (!self->is_suspended || self->connection == NULL) return;
  self->is_suspended = false;
  http_resume(self->connection);
}

void job_finish(job *self) {
  if (self->is_done) return;
  self->is_done = true;
  *self->place = self->next;
  if (self->next != NULL) self->next->place = self->place;
  self->server->job_count--;
  self->server->held_bytes -= self->held_bytes;
  serve_metrics_time(&self->server->metrics, METRIC_REQUEST, (double)(dure_os_nanoseconds() - self->arrived) / 1e9, 1);
  job_wake(self);
  job_let_go(self);  // the list's
}

void job_fail(job *self, int status, const char *message) {
  if (self->is_done) return;
  job_hold(self);
  if (self->has_begun) {
    dure_bytes_append_text(&self->reply.body, "data: ");
    bytes_append_json(&self->reply.body, json_error(status, NULL, NULL, message));
    dure_bytes_append_text(&self->reply.body, "\n\ndata: [DONE]\n\n");
  } else {
    http_reply_error(&self->reply, status, NULL, NULL, message);
  }
  job_cancel(self);
  job_finish(self);
  job_let_go(self);
}

void job_cancel(job *self) {
  if (atomic_exchange(&self->is_cancelled, true)) return;
  scheduler_forget(self);
}

void job_send(job *self, const dure_bytes *bytes) {
  if (atomic_load(&self->is_cancelled) || bytes->size == 0) return;
  dure_bytes *out = &self->reply.body;
  const uint64_t most = self->server->options.unsent_bytes + self->echoed;
  if (out->size - self->sent + bytes->size > most || bytes->is_failed) {
    job_hold(self);
    self->is_dropped = true;
    serve_metrics_add(&self->server->metrics, &self->server->metrics.clients_slow, 1);
    job_cancel(self);
    job_finish(self);
    job_let_go(self);
    return;
  }
  if (self->sent > 0) {
    out->size -= self->sent;
    memmove(out->data, out->data + self->sent, out->size);
    self->sent = 0;
  }
  dure_bytes_append(out, bytes->data, bytes->size);
  self->has_begun = true;
  job_wake(self);
}
