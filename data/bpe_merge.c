#include "data/bpe_merge.h"

#include <stdlib.h>
#include <string.h>

// Up to here a scan for the lowest rank beats a heap: the ranks of a word lie in a few cache lines.
enum { scan_limit = 64 };

static size_t hash_pair(uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio (Knuth, volume 3, section 6.4)
  return (size_t)(pair ^ pair >> 32);
}

dure_status dure_bpe_table_create(size_t capacity, dure_bpe_table *out_table) {
  size_t slots = 16;
  *out_table = (dure_bpe_table){0};
  while (slots < capacity * 2) slots *= 2;
  out_table->slots = malloc(slots * sizeof(dure_bpe_slot));
  if (out_table->slots == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu merges", capacity);
  for (size_t i = 0; i < slots; i++) out_table->slots[i] = (dure_bpe_slot){0, DURE_BPE_NO_RANK, 0};
  out_table->mask = slots - 1;
  return NULL;
}

void dure_bpe_table_free(dure_bpe_table *table) {
  free(table->slots);
  *table = (dure_bpe_table){0};
}

void dure_bpe_table_add(dure_bpe_table *table, uint32_t left, uint32_t right, uint32_t rank, uint32_t id) {
  uint64_t pair = (uint64_t)left << 32 | right;
  size_t i = hash_pair(pair) & table->mask;
  while (table->slots[i].rank != DURE_BPE_NO_RANK && table->slots[i].pair != pair) i = (i + 1) & table->mask;
  if (table->slots[i].rank == DURE_BPE_NO_RANK) table->count++;
  table->slots[i] = (dure_bpe_slot){pair, rank, id};
}

// The merge of a pair; its rank is DURE_BPE_NO_RANK when there is none.
static dure_bpe_slot find(const dure_bpe_table *table, uint32_t left, uint32_t right) {
  uint64_t pair = (uint64_t)left << 32 | right;
  size_t i = hash_pair(pair) & table->mask;
  while (table->slots[i].pair != pair && table->slots[i].rank != DURE_BPE_NO_RANK) i = (i + 1) & table->mask;
  return table->slots[i];
}

// Short pre-tokens: after each merge the ranks are scanned again.
static size_t merge_by_scanning(const dure_bpe_table *table, uint32_t *symbols, size_t count) {
  uint32_t ranks[scan_limit], ids[scan_limit];  // of the pair that begins at each symbol
  for (size_t i = 0; i + 1 < count; i++) {
    dure_bpe_slot merge = find(table, symbols[i], symbols[i + 1]);
    ranks[i] = merge.rank;
    ids[i] = merge.id;
  }
  ranks[count - 1] = DURE_BPE_NO_RANK;
  ids[count - 1] = 0;
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; i++) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == DURE_BPE_NO_RANK) break;
    symbols[best] = ids[best];
    count--;
    for (size_t i = best + 1; i < count; i++) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      ids[i] = ids[i + 1];
    }
    if (best > 0) {
      dure_bpe_slot merge = find(table, symbols[best - 1], symbols[best]);
      ranks[best - 1] = merge.rank;
      ids[best - 1] = merge.id;
    }
    if (best + 1 < count) {
      dure_bpe_slot merge = find(table, symbols[best], symbols[best + 1]);
      ranks[best] = merge.rank;
      ids[best] = merge.id;
    }
  }
  return count;
}

// A symbol of a long pre-token, linked to its neighbours by index.
typedef struct node {
  uint32_t symbol, previous, next;
  uint32_t rank;  // of the pair that begins here; DURE_BPE_NO_RANK when there is none or the symbol is gone
} node;

#define NO_NODE UINT32_MAX

// A min-heap of rank << 32 | position. An entry is out of date when the node there has another rank by now.
typedef struct merge_heap {
  uint64_t *entries;
  size_t count;
} merge_heap;

static void sift_down(merge_heap *heap, size_t at) {
  uint64_t moving = heap->entries[at];
  for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
    if (child + 1 < heap->count && heap->entries[child + 1] < heap->entries[child]) child++;
    if (heap->entries[child] >= moving) break;
    heap->entries[at] = heap->entries[child];
  }
  heap->entries[at] = moving;
}

static void push(merge_heap *heap, uint64_t entry) {
  size_t at = heap->count++;
  while (at > 0 && heap->entries[(at - 1) / 2] > entry) {
    heap->entries[at] = heap->entries[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  heap->entries[at] = entry;
}

static uint64_t pop(merge_heap *heap) {
  uint64_t least = heap->entries[0];
  heap->entries[0] = heap->entries[--heap->count];
  if (heap->count > 0) sift_down(heap, 0);
  return least;
}

static void rank_pair(const dure_bpe_table *table, node *nodes, uint32_t at, merge_heap *heap) {
  uint32_t next = nodes[at].next;
  nodes[at].rank = next == NO_NODE ? DURE_BPE_NO_RANK : find(table, nodes[at].symbol, nodes[next].symbol).rank;
  if (nodes[at].rank != DURE_BPE_NO_RANK) push(heap, (uint64_t)nodes[at].rank << 32 | at);
}

// Every merge removes a symbol and pushes at most two pairs, so the heap holds fewer than 3 * count entries.
static size_t merge_by_heap(const dure_bpe_table *table, node *nodes, merge_heap heap, const dure_bpe_dropout *dropout,
                            uint32_t *symbols, size_t count) {
  for (size_t i = 0; i < count; i++) {
    nodes[i] = (node){symbols[i], i > 0 ? (uint32_t)i - 1 : NO_NODE, i + 1 < count ? (uint32_t)i + 1 : NO_NODE, 0};
  }
  for (size_t i = 0; i < count; i++) rank_pair(table, nodes, (uint32_t)i, &heap);
  while (heap.count > 0) {
    uint64_t entry = pop(&heap);
    uint32_t at = (uint32_t)entry;
    if (nodes[at].rank != (uint32_t)(entry >> 32)) continue;
    if (dropout != NULL && dure_draw(dropout->draws) < dropout->probability) {
      nodes[at].rank = DURE_BPE_NO_RANK;
      continue;
    }
    uint32_t gone = nodes[at].next;
    nodes[at].symbol = find(table, nodes[at].symbol, nodes[gone].symbol).id;
    nodes[at].next = nodes[gone].next;
    nodes[gone].rank = DURE_BPE_NO_RANK;
    if (nodes[at].next != NO_NODE) nodes[nodes[at].next].previous = at;
    rank_pair(table, nodes, at, &heap);
    if (nodes[at].previous != NO_NODE) rank_pair(table, nodes, nodes[at].previous, &heap);
  }
  size_t left = 0;
  for (uint32_t i = 0; i != NO_NODE; i = nodes[i].next) symbols[left++] = nodes[i].symbol;
  return left;
}

void dure_bpe_scratch_free(dure_bpe_scratch *scratch) {
  free(scratch->memory);
  *scratch = (dure_bpe_scratch){0};
}

dure_status dure_bpe_merge(const dure_bpe_table *table, dure_bpe_scratch *scratch, const dure_bpe_dropout *dropout,
                           uint32_t *symbols, size_t count, size_t *out_count) {
  *out_count = count;
  if (count < 2) return NULL;
  if (count <= scan_limit && dropout == NULL) {
    *out_count = merge_by_scanning(table, symbols, count);
    return NULL;
  }
  if (count > INT32_MAX)
    return dure_fail(DURE_UNSUPPORTED, "a word of %zu bytes without a break; at most 2^31 are supported", count);
  size_t size = count * (sizeof(node) + 3 * sizeof(uint64_t));
  if (size > scratch->size) {
    void *memory = malloc(size);
    if (memory == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to merge a word of %zu bytes", count);
    free(scratch->memory);
    scratch->memory = memory;
    scratch->size = size;
  }
  merge_heap heap = {scratch->memory, 0};
  *out_count = merge_by_heap(table, (node *)((uint64_t *)scratch->memory + 3 * count), heap, dropout, symbols, count);
  return NULL;
}
