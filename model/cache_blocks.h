// The blocks of a paged KV cache: who has them, and which of them hold the beginning of a text that may come again.
//
// A block holds the keys and values of `block_size` tokens of all layers, and is shared by every sequence that begins
// with the same tokens up to its end (Kwon et al. 2023, section 4.3). Its key is a hash of all those tokens. Blocks
// that nobody has any more stay findable until their place is needed, the longest unused first. Block 0 is never given
// out: what is only padding goes there. Plain bookkeeping: knows no device. Not thread-safe.
#ifndef DURE_MODEL_CACHE_BLOCKS_H_
#define DURE_MODEL_CACHE_BLOCKS_H_

#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_cache_blocks dure_cache_blocks;

typedef struct dure_block_key {
  uint64_t low, high;
} dure_block_key;

// The key of a block of `count` tokens that follows the block with the key `before` (all zero: it is the first).
dure_block_key dure_block_key_of(dure_block_key before, const uint32_t *tokens, uint32_t count);

// Blocks 1 to `count`.
DURE_MUST_CHECK dure_status dure_cache_blocks_create(uint32_t count, dure_cache_blocks **out_blocks);
void dure_cache_blocks_destroy(dure_cache_blocks *blocks);  // NULL is fine
// A block of one's own, its contents undefined; 0: all are taken.
uint32_t dure_cache_blocks_take(dure_cache_blocks *blocks);
// The block with that key, for one more who has it; 0: there is none.
uint32_t dure_cache_blocks_find(dure_cache_blocks *blocks, dure_block_key key);
void dure_cache_blocks_hold(dure_cache_blocks *blocks, uint32_t block);  // one more has it, whom somebody has already
// Makes a full block findable, unless another already has the key.
void dure_cache_blocks_publish(dure_cache_blocks *blocks, uint32_t block, dure_block_key key);
void dure_cache_blocks_drop(dure_cache_blocks *blocks, uint32_t block);  // one less has it; 0 is fine
// Forgets what nobody has.
void dure_cache_blocks_forget(dure_cache_blocks *blocks);

uint32_t dure_cache_blocks_count(const dure_cache_blocks *blocks);
uint32_t dure_cache_blocks_free(const dure_cache_blocks *blocks);  // that could be taken
uint32_t dure_cache_blocks_kept(const dure_cache_blocks *blocks);  // of those, findable

#endif  // DURE_MODEL_CACHE_BLOCKS_H_
