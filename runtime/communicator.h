// Collectives over device memory, beside the stream: all-reduce, reduce-scatter, all-gather, broadcast, send, receive.
//
// One communicator serves a group of ranks (runtime/world.h), each with one device. Two kinds, alike to callers:
//   on-stream   NCCL: collectives are work of the device, ordered by streams and events.
//   by host     any backend: a thread of the communicator waits until the device has come to the collective, moves the
//               bytes through the world's transport in chunks (from mapped memory, or through pinned staging buffers,
//               the next chunk copied while one travels), and signals the device.
// A collective is begun on a stream, behind what was enqueued there, and joined later, so that what is enqueued between
// the two overlaps with it:
//
//   dure_communicator_begin(communicator, stream, &collective, &ticket);
//   ... enqueue work that does not touch the collective's ranges ...
//   dure_communicator_join(communicator, stream, ticket);     // the device waits, not the host
//
// A communicator's collectives are all begun on one stream; the join is on that stream too. Beginning never makes the
// device wait, so that a queue in order goes on. Every rank of the group must begin the same collectives in the same
// order; of two ranks that send to each other by host, the lower one sends first. Floating-point values are summed in
// f32 whatever they are kept in, in an order that depends on ranks and counts alone: the same ranks give the same bits
// twice, another number the same up to rounding. By host the order is that of the ranks, and the sum is rounded once:
// an all-reduce gives the bits of a reduce-scatter and an all-gather, whatever the buckets and the transport. One
// thread calls begin and join: the device's. Failures of other ranks are DURE_RANK_LOST at begin, join's later work or
// wait; the device is never left waiting for what will not come (events are signalled on failure; the data are then
// worthless).
#ifndef DURE_RUNTIME_COMMUNICATOR_H_
#define DURE_RUNTIME_COMMUNICATOR_H_

#include "runtime/hal.h"
#include "runtime/world.h"

typedef struct dure_communicator dure_communicator;

typedef enum dure_collective_kind {
  DURE_ALL_REDUCE,      // target [count] on every rank = sum of the sources [count]
  DURE_REDUCE_SCATTER,  // target [count] on rank r = sum of the sources' [r * count, (r + 1) * count); source [N count]
  DURE_ALL_GATHER,      // target [N count] on every rank = the sources [count] by rank
  DURE_BROADCAST,       // target [count] on every rank = the source [count] of rank `peer`
  DURE_SEND,            // source [count] to rank `peer`
  DURE_RECEIVE,         // target [count] from rank `peer`
  DURE_COLLECTIVE_COUNT,
} dure_collective_kind;

// "all-reduce"
const char *dure_collective_name(dure_collective_kind kind);

typedef struct dure_collective {
  dure_collective_kind kind;
  dure_dtype dtype;                       // f32, bf16, f16; those that only copy: any
  dure_reduction reduction;               // of all_reduce and reduce_scatter
  uint32_t peer;                          // rank within the group
  uint64_t count;                         // elements, as said above; may be 0
  dure_buffer *source, *target;           // may be the same memory: all_reduce at the same offset; reduce_scatter with
  uint64_t source_offset, target_offset;  // target = this rank's part of source; all_gather likewise. Bytes, multiples
                                          // of 4; nothing may overlap in another way
} dure_collective;

typedef struct dure_communicator_statistics {
  uint64_t collectives, bytes_sent, bytes_received;
  double busy_seconds;  // that transfers took
  double wait_seconds;  // that the device, having come to a join, waited for them (by host; 0: not known)
} dure_communicator_statistics;

// The best kind for the device: NCCL where it is CUDA and the library is there, else by host. `kind`: "auto" (or NULL),
// "nccl", "host", or "staged": by host, through pinned buffers on any device. Collectives by host travel in chunks of
// the environment's DURE_COLLECTIVE_CHUNK bytes (4 MiB; the smallest of the ranks' counts for all). A world of one gets
// one that copies. The world and the device must outlive it.
DURE_MUST_CHECK dure_status dure_communicator_create(dure_world *world, dure_device *device, const char *kind,
                                                     dure_communicator **out_communicator);
void dure_communicator_destroy(
    dure_communicator *communicator);  // NULL is fine; waits for what has begun, or aborts it
const char *dure_communicator_kind(const dure_communicator *communicator);  // "nccl", "host", "single"
uint32_t dure_communicator_rank(const dure_communicator *communicator);
uint32_t dure_communicator_size(const dure_communicator *communicator);

// Begins when the stream has come here. Both ranges belong to the collective until it is joined.
DURE_MUST_CHECK dure_status dure_communicator_begin(dure_communicator *communicator, dure_stream *stream,
                                                    const dure_collective *collective, uint64_t *out_ticket);
// What is enqueued on the stream from now on begins when the collective (and all before it) is done.
DURE_MUST_CHECK dure_status dure_communicator_join(dure_communicator *communicator, dure_stream *stream,
                                                   uint64_t ticket);
// The host waits for it (and joins it where it has not been).
DURE_MUST_CHECK dure_status dure_communicator_wait(dure_communicator *communicator, uint64_t ticket);
dure_communicator_statistics dure_communicator_get_statistics(const dure_communicator *communicator);

// ---- what an on-stream backend provides (the CUDA plugin) --------------------------------------------------------

// A table of functions that a device may offer (dure_device_vtable.communicator); NULL: by host.
typedef struct dure_communicator_vtable {
  // Why it cannot be had ("NCCL is not installed: ..."); NULL: it can.
  DURE_MUST_CHECK dure_status (*available)(dure_device *device);
  // Rank 0 makes an identifier of DURE_COMMUNICATOR_IDENTIFIER_BYTES, which the world carries to the others.
  DURE_MUST_CHECK dure_status (*identifier)(dure_device *device, uint8_t *out_identifier);
  DURE_MUST_CHECK dure_status (*create)(dure_device *device, const uint8_t *identifier, uint32_t rank, uint32_t size,
                                        void **out_state);
  void (*destroy)(void *state, bool aborts);
  // Any thread, at any time before destroy: what has begun is given up (the device goes on, its data are worthless),
  // and every later call fails with DURE_RANK_LOST and `reason`. For whoever watches the world while the device's
  // thread waits for the device.
  void (*abort)(void *state, const char *reason);
  DURE_MUST_CHECK dure_status (*begin)(void *state, dure_stream *stream, const dure_collective *collective,
                                       uint64_t *out_ticket);
  DURE_MUST_CHECK dure_status (*join)(void *state, dure_stream *stream, uint64_t ticket);
  // Polls while it waits; `check` is asked between polls and ends the wait with its failure (a rank was lost).
  DURE_MUST_CHECK dure_status (*wait)(void *state, uint64_t ticket, dure_status (*check)(void *context), void *context);
} dure_communicator_vtable;
enum { DURE_COMMUNICATOR_IDENTIFIER_BYTES = 128 };

#endif  // DURE_RUNTIME_COMMUNICATOR_H_
