// The merges of a BPE vocabulary, and applying them to one pre-token.
#ifndef DURE_DATA_BPE_MERGE_H_
#define DURE_DATA_BPE_MERGE_H_

#include <stddef.h>
#include <stdint.h>

#include "data/tokenizer_unigram.h"
#include "runtime/status.h"

// One merge: the pair (left, right) becomes `id`; a lower rank goes first.
typedef struct dure_bpe_slot {
  uint64_t pair;  // left << 32 | right
  uint32_t rank;  // DURE_BPE_NO_RANK: an empty slot
  uint32_t id;
} dure_bpe_slot;

#define DURE_BPE_NO_RANK UINT32_MAX

// An open-addressing hash table from pairs to merges. Immutable once filled.
typedef struct dure_bpe_table {
  dure_bpe_slot *slots;
  size_t mask;  // slots - 1, a power of two less one
  size_t count;
} dure_bpe_table;

// Makes an empty table with room for `capacity` merges. Release with dure_bpe_table_free.
DURE_MUST_CHECK dure_status dure_bpe_table_create(size_t capacity, dure_bpe_table *out_table);
void dure_bpe_table_free(dure_bpe_table *table);
// Adds a merge; one that is there already takes the new rank and id. Not more than `capacity` different ones.
void dure_bpe_table_add(dure_bpe_table *table, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);

// Working memory of one thread, growing with the longest pre-token seen; start from {0}.
typedef struct dure_bpe_scratch {
  void *memory;
  size_t size;
} dure_bpe_scratch;
void dure_bpe_scratch_free(dure_bpe_scratch *scratch);

// Provilkov et al., "BPE-Dropout: Simple and Effective Subword Regularization" (2020), section 3: each merge that comes
// up is passed over with this probability, and comes up again only when its neighbours change.
typedef struct dure_bpe_dropout {
  double probability;
  dure_draws *draws;
} dure_bpe_dropout;

// Joins the pair of lowest rank, leftmost first, until none has a rank; those that `dropout` (NULL: none) passes over
// stay. `symbols` [count] holds one id a byte before
// and `*out_count` ids after. Time n log n for long ones. DURE_OUT_OF_MEMORY, or DURE_UNSUPPORTED beyond 2^31 symbols.
DURE_MUST_CHECK dure_status dure_bpe_merge(const dure_bpe_table *table, dure_bpe_scratch *scratch,
                                           const dure_bpe_dropout *dropout, uint32_t *symbols, size_t count,
                                           size_t *out_count);

#endif  // DURE_DATA_BPE_MERGE_H_
