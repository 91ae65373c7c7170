// The processes of a run: how many there are, which one this is, on which machines they are, and small exchanges of
// host memory among them. Knows no devices; runtime/communicator.h moves what lies on those.
//
// A world is made of what the launcher left in the environment (mpirun, srun, torchrun's RANK and WORLD_SIZE); a
// program that was started by itself is a world of one, and needs neither MPI nor a network. MPI is a plugin of its own
// (libdure_mpi.so, built where there is an MPI), opened only in a world of several that asks for it.
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
  const char *transport;   // "auto" (or NULL), "mpi", "none": refuse to be one of several
  double silence_seconds;  // after which a rank that sends no heartbeat is lost; 0: 10
  const char
      *fingerprint;  // of the build, recipe and data (NULL: the build alone): ranks that differ are refused by name
} dure_world_options;

typedef struct dure_world_place {
  uint32_t rank, size;              // of this process in the group
  uint32_t node, node_count;        // of its machine among the group's, numbered by their smallest rank
  uint32_t local_rank, local_size;  // of this process on its machine
} dure_world_place;

// Joins the world. DURE_INVALID_ARGUMENT where ranks disagree (number of ranks, build, fingerprint), naming rank and
// difference; DURE_UNSUPPORTED where the plugin that is needed is missing, saying what to install.
DURE_MUST_CHECK dure_status dure_world_join(const dure_world_options *options, dure_world **out_world);
// NULL is fine. `failure` (stays the caller's; NULL: none): the others are told that this rank gives up, and why.
void dure_world_leave(dure_world *world, dure_status failure);
dure_world_place dure_world_get_place(const dure_world *world);            // NULL: a world of one
const char *dure_world_rank_name(const dure_world *world, uint32_t rank);  // "rank 3 (node17, process 4242)"
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
