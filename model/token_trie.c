#include "model/token_trie.h"

#include <stdlib.h>
#include <string.h>

typedef struct spelled_token {
  const char *bytes;
  uint32_t length, id;
} spelled_token;

static int compare_tokens(const void *left, const void *right) {
  const spelled_token *a = left, *b = right;
  const uint32_t shared = a->length < b->length ? a->length : b->length;
  const int order = memcmp(a->bytes, b->bytes, shared);
  if (order != 0) return order;
  if (a->length != b->length) return a->length < b->length ? -1 : 1;
  return (a->id > b->id) - (a->id < b->id);
}

static dure_status out_of_memory(void) { return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a vocabulary"); }

// The tokens that are in the tree, in order, and the number of their bytes.
static size_t collect(const dure_tokenizer *tokenizer, dure_token_trie *trie, spelled_token *list) {
  size_t bytes = 0;
  for (uint32_t id = 0; id < trie->vocabulary; id++) {
    const char *text = NULL;
    size_t length = 0;
    bool is_special = false;
    if (!dure_tokenizer_token(tokenizer, id, &text, &length, &is_special)) continue;
    if (is_special || length == 0 || length > DURE_TRIE_DEPTH_MOST) continue;
    list[trie->token_count++] = (spelled_token){text, (uint32_t)length, id};
    trie->bytes[id] = text;
    trie->lengths[id] = (uint32_t)length;
    bytes += length;
  }
  qsort(list, trie->token_count, sizeof(*list), compare_tokens);
  return bytes;
}

static void build(dure_token_trie *trie, const spelled_token *list) {
  uint32_t open[DURE_TRIE_DEPTH_MOST] = {0}, depth = 0;  // nodes on the way to the last token
  for (uint32_t i = 0; i < trie->token_count; i++) {
    uint32_t shared = 0;
    while (i > 0 && shared < depth && shared < list[i].length && list[i].bytes[shared] == list[i - 1].bytes[shared])
      shared++;
    while (depth > shared) trie->nodes[open[--depth]].skip = trie->node_count;
    for (; depth < list[i].length; depth++) {
      open[depth] = trie->node_count;
      trie->nodes[trie->node_count++] =
          (dure_trie_node){.first_token = i, .depth = (uint16_t)(depth + 1), .byte = (uint8_t)list[i].bytes[depth]};
    }
    trie->tokens[i] = list[i].id;
  }
  while (depth > 0) trie->nodes[open[--depth]].skip = trie->node_count;
  trie->nodes[trie->node_count] = (dure_trie_node){.first_token = trie->token_count};
}

dure_status dure_token_trie_create(const dure_tokenizer *tokenizer, dure_token_trie **out_trie) {
  *out_trie = NULL;
  dure_token_trie *trie = calloc(1, sizeof(*trie));
  if (trie == NULL) return out_of_memory();
  trie->vocabulary = dure_tokenizer_vocabulary_size(tokenizer);
  const size_t slots = (size_t)trie->vocabulary + 1;
  spelled_token *list = malloc(slots * sizeof(*list));
  trie->bytes = calloc(slots, sizeof(*trie->bytes));
  trie->lengths = calloc(slots, sizeof(*trie->lengths));
  trie->tokens = malloc(slots * sizeof(*trie->tokens));
  dure_status status =
      list == NULL || trie->bytes == NULL || trie->lengths == NULL || trie->tokens == NULL ? out_of_memory() : NULL;
  if (status == NULL) {
    const size_t most = collect(tokenizer, trie, list) + 1;
    trie->nodes = most < UINT32_MAX ? malloc(most * sizeof(*trie->nodes)) : NULL;
    if (trie->nodes == NULL) status = out_of_memory();
  }
  if (status == NULL) {
    build(trie, list);
    dure_trie_node *fitted = realloc(trie->nodes, ((size_t)trie->node_count + 1) * sizeof(*fitted));
    if (fitted != NULL) trie->nodes = fitted;
  }
  free(list);
  if (status != NULL) {
    dure_token_trie_destroy(trie);
    return status;
  }
  *out_trie = trie;
  return NULL;
}

void dure_token_trie_destroy(dure_token_trie *trie) {
  if (trie == NULL) return;
  free(trie->nodes);
  free(trie->tokens);
  free(trie->bytes);
  free(trie->lengths);
  free(trie);
}
