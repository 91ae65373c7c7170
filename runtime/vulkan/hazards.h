// Decides where barriers go: given the byte ranges that each command reads and writes, in order, says before which
// commands everything earlier must have finished. Plain C, knows nothing of Vulkan.
//
// Two commands conflict when they touch a common byte of one buffer and at least one of them writes it (read after
// write, write after read, write after write). A barrier separates everything before it from everything after it; one
// is asked for exactly when the next command conflicts with a command since the last barrier. Ranges of one command
// never conflict with each other.
#ifndef DURE_RUNTIME_VULKAN_HAZARDS_H_
#define DURE_RUNTIME_VULKAN_HAZARDS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_hazard_range {
  const void *buffer;   // identity only
  uint64_t begin, end;  // bytes; an empty range touches nothing
  bool writes;
} dure_hazard_range;

// Zero-initialise; release with dure_hazards_release.
typedef struct dure_hazards {
  dure_hazard_range *ranges;  // touched since the last barrier
  size_t count, capacity;
  uint64_t barrier_count;  // needed so far
} dure_hazards;

// Adds a command; `*out_barrier` says whether a barrier must be placed before it.
DURE_MUST_CHECK dure_status dure_hazards_add(dure_hazards *hazards, const dure_hazard_range *ranges, size_t count,
                                             bool *out_barrier);
// Everything so far is separated from everything that follows (a barrier that was placed for another reason).
void dure_hazards_reset(dure_hazards *hazards);
void dure_hazards_release(dure_hazards *hazards);

// For tests: from now on the n-th barrier (from 1) that any tracker needs is not asked for, though the tracker goes on
// as if it stood there. 0: none. Until it is called, the environment's DURE_VULKAN_DROP_BARRIER counts.
void dure_hazards_drop_barrier(uint64_t n);

#endif  // DURE_RUNTIME_VULKAN_HAZARDS_H_
