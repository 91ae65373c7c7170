// Byte strings found at the start of a text: a double array (Aoe 1989), one array look-up a byte.
#ifndef DURE_DATA_TOKENIZER_TRIE_H_
#define DURE_DATA_TOKENIZER_TRIE_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

#define DURE_TRIE_NONE UINT32_MAX

// The child of a node by byte b is node base + b, if that one's parent is the node.
typedef struct dure_trie_node {
  uint32_t base, parent;  // DURE_TRIE_NONE: no children; a free place
  uint32_t value;         // of the string that ends here; DURE_TRIE_NONE: none does
} dure_trie_node;

typedef struct dure_trie {
  dure_trie_node *nodes;  // [node_count], the last 256 of them free, so that base + b is always inside
  size_t node_count;
} dure_trie;

typedef struct dure_trie_key {
  const char *bytes;
  uint32_t length;
  uint32_t value;
} dure_trie_key;

// Sorts `keys`; of equal ones the one with the lowest value counts, empty ones do not. Release with dure_trie_free.
DURE_MUST_CHECK dure_status dure_trie_create(dure_trie_key *keys, size_t count, dure_trie *out_trie);
void dure_trie_free(dure_trie *trie);

// The node reached from `node` (the root is 0) by a byte, DURE_TRIE_NONE when there is none.
static inline uint32_t dure_trie_next(const dure_trie *trie, uint32_t node, uint8_t byte) {
  uint32_t base = trie->nodes[node].base;
  if (base == DURE_TRIE_NONE) return DURE_TRIE_NONE;
  uint32_t next = base + byte;
  return trie->nodes[next].parent == node ? next : DURE_TRIE_NONE;
}

#endif  // DURE_DATA_TOKENIZER_TRIE_H_
