#include "serve/scheduler.h"

#include <stdlib.h>

#include "runtime/os.h"
#include "serve/embedding_work.h"
#include "serve/log_lines.h"

enum { COMPLETION_TOKENS = 16 };  // of a completion that does not say how many
enum { HELD_MOST = 64 };          // of the largest bodies, that prompts of all requests take

// ---- the queue ---------------------------------------------------------------------------------------------------

static uint64_t bytes_of(const job *self) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < self->request.prompts.count; i++)
    bytes += self->request.prompts.prompts[i].tokens.count * sizeof(uint32_t);
  for (size_t i = 0; i < self->texts.count; i++) bytes += self->texts.prompts[i].tokens.count * sizeof(uint32_t);
  for (uint32_t i = 0; i < self->choice_count; i++) bytes += self->choices[i].text.size;
  return bytes;
}

dure_status scheduler_submit(job *self, int *out_http_status) {
  dure_server *server = self->server;
  const bool is_embedding = self->choices == NULL;
  dure_status status = NULL;
  const uint64_t bytes = bytes_of(self);
  *out_http_status = 503;
  pthread_mutex_lock(&server->lock);
  if (atomic_load(&server->is_draining)) {
    status = dure_fail(DURE_CANCELLED, "the server is shutting down");
  } else if (atomic_load(&server->is_device_lost)) {
    status = dure_fail(DURE_CANCELLED, "the device is lost; the server must be started again");
  } else if (self->choice_count > server->options.queue) {
    *out_http_status = 400;
    status =
        dure_fail(DURE_INVALID_ARGUMENT, "%u choices are more than the %u that may wait here; ask for fewer at once",
                  self->choice_count, server->options.queue);
  } else if (server->waiting_count + self->choice_count > server->options.queue ||
             (is_embedding && server->job_count >= server->options.queue)) {
    *out_http_status = 429;
    status = dure_fail(DURE_CANCELLED, "%u sequences are waiting already; try again later", server->waiting_count);
  } else if (server->job_count > 0 && server->held_bytes + bytes > server->options.body_bytes * HELD_MOST) {
    *out_http_status = 429;
    status = dure_fail(DURE_CANCELLED,
                       "the prompts of other requests take all the memory there is for them; try again later");
  } else {
    job_hold(self);
    self->held_bytes = bytes;
    server->held_bytes += bytes;
    self->next = server->jobs;
    self->place = &server->jobs;
    if (self->next != NULL) self->next->place = &self->next;
    server->jobs = self;
    server->job_count++;
    self->unfinished = self->choice_count;
    for (uint32_t i = 0; i < self->choice_count; i++) {
      *server->waiting_end = &self->choices[i];
      server->waiting_end = &self->choices[i].next;
    }
    server->waiting_count += self->choice_count;
    if (is_embedding) {
      job **end = &server->embeddings;
      while (*end != NULL) end = &(*end)->next_embedding;
      *end = self;
      self->is_waiting_embedding = true;
    }
    pthread_cond_signal(&server->work);
  }
  pthread_mutex_unlock(&server->lock);
  return status;
}

static choice *take_waiting(dure_server *server, choice **place) {
  choice *taken = *place;
  *place = taken->next;
  if (server->waiting_end == &taken->next) server->waiting_end = place;
  taken->next = NULL;
  server->waiting_count--;
  return taken;
}

// The first one of the client whose turn it is.
static choice *next_waiting(dure_server *server) {
  choice **best = NULL;
  for (choice **place = &server->waiting; *place != NULL; place = &(*place)->next) {
    if (best == NULL || server->turns[(*place)->owner->turn] < server->turns[(*best)->owner->turn]) best = place;
  }
  if (best == NULL) return NULL;
  server->turns[(*best)->owner->turn] = ++server->last_turn;
  return take_waiting(server, best);
}

void scheduler_forget(job *self) {
  dure_server *server = self->server;
  for (choice **place = &server->waiting; *place != NULL;) {
    if ((*place)->owner != self) {
      place = &(*place)->next;
      continue;
    }
    choice *taken = take_waiting(server, place);
    taken->is_finished = true;
    self->unfinished--;
  }
  for (uint32_t i = 0; i < self->choice_count; i++) {
    if (self->choices[i].id != 0) dure_engine_cancel(server->served.engine, self->choices[i].id);
  }
  if (self->is_waiting_embedding) {
    job **place = &server->embeddings;
    while (*place != self) place = &(*place)->next_embedding;
    *place = self->next_embedding;
    self->is_waiting_embedding = false;
  }
  pthread_cond_signal(&server->work);
  if (self->unfinished == 0 && !self->is_done) job_finish(self);
}

// ---- the engine --------------------------------------------------------------------------------------------------

static uint32_t most_tokens_of(const dure_server *server, const generation_request *r, uint32_t prompt_count) {
  const uint32_t room = server->context > prompt_count ? server->context - prompt_count : 0;
  // A prompt that is cut makes room for a quarter of the context.
  const bool is_cut = room == 0 && server->options.overflow == DURE_OVERFLOW_SHIFT;
  uint32_t most = r->most_tokens >= 0 ? (uint32_t)r->most_tokens : is_cut ? server->context / 4 : room;
  if (r->most_tokens < 0 && !r->is_chat && most > COMPLETION_TOKENS) most = COMPLETION_TOKENS;
  if (server->options.overflow != DURE_OVERFLOW_SHIFT && most > room) most = room;
  if (server->options.most_tokens > 0 && most > server->options.most_tokens) most = server->options.most_tokens;
  return most;
}

static dure_status give(dure_server *server, choice *c) {
  const generation_request *r = &c->owner->request;
  const prompt *one = &r->prompts.prompts[c->prompt];
  size_t end_count = 0;
  const uint32_t *ends = dure_chat_ends(server->served.chat, &end_count);
  // With log-probabilities an end has one too, so the delivery looks for it.
  // A grammar, though, must know where it may end.
  const bool is_scored = r->with_scores || r->best_of > r->n;
  const bool engine_ends = !r->ignores_ends && (!is_scored || r->constraint != NULL);
  const bool is_shifted = server->options.overflow == DURE_OVERFLOW_SHIFT;
  dure_request request = {.tokens = one->tokens.ids,
                          .count = (uint32_t)one->tokens.count,
                          .most_tokens = most_tokens_of(server, r, (uint32_t)one->tokens.count),
                          .sampling = r->sampling,
                          .repetition_penalty = r->repetition_penalty,
                          .presence_penalty = r->presence_penalty,
                          .frequency_penalty = r->frequency_penalty,
                          .biases = r->biases,
                          .bias_count = r->bias_count,
                          .constraint = r->constraint,
                          .ends = ends,
                          .end_count = engine_ends ? (uint32_t)end_count : 0,
                          .overflow = is_shifted ? DURE_OVERFLOW_SHIFT : DURE_OVERFLOW_STOP,
                          .with_log_probabilities = is_scored,
                          .alternatives = r->alternatives,
                          .scores_prompt = r->echoes && r->with_scores};
  request.sampling.seed += c->index % r->best_of;
  return dure_engine_submit(server->served.engine, &request, &c->id);
}

static bool has_room(const dure_server *server) {
  const uint32_t together = dure_engine_sequences(server->served.engine);
  return server->running_count < together + together / 4 + 1;
}

bool scheduler_has_work(const dure_server *server) {
  return server->embeddings != NULL || (server->waiting != NULL && has_room(server));
}

// Gives the engine what it has room for. With the lock held.
static void admit(dure_server *server) {
  while (server->waiting != NULL && has_room(server)) {
    choice *c = next_waiting(server);
    job *owner = c->owner;
    dure_status status = give(server, c);
    if (status != NULL) {
      c->is_finished = true;
      owner->unfinished--;
      job_hold(owner);
      job_fail(owner, http_status_of(status), dure_status_message(status));
      job_let_go(owner);
      dure_status_free(status);
      continue;
    }
    job_hold(owner);  // until the delivery has done with this choice
    serve_metrics_time(&server->metrics, METRIC_QUEUE, (double)(dure_os_nanoseconds() - owner->arrived) / 1e9, 1);
    server->running_count++;
    c->next = server->fresh;
    server->fresh = c;
  }
}

static void note_failure(dure_server *server, dure_status status) {
  if (status == NULL) return;
  log_device_failure(dure_status_message(status));
  if (dure_status_code(status) == DURE_DEVICE_LOST) atomic_store(&server->is_device_lost, true);
  dure_status_free(status);
}

void scheduler_step(dure_server *server, bool *out_has_more) {
  bool is_busy = false;
  pthread_mutex_lock(&server->lock);
  admit(server);
  // Also what was cancelled and let go after the last step: it must give back what it holds.
  const dure_engine_statistics engine = dure_engine_statistics_get(server->served.engine);
  const bool is_running = server->running_count > 0 || engine.running + engine.waiting > 0;
  job *embedding = server->embeddings;
  if (embedding != NULL) job_hold(embedding);
  pthread_mutex_unlock(&server->lock);
  if (is_running) {
    note_failure(server, dure_engine_step(server->served.engine, &is_busy));
    pthread_mutex_lock(&server->lock);
    server->steps++;
    pthread_cond_signal(&server->news);
    pthread_mutex_unlock(&server->lock);
  }
  if (embedding != NULL) {
    note_failure(server, embedding_work_step(embedding));
    job_release(embedding);
  }
  *out_has_more = is_busy || embedding != NULL;
}
