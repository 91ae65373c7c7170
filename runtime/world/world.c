// The world and its groups: who is in them, and their small collectives. Knows neither launchers' variables nor how
// bytes travel.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/world/internal.h"

// What all groups of the process share.
typedef struct session {
  dure_control *control;
  dure_transport *transport;
  uint32_t next_channel;
} session;

struct dure_world {
  session *session;   // NULL: a world of one
  dure_world *whole;  // NULL: it is
  uint32_t *members;  // ranks of the whole world, [place.size]
  dure_world_place place;
  dure_channel *channel;
  char name[224];  // of a world of one
};

// ---- joining -----------------------------------------------------------------------------------------------------

static dure_status allocate(uint32_t size, dure_world **out_world) {
  dure_world *world = calloc(1, sizeof(*world));
  *out_world = world;
  if (world != NULL) world->members = calloc(size, sizeof(*world->members));
  if (world != NULL && world->members != NULL) {
    world->place = (dure_world_place){.size = size, .node_count = 1, .local_size = 1};
    return NULL;
  }
  free(world);
  *out_world = NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a group of %u processes", size);
}

static dure_status join_alone(dure_world **out_world) {
  DURE_TRY(allocate(1, out_world));
  char node[64], machine[160];
  dure_socket_machine(node, sizeof(node), machine, sizeof(machine));
  snprintf((*out_world)->name, sizeof((*out_world)->name), "the only process (%s)", node);
  return NULL;
}

// The members' machines, numbered in the order of their first rank.
static void find_place(dure_world *world) {
  dure_world_place *place = &world->place;
  const char *own = dure_control_peer(world->session->control, world->members[place->rank])->machine;
  place->node_count = place->local_size = 0;
  for (uint32_t i = 0; i < place->size; i++) {
    const char *machine = dure_control_peer(world->session->control, world->members[i])->machine;
    bool is_first = true;
    for (uint32_t j = 0; j < i && is_first; j++)
      is_first = strcmp(machine, dure_control_peer(world->session->control, world->members[j])->machine) != 0;
    const bool is_own = strcmp(machine, own) == 0;
    if (is_own && is_first) place->node = place->node_count;
    if (is_own && i < place->rank) place->local_rank++;
    place->local_size += is_own;
    place->node_count += is_first;
  }
}

// Where rank 0 is, for MPI or a file to carry to the others.
typedef struct greeting {
  char hosts[1024];
  uint16_t port;
  char secret[40];
} greeting;

// Rank 0 opens its port.
static dure_status open_port(dure_control_options *options, greeting *g) {
  DURE_TRY(dure_socket_listen(0, &options->listener, &g->port));
  options->listener_port = g->port;
  dure_socket_local_hosts(g->hosts, sizeof(g->hosts) - 16);
  strcat(g->hosts, g->hosts[0] != '\0' ? ",127.0.0.1" : "127.0.0.1");
  return dure_world_draw_secret(g->secret, sizeof(g->secret));
}

static void take_greeting(dure_control_options *options, const greeting *g) {
  options->hosts = g->hosts;
  options->secret = g->secret;
  options->port = g->port;
}

static dure_status meet_over_mpi(dure_mpi *mpi, dure_control_options *options, greeting *g) {
  dure_status status = options->rank == 0 ? open_port(options, g) : NULL;
  status = dure_status_join(status, dure_mpi_tell(mpi, g, sizeof(*g)));
  if (status == NULL && g->port == 0) status = dure_fail(DURE_IO, "rank 0 could not open a port for heartbeats");
  take_greeting(options, g);
  return status;
}

// The file that all ranks see: rank 0 writes it when its port is open, and removes it when all have met. One that is
// there before is another run's, or one's that failed: it is left alone.
static dure_status meet_over_file(const char *path, dure_control_options *options, greeting *g) {
  if (options->rank > 0) {
    DURE_TRY(dure_world_file_read(path, options->world->join_seconds, g->hosts, sizeof(g->hosts), &g->port, g->secret,
                                  sizeof(g->secret)));
  } else if (dure_os_is_file(path)) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "'%s' (DURE_WORLD_FILE) is there already: another run meets in it, or one has failed to; take "
                     "another name, or remove it",
                     path);
  } else {
    DURE_TRY(open_port(options, g));
    DURE_TRY(dure_world_file_write(path, g->hosts, g->port, g->secret));
  }
  take_greeting(options, g);
  return NULL;
}

dure_status dure_world_draw_secret(char *out_text, size_t size) {
  uint8_t bytes[16];
  DURE_TRY(dure_os_random(bytes, sizeof(bytes)));
  out_text[0] = '\0';
  for (size_t i = 0; i < sizeof(bytes) && 2 * i + 2 < size; i++) snprintf(out_text + 2 * i, 3, "%02x", bytes[i]);
  return NULL;
}

static dure_status choose_transport(const char *asked, const dure_launch *launch, bool *out_is_mpi) {
  const char *name = asked;
  if (name == NULL || strcmp(name, "auto") == 0) name = getenv("DURE_TRANSPORT");
  if (name == NULL || name[0] == '\0') name = "auto";
  *out_is_mpi = strcmp(name, "mpi") == 0;
  if (strcmp(name, "none") == 0)
    return dure_fail(DURE_UNSUPPORTED,
                     "%s started this process as rank %u of %u, and what it does is done by one process alone",
                     launch->launcher, launch->rank, launch->size);
  if (strcmp(name, "auto") == 0)
    *out_is_mpi = strcmp(launch->launcher, "mpirun") == 0 && launch->host[0] == '\0' && launch->file[0] == '\0';
  else if (strcmp(name, "tcp") != 0 && !*out_is_mpi)
    return dure_fail(DURE_INVALID_ARGUMENT, "the transport is '%s': expected auto, tcp, mpi or none", name);
  return NULL;
}

static dure_status check_address(const dure_launch *launch) {
  if (launch->host[0] != '\0' && launch->port != 0) return NULL;
  return dure_fail(
      DURE_INVALID_ARGUMENT,
      "%s started this process as rank %u of %u, but where rank 0 is to be found is not known: set "
      "MASTER_ADDR (its host) and MASTER_PORT (a free port there) in every rank's environment, or DURE_WORLD_FILE (a "
      "new file that all of them see)",
      launch->launcher, launch->rank, launch->size);
}

static dure_status connect_session(session *s, const dure_launch *launch, const dure_world_options *options,
                                   bool is_mpi, uint32_t *out_rank) {
  dure_mpi *mpi = NULL;
  greeting own = {.port = 0};
  dure_control_options control = {.rank = launch->rank,
                                  .size = launch->size,
                                  .hosts = launch->host,
                                  .port = launch->port,
                                  .listener = -1,
                                  .world = options};
  dure_status status = NULL;
  if (is_mpi) {
    DURE_TRY(dure_mpi_open(&mpi, &control.rank, &control.size));
    if (control.size != launch->size)
      status =
          dure_fail(DURE_INVALID_ARGUMENT,
                    "%s says that there are %u ranks, but MPI knows %u: the MPI that libdure_mpi.so was built with "
                    "is another than the launcher's; DURE_TRANSPORT=tcp with MASTER_ADDR and MASTER_PORT needs none",
                    launch->launcher, launch->size, control.size);
    if (status == NULL) status = meet_over_mpi(mpi, &control, &own);
  } else if (launch->file[0] != '\0') {
    status = meet_over_file(launch->file, &control, &own);
  } else {
    status = check_address(launch);
  }
  if (status == NULL)
    status = dure_control_join(&control, &s->control);
  else
    dure_socket_close(control.listener);
  if (!is_mpi && launch->file[0] != '\0' && control.listener >= 0) dure_status_free(dure_os_remove_tree(launch->file));
  *out_rank = control.rank;
  if (status != NULL) {
    dure_mpi_close(mpi, true);
    return status;
  }
  return is_mpi ? dure_transport_mpi(mpi, s->control, &s->transport)
                : dure_transport_tcp(s->control, control.rank, control.size, &s->transport);
}

static void (*stuck_handler)(const char *message);

void dure_world_set_stuck_handler(void (*handler)(const char *message)) { stuck_handler = handler; }

static dure_status open_channel(dure_world *world, uint32_t number, dure_channel **out_channel) {
  uint32_t group = world->members[0];
  for (uint32_t i = 1; i < world->place.size; i++)
    if (world->members[i] < group) group = world->members[i];
  dure_transport *transport = world->session->transport;
  DURE_TRY(transport->vtable->open(transport, number, out_channel));
  (*out_channel)->control = world->session->control;
  (*out_channel)->place = dure_control_follow(world->session->control, number, group);
  return NULL;
}

dure_status dure_world_join(const dure_world_options *given, dure_world **out_world) {
  *out_world = NULL;
  dure_launch launch;
  DURE_TRY(dure_launch_read(&launch));
  dure_world_options with_handler = given != NULL ? *given : (dure_world_options){0};
  if (with_handler.on_stuck == NULL) with_handler.on_stuck = stuck_handler;
  const dure_world_options *options = &with_handler;
  if (launch.size == 1) return join_alone(out_world);
  bool is_mpi = false;
  DURE_TRY(choose_transport(options->transport, &launch, &is_mpi));
  dure_world *world = NULL;
  DURE_TRY(allocate(launch.size, &world));
  for (uint32_t i = 0; i < launch.size; i++) world->members[i] = i;
  world->session = calloc(1, sizeof(*world->session));
  dure_status status = NULL;
  if (world->session == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "no host memory to join the other ranks");
  else
    status = connect_session(world->session, &launch, options, is_mpi, &world->place.rank);
  if (status == NULL) status = open_channel(world, world->session->next_channel++, &world->channel);
  if (status != NULL) {
    dure_world_leave(world, status);
    return status;
  }
  find_place(world);
  *out_world = world;
  return NULL;
}

void dure_world_leave(dure_world *world, dure_status failure) {
  if (world == NULL) return;
  dure_channel_close(world->channel);
  session *s = world->session;
  if (s != NULL && world->whole == NULL) {
    bool is_failed = failure != NULL;
    if (s->control != NULL) {
      dure_status lost = dure_control_check(s->control);
      is_failed = is_failed || lost != NULL;
      dure_status_free(lost);
      dure_control_leave(s->control, failure);
    }
    if (s->transport != NULL) s->transport->vtable->end(s->transport, is_failed);
    free(s);
  }
  free(world->members);
  free(world);
}

// ---- asking ------------------------------------------------------------------------------------------------------

dure_world_place dure_world_get_place(const dure_world *world) {
  return world != NULL ? world->place : (dure_world_place){.size = 1, .node_count = 1, .local_size = 1};
}

const char *dure_world_rank_name(const dure_world *world, uint32_t rank) {
  if (world == NULL || rank >= world->place.size) return "a rank that does not exist";
  return world->session == NULL ? world->name : dure_control_peer(world->session->control, world->members[rank])->name;
}

const char *dure_world_transport(const dure_world *world) {
  return world == NULL || world->session == NULL ? "none" : world->session->transport->vtable->name;
}

dure_status dure_world_check(dure_world *world) {
  return world == NULL || world->session == NULL ? NULL : dure_control_check(world->session->control);
}

// ---- channels ----------------------------------------------------------------------------------------------------

// A number that no member uses yet, told to transports so that groups which share members never share one.
dure_status dure_world_channel(dure_world *world, dure_channel **out_channel) {
  *out_channel = NULL;
  session *s = world->session;
  double number = s->next_channel;
  DURE_TRY(dure_world_reduce(world, DURE_REDUCTION_MAXIMUM, &number, 1));
  s->next_channel = (uint32_t)number + 1;
  return open_channel(world, (uint32_t)number, out_channel);
}

void dure_channel_close(dure_channel *channel) {
  if (channel == NULL) return;
  dure_control_unfollow(channel->control, channel->place);
  channel->transport->vtable->close(channel);
}

void dure_channel_enter(dure_world *world, dure_channel *channel, uint32_t peer, bool is_on_device, const char *format,
                        ...) {
  char name[80];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(name, sizeof(name), format, arguments);
  va_end(arguments);
  dure_control_enter(channel->control, channel->place, name, peer == DURE_NOBODY ? peer : world->members[peer],
                     is_on_device);
}

void dure_channel_leave(dure_channel *channel) { dure_control_exit(channel->control, channel->place); }

dure_status dure_channel_exchange(dure_world *world, dure_channel *channel, dure_exchange exchange) {
  if (exchange.to != DURE_NOBODY) exchange.to = world->members[exchange.to];
  if (exchange.from != DURE_NOBODY) exchange.from = world->members[exchange.from];
  dure_status status = channel->transport->vtable->exchange(channel, &exchange);
  dure_control_move(channel->control, channel->place);
  return status;
}

// ---- collectives of host memory ----------------------------------------------------------------------------------

// Every rank holds `held` blocks, its own first and those of the ranks after it; each round doubles them.
static dure_status gather_rounds(dure_world *world, uint8_t *blocks, size_t size) {
  const uint32_t ranks = world->place.size, rank = world->place.rank;
  for (uint32_t held = 1; held < ranks; held *= 2) {
    const size_t bytes = (held < ranks - held ? held : ranks - held) * size;
    DURE_TRY(dure_channel_exchange(world, world->channel,
                                   (dure_exchange){.to = (rank + ranks - held) % ranks,
                                                   .from = (rank + held) % ranks,
                                                   .send = blocks,
                                                   .send_size = bytes,
                                                   .receive = blocks + held * size,
                                                   .receive_size = bytes}));
  }
  return NULL;
}

static dure_status gather(dure_world *world, const void *bytes, size_t size, void *out_bytes) {
  const uint32_t ranks = world->place.size, rank = world->place.rank;
  uint8_t *blocks = malloc(ranks * size);
  if (blocks == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for %u parts of %zu bytes", ranks, size);
  memcpy(blocks, bytes, size);
  dure_status status = gather_rounds(world, blocks, size);
  for (uint32_t i = 0; i < ranks && status == NULL; i++)
    memcpy((uint8_t *)out_bytes + (size_t)((rank + i) % ranks) * size, blocks + i * size, size);
  free(blocks);
  return status;
}

dure_status dure_world_gather(dure_world *world, const void *bytes, size_t size, void *out_bytes) {
  if (size == 0) return dure_world_check(world);
  if (world == NULL || world->place.size == 1) {
    memcpy(out_bytes, bytes, size);
    return NULL;
  }
  dure_channel_enter(world, world->channel, DURE_NOBODY, false, "gathering of %zu bytes of each", size);
  dure_status status = gather(world, bytes, size, out_bytes);
  dure_channel_leave(world->channel);
  return status;
}

dure_status dure_world_barrier(dure_world *world) {
  if (world == NULL || world->place.size == 1) return NULL;
  uint8_t bytes[1] = {0};
  uint8_t *all = malloc(world->place.size);
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a barrier");
  dure_channel_enter(world, world->channel, DURE_NOBODY, false, "barrier");
  dure_status status = gather(world, bytes, 1, all);
  dure_channel_leave(world->channel);
  free(all);
  return status;
}

// A binomial tree: whoever has the bytes passes them on to the rank half the remaining distance further.
static dure_status broadcast(dure_world *world, uint32_t root, void *bytes, size_t size) {
  const uint32_t ranks = world->place.size;
  const uint32_t distance = (world->place.rank + ranks - root) % ranks;
  uint32_t step = 1;
  while (step < ranks) step *= 2;
  bool has_bytes = distance == 0;
  for (step /= 2; step > 0; step /= 2) {
    dure_exchange exchange = {.to = DURE_NOBODY, .from = DURE_NOBODY};
    if (has_bytes && distance % (2 * step) == 0 && distance + step < ranks) {
      exchange.to = (world->place.rank + step) % ranks;
      exchange.send = bytes;
      exchange.send_size = size;
    } else if (!has_bytes && distance % (2 * step) == step) {
      exchange.from = (world->place.rank + ranks - step) % ranks;
      exchange.receive = bytes;
      exchange.receive_size = size;
      has_bytes = true;
    } else {
      continue;
    }
    DURE_TRY(dure_channel_exchange(world, world->channel, exchange));
  }
  return NULL;
}

dure_status dure_world_broadcast(dure_world *world, uint32_t root, void *bytes, size_t size) {
  if (world == NULL || world->place.size == 1 || size == 0) return NULL;
  if (root >= world->place.size)
    return dure_fail(DURE_INVALID_ARGUMENT, "rank %u cannot broadcast: there are %u", root, world->place.size);
  dure_channel_enter(world, world->channel, DURE_NOBODY, false, "broadcast of %zu bytes by rank %u", size, root);
  dure_status status = broadcast(world, root, bytes, size);
  dure_channel_leave(world->channel);
  return status;
}

static double combine(dure_reduction reduction, double a, double b) {
  switch (reduction) {
    case DURE_REDUCTION_SUM: return a + b;
    case DURE_REDUCTION_MAXIMUM: return b > a || b != b ? b : a;  // NaN wins
    case DURE_REDUCTION_MINIMUM: return b < a || b != b ? b : a;
  }
  return a;
}

dure_status dure_world_reduce(dure_world *world, dure_reduction reduction, double *values, size_t count) {
  if (world == NULL || world->place.size == 1 || count == 0) return NULL;
  double *all = malloc(world->place.size * count * sizeof(*all));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to reduce %zu values", count);
  dure_channel_enter(world, world->channel, DURE_NOBODY, false, "reduction of %zu values", count);
  dure_status status = gather(world, values, count * sizeof(*values), all);
  dure_channel_leave(world->channel);
  for (size_t i = 0; i < count && status == NULL; i++) {
    values[i] = all[i];
    for (uint32_t rank = 1; rank < world->place.size; rank++)
      values[i] = combine(reduction, values[i], all[rank * count + i]);
  }
  free(all);
  return status;
}

// ---- groups ------------------------------------------------------------------------------------------------------

typedef struct split_entry {
  uint32_t color, key, member;  // rank of the whole world
} split_entry;

static int compare_entries(const void *a, const void *b) {
  const split_entry *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->member < y->member ? -1 : x->member > y->member;
}

static dure_status make_group(dure_world *world, split_entry *entries, uint32_t color, dure_world **out_group) {
  uint32_t size = 0;
  for (uint32_t i = 0; i < world->place.size; i++) {
    if (entries[i].color == color) entries[size++] = entries[i];
  }
  qsort(entries, size, sizeof(*entries), compare_entries);
  dure_world *group = NULL;
  DURE_TRY(allocate(size, &group));
  for (uint32_t i = 0; i < size; i++) {
    group->members[i] = entries[i].member;
    if (entries[i].member == world->members[world->place.rank]) group->place.rank = i;
  }
  group->session = world->session;
  group->whole = world->whole != NULL ? world->whole : world;
  find_place(group);
  *out_group = group;
  return NULL;
}

dure_status dure_world_split(dure_world *world, uint32_t color, uint32_t key, dure_world **out_group) {
  *out_group = NULL;
  if (world == NULL || world->session == NULL) return join_alone(out_group);
  // Groups of one split use the same channel number: they share no member.
  double number = world->session->next_channel;
  DURE_TRY(dure_world_reduce(world, DURE_REDUCTION_MAXIMUM, &number, 1));
  world->session->next_channel = (uint32_t)number + 1;
  const split_entry own = {color, key, world->members[world->place.rank]};
  split_entry *entries = calloc(world->place.size, sizeof(*entries));
  if (entries == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to split %u ranks", world->place.size);
  dure_status status = dure_world_gather(world, &own, sizeof(own), entries);
  dure_world *group = NULL;
  if (status == NULL) status = make_group(world, entries, color, &group);
  free(entries);
  DURE_TRY(status);
  status = open_channel(group, (uint32_t)number, &group->channel);
  if (status != NULL) {
    dure_world_leave(group, NULL);
    return status;
  }
  *out_group = group;
  return NULL;
}
