// Memory planning by lifetime: where each activation lies in an arena shared by all that are not alive together.
//
// Greedy by size (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference", section 4.2):
// the largest first, each at the lowest place where nothing that lives at the same time lies. Plain arithmetic, no
// devices.
#ifndef DURE_RUNTIME_PLAN_H_
#define DURE_RUNTIME_PLAN_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_plan_item {
  uint64_t size;         // bytes, more than 0
  uint32_t first, last;  // alive from step `first` to step `last`, both included
  uint64_t place;        // out: byte in the arena
} dure_plan_item;

// Places all items at multiples of `alignment` (a power of two), none across a multiple of `block_size` (so that the
// arena may consist of buffers of that size). Fails with DURE_OUT_OF_MEMORY when an item is larger than a block.
DURE_MUST_CHECK dure_status dure_plan_memory(dure_plan_item *items, size_t count, uint64_t alignment,
                                             uint64_t block_size, uint64_t *out_arena_size);

#endif  // DURE_RUNTIME_PLAN_H_
