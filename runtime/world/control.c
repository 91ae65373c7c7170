// The watching half of control connections: a thread that sends and hears heartbeats, decides who is lost, and accepts
// the data connections of others. internal.h says what it offers, control.h what goes over the wire.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/world/control.h"
#include "runtime/world/progress.h"

static const double default_wait = 600;  // for a rank that lives, at a collective
static const double default_stuck = 8;
static const double explanation_seconds = 3;  // beyond the silence, for a verdict to arrive
enum { callers_limit = 64 };
static const uint64_t impatience = 50000000;                           // between looks, once there is an end in sight
static const uint64_t patience = UINT64_C(1) * 1000000000;             // for others to hear the last words
static const uint64_t caller_nanoseconds = UINT64_C(10) * 1000000000;  // to say what it wants

// A data connection that was accepted, and not yet taken; or one that has not yet said what it is for.
typedef struct caller {
  int socket;
  uint64_t since;
  size_t used;
  message_head head;  // whole where `used` is its size
} caller;

struct dure_control {
  uint32_t rank, size;
  dure_world_options world;  // without texts
  dure_peer *peers;          // [size]
  meeting meeting;
  double wait_seconds;  // a rank may keep others waiting at a collective
  int listener;
  pthread_t thread;
  int wake[2];  // a pipe: something for the thread to do
  uint64_t next_beat;
  struct pollfd *polled;  // [2 + callers_limit + size]

  pthread_mutex_t mutex;  // over what follows
  pthread_cond_t changed;
  control_link *links;  // [size]; only the thread touches what is in them, but `has_left`
  caller callers[callers_limit];
  size_t caller_count;
  caller *waiting;  // data connections to be taken
  size_t waiting_count, waiting_capacity;
  progress_record progress;
  progress_report *reports;  // [size], of rank 0: what each rank has told
  const char **names;        // [size], theirs
  uint32_t left_count;       // rank 0: ranks that are done
  bool wants_to_leave;       // this rank is done
  bool all_have_left;        // the thread's end
  bool gives_up;             // ... because of `farewell`
  char farewell[message_limit];
  uint64_t farewell_time;
  bool has_verdict;
  uint64_t verdict_time;
  char verdict[message_limit];
  bool told_stuck;
};

static void lock(dure_control *c) { pthread_mutex_lock(&c->mutex); }
static void unlock(dure_control *c) { pthread_mutex_unlock(&c->mutex); }
static void wake(const dure_control *c) {
  const char byte = 0;
  (void)!write(c->wake[1], &byte, 1);
}

static uint64_t silence_nanoseconds(const dure_control *c) { return (uint64_t)(c->meeting.silence_seconds * 1e9); }

// ---- sending -----------------------------------------------------------------------------------------------------

// Small messages into a socket's buffer; where it is full, silence will tell.
static void send_bytes(int socket, message_kind kind, uint32_t rank, const void *what, size_t length) {
  if (socket < 0) return;
  uint8_t bytes[sizeof(message_head) + message_limit];
  const message_head head = {.mark = control_mark, .kind = kind, .rank = rank, .size = (uint32_t)length};
  memcpy(bytes, &head, sizeof(head));
  if (length > 0) memcpy(bytes + sizeof(head), what, length);
  dure_status_free(dure_socket_send(socket, bytes, sizeof(head) + length, kind == MESSAGE_BEAT ? 0 : 1));
}

static void send_small(int socket, message_kind kind, uint32_t rank, const char *text) {
  send_bytes(socket, kind, rank, text, text != NULL ? strnlen(text, message_limit - 1) : 0);
}

static void tell_others(dure_control *c, message_kind kind, uint32_t rank, const char *text) {
  for (uint32_t i = 0; i < c->size; i++) send_small(c->links[i].socket, kind, rank, text);
}

// ---- verdicts ----------------------------------------------------------------------------------------------------

// Keeps the first; rank 0 passes it on. With the mutex held.
static void decide(dure_control *c, const char *text) {
  if (c->has_verdict) return;
  snprintf(c->verdict, sizeof(c->verdict), "%.*s", message_limit - 1, text);
  c->has_verdict = true;
  c->verdict_time = dure_os_nanoseconds();
  if (c->rank == 0) tell_others(c, MESSAGE_LOST, 0, c->verdict);
  pthread_cond_broadcast(&c->changed);
}

static void decide_about(dure_control *c, uint32_t rank, const char *what) {
  char text[message_limit];
  snprintf(text, sizeof(text), "%s %.1700s", c->peers[rank].name, what);
  decide(c, text);
}

static void drop_link(dure_control *c, uint32_t rank) {
  dure_socket_close(c->links[rank].socket);
  c->links[rank].socket = -1;
}

// ---- hearing -----------------------------------------------------------------------------------------------------

static void handle(dure_control *c, uint32_t rank, const message_head *head, const char *text) {
  control_link *link = &c->links[rank];
  switch ((message_kind)head->kind) {
    case MESSAGE_LEAVE:
      if (!link->has_left) c->left_count++;
      link->has_left = true;
      tell_others(c, MESSAGE_LEFT, rank, NULL);
      break;
    case MESSAGE_LEFT:
      if (head->rank < c->size) c->links[head->rank].has_left = true;
      break;
    case MESSAGE_END: c->all_have_left = true; break;
    case MESSAGE_GIVE_UP: {
      char what[message_limit];
      snprintf(what, sizeof(what), "gave up: %.1600s", text);
      link->has_left = true;  // its connection may end now
      decide_about(c, rank, what);
      break;
    }
    case MESSAGE_LOST: decide(c, text); break;
    case MESSAGE_BEAT:
      if (c->rank == 0 && !progress_parse(text, head->size, &c->reports[rank]))
        dure_log(DURE_LOG_INFO, "a heartbeat of %s cannot be read", c->peers[rank].name);
      break;
    default: break;
  }
  pthread_cond_broadcast(&c->changed);
}

// Handles the whole messages that have come; false where the bytes are none.
static bool handle_all(dure_control *c, uint32_t rank) {
  control_link *link = &c->links[rank];
  message_head head;
  while (link->used >= sizeof(head)) {
    memcpy(&head, link->bytes, sizeof(head));
    if (head.mark != control_mark || head.size > message_limit) return false;
    const size_t whole = sizeof(head) + head.size;
    if (link->used < whole) break;
    char text[message_limit + 1];
    memcpy(text, link->bytes + sizeof(head), head.size);
    text[head.size] = '\0';
    memmove(link->bytes, link->bytes + whole, link->used - whole);
    link->used -= whole;
    handle(c, rank, &head, text);
  }
  return true;
}

static void hear(dure_control *c, uint32_t rank) {
  control_link *link = &c->links[rank];
  const int64_t got =
      dure_socket_receive_some(link->socket, link->bytes + link->used, sizeof(link->bytes) - link->used);
  if (got > 0) {
    link->used += (size_t)got;
    link->heard = dure_os_nanoseconds();
  }
  if (got >= 0 && handle_all(c, rank)) return;
  drop_link(c, rank);
  if (link->has_left || c->all_have_left) return;
  decide_about(c, rank, "is lost: its connection has ended; it crashed, was killed, or its machine went down");
}

static void check_silence(dure_control *c, uint64_t now) {
  for (uint32_t i = 0; i < c->size; i++) {
    const control_link *link = &c->links[i];
    if (link->socket < 0 || link->has_left || now < link->heard || now - link->heard < silence_nanoseconds(c)) continue;
    char text[200];
    snprintf(text, sizeof(text),
             "is lost: it has been silent for %.0f s; it is stopped, or the network to it (from %.60s) is cut",
             (double)(now - link->heard) / 1e9, c->peers[c->rank].node);
    decide_about(c, i, text);
    drop_link(c, i);
  }
}

// ---- data connections --------------------------------------------------------------------------------------------

static void accept_callers(dure_control *c) {
  while (c->caller_count < callers_limit) {
    int socket = -1;
    char host[DURE_HOST_TEXT_BYTES];
    dure_status status = dure_socket_accept(c->listener, &socket, host);
    if (status != NULL) {
      dure_log(DURE_LOG_WARNING, "%s", dure_status_message(status));
      dure_status_free(status);
    }
    if (socket < 0) return;
    c->callers[c->caller_count++] = (caller){.socket = socket, .since = dure_os_nanoseconds()};
  }
}

static bool keep_waiting(dure_control *c, const caller *from) {
  if (c->waiting_count == c->waiting_capacity) {
    const size_t capacity = c->waiting_capacity * 2 + 16;
    caller *grown = realloc(c->waiting, capacity * sizeof(*grown));
    if (grown == NULL) return false;
    c->waiting = grown;
    c->waiting_capacity = capacity;
  }
  c->waiting[c->waiting_count++] = *from;
  pthread_cond_broadcast(&c->changed);
  return true;
}

// Reads what the i-th caller has said; true when it is no caller any more.
static bool hear_caller(dure_control *c, size_t i, uint64_t now) {
  caller *from = &c->callers[i];
  const int64_t got =
      dure_socket_receive_some(from->socket, (char *)&from->head + from->used, sizeof(from->head) - from->used);
  if (got > 0) from->used += (size_t)got;
  const bool is_whole = from->used == sizeof(from->head);
  if (got >= 0 && !is_whole && now - from->since < caller_nanoseconds) return false;
  const bool is_known = is_whole && from->head.mark == control_mark && from->head.kind == MESSAGE_DATA &&
                        from->head.rank < c->size && (from->head.value ^ c->meeting.run) <= UINT32_MAX;
  if (!is_known || !keep_waiting(c, from)) dure_socket_close(from->socket);
  return true;
}

static void hear_callers(dure_control *c, uint64_t now) {
  for (size_t i = c->caller_count; i > 0; i--) {
    if (hear_caller(c, i - 1, now)) c->callers[i - 1] = c->callers[--c->caller_count];
  }
}

// ---- the thread --------------------------------------------------------------------------------------------------

// Ranks that live and do not get on; only while all are there.
static void judge_progress(dure_control *c) {
  char text[message_limit];
  if (c->has_verdict || c->left_count > 0 || c->wants_to_leave) return;
  for (uint32_t i = 0; i < c->size; i++) c->names[i] = c->peers[i].name;
  if (progress_judge(c->reports, c->size, c->wait_seconds, c->names, text, sizeof(text))) decide(c, text);
}

static void beat(dure_control *c, uint64_t now) {
  const uint64_t interval = silence_nanoseconds(c) / beats_in_silence;
  if (now < c->next_beat) return;
  // Who has been stopped himself (a debugger, a laptop asleep) cannot tell whether the others were silent.
  if (c->next_beat > 0 && now - c->next_beat > 2 * interval) {
    for (uint32_t i = 0; i < c->size; i++) c->links[i].heard = now;
  }
  const progress_report own = progress_now(&c->progress);
  if (c->rank == 0)
    tell_others(c, MESSAGE_BEAT, 0, NULL);
  else
    send_bytes(c->links[0].socket, MESSAGE_BEAT, c->rank, own.entries, own.count * sizeof(own.entries[0]));
  if (c->rank == 0) {
    c->reports[0] = own;
    judge_progress(c);
  }
  c->next_beat = now + interval;
}

// Waits for something to happen; the sockets that can be read are then marked in `polled`.
static void wait_for_news(dure_control *c, uint64_t now) {
  size_t count = 0;
  c->polled[count++] = (struct pollfd){.fd = c->wake[0], .events = POLLIN};
  // With no place for more callers the listener would only wake this thread again and again.
  c->polled[count++] = (struct pollfd){.fd = c->caller_count < callers_limit ? c->listener : -1, .events = POLLIN};
  for (size_t i = 0; i < callers_limit; i++)
    c->polled[count++] = (struct pollfd){.fd = i < c->caller_count ? c->callers[i].socket : -1, .events = POLLIN};
  for (uint32_t i = 0; i < c->size; i++)
    c->polled[count++] = (struct pollfd){.fd = c->links[i].socket, .events = POLLIN};
  uint64_t left = c->next_beat > now ? c->next_beat - now : 0;
  if ((c->wants_to_leave || c->has_verdict) && left > impatience) left = impatience;
  unlock(c);
  (void)poll(c->polled, count, (int)(left / 1000000) + 1);
  lock(c);
  char bytes[64];
  if (c->polled[0].revents != 0) (void)!read(c->wake[0], bytes, sizeof(bytes));
}

// Tells the one who cannot leave by itself; it may end the process.
static void mind_stuck(dure_control *c, uint64_t now) {
  const double limit = c->world.stuck_seconds > 0 ? c->world.stuck_seconds : default_stuck;
  if (!c->has_verdict || c->told_stuck || c->world.on_stuck == NULL || c->wants_to_leave) return;
  if (now - c->verdict_time < (uint64_t)(limit * 1e9)) return;
  c->told_stuck = true;
  char text[message_limit];
  memcpy(text, c->verdict, sizeof(text));
  unlock(c);
  c->world.on_stuck(text);
  lock(c);
}

// Says once that this rank is done or gives up, and rank 0 that all are done.
static void say_farewell(dure_control *c) {
  const bool is_first = c->farewell_time == 0;
  if (is_first) c->farewell_time = dure_os_nanoseconds();
  if (c->rank != 0) {
    if (is_first && c->gives_up)
      send_small(c->links[0].socket, MESSAGE_GIVE_UP, c->rank, c->farewell);
    else if (is_first)
      send_small(c->links[0].socket, MESSAGE_LEAVE, c->rank, NULL);
  } else if (c->gives_up) {
    decide(c, c->farewell);
  } else if (!c->has_verdict && !c->all_have_left && c->left_count + 1 == c->size) {
    tell_others(c, MESSAGE_END, 0, NULL);
    c->all_have_left = true;
    c->farewell_time = dure_os_nanoseconds();
  }
}

// Whether the thread may end. A connection that is closed before all that came by it was read takes along what it had
// still to deliver: so rank 0 waits for the others to close theirs, and who gives up for rank 0 to have heard it.
static bool may_end(const dure_control *c, uint64_t now) {
  if (!c->wants_to_leave) return false;
  if (c->rank != 0) return c->has_verdict || c->all_have_left || (c->gives_up && now - c->farewell_time > patience);
  if (!c->has_verdict && !c->all_have_left) return false;
  bool is_alone = true;
  for (uint32_t i = 1; i < c->size; i++) is_alone = is_alone && c->links[i].socket < 0;
  return is_alone || now - c->farewell_time > patience;
}

static void *watch(void *argument) {
  dure_control *c = argument;
  lock(c);
  for (;;) {
    uint64_t now = dure_os_nanoseconds();
    beat(c, now);
    check_silence(c, now);
    if (c->wants_to_leave) say_farewell(c);
    if (may_end(c, now)) break;
    mind_stuck(c, now);
    wait_for_news(c, now);
    if (c->polled[1].revents != 0) accept_callers(c);
    hear_callers(c, dure_os_nanoseconds());
    for (uint32_t i = 0; i < c->size; i++) {
      const bool has_news = c->links[i].socket >= 0 && c->polled[2 + callers_limit + i].revents != 0;
      if (has_news) hear(c, i);
    }
  }
  pthread_cond_broadcast(&c->changed);
  unlock(c);
  return NULL;
}

// ---- life --------------------------------------------------------------------------------------------------------

static void control_free(dure_control *c) {
  for (uint32_t i = 0; c->links != NULL && i < c->size; i++) dure_socket_close(c->links[i].socket);
  for (size_t i = 0; i < c->caller_count; i++) dure_socket_close(c->callers[i].socket);
  for (size_t i = 0; i < c->waiting_count; i++) dure_socket_close(c->waiting[i].socket);
  dure_socket_close(c->listener);
  dure_socket_close(c->wake[0]);
  dure_socket_close(c->wake[1]);
  free(c->waiting);
  free(c->links);
  free(c->reports);
  free(c->names);
  free(c->peers);
  free(c->polled);
  pthread_cond_destroy(&c->changed);
  pthread_mutex_destroy(&c->mutex);
  free(c);
}

static dure_status control_start(dure_control *c) {
  if (pipe(c->wake) != 0) return dure_fail_errno("cannot make a pipe");
  for (int i = 0; i < 2; i++) {
    (void)fcntl(c->wake[i], F_SETFD, FD_CLOEXEC);
    (void)fcntl(c->wake[i], F_SETFL, O_NONBLOCK);
  }
  const uint64_t now = dure_os_nanoseconds();
  for (uint32_t i = 0; i < c->size; i++) c->links[i].heard = now;
  if (pthread_create(&c->thread, NULL, watch, c) != 0)
    return dure_fail(DURE_OUT_OF_MEMORY, "cannot start the thread of heartbeats");
  return NULL;
}

static dure_status control_allocate(const dure_control_options *options, dure_control **out_control) {
  dure_control *c = calloc(1, sizeof(*c));
  *out_control = c;
  if (c == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to join the other ranks");
  c->rank = options->rank;
  c->size = options->size;
  c->world = *options->world;
  c->world.transport = c->world.fingerprint = NULL;
  const char *wait = getenv("DURE_WAIT_SECONDS");
  c->wait_seconds = c->world.wait_seconds > 0 ? c->world.wait_seconds : wait != NULL ? strtod(wait, NULL) : 0;
  if (!(c->wait_seconds > 0)) c->wait_seconds = default_wait;
  c->listener = options->listener;
  c->wake[0] = c->wake[1] = -1;
  pthread_mutex_init(&c->mutex, NULL);
  pthread_cond_init(&c->changed, NULL);
  c->peers = calloc(options->size, sizeof(*c->peers));
  c->links = calloc(options->size, sizeof(*c->links));
  c->polled = calloc(options->size + callers_limit + 2, sizeof(*c->polled));
  c->reports = calloc(options->size, sizeof(*c->reports));
  c->names = calloc(options->size, sizeof(*c->names));
  if (c->peers == NULL || c->links == NULL || c->polled == NULL || c->reports == NULL || c->names == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for %u ranks", options->size);
  for (uint32_t i = 0; i < c->size; i++) c->links[i].socket = -1;
  return NULL;
}

dure_status dure_control_join(const dure_control_options *options, dure_control **out_control) {
  *out_control = NULL;
  dure_control *c = NULL;
  dure_status status = control_allocate(options, &c);
  if (c == NULL) {
    dure_socket_close(options->listener);
    return status;
  }
  rendezvous r = {.options = options, .port = options->listener_port, .peers = c->peers, .links = c->links};
  r.meeting.silence_seconds = c->world.silence_seconds > 0 ? c->world.silence_seconds : control_default_silence;
  if (status == NULL && c->listener < 0)
    status = dure_socket_listen(options->rank == 0 ? options->port : 0, &c->listener, &r.port);
  r.listener = c->listener;
  if (status == NULL) status = control_meet(&r);
  c->meeting = r.meeting;
  if (status == NULL) status = control_start(c);
  if (status != NULL) {
    control_free(c);
    return status;
  }
  *out_control = c;
  return NULL;
}

void dure_control_leave(dure_control *c, dure_status failure) {
  lock(c);
  c->wants_to_leave = true;
  c->gives_up = failure != NULL && !c->has_verdict;
  if (c->gives_up) {
    const char *subject = c->rank == 0 ? c->peers[0].name : "";  // rank 0 puts the others' in front by itself
    snprintf(c->farewell, sizeof(c->farewell), "%s%s%.1500s", subject, c->rank == 0 ? " gave up: " : "",
             dure_status_message(failure));
  }
  unlock(c);
  wake(c);
  pthread_join(c->thread, NULL);
  control_free(c);
}

// ---- for the other threads ---------------------------------------------------------------------------------------

dure_status dure_control_check(dure_control *c) {
  lock(c);
  dure_status status = c->has_verdict ? dure_fail(DURE_RANK_LOST, "%s", c->verdict) : NULL;
  unlock(c);
  return status;
}

const dure_peer *dure_control_peer(const dure_control *c, uint32_t rank) { return &c->peers[rank]; }

bool dure_control_has_left(dure_control *c, uint32_t rank) {
  lock(c);
  const bool has_left = c->links[rank].has_left;
  unlock(c);
  return has_left;
}

int dure_control_follow(dure_control *c, uint32_t channel, uint32_t group) {
  lock(c);
  const int place = progress_open(&c->progress, channel, group);
  unlock(c);
  return place;
}

void dure_control_unfollow(dure_control *c, int place) {
  lock(c);
  progress_close(&c->progress, place);
  unlock(c);
}

void dure_control_enter(dure_control *c, int place, const char *name, uint32_t peer, bool is_on_device) {
  lock(c);
  progress_enter(&c->progress, place, name, peer, is_on_device);
  unlock(c);
}

void dure_control_move(dure_control *c, int place) {
  lock(c);
  progress_move(&c->progress, place);
  unlock(c);
}

void dure_control_exit(dure_control *c, int place) {
  lock(c);
  progress_leave(&c->progress, place);
  unlock(c);
}

// With the mutex held: waits for a change, a while.
static void wait_changed(dure_control *c) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 100000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_nsec -= 1000000000;
    until.tv_sec++;
  }
  (void)pthread_cond_timedwait(&c->changed, &c->mutex, &until);
}

dure_status dure_control_explain(dure_control *c, uint32_t rank, const char *what) {
  const uint64_t deadline = dure_os_nanoseconds() + silence_nanoseconds(c) + (uint64_t)(explanation_seconds * 1e9);
  lock(c);
  while (!c->has_verdict && !c->links[rank].has_left && dure_os_nanoseconds() < deadline) wait_changed(c);
  dure_status status = NULL;
  if (c->has_verdict)
    status = dure_fail(DURE_RANK_LOST, "%s", c->verdict);
  else if (c->links[rank].has_left)
    status =
        dure_fail(DURE_RANK_LOST, "%s has left while this one (rank %u) still needed it", c->peers[rank].name, c->rank);
  else
    status = dure_fail(DURE_RANK_LOST, "%s: %s", c->peers[rank].name, what);
  unlock(c);
  return status;
}

dure_status dure_control_take(dure_control *c, uint32_t channel, uint32_t rank, int *out_socket) {
  *out_socket = -1;
  dure_status status = NULL;
  lock(c);
  while (*out_socket < 0 && status == NULL) {
    for (size_t i = 0; i < c->waiting_count; i++) {
      const message_head *head = &c->waiting[i].head;
      if (head->rank != rank || (head->value ^ c->meeting.run) != channel) continue;
      *out_socket = c->waiting[i].socket;
      c->waiting[i] = c->waiting[--c->waiting_count];
      break;
    }
    if (*out_socket >= 0) break;
    if (c->has_verdict)
      status = dure_fail(DURE_RANK_LOST, "%s", c->verdict);
    else if (c->links[rank].has_left)
      status = dure_fail(DURE_RANK_LOST, "%s has left while this one (rank %u) still needed it", c->peers[rank].name,
                         c->rank);
    else
      wait_changed(c);
  }
  unlock(c);
  return status;
}

dure_status dure_control_call(dure_control *c, uint32_t channel, uint32_t rank, int *out_socket) {
  *out_socket = -1;
  DURE_TRY(dure_control_check(c));
  const dure_peer *peer = &c->peers[rank];
  const message_head head = {
      .mark = control_mark, .kind = MESSAGE_DATA, .rank = c->rank, .value = c->meeting.run ^ channel};
  dure_status status = dure_socket_connect(peer->host, peer->port, c->meeting.silence_seconds, out_socket);
  if (status == NULL) status = dure_socket_send(*out_socket, &head, sizeof(head), c->meeting.silence_seconds);
  if (status == NULL) return NULL;
  dure_socket_close(*out_socket);
  *out_socket = -1;
  char text[400];
  snprintf(text, sizeof(text), "%.390s", dure_status_message(status));
  dure_status_free(status);
  return dure_control_explain(c, rank, text);
}
