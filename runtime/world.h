// The processes of a run: how many there are, which one this is, on which machines they are, and small exchanges of
// host memory among them. Knows no devices; runtime/communicator.h moves what lies on those.
//
// A world is made of what the launcher left in the environment (mpirun, srun, or RANK, WORLD_SIZE, MASTER_ADDR and
// MASTER_PORT as torchrun and `dure launch` set them); a program that was started by itself is a world of one, and
// needs neither MPI nor a network. Bytes travel over TCP sockets of its own, or over MPI: a plugin (libdure_mpi.so,
// built where there is an MPI) that is opened only where MPI started the ranks or is asked for. Heartbeats have TCP
// connections of their own in any case.
//
// Collectives must be called by all ranks of a group in the same order. They end within a bounded time: when a rank
// dies, hangs or leaves, every call returns DURE_RANK_LOST, whose message names it, and so does every later one.
#ifndef DURE_RUNTIME_WORLD_H_
#define DURE_RUNTIME_WORLD_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/dtype.h"
#include "runtime/status.h"

typedef struct dure_world dure_world;  // the world, or a group of its ranks (dure_world_split)

typedef struct dure_world_options {
  // Who carries bytes between ranks: "auto" (or NULL; DURE_TRANSPORT decides where it is set, else MPI under mpirun and
  // TCP otherwise), "tcp", "mpi", "none": refuse to be one of several.
  const char *transport;
  double silence_seconds;  // after which a rank that sends no heartbeat is lost; 0: 10. Rank 0's counts for all
  double join_seconds;     // how long to wait for all ranks to come; 0: the environment's DURE_JOIN_SECONDS, or 120
  // A rank that lives, but keeps others waiting so long at a collective, is lost: caught in something, or gone another
  // way than they. 0: the environment's DURE_WAIT_SECONDS, or 600. Rank 0's counts for all.
  double wait_seconds;
  // Of recipe and data (the build is compared in any case; NULL: nothing more), lines like "learning-rate: 0.1". A rank
  // that differs from rank 0 is refused, and the first line in which it does is named.
  const char *fingerprint;
  // Called on the thread of heartbeats, once, where a rank was lost `stuck_seconds` ago (0: 8) and this one has still
  // not begun to leave: its own thread may be caught in a driver or in MPI. A program prints the message and ends the
  // process with _exit; the library itself never does. NULL: what dure_world_set_stuck_handler says, or nothing.
  void (*on_stuck)(const char *message);
  double stuck_seconds;
} dure_world_options;

typedef struct dure_world_place {
  uint32_t rank, size;              // of this process in the group
  uint32_t node, node_count;        // of its machine among the group's, numbered by their smallest rank
  uint32_t local_rank, local_size;  // of this process on its machine
} dure_world_place;

// Joins the world. DURE_INVALID_ARGUMENT where ranks disagree (number of ranks, build, fingerprint), naming rank and
// difference; DURE_UNSUPPORTED where the plugin that is needed is missing, saying what to install.
DURE_MUST_CHECK dure_status dure_world_join(const dure_world_options *options, dure_world **out_world);
// What worlds do that are joined without `on_stuck` of their own. For the program's start; not thread-safe.
void dure_world_set_stuck_handler(void (*handler)(const char *message));
// A secret for DURE_WORLD_SECRET: 128 bits that nobody can guess, in hexadecimal. `size`: at least 33.
DURE_MUST_CHECK dure_status dure_world_draw_secret(char *out_text, size_t size);
// NULL is fine. `failure` (stays the caller's; NULL: none): the others are told that this rank gives up, and why.
// Without a failure it waits until all ranks leave, as they must, or one is lost.
void dure_world_leave(dure_world *world, dure_status failure);
dure_world_place dure_world_get_place(const dure_world *world);            // NULL: a world of one
const char *dure_world_rank_name(const dure_world *world, uint32_t rank);  // "rank 3 (node17, process 4242)"
const char *dure_world_transport(const dure_world *world);                 // "tcp", "mpi"; "none" for a world of one
// Splits the group: ranks of one color become a group, ordered by key, then by rank. The new group ends before the old.
DURE_MUST_CHECK dure_status dure_world_split(dure_world *world, uint32_t color, uint32_t key, dure_world **out_group);
// Whether all ranks are still there, as far as is known now: NULL, or DURE_RANK_LOST. Any thread, never waits.
DURE_MUST_CHECK dure_status dure_world_check(dure_world *world);

typedef enum dure_reduction { DURE_REDUCTION_SUM, DURE_REDUCTION_MAXIMUM, DURE_REDUCTION_MINIMUM } dure_reduction;

// Of host memory; they wait. Small: losses, norms, decisions.
DURE_MUST_CHECK dure_status dure_world_barrier(dure_world *world);
DURE_MUST_CHECK dure_status dure_world_broadcast(dure_world *world, uint32_t root, void *bytes, size_t size);
// values [count] in double, the same bits on every rank.
DURE_MUST_CHECK dure_status dure_world_reduce(dure_world *world, dure_reduction reduction, double *values,
                                              size_t count);
// `out_bytes` [size of the world, size]: everybody's bytes by rank.
DURE_MUST_CHECK dure_status dure_world_gather(dure_world *world, const void *bytes, size_t size, void *out_bytes);

#endif  // DURE_RUNTIME_WORLD_H_
