#include "data/tokenizer_trie.h"

#include <stdlib.h>
#include <string.h>

static int compare_keys(const void *a, const void *b) {
  const dure_trie_key *left = a, *right = b;
  uint32_t shorter = left->length < right->length ? left->length : right->length;
  int order = memcmp(left->bytes, right->bytes, shorter);
  if (order != 0) return order;
  if (left->length != right->length) return left->length < right->length ? -1 : 1;
  return left->value < right->value ? -1 : left->value > right->value;
}

typedef struct builder {
  dure_trie *trie;
  const dure_trie_key *keys;
  size_t capacity, first_free;  // places before `first_free` are taken
} builder;

// A node whose keys are [low, high) and agree on their first `depth` bytes.
typedef struct range {
  size_t low, high;
  uint32_t depth, node;
} range;

static dure_status make_room(builder *b, size_t wanted) {
  if (wanted <= b->capacity) return NULL;
  size_t capacity = wanted + b->capacity / 2 + 1024;
  dure_trie_node *nodes = capacity < UINT32_MAX / 2 ? realloc(b->trie->nodes, capacity * sizeof(*nodes)) : NULL;
  if (nodes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a trie of %zu nodes", wanted);
  for (size_t i = b->capacity; i < capacity; i++)
    nodes[i] = (dure_trie_node){DURE_TRIE_NONE, DURE_TRIE_NONE, DURE_TRIE_NONE};
  b->trie->nodes = nodes;
  b->capacity = capacity;
  return NULL;
}

// The lowest base at which all `count` children have a free place. The root's place is taken though it has no parent.
static dure_status find_base(builder *b, const uint8_t *bytes, size_t count, size_t *out_base) {
  DURE_TRY(make_room(b, b->first_free + 1));
  while (b->trie->nodes[b->first_free].parent != DURE_TRIE_NONE) {
    b->first_free++;
    DURE_TRY(make_room(b, b->first_free + 1));
  }
  size_t tried = 0, base = b->first_free > bytes[0] ? b->first_free - bytes[0] : 1;
  for (;; base++) {
    size_t i = 0;
    DURE_TRY(make_room(b, base + 256));
    while (i < count && b->trie->nodes[base + bytes[i]].parent == DURE_TRIE_NONE) i++;
    if (i == count) break;
    // Nearly full stretches are not searched over and over.
    if (++tried == 256 && count > 1) b->first_free += 64;
  }
  *out_base = base;
  return NULL;
}

// Places the children of a node; `out_children` has room for 256.
static dure_status place_children(builder *b, const range *r, range *out_children, size_t *out_count) {
  uint8_t bytes[256];
  size_t count = 0, at = r->low, base;
  *out_count = 0;
  while (at < r->high && b->keys[at].length == r->depth) {  // the same string again has a higher value
    dure_trie_node *node = &b->trie->nodes[r->node];
    if (node->value == DURE_TRIE_NONE) node->value = b->keys[at].value;
    at++;
  }
  while (at < r->high) {
    uint8_t byte = (uint8_t)b->keys[at].bytes[r->depth];
    size_t low = at;
    while (at < r->high && (uint8_t)b->keys[at].bytes[r->depth] == byte) at++;
    bytes[count] = byte;
    out_children[count++] = (range){low, at, r->depth + 1, 0};
  }
  if (count == 0) return NULL;
  DURE_TRY(find_base(b, bytes, count, &base));
  b->trie->nodes[r->node].base = (uint32_t)base;
  for (size_t i = 0; i < count; i++) {
    out_children[i].node = (uint32_t)(base + bytes[i]);
    b->trie->nodes[out_children[i].node].parent = r->node;
    if (base + bytes[i] + 1 > b->trie->node_count) b->trie->node_count = base + bytes[i] + 1;
  }
  *out_count = count;
  return NULL;
}

// Depth first with a stack of its own: strings may be long.
static dure_status place_all(builder *b, size_t count) {
  range *stack = malloc(256 * sizeof(*stack)), children[256];
  size_t stacked = 0, capacity = 256, child_count;
  dure_status status = stack == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "no memory for a trie") : NULL;
  if (status == NULL) stack[stacked++] = (range){0, count, 0, 0};
  while (status == NULL && stacked > 0) {
    range r = stack[--stacked];
    status = place_children(b, &r, children, &child_count);
    if (status == NULL && stacked + child_count > capacity) {
      range *grown = realloc(stack, (capacity * 2 + 256) * sizeof(*stack));
      if (grown == NULL) {
        status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for a trie");
        break;
      }
      stack = grown;
      capacity = capacity * 2 + 256;
    }
    for (size_t i = 0; status == NULL && i < child_count; i++) stack[stacked++] = children[i];
  }
  free(stack);
  return status;
}

dure_status dure_trie_create(dure_trie_key *keys, size_t count, dure_trie *out_trie) {
  *out_trie = (dure_trie){0};
  qsort(keys, count, sizeof(keys[0]), compare_keys);
  size_t first = 0;
  while (first < count && keys[first].length == 0) first++;
  builder b = {out_trie, keys + first, 0, 1};
  dure_status status = make_room(&b, 512);
  if (status == NULL) {
    out_trie->nodes[0].parent = 0;  // not free, and nobody's child: its base is at least 1
    out_trie->node_count = 1;
    status = place_all(&b, count - first);
  }
  if (status == NULL) status = make_room(&b, out_trie->node_count + 256);
  if (status != NULL) {
    dure_trie_free(out_trie);
    return status;
  }
  out_trie->node_count += 256;
  return NULL;
}

void dure_trie_free(dure_trie *trie) {
  free(trie->nodes);
  *trie = (dure_trie){0};
}
