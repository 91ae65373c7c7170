// What the parts of a world share: where the launcher put this process, the control connections, the transports.
#ifndef DURE_RUNTIME_WORLD_INTERNAL_H_
#define DURE_RUNTIME_WORLD_INTERNAL_H_

#include "runtime/socket.h"
#include "runtime/world.h"

// ---- the launcher's environment (environment.c) ------------------------------------------------------------------

typedef struct dure_launch {
  const char *launcher;  // "mpirun", "srun", "torchrun" (RANK and WORLD_SIZE, from whatever); NULL: started by itself
  uint32_t rank, size;
  char host[256];   // of rank 0; "" where only MPI knows it
  uint16_t port;    // 0 where only MPI knows it
  char file[1024];  // in which rank 0 says where it is; "": none
} dure_launch;

DURE_MUST_CHECK dure_status dure_launch_read(dure_launch *out_launch);

// ---- a file that all ranks see (file.c) --------------------------------------------------------------------------

DURE_MUST_CHECK dure_status dure_world_file_write(const char *path, const char *hosts, uint16_t port,
                                                  const char *secret);
// Waits for it, `seconds` (0: as for ranks, DURE_JOIN_SECONDS or 120).
DURE_MUST_CHECK dure_status dure_world_file_read(const char *path, double seconds, char *out_hosts, size_t hosts_size,
                                                 uint16_t *out_port, char *out_secret, size_t secret_size);
double dure_world_join_seconds(double asked);  // for all ranks to come

// ---- control connections (control.c) -----------------------------------------------------------------------------
//
// Every rank has one connection to rank 0, served by a thread of its own: heartbeats, farewells, verdicts. The first
// verdict is final. The thread also accepts the data connections that other ranks open.

typedef struct dure_peer {
  char node[128];                   // for people
  char machine[160];                // ranks with the same are on one machine
  char host[DURE_HOST_TEXT_BYTES];  // where others reach it; "" where rank 0's is meant
  uint16_t port;
  uint64_t process;
  char name[224];  // "rank 3 (node17, process 4242)"
} dure_peer;

typedef struct dure_control dure_control;

typedef struct dure_control_options {
  uint32_t rank, size;
  const char *hosts;  // of rank 0, with commas between
  uint16_t port;      // rank 0's
  int listener;       // open already (rank 0 whose port the others were told), else -1
  uint16_t listener_port;
  const char *secret;  // that all ranks of this run know; NULL: DURE_WORLD_SECRET
  const dure_world_options *world;
} dure_control_options;

// Meets the other ranks at rank 0, compares, and starts the thread. Takes the listener over, also when it fails.
DURE_MUST_CHECK dure_status dure_control_join(const dure_control_options *options, dure_control **out_control);
void dure_control_leave(dure_control *control, dure_status failure);  // frees it
DURE_MUST_CHECK dure_status dure_control_check(dure_control *control);
const dure_peer *dure_control_peer(const dure_control *control, uint32_t rank);
bool dure_control_has_left(dure_control *control, uint32_t rank);
// A data connection of `channel` with a rank: made to lower ranks, taken from higher ones, waited for until a verdict.
DURE_MUST_CHECK dure_status dure_control_call(dure_control *control, uint32_t channel, uint32_t rank, int *out_socket);
DURE_MUST_CHECK dure_status dure_control_take(dure_control *control, uint32_t channel, uint32_t rank, int *out_socket);
// A connection or transport failed with a rank: the verdict on it, or that it is gone where none comes in time.
DURE_MUST_CHECK dure_status dure_control_explain(dure_control *control, uint32_t rank, const char *what);

// What this rank is at, for the others to know with its heartbeats (progress.h). `place`: of a channel of the group
// whose smallest rank is `group`; -1: not followed. `peer`: of a message, else DURE_NOBODY.
int dure_control_follow(dure_control *control, uint32_t channel, uint32_t group);
void dure_control_unfollow(dure_control *control, int place);
void dure_control_enter(dure_control *control, int place, const char *name, uint32_t peer, bool is_on_device);
void dure_control_move(dure_control *control, int place);  // bytes have come or gone
void dure_control_exit(dure_control *control, int place);

// ---- transports --------------------------------------------------------------------------------------------------

// A channel carries bytes between the members of one group for one thread; bytes between two of them keep their order.
enum { DURE_NOBODY = UINT32_MAX };
typedef struct dure_exchange {
  uint32_t to, from;  // ranks of the whole world, or DURE_NOBODY; `to` may be `from`
  const void *send;
  size_t send_size;
  void *receive;
  size_t receive_size;
} dure_exchange;

typedef struct dure_channel dure_channel;
typedef struct dure_transport dure_transport;
typedef struct dure_transport_vtable {
  const char *name;
  DURE_MUST_CHECK dure_status (*open)(dure_transport *transport, uint32_t number, dure_channel **out_channel);
  void (*close)(dure_channel *channel);
  // Sends and receives at once; returns when both are done, or a rank was lost.
  DURE_MUST_CHECK dure_status (*exchange)(dure_channel *channel, const dure_exchange *exchange);
  void (*end)(dure_transport *transport, bool is_failed);  // frees it
} dure_transport_vtable;
struct dure_transport {  // the head of each transport's own struct
  const dure_transport_vtable *vtable;
};
struct dure_channel {
  dure_transport *transport;
  dure_control *control;  // where it is followed; NULL: not
  int place;
  void (*tick)(void *context);  // called now and then while an exchange goes on; NULL: not
  void *tick_context;
  uint64_t bytes_sent, bytes_received;
};

DURE_MUST_CHECK dure_status dure_transport_tcp(dure_control *control, uint32_t rank, uint32_t size,
                                               dure_transport **out_transport);

// MPI in two steps: the plugin is opened and rank 0's address told through it, then control exists.
typedef struct dure_mpi dure_mpi;
DURE_MUST_CHECK dure_status dure_mpi_open(dure_mpi **out_mpi, uint32_t *out_rank, uint32_t *out_size);
DURE_MUST_CHECK dure_status dure_mpi_tell(dure_mpi *mpi, void *bytes, size_t size);  // from rank 0 to all
void dure_mpi_close(dure_mpi *mpi, bool is_failed);                                  // NULL is fine
// The transport takes `mpi` over.
DURE_MUST_CHECK dure_status dure_transport_mpi(dure_mpi *mpi, dure_control *control, dure_transport **out_transport);

// ---- for the communicator ----------------------------------------------------------------------------------------

// A channel of the group's own for another thread than the caller's; all ranks of the group call this. Closed before
// the group is left.
DURE_MUST_CHECK dure_status dure_world_channel(dure_world *world, dure_channel **out_channel);
void dure_channel_close(dure_channel *channel);  // NULL is fine
// Around a collective on the channel: its name, the same on every rank, and rank of the group a message goes to or
// comes from (DURE_NOBODY: it is none). `is_on_device`: it is not left; the channel is for this alone.
void dure_channel_enter(dure_world *world, dure_channel *channel, uint32_t peer, bool is_on_device, const char *format,
                        ...) DURE_PRINTF(5, 6);
void dure_channel_leave(dure_channel *channel);
// Ranks of the group.
DURE_MUST_CHECK dure_status dure_channel_exchange(dure_world *world, dure_channel *channel, dure_exchange exchange);

#endif  // DURE_RUNTIME_WORLD_INTERNAL_H_
