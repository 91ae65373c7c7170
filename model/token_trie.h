// The tokens of a vocabulary by their bytes: a tree in which tokens that begin alike share their beginning, laid out
// depth first, so that a walk over it is a walk over one array, and what a beginning rules out is one jump.
#ifndef DURE_MODEL_TOKEN_TRIE_H_
#define DURE_MODEL_TOKEN_TRIE_H_

#include "data/tokenizer.h"

enum { DURE_TRIE_DEPTH_MOST = 512 };  // bytes of a token; longer ones are not in it

typedef struct dure_trie_node {
  uint32_t skip;         // the first node that is not below this one
  uint32_t first_token;  // its tokens are those up to the next node's first
  uint16_t depth;        // from 1
  uint8_t byte;
} dure_trie_node;

typedef struct dure_token_trie {
  dure_trie_node *nodes;  // [node_count + 1], the last one only ends the tokens
  uint32_t node_count;
  uint32_t *tokens;  // ids, in the order of their bytes
  uint32_t token_count;
  uint32_t vocabulary;  // ids are below
  const char **bytes;   // [vocabulary] of each id; NULL: it is not in the tree. Owned by the tokenizer
  uint32_t *lengths;    // [vocabulary]
} dure_token_trie;

// All tokens but special and empty ones. The tokenizer must outlive it. Immutable. Release with
// dure_token_trie_destroy.
DURE_MUST_CHECK dure_status dure_token_trie_create(const dure_tokenizer *tokenizer, dure_token_trie **out_trie);
void dure_token_trie_destroy(dure_token_trie *trie);  // NULL is fine

#endif  // DURE_MODEL_TOKEN_TRIE_H_
