// How ranks meet: all connect to rank 0, introduce themselves, and are told of each other or refused. Rank 0 hears all
// that have connected at once, so that a stranger who says nothing keeps nobody waiting; those who wait for each other
// exchange heartbeats already.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/world/control.h"

static const double answer_seconds = 10;       // for a process that has connected to introduce itself
static const double disagreement_seconds = 3;  // for the others to come as well, after a difference was found
static const uint64_t second = 1000000000;
static const uint64_t least_hearing = UINT64_C(1) * 1000000000;  // of a newcomer, before others may take its place
enum { newcomers_limit = 128, introduction_limit = 1 << 20 };    // bytes of a message to rank 0

static double join_seconds(const dure_control_options *options) {
  return dure_world_join_seconds(options->world->join_seconds);
}

static double silence_seconds(const dure_control_options *options) {
  return options->world->silence_seconds > 0 ? options->world->silence_seconds : control_default_silence;
}

// Of the program's file: two builds of one version may still differ. DURE_ANY_BUILD=1 on every rank: not compared, for
// machines whose programs were built by themselves from one source.
static uint64_t hash_program(void) {
  const char *any = getenv("DURE_ANY_BUILD");
  if (any != NULL && strcmp(any, "1") == 0) return 0;
  uint64_t hash = 0;
  FILE *file = fopen("/proc/self/exe", "rb");
  char *bytes = malloc(1 << 20);
  for (size_t got = 1; file != NULL && bytes != NULL && got > 0;) {
    got = fread(bytes, 1, 1 << 20, file);
    hash = XXH64(bytes, got, hash);
  }
  free(bytes);
  if (file != NULL) fclose(file);
  return hash;
}

static void introduce(const rendezvous *r, introduction *out) {
  memset(out, 0, sizeof(*out));
  out->size = r->options->size;
  out->port = r->port;
  out->process = dure_os_process_id();
  snprintf(out->build, sizeof(out->build), "dure %s, build %016llx", DURE_VERSION, (unsigned long long)hash_program());
  dure_socket_machine(out->node, sizeof(out->node), out->machine, sizeof(out->machine));
  const char *secret = r->options->secret != NULL ? r->options->secret : getenv("DURE_WORLD_SECRET");
  snprintf(out->secret, sizeof(out->secret), "%s", secret != NULL ? secret : "");
}

static void fill_peer(dure_peer *peer, uint32_t rank, const introduction *from, const char *host) {
  snprintf(peer->node, sizeof(peer->node), "%.127s", from->node);
  snprintf(peer->machine, sizeof(peer->machine), "%.159s", from->machine);
  snprintf(peer->host, sizeof(peer->host), "%s", host);
  peer->port = from->port;
  peer->process = from->process;
  snprintf(peer->name, sizeof(peer->name), "rank %u (%.127s, process %llu)", rank, from->node,
           (unsigned long long)from->process);
}

static dure_status send_message(int socket, const message_head *given, const void *bytes, size_t size) {
  message_head head = *given;
  head.mark = control_mark;
  head.size = (uint32_t)size;
  DURE_TRY(dure_socket_send(socket, &head, sizeof(head), answer_seconds));
  return dure_socket_send(socket, bytes, size, answer_seconds);
}

// The next message; its bytes (with a NUL behind) are the caller's.
static dure_status receive_message(int socket, double seconds, message_head *out_head, char **out_bytes) {
  *out_bytes = NULL;
  DURE_TRY(dure_socket_receive(socket, out_head, sizeof(*out_head), seconds));
  if (out_head->mark != control_mark || out_head->size > meeting_limit)
    return dure_fail(DURE_IO, "what answers is no rank of Dure");
  char *bytes = malloc((size_t)out_head->size + 1);
  if (bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a message of %u bytes", out_head->size);
  dure_status status = dure_socket_receive(socket, bytes, out_head->size, answer_seconds);
  if (status != NULL) {
    free(bytes);
    return status;
  }
  bytes[out_head->size] = '\0';
  *out_bytes = bytes;
  return NULL;
}

// ---- rank 0 ------------------------------------------------------------------------------------------------------

// The first lines in which two fingerprints differ.
static void find_difference(const char *ours, const char *theirs, char *out_text, size_t size) {
  for (;;) {
    const size_t our_length = strcspn(ours, "\n"), their_length = strcspn(theirs, "\n");
    if (our_length != their_length || memcmp(ours, theirs, our_length) != 0) {
      snprintf(out_text, size, "has '%.*s' where rank 0 has '%.*s'", (int)(their_length < 200 ? their_length : 200),
               theirs, (int)(our_length < 200 ? our_length : 200), ours);
      return;
    }
    if (ours[our_length] == '\0' || theirs[their_length] == '\0') break;
    ours += our_length + 1;
    theirs += their_length + 1;
  }
  snprintf(out_text, size, "has a fingerprint of another length than rank 0's");
}

// "" where the newcomer agrees with rank 0, else how not.
static void compare(const rendezvous *r, const introduction *ours, const introduction *theirs, const char *fingerprint,
                    char *out_text, size_t size) {
  const char *our_fingerprint = r->options->world->fingerprint != NULL ? r->options->world->fingerprint : "";
  out_text[0] = '\0';
  if (theirs->size != ours->size) {
    snprintf(out_text, size, "was started as one of %u ranks, rank 0 as one of %u", theirs->size, ours->size);
  } else if (memcmp(theirs->build, ours->build, sizeof(ours->build)) != 0) {
    snprintf(out_text, size, "runs '%.61s', rank 0 '%.61s'", theirs->build, ours->build);
  } else if (strcmp(fingerprint, our_fingerprint) != 0) {
    find_difference(our_fingerprint, fingerprint, out_text, size);
  }
}

// A process that has connected, and has not yet said all that it has to.
typedef struct newcomer {
  int socket;
  uint64_t since;
  size_t used;  // of head and bytes
  message_head head;
  char *bytes;  // [head.size + 1], once the head is whole
  char host[DURE_HOST_TEXT_BYTES];
} newcomer;

typedef struct host_state {
  rendezvous *r;
  introduction ours;
  uint32_t present;  // ranks that have come, this one included
  char difference[700];
  newcomer newcomers[newcomers_limit];
  size_t newcomer_count;
  struct pollfd *polled;  // [1 + newcomers_limit + size]
  uint64_t next_beat;
} host_state;

static void refuse(int socket, dure_code code, const char *text) {
  const message_head head = {.kind = MESSAGE_REFUSED, .value = (uint64_t)code};
  dure_status_free(send_message(socket, &head, text, strlen(text)));
}

// How a rank that has introduced itself does not belong here; "" where it does.
static void find_fault(host_state *s, const newcomer *n, const introduction *theirs, const char *name, char *out_text,
                       size_t size) {
  const rendezvous *r = s->r;
  const uint32_t rank = n->head.rank;
  if (rank < r->options->size && (rank == 0 || r->links[rank].socket >= 0)) {
    snprintf(out_text, size, "was started twice: %s is there already", r->peers[rank].name);
    return;
  }
  compare(r, &s->ours, theirs, n->bytes + sizeof(*theirs), out_text, size);
  if (out_text[0] == '\0' && rank >= r->options->size)
    snprintf(out_text, size, "does not exist among %u", r->options->size);
  else if (out_text[0] != '\0' && s->difference[0] == '\0')
    snprintf(s->difference, sizeof(s->difference), "the ranks disagree: %s %s", name, out_text);
}

// Has said what it is: a rank that belongs here gets a link, also one that differs (so that it hears the difference);
// strangers are turned away.
static void admit(host_state *s, newcomer *n) {
  rendezvous *r = s->r;
  introduction theirs;
  dure_peer peer = {0};  // sent to all ranks as it lies here
  memcpy(&theirs, n->bytes, sizeof(theirs));
  fill_peer(&peer, n->head.rank, &theirs, n->host);
  char fault[500] = "", text[800];
  const bool is_ours = memcmp(theirs.secret, s->ours.secret, sizeof(theirs.secret)) == 0;
  if (is_ours)
    find_fault(s, n, &theirs, peer.name, fault, sizeof(fault));
  else
    snprintf(fault, sizeof(fault), "belongs to another run (DURE_WORLD_SECRET differs)");
  if (is_ours && n->head.rank > 0 && n->head.rank < r->options->size && r->links[n->head.rank].socket < 0) {
    r->peers[n->head.rank] = peer;
    r->links[n->head.rank].socket = n->socket;
    r->links[n->head.rank].heard = dure_os_nanoseconds();
    n->socket = -1;
    s->present++;
    return;
  }
  snprintf(text, sizeof(text), "%s %s", peer.name, fault);
  refuse(n->socket, DURE_INVALID_ARGUMENT, text);
}

// Reads what it has said so far; true when it is no newcomer any more.
static bool hear_newcomer(host_state *s, newcomer *n, uint64_t now) {
  for (;;) {
    const bool has_head = n->used >= sizeof(n->head);
    if (has_head && n->bytes == NULL) {
      const bool is_rank = n->head.mark == control_mark && n->head.kind == MESSAGE_JOIN &&
                           n->head.size >= sizeof(introduction) && n->head.size <= introduction_limit;
      if (is_rank) n->bytes = calloc(1, (size_t)n->head.size + 1);
      if (n->bytes == NULL) break;
    }
    const size_t whole = sizeof(n->head) + (has_head ? n->head.size : 0);
    if (has_head && n->used == whole) {
      admit(s, n);
      return true;
    }
    char *to = has_head ? n->bytes + (n->used - sizeof(n->head)) : (char *)&n->head + n->used;
    const int64_t got = dure_socket_receive_some(n->socket, to, whole - n->used);
    if (got < 0) break;
    if (got == 0 && now - n->since < (uint64_t)(answer_seconds * 1e9)) return false;
    if (got == 0) break;
    n->used += (size_t)got;
  }
  dure_log(DURE_LOG_INFO, "a connection from %s is no rank of this run", n->host);
  return true;
}

static void drop_newcomer(host_state *s, size_t i) {
  dure_socket_close(s->newcomers[i].socket);
  free(s->newcomers[i].bytes);
  s->newcomers[i] = s->newcomers[--s->newcomer_count];
}

static dure_status accept_newcomers(host_state *s, uint64_t now) {
  for (;;) {
    if (s->newcomer_count == newcomers_limit) {  // the one that takes longest makes way
      size_t oldest = 0;
      for (size_t i = 1; i < s->newcomer_count; i++)
        if (s->newcomers[i].since < s->newcomers[oldest].since) oldest = i;
      if (now - s->newcomers[oldest].since < least_hearing) return NULL;
      drop_newcomer(s, oldest);
    }
    newcomer *n = &s->newcomers[s->newcomer_count];
    *n = (newcomer){.since = now};
    DURE_TRY(dure_socket_accept(s->r->listener, &n->socket, n->host));
    if (n->socket < 0) return NULL;
    s->newcomer_count++;
  }
}

static dure_status fail_missing(const rendezvous *r) {
  char text[200] = "";
  size_t used = 0;
  uint32_t first = 0;
  for (uint32_t i = 1; i < r->options->size && used < 150; i++) {
    if (r->links[i].socket >= 0) continue;
    if (first == 0) first = i;
    used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u", used > 0 ? ", " : "", i);
  }
  return dure_fail(DURE_RANK_LOST, "rank %u is lost: it has not come within %.0f s; of %u ranks, missing are %s%s",
                   first, join_seconds(r->options), r->options->size, text, used >= 150 ? ", ..." : "");
}

// Those that have come, while they wait for the others: their heartbeats are read, and rank 0's sent.
static dure_status mind_links(host_state *s, uint64_t now) {
  rendezvous *r = s->r;
  const uint64_t silence = (uint64_t)(silence_seconds(r->options) * 1e9);
  const message_head beat = {.mark = control_mark, .kind = MESSAGE_BEAT};
  const bool beats = now >= s->next_beat;
  const bool was_away = beats && s->next_beat > 0 && now - s->next_beat > silence / 2;
  if (beats) s->next_beat = now + silence / beats_in_silence;
  for (uint32_t i = 1; i < r->options->size; i++) {
    control_link *link = &r->links[i];
    if (link->socket < 0) continue;
    if (beats) dure_status_free(dure_socket_send(link->socket, &beat, sizeof(beat), 0));
    const int64_t got =
        dure_socket_receive_some(link->socket, link->bytes + link->used, sizeof(message_head) - link->used);
    if (got > 0 || was_away) link->heard = now;
    if (got > 0) link->used = (link->used + (size_t)got) % sizeof(message_head);
    if (got < 0) return dure_fail(DURE_RANK_LOST, "%s is lost: it ended before all ranks had come", r->peers[i].name);
    if (now > link->heard && now - link->heard > silence)
      return dure_fail(DURE_RANK_LOST,
                       "%s is lost: it has been silent for %.0f s; it is stopped, or the network to it is cut",
                       r->peers[i].name, (double)(now - link->heard) / 1e9);
  }
  return NULL;
}

static void wait_for_words(host_state *s) {
  nfds_t count = 0;
  s->polled[count++] = (struct pollfd){.fd = s->r->listener, .events = POLLIN};
  for (size_t i = 0; i < s->newcomer_count; i++)
    s->polled[count++] = (struct pollfd){.fd = s->newcomers[i].socket, .events = POLLIN};
  for (uint32_t i = 1; i < s->r->options->size; i++)
    s->polled[count++] = (struct pollfd){.fd = s->r->links[i].socket, .events = POLLIN};
  // With no place for more the listener would only wake this thread again and again.
  if (s->newcomer_count == newcomers_limit) s->polled[0].fd = -1;
  (void)poll(s->polled, count, 100);
}

static dure_status wait_for_ranks(host_state *s) {
  rendezvous *r = s->r;
  uint64_t deadline = dure_os_nanoseconds() + (uint64_t)(join_seconds(r->options) * 1e9);
  bool is_shortened = false;
  while (s->present < r->options->size) {
    wait_for_words(s);
    const uint64_t now = dure_os_nanoseconds();
    DURE_TRY(accept_newcomers(s, now));
    for (size_t i = s->newcomer_count; i > 0; i--)
      if (hear_newcomer(s, &s->newcomers[i - 1], now)) drop_newcomer(s, i - 1);
    dure_status lost = mind_links(s, now);
    if (s->difference[0] == '\0') DURE_TRY(lost);
    dure_status_free(lost);  // it left because of the difference
    if (s->difference[0] != '\0' && !is_shortened) {
      const uint64_t sooner = now + (uint64_t)(disagreement_seconds * 1e9);
      if (sooner < deadline) deadline = sooner;
      is_shortened = true;
    }
    if (now >= deadline && s->present < r->options->size) return s->difference[0] != '\0' ? NULL : fail_missing(r);
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while waiting for the other ranks");
  }
  return NULL;
}

static dure_status welcome_all(rendezvous *r) {
  const size_t peers_size = r->options->size * sizeof(dure_peer), size = sizeof(meeting) + peers_size;
  char *bytes = malloc(size);
  if (bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for the table of ranks");
  memcpy(bytes, &r->meeting, sizeof(meeting));
  memcpy(bytes + sizeof(meeting), r->peers, peers_size);
  const message_head head = {.kind = MESSAGE_WELCOME};
  dure_status status = NULL;
  for (uint32_t i = 1; i < r->options->size && status == NULL; i++)
    status = dure_status_prefix(send_message(r->links[i].socket, &head, bytes, size), "%s", r->peers[i].name);
  free(bytes);
  return status;
}

static dure_status host_ranks(rendezvous *r) {
  host_state *s = calloc(1, sizeof(*s));
  struct pollfd *polled = calloc(1 + newcomers_limit + r->options->size, sizeof(*polled));
  if (s == NULL || polled == NULL) {
    free(s);
    free(polled);
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to meet the other ranks");
  }
  *s = (host_state){.r = r, .present = 1, .polled = polled};
  introduce(r, &s->ours);
  fill_peer(&r->peers[0], 0, &s->ours, "");
  dure_status status = dure_os_random(&r->meeting.run, sizeof(r->meeting.run));
  if (status == NULL) status = wait_for_ranks(s);
  if (status == NULL && s->difference[0] != '\0') status = dure_fail(DURE_INVALID_ARGUMENT, "%s", s->difference);
  while (s->newcomer_count > 0) drop_newcomer(s, 0);
  free(s);
  free(polled);
  if (status == NULL) return welcome_all(r);
  for (uint32_t i = 1; i < r->options->size; i++)
    if (r->links[i].socket >= 0) refuse(r->links[i].socket, dure_status_code(status), dure_status_message(status));
  return status;
}

// ---- the others --------------------------------------------------------------------------------------------------

// Tries each of rank 0's hosts until it answers; it may have been started later.
static dure_status connect_first(rendezvous *r, char *out_host, size_t size) {
  const uint64_t deadline = dure_os_nanoseconds() + (uint64_t)(join_seconds(r->options) * 1e9);
  for (;;) {
    dure_status last = NULL;
    for (const char *host = r->options->hosts; *host != '\0';) {
      const size_t length = strcspn(host, ",");
      snprintf(out_host, size, "%.*s", (int)length, host);
      dure_status_free(last);
      last = dure_socket_connect(out_host, r->options->port, 3, &r->links[0].socket);
      if (last == NULL) return NULL;
      host += length + (host[length] == ',');
    }
    if (dure_os_nanoseconds() >= deadline)
      return dure_status_prefix(last, "rank 0 is lost: it is not to be reached within %.0f s",
                                join_seconds(r->options));
    dure_status_free(last);
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while waiting for rank 0");
    dure_os_sleep(50000000);
  }
}

static dure_status read_welcome(rendezvous *r, const message_head *head, const char *bytes, const char *host) {
  const uint32_t size = r->options->size;
  if (head->kind == MESSAGE_REFUSED)
    return dure_fail(head->value == DURE_RANK_LOST ? DURE_RANK_LOST : DURE_INVALID_ARGUMENT, "%s", bytes);
  if (head->kind != MESSAGE_WELCOME || head->size != sizeof(meeting) + size * sizeof(dure_peer))
    return dure_fail(DURE_IO, "rank 0 answered what no rank 0 of this build would");
  memcpy(&r->meeting, bytes, sizeof(meeting));
  memcpy(r->peers, bytes + sizeof(meeting), size * sizeof(dure_peer));
  // Those that rank 0 reaches by loopback, and itself, are reached where this rank has found rank 0.
  for (uint32_t i = 0; i < size; i++) {
    dure_peer *peer = &r->peers[i];
    peer->name[sizeof(peer->name) - 1] = peer->node[sizeof(peer->node) - 1] = peer->host[sizeof(peer->host) - 1] = 0;
    peer->machine[sizeof(peer->machine) - 1] = '\0';
    const bool is_local = strncmp(peer->host, "127.", 4) == 0 || strcmp(peer->host, "::1") == 0;
    if (peer->host[0] == '\0' || is_local) snprintf(peer->host, sizeof(peer->host), "%.63s", host);
  }
  return NULL;
}

// Waits for rank 0's answer, which comes when all ranks have, while both hear that the other is there.
static dure_status await_answer(const rendezvous *r, const char *host, message_head *out_head, char **out_bytes) {
  const double silence = silence_seconds(r->options);
  const message_head beat = {.mark = control_mark, .kind = MESSAGE_BEAT, .rank = r->options->rank};
  uint64_t heard = dure_os_nanoseconds(), next_beat = 0;
  for (*out_bytes = NULL;;) {
    struct pollfd entry = {.fd = r->links[0].socket, .events = POLLIN};
    const int ready = poll(&entry, 1, 100);
    const uint64_t now = dure_os_nanoseconds();
    if (ready > 0) {
      DURE_TRY(dure_status_prefix(receive_message(r->links[0].socket, answer_seconds, out_head, out_bytes),
                                  "waiting for rank 0 at %s", host));
      if (out_head->kind != MESSAGE_BEAT) return NULL;
      free(*out_bytes);
      *out_bytes = NULL;
      heard = now;
    }
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while waiting for rank 0");
    if (next_beat > 0 && now > next_beat + second * 2) heard = now;  // this one was away itself
    if (now > heard && (double)(now - heard) / 1e9 > silence)
      return dure_fail(
          DURE_RANK_LOST,
          "rank 0 (at %s) is lost: it has been silent for %.0f s; it is stopped, or the network to it is cut", host,
          (double)(now - heard) / 1e9);
    if (now < next_beat) continue;
    dure_status_free(dure_socket_send(r->links[0].socket, &beat, sizeof(beat), 0));
    next_beat = now + (uint64_t)(silence / beats_in_silence * 1e9);
  }
}

static dure_status visit_host(rendezvous *r) {
  const dure_control_options *options = r->options;
  const char *fingerprint = options->world->fingerprint != NULL ? options->world->fingerprint : "";
  const size_t length = strlen(fingerprint);
  introduction ours;
  introduce(r, &ours);
  char host[256];
  DURE_TRY(connect_first(r, host, sizeof(host)));
  char *bytes = malloc(sizeof(ours) + length);
  if (bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to introduce this rank");
  memcpy(bytes, &ours, sizeof(ours));
  memcpy(bytes + sizeof(ours), fingerprint, length);
  message_head head = {.kind = MESSAGE_JOIN, .rank = options->rank};
  dure_status status = send_message(r->links[0].socket, &head, bytes, sizeof(ours) + length);
  free(bytes);
  DURE_TRY(dure_status_prefix(status, "rank 0 at %s", host));
  status = await_answer(r, host, &head, &bytes);
  if (status == NULL) status = read_welcome(r, &head, bytes, host);
  free(bytes);
  return status;
}

dure_status control_meet(rendezvous *r) { return r->options->rank == 0 ? host_ranks(r) : visit_host(r); }
