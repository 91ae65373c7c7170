// Collectives over host memory, for one thread at a time: what a communicator by host does once the device has come to
// a collective.
//
// Each rank gets its part of every other rank's source and sums them in the order of ranks, in f32, rounding once: the
// bits are those of a plain loop over the ranks, whoever sums and however the whole was cut into parts. So all-reduce
// and reduce-scatter give the same bits, and bf16 travels as bf16. Each rank sends (N - 1) / N of the bytes once to
// reduce, and once more to gather, as rings do.
#ifndef DURE_RUNTIME_COLLECTIVES_HOST_H_
#define DURE_RUNTIME_COLLECTIVES_HOST_H_

#include "runtime/communicator.h"
#include "runtime/world/internal.h"

typedef struct dure_host_collectives {
  dure_world *world;
  dure_channel *channel;
  uint32_t rank, size;
  uint8_t *scratch;     // [size, chunk_bytes]: what has come of each rank
  size_t scratch_size;  // 0 before the first that needs it
} dure_host_collectives;

// Elements [first, first + count) of `what->count` alone, a chunk: chunks in any sizes make the bits of the whole.
// `source` and `target` are the whole ranges, and may alias as dure_collective says; of other chunks nothing is
// touched.
DURE_MUST_CHECK dure_status dure_host_collective_run(dure_host_collectives *c, const dure_collective *what,
                                                     uint64_t first, uint64_t count, const void *source, void *target);
void dure_host_collectives_release(dure_host_collectives *c);

// Bytes of a collective's two ranges on this rank.
uint64_t dure_collective_source_bytes(const dure_collective *what, uint32_t size);
uint64_t dure_collective_target_bytes(const dure_collective *what, uint32_t size);

#endif  // DURE_RUNTIME_COLLECTIVES_HOST_H_
