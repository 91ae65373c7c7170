#include "model/cache_blocks.h"

#include <stdlib.h>
#include <xxhash.h>

// Free blocks are a ring through block 0, in the order in which they are taken: first those without a key, then those
// with one, the longest unused first.
typedef struct block {
  dure_block_key key;
  uint32_t holders;
  uint32_t before, after;  // of the ring; meaningful while nobody has it
  uint32_t next;           // of its bucket
  bool has_key;
} block;

struct dure_cache_blocks {
  uint32_t count, free_count, kept_count;
  uint32_t bucket_mask;
  uint32_t *buckets;  // 0: none
  block *blocks;      // [count + 1]
};

dure_block_key dure_block_key_of(dure_block_key before, const uint32_t *tokens, uint32_t count) {
  XXH128_hash_t hash = XXH3_128bits_withSeed(tokens, count * sizeof(*tokens), before.low);
  hash.high64 ^= before.high * UINT64_C(0x9E3779B97F4A7C15);
  return (dure_block_key){hash.low64, hash.high64};
}

static void link_before(dure_cache_blocks *all, uint32_t which, uint32_t after) {
  block *self = &all->blocks[which];
  self->after = after;
  self->before = all->blocks[after].before;
  all->blocks[self->before].after = which;
  all->blocks[after].before = which;
}

static void unlink_block(dure_cache_blocks *all, uint32_t which) {
  block *self = &all->blocks[which];
  all->blocks[self->before].after = self->after;
  all->blocks[self->after].before = self->before;
}

dure_status dure_cache_blocks_create(uint32_t count, dure_cache_blocks **out_blocks) {
  *out_blocks = NULL;
  uint32_t buckets = 16;
  while (buckets < count && buckets < UINT32_C(1) << 30) buckets *= 2;
  dure_cache_blocks *all = calloc(1, sizeof(*all));
  if (all != NULL) {
    all->blocks = calloc((size_t)count + 1, sizeof(*all->blocks));
    all->buckets = calloc(buckets, sizeof(*all->buckets));
  }
  if (all == NULL || all->blocks == NULL || all->buckets == NULL) {
    dure_cache_blocks_destroy(all);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a cache of %u blocks", count);
  }
  all->count = all->free_count = count;
  all->bucket_mask = buckets - 1;
  for (uint32_t i = 1; i <= count; i++) link_before(all, i, 0);
  *out_blocks = all;
  return NULL;
}

void dure_cache_blocks_destroy(dure_cache_blocks *blocks) {
  if (blocks == NULL) return;
  free(blocks->blocks);
  free(blocks->buckets);
  free(blocks);
}

static uint32_t *bucket_of(const dure_cache_blocks *all, dure_block_key key) {
  return &all->buckets[key.low & all->bucket_mask];
}

static void remove_key(dure_cache_blocks *all, uint32_t which) {
  block *self = &all->blocks[which];
  if (!self->has_key) return;
  uint32_t *place = bucket_of(all, self->key);
  while (*place != which) place = &all->blocks[*place].next;
  *place = self->next;
  self->has_key = false;
}

static uint32_t lookup(const dure_cache_blocks *all, dure_block_key key) {
  uint32_t found = *bucket_of(all, key);
  while (found != 0 && (all->blocks[found].key.low != key.low || all->blocks[found].key.high != key.high))
    found = all->blocks[found].next;
  return found;
}

uint32_t dure_cache_blocks_take(dure_cache_blocks *blocks) {
  const uint32_t taken = blocks->blocks[0].after;
  if (taken == 0) return 0;
  unlink_block(blocks, taken);
  blocks->free_count--;
  if (blocks->blocks[taken].has_key) blocks->kept_count--;
  remove_key(blocks, taken);
  blocks->blocks[taken].holders = 1;
  return taken;
}

uint32_t dure_cache_blocks_find(dure_cache_blocks *blocks, dure_block_key key) {
  const uint32_t found = lookup(blocks, key);
  if (found == 0) return 0;
  if (blocks->blocks[found].holders++ == 0) {
    unlink_block(blocks, found);
    blocks->free_count--;
    blocks->kept_count--;
  }
  return found;
}

void dure_cache_blocks_hold(dure_cache_blocks *blocks, uint32_t which) { blocks->blocks[which].holders++; }

void dure_cache_blocks_publish(dure_cache_blocks *blocks, uint32_t which, dure_block_key key) {
  block *self = &blocks->blocks[which];
  if (self->has_key || lookup(blocks, key) != 0) return;
  uint32_t *bucket = bucket_of(blocks, key);
  self->key = key;
  self->has_key = true;
  self->next = *bucket;
  *bucket = which;
}

void dure_cache_blocks_drop(dure_cache_blocks *blocks, uint32_t which) {
  if (which == 0) return;
  block *self = &blocks->blocks[which];
  if (--self->holders > 0) return;
  blocks->free_count++;
  if (self->has_key) {
    blocks->kept_count++;
    link_before(blocks, which, 0);
  } else {
    link_before(blocks, which, blocks->blocks[0].after);
  }
}

void dure_cache_blocks_forget(dure_cache_blocks *blocks) {
  for (uint32_t i = 1; i <= blocks->count; i++) {
    if (blocks->blocks[i].holders == 0) remove_key(blocks, i);
  }
  blocks->kept_count = 0;
}

uint32_t dure_cache_blocks_count(const dure_cache_blocks *blocks) { return blocks->count; }
uint32_t dure_cache_blocks_free(const dure_cache_blocks *blocks) { return blocks->free_count; }
uint32_t dure_cache_blocks_kept(const dure_cache_blocks *blocks) { return blocks->kept_count; }
