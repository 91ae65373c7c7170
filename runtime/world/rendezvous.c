// How ranks meet: all connect to rank 0, introduce themselves, and are told of each other or refused.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/world/control.h"

static const double answer_seconds = 10;         // for a process that has connected to introduce itself
static const double disagreement_seconds = 3;    // for the others to come as well, after a difference was found
static const double default_join_seconds = 120;  // for all to come

static double join_seconds(const dure_control_options *options) {
  return options->world->join_seconds > 0 ? options->world->join_seconds : default_join_seconds;
}

static void introduce(const rendezvous *r, introduction *out) {
  memset(out, 0, sizeof(*out));
  out->size = r->options->size;
  out->port = r->port;
  out->process = dure_os_process_id();
  snprintf(out->build, sizeof(out->build), "dure %s", DURE_VERSION);
  dure_socket_machine(out->node, sizeof(out->node), out->machine, sizeof(out->machine));
  const char *secret = getenv("DURE_WORLD_SECRET");
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

static dure_status send_message(int socket, message_kind kind, uint32_t rank, const void *bytes, size_t size) {
  const message_head head = {.mark = control_mark, .kind = kind, .rank = rank, .size = (uint32_t)size};
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

typedef struct host_state {
  rendezvous *r;
  introduction ours;
  uint32_t present;  // ranks that have come, this one included
  char difference[700];
} host_state;

// A process that has connected: a rank that belongs here gets a link; strangers are turned away.
static void admit(host_state *s, int socket, const char *host) {
  rendezvous *r = s->r;
  message_head head = {0};
  char *bytes = NULL;
  introduction theirs;
  dure_status status = receive_message(socket, answer_seconds, &head, &bytes);
  const bool is_rank = status == NULL && head.kind == MESSAGE_JOIN && head.size >= sizeof(theirs);
  if (!is_rank) {
    dure_log(DURE_LOG_INFO, "a connection from %s is no rank of this run", host);
    dure_status_free(status);
    free(bytes);
    dure_socket_close(socket);
    return;
  }
  memcpy(&theirs, bytes, sizeof(theirs));
  char difference[500] = "";
  dure_peer newcomer = {0};  // sent to all ranks as it lies here
  fill_peer(&newcomer, head.rank, &theirs, host);
  if (memcmp(theirs.secret, s->ours.secret, sizeof(theirs.secret)) != 0) {
    snprintf(difference, sizeof(difference), "belongs to another run (DURE_WORLD_SECRET differs)");
  } else if (head.rank < r->options->size && (head.rank == 0 || r->links[head.rank].socket >= 0)) {
    snprintf(difference, sizeof(difference), "was started twice: %s is there already", r->peers[head.rank].name);
  } else {
    compare(r, &s->ours, &theirs, bytes + sizeof(theirs), difference, sizeof(difference));
    if (difference[0] == '\0' && head.rank >= r->options->size)
      snprintf(difference, sizeof(difference), "does not exist among %u", r->options->size);
    else if (difference[0] != '\0' && s->difference[0] == '\0')
      snprintf(s->difference, sizeof(s->difference), "the ranks disagree: %s %s", newcomer.name, difference);
  }
  free(bytes);
  if (head.rank < r->options->size && head.rank > 0 && r->links[head.rank].socket < 0 &&
      strstr(difference, "another run") == NULL) {
    r->peers[head.rank] = newcomer;
    r->links[head.rank].socket = socket;
    s->present++;
    return;
  }
  char text[700];
  snprintf(text, sizeof(text), "%s %s", newcomer.name, difference);
  dure_status_free(send_message(socket, MESSAGE_REFUSED, 0, text, strlen(text)));
  dure_socket_close(socket);
}

static dure_status fail_missing(const rendezvous *r) {
  char text[200] = "";
  size_t used = 0;
  for (uint32_t i = 1; i < r->options->size && used < 150; i++) {
    if (r->links[i].socket < 0)
      used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u", used > 0 ? ", " : "", i);
  }
  return dure_fail(DURE_RANK_LOST, "not every rank has come within %.0f s: of %u, missing are %s%s",
                   join_seconds(r->options), r->options->size, text, used >= 150 ? ", ..." : "");
}

static dure_status wait_for_ranks(host_state *s) {
  rendezvous *r = s->r;
  uint64_t deadline = dure_os_nanoseconds() + (uint64_t)(join_seconds(r->options) * 1e9);
  bool is_shortened = false;
  while (s->present < r->options->size) {
    int socket = -1;
    char host[DURE_HOST_TEXT_BYTES];
    DURE_TRY(dure_socket_accept(r->listener, &socket, host));
    if (socket >= 0) {
      admit(s, socket, host);
      continue;
    }
    const uint64_t now = dure_os_nanoseconds();
    if (s->difference[0] != '\0' && !is_shortened) {
      const uint64_t sooner = now + (uint64_t)(disagreement_seconds * 1e9);
      if (sooner < deadline) deadline = sooner;
      is_shortened = true;
    }
    if (now >= deadline) return s->difference[0] != '\0' ? NULL : fail_missing(r);
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while waiting for the other ranks");
    dure_os_sleep(10000000);
  }
  return NULL;
}

static dure_status tell_all(rendezvous *r, message_kind kind, const void *bytes, size_t size) {
  for (uint32_t i = 1; i < r->options->size; i++) {
    if (r->links[i].socket < 0) continue;
    dure_status status = send_message(r->links[i].socket, kind, 0, bytes, size);
    if (kind == MESSAGE_WELCOME)
      DURE_TRY(dure_status_prefix(status, "%s", r->peers[i].name));
    else
      dure_status_free(status);
  }
  return NULL;
}

static dure_status welcome_all(rendezvous *r) {
  const size_t peers_size = r->options->size * sizeof(dure_peer), size = sizeof(meeting) + peers_size;
  char *bytes = malloc(size);
  if (bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for the table of ranks");
  memcpy(bytes, &r->meeting, sizeof(meeting));
  memcpy(bytes + sizeof(meeting), r->peers, peers_size);
  dure_status status = tell_all(r, MESSAGE_WELCOME, bytes, size);
  free(bytes);
  return status;
}

static dure_status host_ranks(rendezvous *r) {
  host_state s = {.r = r, .present = 1};
  introduce(r, &s.ours);
  fill_peer(&r->peers[0], 0, &s.ours, "");
  r->meeting.run = dure_os_nanoseconds() * 6364136223846793005u ^ dure_os_process_id() << 40;
  dure_status status = wait_for_ranks(&s);
  if (status == NULL && s.difference[0] != '\0') status = dure_fail(DURE_INVALID_ARGUMENT, "%s", s.difference);
  if (status == NULL) return welcome_all(r);
  const char *text = dure_status_message(status);
  dure_status_free(tell_all(r, MESSAGE_REFUSED, text, strlen(text)));
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
      return dure_status_prefix(last, "rank 0 is not to be reached within %.0f s", join_seconds(r->options));
    dure_status_free(last);
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while waiting for rank 0");
    dure_os_sleep(50000000);
  }
}

static dure_status read_welcome(rendezvous *r, const message_head *head, const char *bytes, const char *host) {
  const uint32_t size = r->options->size;
  if (head->kind == MESSAGE_REFUSED)
    return dure_fail(strncmp(bytes, "not every", 9) == 0 ? DURE_RANK_LOST : DURE_INVALID_ARGUMENT, "%s", bytes);
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
  dure_status status = send_message(r->links[0].socket, MESSAGE_JOIN, options->rank, bytes, sizeof(ours) + length);
  free(bytes);
  DURE_TRY(dure_status_prefix(status, "rank 0 at %s", host));
  message_head head = {0};
  status = receive_message(r->links[0].socket, join_seconds(options) + answer_seconds, &head, &bytes);
  if (status == NULL)
    status = read_welcome(r, &head, bytes, host);
  else
    status = dure_status_prefix(status, "waiting for rank 0 at %s", host);
  free(bytes);
  return status;
}

dure_status control_meet(rendezvous *r) { return r->options->rank == 0 ? host_ranks(r) : visit_host(r); }
