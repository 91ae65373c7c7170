// The paged key-value cache: appending to it, and attention over it.
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

bool dure_reference_cache_row(const dure_operand *cache, const dure_operand *block_table, uint64_t sequence,
                              uint64_t position, uint64_t *out_row) {
  *out_row = 0;
  const uint64_t block_size = cache->shape[1], per_sequence = block_table->shape[1], entry = position / block_size;
  if (entry >= per_sequence) return false;
  const uint64_t block = dure_reference_get_u32(block_table, sequence * per_sequence + entry);
  if (block >= cache->shape[0]) return false;
  *out_row = block * block_size + position % block_size;
  return true;
}

// Elements [first, first + D) of a cache: x as it is, or in blocks.
static void put_head(const dure_operand *cache, const dure_operand *scales, uint64_t first, uint64_t D,
                     const double *x) {
  if (cache->dtype != DURE_DTYPE_U8) {
    dure_reference_store(cache, first, D, x, false);
    return;
  }
  int8_t *codes = (int8_t *)cache->buffer->mapped + cache->offset + first;
  for (uint64_t d = 0; d < D; d += DURE_QUANTIZED_BLOCK)
    dure_reference_put(scales, (first + d) / DURE_QUANTIZED_BLOCK,
                       (double)dure_reference_quantize_block(x + d, codes + d), false);
}

dure_status dure_reference_cache_append(const dure_op_call *call) {
  const dure_operand *k = &call->operands[0], *v = &call->operands[1], *positions = &call->operands[3];
  const dure_operand *key_cache = &call->operands[4], *value_cache = &call->operands[5];
  const dure_operand *key_scales = &call->operands[6], *value_scales = &call->operands[7];
  uint64_t B = k->shape[0], T = k->shape[1], G = k->shape[2], D = k->shape[3];
  const dure_operand *block_table = &call->operands[2];
  double *values = NULL;
  DURE_TRY(dure_reference_scratch(D, &values));
  for (uint64_t b = 0; b < B; b++) {
    for (uint64_t t = 0; t < T; t++) {
      uint64_t place;
      const uint64_t position = (uint64_t)dure_reference_get_u32(positions, b) + t;
      if (!dure_reference_cache_row(key_cache, block_table, b, position, &place)) continue;
      for (uint64_t g = 0; g < G; g++) {
        uint64_t row = (b * T + t) * G + g;
        dure_reference_load(k, row * D, D, values);
        put_head(key_cache, key_scales, (place * G + g) * D, D, values);
        dure_reference_load(v, row * D, D, values);
        put_head(value_cache, value_scales, (place * G + g) * D, D, values);
      }
    }
  }
  free(values);
  return NULL;
}

// y = softmax(scores) v over the cached positions [first, end) of sequence b, for the query of head h at `position`;
// scores [end], values [D]
static void attend(const dure_op_call *call, uint64_t b, uint64_t h, uint64_t position, uint64_t first, uint64_t end,
                   const double *q, double *scores, double *values, double *y) {
  const dure_operand *key_cache = &call->operands[1], *value_cache = &call->operands[2];
  const dure_operand *table = &call->operands[3], *key_scales = &call->operands[6], *value_scales = &call->operands[7];
  uint64_t G = key_cache->shape[2], D = key_cache->shape[3], g = h / (call->operands[0].shape[2] / G), place;
  const double head_slope = dure_reference_attention_slope(&call->operands[5], h);
  double maximum = -(double)INFINITY, sum = 0;
  for (uint64_t s = first; s < end; s++) {
    scores[s] = -(double)INFINITY;
    if (!dure_reference_cache_row(key_cache, table, b, s, &place)) continue;
    dure_reference_load_blocks(key_cache, key_scales, (place * G + g) * D, D, values);
    double score = 0;
    for (uint64_t d = 0; d < D; d++) score += q[d] * values[d];
    scores[s] = dure_reference_attention_score(call, score, head_slope, (double)position - (double)s).value;
    maximum = scores[s] > maximum ? scores[s] : maximum;
  }
  for (uint64_t s = first; s < end; s++) sum += scores[s] = exp(scores[s] - maximum);
  for (uint64_t d = 0; d < D; d++) y[d] = 0;
  for (uint64_t s = first; s < end; s++) {
    if (!dure_reference_cache_row(key_cache, table, b, s, &place)) continue;
    dure_reference_load_blocks(value_cache, value_scales, (place * G + g) * D, D, values);
    for (uint64_t d = 0; d < D; d++) y[d] += scores[s] / sum * values[d];
  }
}

dure_status dure_reference_attention_cached(const dure_op_call *call) {
  const dure_operand *q = &call->operands[0], *positions = &call->operands[4], *y = &call->operands[8];
  uint64_t B = q->shape[0], T = q->shape[1], H = q->shape[2], D = q->shape[3];
  uint64_t window = call->attributes.attention.window;
  const uint64_t capacity = call->operands[3].shape[1] * call->operands[1].shape[1];
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
        attend(call, b, h, position, first, end, q_row, scores, values, y_row);
        dure_reference_store(y, row * D, D, y_row, false);
      }
    }
  }
  free(scratch);
  return NULL;
}
