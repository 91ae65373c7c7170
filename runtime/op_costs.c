// Costs: floating-point operations and the fewest bytes a call must move. Column `cost` of ops.def.
//
// They size dispatches and recordings and give the benchmark its ceilings; results never depend on them.
#include "runtime/op_rules.h"

static double operand_bytes(const dure_op_call *call) {
  const dure_op_row *row = dure_op_get(call->op);
  double bytes = 0;
  for (uint32_t i = 0; i < row->operand_count; i++) {
    const dure_operand *operand = &call->operands[i];
    if (!dure_operand_is_present(operand)) continue;
    double size = (double)dure_operand_count(operand) * (double)dure_dtype_size(operand->dtype);
    bool is_read = (row->operands[i].access & DURE_READ) != 0 || (call->accumulate >> i & 1u) != 0;
    bool is_written = (row->operands[i].access & DURE_WRITE) != 0;
    bytes += size * ((is_read ? 1 : 0) + (is_written ? 1 : 0));
  }
  return bytes;
}

// A few operations for each element of the largest operand.
dure_cost dure_cost_elementwise(const dure_op_call *call) {
  const dure_op_row *row = dure_op_get(call->op);
  uint64_t largest = 0;
  for (uint32_t i = 0; i < row->operand_count; i++) {
    uint64_t count = dure_operand_count(&call->operands[i]);
    if (count > largest) largest = count;
  }
  return (dure_cost){8.0 * (double)largest, operand_bytes(call)};
}

// The optimizer's update of every element; its square root and division count as one operation each.
dure_cost dure_cost_adamw(const dure_op_call *call) {
  return (dure_cost){16.0 * (double)dure_operand_count(&call->operands[0]), operand_bytes(call)};
}

// Of the table only the rows that are looked up are read: as many elements as are written.
dure_cost dure_cost_embedding(const dure_op_call *call) {
  enum { TABLE, INDICES, Y };
  const dure_operand *indices = &call->operands[INDICES], *y = &call->operands[Y];
  double row_bytes = (double)dure_operand_count(y) * (double)dure_dtype_size(y->dtype);
  double index_bytes = (double)dure_operand_count(indices) * (double)dure_dtype_size(indices->dtype);
  return (dure_cost){8.0 * (double)dure_operand_count(y),
                     index_bytes + row_bytes * ((call->accumulate >> Y & 1u) != 0 ? 3 : 2)};
}

// Of the caches only the new positions are written.
dure_cost dure_cost_cache_append(const dure_op_call *call) {
  enum { K, KEY_CACHE = 4 };
  const double count = (double)dure_operand_count(&call->operands[K]);
  const dure_dtype stored = call->operands[KEY_CACHE].dtype;
  const double scales = stored == DURE_DTYPE_U8 ? 2.0 / DURE_QUANTIZED_BLOCK : 0;
  return (dure_cost){
      8.0 * count,
      2 * count * ((double)dure_dtype_size(call->operands[K].dtype) + (double)dure_dtype_size(stored) + scales)};
}

dure_cost dure_cost_matmul(const dure_op_call *call) {
  enum { A, B, BIAS, RESIDUAL, PREACTIVATION, C, SAVED };
  const dure_operand *b = &call->operands[B];
  uint64_t k = call->attributes.matmul.transpose_b ? b->shape[b->rank - 1] : b->shape[b->rank - 2];
  return (dure_cost){2.0 * (double)dure_operand_count(&call->operands[C]) * (double)k, operand_bytes(call)};
}

dure_cost dure_cost_matmul_q8(const dure_op_call *call) {
  enum { A, A_SCALES, B, B_SCALES, BIAS, C };
  const double m = (double)dure_operand_rows(&call->operands[A]);
  return (dure_cost){2.0 * m * (double)dure_operand_count(&call->operands[B]), operand_bytes(call)};
}

// Of the codes only the rows that are looked up are read.
dure_cost dure_cost_unpack_blocks(const dure_op_call *call) {
  enum { CODES, SCALES, MINIMA, INDICES, Y };
  const dure_operand *y = &call->operands[Y];
  const double count = (double)dure_operand_count(y), bytes = call->attributes.blocks.bits / 8.0;
  const double scales = (double)dure_dtype_size(call->operands[SCALES].dtype) *
                        (dure_operand_is_present(&call->operands[MINIMA]) ? 2 : 1) /
                        dure_blocks_group(&call->attributes.blocks);
  return (dure_cost){4 * count, count * (bytes + scales + (double)dure_dtype_size(y->dtype))};
}

dure_cost dure_cost_matmul_blocks(const dure_op_call *call) {
  enum { A, CODES, SCALES, MINIMA, BIAS, RESIDUAL, C };
  const double m = (double)dure_operand_rows(&call->operands[A]), n = (double)call->operands[CODES].shape[0];
  return (dure_cost){2.0 * m * n * (double)call->operands[A].shape[call->operands[A].rank - 1], operand_bytes(call)};
}

// Pairs of query and key positions that a causal head of T positions looks at.
static double causal_pairs(uint64_t length, uint32_t window) {
  double t = (double)length, w = (double)window;
  if (window == 0 || window >= length) return t * (t + 1) / 2;
  return w * (w + 1) / 2 + (t - w) * w;
}

// Rows of T that the call covers: all of them unless expand() has cut it.
static uint64_t covered_rows(const dure_op_call *call) {
  const uint32_t count = call->attributes.attention.row_count;
  return count > 0 ? count : call->operands[0].shape[1];
}

// Packed documents count as if they were one: where they begin is known only on the device.
dure_cost dure_cost_attention(const dure_op_call *call) {
  const uint64_t *q = call->operands[0].shape;  // [B, T, H, D]
  const dure_attention_attributes *a = &call->attributes.attention;
  double pairs = causal_pairs(a->first_row + covered_rows(call), a->window) - causal_pairs(a->first_row, a->window);
  return (dure_cost){4.0 * (double)q[0] * (double)q[2] * pairs * (double)q[3],
                     operand_bytes(call) * (double)covered_rows(call) / (double)q[1]};
}

// Five products instead of two: the scores again, dv, dp, dq and dk (Dao et al. 2022, appendix B.2). Two of them are
// for dq, by queries; of a key's row the pairs are those of the row as far from the other end.
dure_cost dure_cost_attention_gradient(const dure_op_call *call) {
  dure_cost cost = dure_cost_attention(call);
  dure_op_call keys = *call;
  const uint64_t length = call->operands[0].shape[1], rows = covered_rows(call);
  keys.attributes.attention.row_count = (uint32_t)rows;
  keys.attributes.attention.first_row = (uint32_t)(length - rows - call->attributes.attention.first_row);
  cost.flops = cost.flops + 1.5 * dure_cost_attention(&keys).flops;
  return cost;
}

dure_cost dure_cost_linear_cross_entropy(const dure_op_call *call) {
  double rows = (double)dure_operand_rows(&call->operands[0]);
  return (dure_cost){2.0 * rows * (double)dure_operand_count(&call->operands[1]), operand_bytes(call)};
}

// The logits, and the gradients of hidden and weight from them.
dure_cost dure_cost_linear_cross_entropy_gradient(const dure_op_call *call) {
  dure_cost cost = dure_cost_linear_cross_entropy(call);
  cost.flops *= 3;
  return cost;
}

// Against the whole cache, since positions are known only on the device.
dure_cost dure_cost_attention_cached(const dure_op_call *call) {
  const uint64_t *q = call->operands[0].shape;      // [B, T, H, D]
  const uint64_t *cache = call->operands[1].shape;  // [blocks, block_size, G, D]
  double keys = (double)call->operands[3].shape[1] * (double)cache[1];
  return (dure_cost){4.0 * (double)q[0] * (double)q[1] * (double)q[2] * keys * (double)q[3], operand_bytes(call)};
}
