// The paged key-value cache: appending to it, and attention over it.
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

// Where positions of sequences lie in a cache [blocks, block_size, G, D].
typedef struct paging {
  const dure_operand *block_table;  // [B, blocks_per_sequence]
  uint64_t blocks, block_size, blocks_per_sequence;
} paging;

static paging paging_of(const dure_operand *cache, const dure_operand *block_table) {
  return (paging){block_table, cache->shape[0], cache->shape[1], block_table->shape[1]};
}

// Row of (block, row in block) for head 0 is `*out_row` * G; false when the table does not reach so far or names no
// block.
static bool find_row(const paging *p, uint64_t b, uint64_t position, uint64_t *out_row) {
  *out_row = 0;
  uint64_t entry = position / p->block_size;
  if (entry >= p->blocks_per_sequence) return false;
  uint64_t block = dure_reference_get_u32(p->block_table, b * p->blocks_per_sequence + entry);
  if (block >= p->blocks) return false;
  *out_row = block * p->block_size + position % p->block_size;
  return true;
}

dure_status dure_reference_cache_append(const dure_op_call *call) {
  const dure_operand *k = &call->operands[0], *v = &call->operands[1], *positions = &call->operands[3];
  const dure_operand *key_cache = &call->operands[4], *value_cache = &call->operands[5];
  uint64_t B = k->shape[0], T = k->shape[1], G = k->shape[2], D = k->shape[3];
  paging p = paging_of(key_cache, &call->operands[2]);
  double *values = NULL;
  DURE_TRY(dure_reference_scratch(D, &values));
  for (uint64_t b = 0; b < B; b++) {
    for (uint64_t t = 0; t < T; t++) {
      uint64_t place;
      if (!find_row(&p, b, (uint64_t)dure_reference_get_u32(positions, b) + t, &place)) continue;
      for (uint64_t g = 0; g < G; g++) {
        uint64_t row = (b * T + t) * G + g;
        dure_reference_load(k, row * D, D, values);
        dure_reference_store(key_cache, (place * G + g) * D, D, values, false);
        dure_reference_load(v, row * D, D, values);
        dure_reference_store(value_cache, (place * G + g) * D, D, values, false);
      }
    }
  }
  free(values);
  return NULL;
}

// y = softmax(scores) v over the cached positions [first, end) of sequence b, for the query of head h at `position`;
// scores [end], values [D]
static void attend(const dure_op_call *call, const paging *p, uint64_t b, uint64_t h, uint64_t position, uint64_t first,
                   uint64_t end, const double *q, double *scores, double *values, double *y) {
  const dure_operand *key_cache = &call->operands[1], *value_cache = &call->operands[2];
  uint64_t G = key_cache->shape[2], D = key_cache->shape[3], g = h / (call->operands[0].shape[2] / G), place;
  const double head_slope = dure_reference_attention_slope(&call->operands[5], h);
  double maximum = -(double)INFINITY, sum = 0;
  for (uint64_t s = first; s < end; s++) {
    scores[s] = -(double)INFINITY;
    if (!find_row(p, b, s, &place)) continue;
    dure_reference_load(key_cache, (place * G + g) * D, D, values);
    double score = 0;
    for (uint64_t d = 0; d < D; d++) score += q[d] * values[d];
    scores[s] = dure_reference_attention_score(call, score, head_slope, (double)position - (double)s).value;
    maximum = scores[s] > maximum ? scores[s] : maximum;
  }
  for (uint64_t s = first; s < end; s++) sum += scores[s] = exp(scores[s] - maximum);
  for (uint64_t d = 0; d < D; d++) y[d] = 0;
  for (uint64_t s = first; s < end; s++) {
    if (!find_row(p, b, s, &place)) continue;
    dure_reference_load(value_cache, (place * G + g) * D, D, values);
    for (uint64_t d = 0; d < D; d++) y[d] += scores[s] / sum * values[d];
  }
}

dure_status dure_reference_attention_cached(const dure_op_call *call) {
  const dure_operand *q = &call->operands[0], *positions = &call->operands[4], *y = &call->operands[6];
  uint64_t B = q->shape[0], T = q->shape[1], H = q->shape[2], D = q->shape[3];
  uint64_t window = call->attributes.attention.window;
  paging p = paging_of(&call->operands[1], &call->operands[3]);
  uint64_t capacity = p.blocks_per_sequence * p.block_size;
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * D + capacity, &scratch));
  double *q_row = scratch, *y_row = q_row + D, *values = y_row + D, *scores = values + D;
  for (uint64_t b = 0; b < B; b++) {
    for (uint64_t t = 0; t < T; t++) {
      uint64_t position = (uint64_t)dure_reference_get_u32(positions, b) + t;
      uint64_t first = window > 0 && position + 1 > window ? position + 1 - window : 0;
      uint64_t end = position + 1 < capacity ? position + 1 : capacity;
      for (uint64_t h = 0; h < H; h++) {
        uint64_t row = (b * T + t) * H + h;
        dure_reference_load(q, row * D, D, q_row);
        attend(call, &p, b, h, position, first, end, q_row, scores, values, y_row);
        dure_reference_store(y, row * D, D, y_row, false);
      }
    }
  }
  free(scratch);
  return NULL;
}
