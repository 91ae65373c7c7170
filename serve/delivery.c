#include "serve/delivery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/os.h"
#include "serve/answer.h"
#include "serve/job.h"
#include "serve/pieces.h"
#include "serve/scheduler.h"
#include "serve/watch.h"

enum { TOKENS_AT_ONCE = 64 };

// ---- one choice --------------------------------------------------------------------------------------------------

static bool is_end(const choice *c, uint32_t token) {
  size_t count = 0;
  const uint32_t *ends = dure_chat_ends(c->owner->server->served.chat, &count);
  for (size_t i = 0; i < count; i++) {
    if (ends[i] == token) return true;
  }
  return false;
}

static void finish_with(choice *c, const char *reason) {
  c->is_finished = true;
  c->finish_reason = reason;
  dure_engine_cancel(c->owner->server->served.engine, c->id);
}

static dure_status take_token(choice *c, dure_scored_token token) {
  const generation_request *request = &c->owner->request;
  const char *bytes = NULL;
  size_t length = 0;
  bool has_stopped = false;
  const uint32_t index = c->seen++;
  const bool is_scored = request->with_scores || request->best_of > request->n;
  const bool ends = is_scored && !request->ignores_ends && is_end(c, token.token);
  c->log_probability += (double)token.log_probability;
  if (request->with_scores && !(ends && request->is_chat)) DURE_TRY(pieces_add_generated(c, token, index));
  if (ends) {
    finish_with(c, "stop");
    DURE_TRY(dure_completion_flush(c->completion, &bytes, &length));
    dure_bytes_append(&c->text, bytes, length);
    return dure_bytes_status(&c->text);
  }
  DURE_TRY(dure_completion_push(c->completion, token.token, &bytes, &length, &has_stopped));
  dure_bytes_append(&c->text, bytes, length);
  if (has_stopped) {
    finish_with(c, "stop");
    pieces_cut(c, c->text.size);
  }
  return dure_bytes_status(&c->text);
}

// The engine has finished it, and all its tokens are taken.
static dure_status take_end(choice *c, dure_finish how) {
  const char *bytes = NULL;
  size_t length = 0;
  switch (how) {
    case DURE_FINISH_NOT_FINITE: return dure_fail(DURE_INTERNAL, "the model's logits are not finite");
    case DURE_FINISH_FAILED: return dure_fail(DURE_CANCELLED, "the device failed");
    case DURE_FINISH_GRAMMAR:
      return dure_fail(DURE_UNSUPPORTED, "no token goes on as the grammar wants, or it is too ambiguous");
    default: break;
  }
  c->is_finished = true;
  c->finish_reason = how == DURE_FINISH_END ? "stop" : "length";
  DURE_TRY(dure_completion_flush(c->completion, &bytes, &length));
  dure_bytes_append(&c->text, bytes, length);
  return dure_bytes_status(&c->text);
}

static void note_times(choice *c, const dure_request_progress *progress, uint32_t count) {
  serve_metrics *metrics = &c->owner->server->metrics;
  if (count == 0 || progress->first == 0) return;
  if (c->last_token == 0) {
    serve_metrics_time(metrics, METRIC_FIRST_TOKEN, (double)(progress->first - c->owner->arrived) / 1e9, 1);
    c->last_token = progress->first;
    count--;
  }
  if (count > 0 && progress->last > c->last_token)
    serve_metrics_time(metrics, METRIC_INTER_TOKEN, (double)(progress->last - c->last_token) / 1e9 / count, count);
  c->last_token = progress->last;
}

static dure_status take_news(choice *c, dure_request_progress *out_progress) {
  dure_engine *engine = c->owner->server->served.engine;
  dure_scored_token tokens[TOKENS_AT_ONCE];
  uint32_t count = TOKENS_AT_ONCE;
  while (count == TOKENS_AT_ONCE && !c->is_finished) {
    DURE_TRY(dure_engine_poll(engine, c->id, c->seen, tokens, TOKENS_AT_ONCE, &count, out_progress));
    const bool is_over = out_progress->finish != DURE_FINISH_NOT_YET;
    const bool has_failed = out_progress->finish >= DURE_FINISH_CANCELLED;
    if (count > 0 || (is_over && !has_failed)) DURE_TRY(pieces_add_prompt(c));
    note_times(c, out_progress, count);
    for (uint32_t i = 0; i < count && !c->is_finished; i++) DURE_TRY(take_token(c, tokens[i]));
    if (is_over && !c->is_finished && c->seen == out_progress->generated_count)
      DURE_TRY(take_end(c, out_progress->finish));
  }
  return NULL;
}

// ---- jobs --------------------------------------------------------------------------------------------------------

// The last choice of a job has ended: what is left to send. `events` is of that choice.
static void complete(job *self, dure_bytes *events) {
  dure_server *server = self->server;
  http_reply reply = {0};
  if (self->request.is_streamed) {
    answer_end(self, events);
  } else {
    http_reply_json(&reply, 200, answer_whole(self));
  }
  pthread_mutex_lock(&server->lock);
  if (!self->is_done && self->request.is_streamed) {
    job_send(self, events);
    job_finish(self);
  } else if (!self->is_done) {
    http_reply_clear(&self->reply);
    self->reply = reply;
    reply = (http_reply){0};
    job_finish(self);
  }
  pthread_mutex_unlock(&server->lock);
  http_reply_clear(&reply);
}

static void count_tokens(job *self, const choice *c, const dure_request_progress *progress) {
  self->generated_tokens += c->seen;
  if (c->index % self->request.best_of == 0) self->reused_tokens += progress->reused_count;  // as its prompt: once
}

// Takes what there is of a choice; true when nothing more will come.
static bool follow(choice *c) {
  job *self = c->owner;
  dure_server *server = self->server;
  dure_bytes events = {0};
  dure_request_progress progress = {0};
  const bool is_cancelled = atomic_load(&self->is_cancelled), is_first = !c->is_begun;
  dure_status status = is_cancelled ? NULL : take_news(c, &progress);
  const bool has_ended = is_cancelled || status != NULL || c->is_finished;
  if (!is_cancelled && status == NULL && self->request.is_streamed) answer_event(c, &events);
  uint32_t unfinished = 1;
  pthread_mutex_lock(&server->lock);
  if (status != NULL) job_fail(self, http_status_of(status), dure_status_message(status));
  if (is_first && self->request.echoes) self->echoed += events.size;
  if (has_ended) {
    unfinished = --self->unfinished;
    c->is_finished = true;
    count_tokens(self, c, &progress);
    if (unfinished == 0 && atomic_load(&self->is_cancelled)) job_finish(self);
  }
  if (unfinished > 0) job_send(self, &events);
  pthread_mutex_unlock(&server->lock);
  dure_status_free(status);
  if (has_ended && unfinished == 0 && !atomic_load(&self->is_cancelled)) complete(self, &events);
  dure_bytes_free(&events);
  return has_ended;
}

static void let_go(choice *c) {
  dure_server *server = c->owner->server;
  dure_engine_release(server->served.engine, c->id);
  pthread_mutex_lock(&server->lock);
  server->running_count--;
  pthread_cond_signal(&server->work);
  job_let_go(c->owner);
  pthread_mutex_unlock(&server->lock);
}

// ---- the thread --------------------------------------------------------------------------------------------------

static struct timespec soon(long milliseconds) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  time.tv_nsec += milliseconds * 1000000;
  time.tv_sec += time.tv_nsec / 1000000000;
  time.tv_nsec %= 1000000000;
  return time;
}

// Waits for a step of the engine, and adds what it has begun to `running`. False when all is over.
static bool wait_for_news(dure_server *server, choice **running, uint64_t *steps) {
  const struct timespec until = soon(50);
  int result = 0;
  pthread_mutex_lock(&server->lock);
  while (server->steps == *steps && !server->is_stopping && result != ETIMEDOUT)
    result = pthread_cond_timedwait(&server->news, &server->lock, &until);
  *steps = server->steps;
  while (server->fresh != NULL) {
    choice *c = server->fresh;
    server->fresh = c->next;
    c->next = *running;
    *running = c;
  }
  const bool goes_on = !server->is_stopping || *running != NULL;
  pthread_mutex_unlock(&server->lock);
  return goes_on;
}

static void *deliver(void *context) {
  dure_server *server = context;
  choice *running = NULL;
  uint64_t steps = 0, watched = 0;
  while (wait_for_news(server, &running, &steps)) {
    for (choice **place = &running; *place != NULL;) {
      choice *c = *place, *next = c->next;
      if (follow(c)) {
        *place = next;
        let_go(c);
      } else {
        place = &c->next;
      }
    }
    const uint64_t now = dure_os_nanoseconds();
    if (now - watched < 100000000) continue;
    watched = now;
    watch_jobs(server);
    connections_watch(&server->connections, now);
  }
  return NULL;
}

dure_status delivery_start(dure_server *server) {
  if (pthread_create(&server->delivery, NULL, deliver, server) != 0)
    return dure_fail(DURE_OUT_OF_MEMORY, "cannot start a thread");
  server->has_delivery = true;
  return NULL;
}

void delivery_stop(dure_server *server) {
  if (!server->has_delivery) return;
  pthread_mutex_lock(&server->lock);
  server->is_stopping = true;
  while (server->jobs != NULL) {
    job *self = server->jobs;
    job_hold(self);
    job_fail(self, 503, "the server is shutting down");
    job_let_go(self);
  }
  pthread_cond_signal(&server->news);
  pthread_mutex_unlock(&server->lock);
  pthread_join(server->delivery, NULL);
  server->has_delivery = false;
}
