// Shape rules: each checks its call's inputs and gives the outputs their shapes. Column `shape` of ops.def.
//
// Operand indices follow the table's order; dure_op_check has verified presence, dtypes and strides.
#include <string.h>

#include "runtime/op_rules.h"

static uint64_t last_dimension(const dure_operand *operand) {
  return operand->rank == 0 ? 1 : operand->shape[operand->rank - 1];
}

static dure_status expect_count(const dure_op_call *call, uint32_t index, uint64_t expected) {
  const dure_operand *operand = &call->operands[index];
  if (!dure_operand_is_present(operand) || dure_operand_count(operand) == expected) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "operand '%s' has %llu elements, expected %llu",
                   dure_op_get(call->op)->operands[index].name, (unsigned long long)dure_operand_count(operand),
                   (unsigned long long)expected);
}

static dure_status expect_rank(const dure_op_call *call, uint32_t index, uint32_t expected) {
  const dure_operand *operand = &call->operands[index];
  if (operand->rank == expected) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "operand '%s' has %u dimensions, expected %u",
                   dure_op_get(call->op)->operands[index].name, operand->rank, expected);
}

static dure_status expect_dimension(const dure_op_call *call, uint32_t index, uint32_t axis, uint64_t expected) {
  const dure_operand *operand = &call->operands[index];
  if (operand->shape[axis] == expected) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "dimension %u of operand '%s' is %llu, expected %llu", axis,
                   dure_op_get(call->op)->operands[index].name, (unsigned long long)operand->shape[axis],
                   (unsigned long long)expected);
}

static void output_like(dure_op_call *call, uint32_t output, uint32_t input) {
  dure_operand_set_shape(&call->operands[output], call->operands[input].rank, call->operands[input].shape);
}

static void output_vector(dure_op_call *call, uint32_t output, uint64_t count) {
  dure_operand_set_shape(&call->operands[output], 1, &count);
}

// ---- elementwise and reductions --------------------------------------------------------------------------------

dure_status dure_shape_fill(dure_op_call *call) {
  if (dure_operand_is_present(&call->operands[0])) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "operand 'y' is missing");
}

dure_status dure_shape_same(dure_op_call *call) {
  const dure_op_row *row = dure_op_get(call->op);
  for (uint32_t i = 1; i < row->input_count; i++)
    DURE_TRY(expect_count(call, i, dure_operand_count(&call->operands[0])));
  for (uint32_t i = row->input_count; i < row->operand_count; i++) output_like(call, i, 0);
  return NULL;
}

dure_status dure_shape_scalar(dure_op_call *call) {
  output_vector(call, 1, 1);
  return NULL;
}

dure_status dure_shape_sum_rows(dure_op_call *call) {
  output_vector(call, 1, last_dimension(&call->operands[0]));
  return NULL;
}

// ---- embedding -------------------------------------------------------------------------------------------------

enum { EMBEDDING_TABLE, EMBEDDING_INDICES, EMBEDDING_Y };

dure_status dure_shape_embedding(dure_op_call *call) {
  DURE_TRY(expect_rank(call, EMBEDDING_TABLE, 2));
  const dure_operand *indices = &call->operands[EMBEDDING_INDICES];
  if (indices->rank + 1 > DURE_MAX_RANK)
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'indices' has too many dimensions");
  uint64_t shape[DURE_MAX_RANK];
  for (uint32_t i = 0; i < indices->rank; i++) shape[i] = indices->shape[i];
  shape[indices->rank] = call->operands[EMBEDDING_TABLE].shape[1];
  dure_operand_set_shape(&call->operands[EMBEDDING_Y], indices->rank + 1, shape);
  return NULL;
}

dure_status dure_shape_embedding_gradient(dure_op_call *call) {
  enum { INDICES, DY, DTABLE };
  if (dure_operand_rows(&call->operands[DY]) != dure_operand_count(&call->operands[INDICES])) {
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'dy' has %llu rows for %llu indices",
                     (unsigned long long)dure_operand_rows(&call->operands[DY]),
                     (unsigned long long)dure_operand_count(&call->operands[INDICES]));
  }
  // The table's row count is the caller's: the inferred shape exists only for the check of the width.
  uint64_t rows = call->attributes.embedding.row_count;
  if (rows == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "attribute row_count must say how many rows the whole table has");
  uint64_t shape[2] = {rows, last_dimension(&call->operands[DY])};
  dure_operand_set_shape(&call->operands[DTABLE], 2, shape);
  return NULL;
}

// ---- matmul ----------------------------------------------------------------------------------------------------

// Of the shape of output `like`; contiguous ones under any shape with as many elements.
static dure_status expect_shape(const dure_op_call *call, uint32_t index, uint32_t like) {
  const dure_operand *operand = &call->operands[index], *expected = &call->operands[like];
  DURE_TRY(expect_count(call, index, dure_operand_count(expected)));
  if (!dure_operand_is_present(operand) || dure_operand_is_contiguous(operand)) return NULL;
  DURE_TRY(expect_rank(call, index, expected->rank));
  for (uint32_t i = 0; i < expected->rank; i++) DURE_TRY(expect_dimension(call, index, i, expected->shape[i]));
  return NULL;
}

static dure_status check_epilogue(const dure_op_call *call) {
  const dure_epilogue epilogue = call->attributes.matmul.epilogue;
  DURE_TRY(expect_shape(call, DURE_MATMUL_RESIDUAL, DURE_MATMUL_C));
  DURE_TRY(expect_shape(call, DURE_MATMUL_PREACTIVATION, DURE_MATMUL_C));
  if (epilogue > DURE_EPILOGUE_ACTIVATION_GRADIENT)
    return dure_fail(DURE_INVALID_ARGUMENT, "attribute epilogue is %u, expected at most 2", (unsigned)epilogue);
  if (dure_operand_is_present(&call->operands[DURE_MATMUL_PREACTIVATION]) !=
      (epilogue == DURE_EPILOGUE_ACTIVATION_GRADIENT)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'preactivation' belongs to the epilogue activation_gradient%s",
                     epilogue == DURE_EPILOGUE_ACTIVATION_GRADIENT ? ", but is missing" : " alone");
  }
  if (dure_operand_is_present(&call->operands[DURE_MATMUL_RESIDUAL]) && (call->accumulate >> DURE_MATMUL_C & 1) != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "a residual and adding to 'c' exclude each other");
  return NULL;
}

dure_status dure_shape_matmul(dure_op_call *call) {
  enum { A = DURE_MATMUL_A, B = DURE_MATMUL_B, BIAS = DURE_MATMUL_BIAS, C = DURE_MATMUL_C, SAVED = DURE_MATMUL_SAVED };
  const dure_operand *a = &call->operands[A], *b = &call->operands[B];
  bool transpose_a = call->attributes.matmul.transpose_a, transpose_b = call->attributes.matmul.transpose_b;
  if (a->rank < 2 || a->rank > 3 || b->rank < 2 || b->rank > a->rank) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "operands 'a' and 'b' have %u and %u dimensions, expected 2 or 3, b's not more than a's", a->rank,
                     b->rank);
  }
  bool batched = b->rank == 3;
  uint64_t a_rows = a->shape[a->rank - 2], a_columns = a->shape[a->rank - 1];
  if (a->rank == 3 && !batched) {
    if (a->shape[0] != 1 && a->stride[0] != a->shape[1] * a->stride[1]) {
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "operand 'a' cannot be taken as one matrix: its rows are not evenly spaced");
    }
    a_rows *= a->shape[0];
  }
  uint64_t m = transpose_a ? a_columns : a_rows, k = transpose_a ? a_rows : a_columns;
  uint64_t b_rows = b->shape[b->rank - 2], b_columns = b->shape[b->rank - 1];
  uint64_t n = transpose_b ? b_rows : b_columns, k_of_b = transpose_b ? b_columns : b_rows;
  if (k != k_of_b) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the inner dimensions disagree: %llu in 'a', %llu in 'b'",
                     (unsigned long long)k, (unsigned long long)k_of_b);
  }
  if (batched) DURE_TRY(expect_dimension(call, B, 0, a->shape[0]));
  DURE_TRY(expect_count(call, BIAS, n));
  uint64_t flat[2] = {m, n}, tall[3] = {a->shape[0], a->shape[1], n}, batch[3] = {a->shape[0], m, n};
  if (a->rank == 3 && !transpose_a) {
    dure_operand_set_shape(&call->operands[C], 3, tall);
  } else if (batched) {
    dure_operand_set_shape(&call->operands[C], 3, batch);
  } else {
    dure_operand_set_shape(&call->operands[C], 2, flat);
  }
  output_like(call, SAVED, C);
  return check_epilogue(call);
}

// ---- 8-bit integers in blocks ----------------------------------------------------------------------------------

static dure_status check_blocks(const dure_op_call *call, uint32_t index) {
  const dure_operand *operand = &call->operands[index];
  const char *name = dure_op_get(call->op)->operands[index].name;
  if (operand->rank == 0 || last_dimension(operand) % DURE_QUANTIZED_BLOCK != 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the rows of operand '%s' have %llu elements, expected whole blocks of %d",
                     name, (unsigned long long)last_dimension(operand), DURE_QUANTIZED_BLOCK);
  }
  if (operand->dtype == DURE_DTYPE_U8 && operand->offset % 16 != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "operand '%s' does not begin at a multiple of 16 bytes", name);
  return NULL;
}

dure_status dure_shape_quantize_rows(dure_op_call *call) {
  enum { X, Q, SCALES };
  DURE_TRY(check_blocks(call, X));
  const dure_operand *x = &call->operands[X];
  output_like(call, Q, X);
  uint64_t shape[DURE_MAX_RANK];
  memcpy(shape, x->shape, sizeof(shape));
  shape[x->rank - 1] /= DURE_QUANTIZED_BLOCK;
  dure_operand_set_shape(&call->operands[SCALES], x->rank, shape);
  return NULL;
}

dure_status dure_shape_matmul_q8(dure_op_call *call) {
  enum { A, A_SCALES, B, B_SCALES, BIAS, C };
  DURE_TRY(check_blocks(call, A));
  DURE_TRY(check_blocks(call, B));
  DURE_TRY(expect_rank(call, B, 2));
  const dure_operand *a = &call->operands[A], *b = &call->operands[B];
  if (last_dimension(a) != b->shape[1]) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the inner dimensions disagree: %llu in 'a', %llu in 'b'",
                     (unsigned long long)last_dimension(a), (unsigned long long)b->shape[1]);
  }
  DURE_TRY(expect_count(call, A_SCALES, dure_operand_count(a) / DURE_QUANTIZED_BLOCK));
  DURE_TRY(expect_count(call, B_SCALES, dure_operand_count(b) / DURE_QUANTIZED_BLOCK));
  DURE_TRY(expect_count(call, BIAS, b->shape[0]));
  uint64_t shape[DURE_MAX_RANK];
  memcpy(shape, a->shape, sizeof(shape));
  shape[a->rank - 1] = b->shape[0];
  dure_operand_set_shape(&call->operands[C], a->rank, shape);
  return NULL;
}

// Codes, scales and minima of N rows of K elements.
static dure_status check_packed(const dure_op_call *call, uint32_t codes, uint64_t *out_rows, uint64_t *out_width) {
  const dure_operand *operand = &call->operands[codes];
  const uint32_t bits = call->attributes.blocks.bits;
  *out_rows = *out_width = 0;
  if (bits != 4 && bits != 8) return dure_fail(DURE_INVALID_ARGUMENT, "blocks have 4 or 8 bits, not %u", bits);
  const uint32_t group = dure_blocks_group(&call->attributes.blocks);
  if (group != 16 && group != 32 && group != 64 && group != 128)
    return dure_fail(DURE_INVALID_ARGUMENT, "a scale is for 16, 32, 64 or 128 elements, not %u", group);
  DURE_TRY(expect_rank(call, codes, 2));
  const uint64_t width = operand->shape[1] * (8 / bits);
  const uint32_t whole = group > DURE_QUANTIZED_BLOCK ? group : DURE_QUANTIZED_BLOCK;
  if (width % whole != 0 || operand->offset % 16 != 0)
    return dure_fail(
        DURE_INVALID_ARGUMENT,
        "operand 'codes' has rows of %llu elements at byte %llu, expected whole blocks of %u at a multiple of 16",
        (unsigned long long)width, (unsigned long long)operand->offset, whole);
  const uint64_t groups = operand->shape[0] * width / group;
  DURE_TRY(expect_count(call, codes + 1, groups));
  DURE_TRY(expect_count(call, codes + 2, groups));
  const dure_operand *scales = &call->operands[codes + 1], *minima = scales + 1;
  if (dure_operand_is_present(minima) && minima->dtype != scales->dtype)
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'minima' is %s, expected the type of 'scales', %s",
                     dure_dtype_name(minima->dtype), dure_dtype_name(scales->dtype));
  *out_rows = operand->shape[0];
  *out_width = width;
  return NULL;
}

dure_status dure_shape_unpack_blocks(dure_op_call *call) {
  enum { CODES, SCALES, MINIMA, INDICES, Y };
  uint64_t shape[DURE_MAX_RANK] = {0}, rows, width;
  DURE_TRY(check_packed(call, CODES, &rows, &width));
  const dure_operand *indices = &call->operands[INDICES];
  uint32_t rank = 1;
  shape[0] = rows;
  if (dure_operand_is_present(indices)) {
    if (indices->rank >= DURE_MAX_RANK)
      return dure_fail(DURE_INVALID_ARGUMENT, "operand 'indices' has too many dimensions");
    rank = indices->rank;
    memcpy(shape, indices->shape, sizeof(shape));
  }
  shape[rank] = width;
  dure_operand_set_shape(&call->operands[Y], rank + 1, shape);
  return NULL;
}

dure_status dure_shape_matmul_blocks(dure_op_call *call) {
  enum { A, CODES, SCALES, MINIMA, BIAS, RESIDUAL, C };
  uint64_t rows, width;
  DURE_TRY(check_packed(call, CODES, &rows, &width));
  const dure_operand *a = &call->operands[A];
  if (a->rank == 0 || last_dimension(a) != width)
    return dure_fail(DURE_INVALID_ARGUMENT, "the inner dimensions disagree: %llu in 'a', %llu in 'codes'",
                     (unsigned long long)last_dimension(a), (unsigned long long)width);
  DURE_TRY(expect_count(call, BIAS, rows));
  DURE_TRY(expect_count(call, RESIDUAL, dure_operand_rows(a) * rows));
  uint64_t shape[DURE_MAX_RANK];
  memcpy(shape, a->shape, sizeof(shape));
  shape[a->rank - 1] = rows;
  dure_operand_set_shape(&call->operands[C], a->rank, shape);
  return NULL;
}

// ---- layer norm ------------------------------------------------------------------------------------------------

dure_status dure_shape_layer_norm(dure_op_call *call) {
  enum { X, WEIGHT, BIAS, Y, MEAN, RECIPROCAL_DEVIATION };
  uint64_t rows = dure_operand_rows(&call->operands[X]), width = last_dimension(&call->operands[X]);
  DURE_TRY(expect_count(call, WEIGHT, width));
  DURE_TRY(expect_count(call, BIAS, width));
  output_like(call, Y, X);
  output_vector(call, MEAN, rows);
  output_vector(call, RECIPROCAL_DEVIATION, rows);
  return NULL;
}

dure_status dure_shape_layer_norm_gradient(dure_op_call *call) {
  enum { DY, X, WEIGHT, MEAN, RECIPROCAL_DEVIATION, DX };
  uint64_t rows = dure_operand_rows(&call->operands[X]);
  DURE_TRY(expect_count(call, DY, dure_operand_count(&call->operands[X])));
  DURE_TRY(expect_count(call, WEIGHT, last_dimension(&call->operands[X])));
  DURE_TRY(expect_count(call, MEAN, rows));
  DURE_TRY(expect_count(call, RECIPROCAL_DEVIATION, rows));
  output_like(call, DX, X);
  return NULL;
}

dure_status dure_shape_layer_norm_parameters(dure_op_call *call) {
  enum { DY, X, MEAN, RECIPROCAL_DEVIATION, DWEIGHT, DBIAS };
  uint64_t rows = dure_operand_rows(&call->operands[X]);
  DURE_TRY(expect_count(call, DY, dure_operand_count(&call->operands[X])));
  DURE_TRY(expect_count(call, MEAN, rows));
  DURE_TRY(expect_count(call, RECIPROCAL_DEVIATION, rows));
  output_vector(call, DWEIGHT, last_dimension(&call->operands[X]));
  output_vector(call, DBIAS, last_dimension(&call->operands[X]));
  return NULL;
}

// ---- root mean square norm -------------------------------------------------------------------------------------

dure_status dure_shape_rms_norm(dure_op_call *call) {
  enum { X, WEIGHT, Y, RECIPROCAL_RMS };
  DURE_TRY(expect_count(call, WEIGHT, last_dimension(&call->operands[X])));
  output_like(call, Y, X);
  output_vector(call, RECIPROCAL_RMS, dure_operand_rows(&call->operands[X]));
  return NULL;
}

dure_status dure_shape_rms_norm_gradient(dure_op_call *call) {
  enum { DY, X, WEIGHT, RECIPROCAL_RMS, DX };
  DURE_TRY(expect_count(call, DY, dure_operand_count(&call->operands[X])));
  DURE_TRY(expect_count(call, WEIGHT, last_dimension(&call->operands[X])));
  DURE_TRY(expect_count(call, RECIPROCAL_RMS, dure_operand_rows(&call->operands[X])));
  output_like(call, DX, X);
  return NULL;
}

dure_status dure_shape_rms_norm_parameters(dure_op_call *call) {
  enum { DY, X, RECIPROCAL_RMS, DWEIGHT };
  DURE_TRY(expect_count(call, DY, dure_operand_count(&call->operands[X])));
  DURE_TRY(expect_count(call, RECIPROCAL_RMS, dure_operand_rows(&call->operands[X])));
  output_vector(call, DWEIGHT, last_dimension(&call->operands[X]));
  return NULL;
}

// ---- gated activation ------------------------------------------------------------------------------------------

// Rows of a strided operand lie at equal distances, whatever dimensions count them.
static dure_status check_even_rows(const dure_op_call *call, uint32_t index) {
  const dure_operand *operand = &call->operands[index];
  if (!dure_operand_is_present(operand)) return NULL;
  for (uint32_t i = 0; i + 2 < operand->rank; i++) {
    if (operand->shape[i] == 1 || operand->stride[i] == operand->shape[i + 1] * operand->stride[i + 1]) continue;
    return dure_fail(DURE_INVALID_ARGUMENT, "the rows of operand '%s' are not evenly spaced",
                     dure_op_get(call->op)->operands[index].name);
  }
  return NULL;
}

static dure_status check_gate_and_up(const dure_op_call *call) {
  enum { GATE, UP };
  DURE_TRY(expect_count(call, UP, dure_operand_count(&call->operands[GATE])));
  if (last_dimension(&call->operands[GATE]) != last_dimension(&call->operands[UP])) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the rows of 'gate' and 'up' have %llu and %llu elements, expected as many",
                     (unsigned long long)last_dimension(&call->operands[GATE]),
                     (unsigned long long)last_dimension(&call->operands[UP]));
  }
  DURE_TRY(check_even_rows(call, GATE));
  return check_even_rows(call, UP);
}

dure_status dure_shape_gated_activation(dure_op_call *call) {
  enum { GATE, UP, Y };
  DURE_TRY(check_gate_and_up(call));
  output_like(call, Y, GATE);
  return NULL;
}

dure_status dure_shape_gated_activation_gradient(dure_op_call *call) {
  enum { GATE, UP, DY, DGATE, DUP };
  DURE_TRY(check_gate_and_up(call));
  DURE_TRY(expect_count(call, DY, dure_operand_count(&call->operands[GATE])));
  output_like(call, DGATE, GATE);
  output_like(call, DUP, UP);
  return NULL;
}

// ---- attention -------------------------------------------------------------------------------------------------

static dure_status check_evenly_spaced(const dure_op_call *call, uint32_t index) {
  const dure_operand *operand = &call->operands[index];
  if (operand->shape[0] == 1 || operand->stride[0] == operand->shape[1] * operand->stride[1]) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "operand '%s' must have the batch stride T times the stride of T",
                   dure_op_get(call->op)->operands[index].name);
}

static dure_status check_heads(uint64_t query_heads, uint64_t key_heads) {
  if (key_heads > 0 && query_heads % key_heads == 0) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "%llu query heads are not a multiple of %llu key heads",
                   (unsigned long long)query_heads, (unsigned long long)key_heads);
}

// q [B, T, H, D], k and v [B, T, G, D]: operands 0, 1, 2 of both attention rows.
static dure_status check_query_key_value(const dure_op_call *call) {
  enum { Q, K, V };
  for (uint32_t i = Q; i <= V; i++) {
    DURE_TRY(expect_rank(call, i, 4));
    DURE_TRY(check_evenly_spaced(call, i));
  }
  const dure_operand *q = &call->operands[Q], *k = &call->operands[K];
  for (uint32_t i = K; i <= V; i++) {
    DURE_TRY(expect_dimension(call, i, 0, q->shape[0]));
    DURE_TRY(expect_dimension(call, i, 1, q->shape[1]));
    DURE_TRY(expect_dimension(call, i, 2, k->shape[2]));
    DURE_TRY(expect_dimension(call, i, 3, q->shape[3]));
  }
  return check_heads(q->shape[2], k->shape[2]);
}

static dure_status expect_soft_cap(float soft_cap) {
  if (soft_cap >= 0) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "a soft cap of %g, expected 0 (none) or more", (double)soft_cap);
}

// document_starts [B, T], slopes [H]: operands 3 and 4 of both attention rows. Rows cut by expand() lie within T.
static dure_status check_attention_options(const dure_op_call *call) {
  enum { Q, K, V, DOCUMENT_STARTS, SLOPES };
  const uint64_t *shape = call->operands[Q].shape;
  const dure_attention_attributes *attributes = &call->attributes.attention;
  DURE_TRY(expect_count(call, DOCUMENT_STARTS, shape[0] * shape[1]));
  DURE_TRY(expect_count(call, SLOPES, shape[2]));
  if ((uint64_t)attributes->first_row + attributes->row_count > shape[1]) {
    return dure_fail(DURE_INVALID_ARGUMENT, "rows %u to %u are not all among %llu positions", attributes->first_row,
                     attributes->first_row + attributes->row_count, (unsigned long long)shape[1]);
  }
  return expect_soft_cap(attributes->soft_cap);
}

dure_status dure_shape_attention(dure_op_call *call) {
  enum { Q, K, V, DOCUMENT_STARTS, SLOPES, Y, LOG_SUM_EXP };
  DURE_TRY(check_query_key_value(call));
  DURE_TRY(check_attention_options(call));
  const uint64_t *shape = call->operands[Q].shape;
  output_like(call, Y, Q);
  uint64_t sums[3] = {shape[0], shape[2], shape[1]};
  dure_operand_set_shape(&call->operands[LOG_SUM_EXP], 3, sums);
  return NULL;
}

dure_status dure_shape_attention_gradient(dure_op_call *call) {
  enum { Q, K, V, DOCUMENT_STARTS, SLOPES, Y, LOG_SUM_EXP, DY, DQ, DK, DV };
  DURE_TRY(check_query_key_value(call));
  DURE_TRY(check_attention_options(call));
  const dure_operand *q = &call->operands[Q];
  DURE_TRY(expect_count(call, Y, dure_operand_count(q)));
  DURE_TRY(expect_count(call, DY, dure_operand_count(q)));
  DURE_TRY(expect_count(call, LOG_SUM_EXP, q->shape[0] * q->shape[1] * q->shape[2]));
  output_like(call, DQ, Q);
  output_like(call, DK, K);
  output_like(call, DV, V);
  return NULL;
}

dure_status dure_shape_rotary(dure_op_call *call) {
  enum { X, POSITIONS, TABLE, Y };
  DURE_TRY(expect_rank(call, X, 4));
  DURE_TRY(check_evenly_spaced(call, X));
  const uint64_t *shape = call->operands[X].shape;
  const uint32_t width = call->attributes.rotary.width;
  DURE_TRY(expect_count(call, POSITIONS, shape[0] * shape[1]));
  DURE_TRY(expect_rank(call, TABLE, 2));
  DURE_TRY(expect_dimension(call, TABLE, 1, width));
  if (width == 0 || width % 2 != 0 || width > shape[3]) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a rotated width of %u, expected an even number of at most %llu", width,
                     (unsigned long long)shape[3]);
  }
  output_like(call, Y, X);
  return NULL;
}

dure_status dure_shape_copy_heads(dure_op_call *call) {
  enum { X, Y };
  DURE_TRY(expect_rank(call, X, 4));
  DURE_TRY(check_evenly_spaced(call, X));
  const uint64_t *shape = call->operands[X].shape;
  const uint32_t wanted = call->attributes.copy_heads.head_count;
  const uint64_t heads[4] = {shape[0], shape[1], wanted > 0 ? wanted : shape[2], shape[3]};
  if (heads[2] != shape[2] && heads[2] != 1 && shape[2] != 1) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%llu heads cannot become %llu: as many, one for all or all for one",
                     (unsigned long long)shape[2], (unsigned long long)heads[2]);
  }
  dure_operand_set_shape(&call->operands[Y], 4, heads);
  return NULL;
}

// Caches in blocks of u8 have scales, others none. `cache` and `scales`: keys' and, next to them, values'.
static dure_status check_cache_blocks(const dure_op_call *call, uint32_t cache, uint32_t scales, uint64_t head_size) {
  for (uint32_t i = 0; i < 2; i++) {
    const dure_operand *codes = &call->operands[cache + i], *of_blocks = &call->operands[scales + i];
    const bool is_packed = codes->dtype == DURE_DTYPE_U8;
    if (is_packed != dure_operand_is_present(of_blocks) || codes->dtype != call->operands[cache].dtype)
      return dure_fail(DURE_INVALID_ARGUMENT, "caches are both u8 with scales, or both of the call's type without");
    if (!is_packed) continue;
    if (head_size % DURE_QUANTIZED_BLOCK != 0)
      return dure_fail(DURE_INVALID_ARGUMENT, "heads of %llu elements are not whole blocks of %d, as a q8_0 cache has",
                       (unsigned long long)head_size, DURE_QUANTIZED_BLOCK);
    if (codes->offset % 16 != 0)
      return dure_fail(DURE_INVALID_ARGUMENT, "a cache of codes does not begin at a multiple of 16 bytes");
    DURE_TRY(expect_count(call, scales + i, dure_operand_count(codes) / DURE_QUANTIZED_BLOCK));
  }
  return NULL;
}

// The cache's side of a call: operands from `first`: key_cache, value_cache; block_table and positions by index.
static dure_status check_cache(const dure_op_call *call, uint32_t key_cache, uint32_t block_table, uint32_t positions,
                               uint64_t batch, uint64_t head_size) {
  DURE_TRY(expect_rank(call, key_cache, 4));
  DURE_TRY(expect_rank(call, key_cache + 1, 4));
  for (uint32_t axis = 0; axis < 4; axis++)
    DURE_TRY(expect_dimension(call, key_cache + 1, axis, call->operands[key_cache].shape[axis]));
  DURE_TRY(expect_dimension(call, key_cache, 3, head_size));
  DURE_TRY(expect_rank(call, block_table, 2));
  DURE_TRY(expect_dimension(call, block_table, 0, batch));
  return expect_count(call, positions, batch);
}

dure_status dure_shape_cache_append(dure_op_call *call) {
  enum { K, V, BLOCK_TABLE, POSITIONS, KEY_CACHE, VALUE_CACHE, KEY_SCALES };
  DURE_TRY(expect_rank(call, K, 4));
  DURE_TRY(expect_rank(call, V, 4));
  DURE_TRY(check_evenly_spaced(call, K));
  DURE_TRY(check_evenly_spaced(call, V));
  const dure_operand *k = &call->operands[K];
  for (uint32_t axis = 0; axis < 4; axis++) DURE_TRY(expect_dimension(call, V, axis, k->shape[axis]));
  DURE_TRY(check_cache(call, KEY_CACHE, BLOCK_TABLE, POSITIONS, k->shape[0], k->shape[3]));
  DURE_TRY(check_cache_blocks(call, KEY_CACHE, KEY_SCALES, k->shape[3]));
  return expect_dimension(call, KEY_CACHE, 2, k->shape[2]);
}

dure_status dure_shape_attention_cached(dure_op_call *call) {
  enum { Q, KEY_CACHE, VALUE_CACHE, BLOCK_TABLE, POSITIONS, SLOPES, KEY_SCALES, VALUE_SCALES, Y };
  DURE_TRY(expect_rank(call, Q, 4));
  DURE_TRY(check_evenly_spaced(call, Q));
  const dure_operand *q = &call->operands[Q];
  DURE_TRY(check_cache(call, KEY_CACHE, BLOCK_TABLE, POSITIONS, q->shape[0], q->shape[3]));
  DURE_TRY(check_cache_blocks(call, KEY_CACHE, KEY_SCALES, q->shape[3]));
  DURE_TRY(check_heads(q->shape[2], call->operands[KEY_CACHE].shape[2]));
  DURE_TRY(expect_count(call, SLOPES, q->shape[2]));
  output_like(call, Y, Q);
  return NULL;
}

// ---- loss, optimizer, sampling ---------------------------------------------------------------------------------

dure_status dure_shape_cross_entropy(dure_op_call *call) {
  enum { LOGITS, LABELS, LOSS, LOG_SUM_EXP };
  uint64_t rows = dure_operand_rows(&call->operands[LOGITS]);
  DURE_TRY(expect_count(call, LABELS, rows));
  output_vector(call, LOSS, rows);
  output_vector(call, LOG_SUM_EXP, rows);
  return NULL;
}

dure_status dure_shape_cross_entropy_gradient(dure_op_call *call) {
  enum { LABELS, LOG_SUM_EXP, DLOSS, LOGITS };
  uint64_t rows = dure_operand_rows(&call->operands[LOGITS]);
  DURE_TRY(expect_count(call, LABELS, rows));
  DURE_TRY(expect_count(call, LOG_SUM_EXP, rows));
  return expect_count(call, DLOSS, 1);
}

// hidden weight labels [dloss] -> loss log_sum_exp [dhidden dweight] chunk
static dure_status linear_cross_entropy_shapes(dure_op_call *call, uint32_t loss, uint32_t chunk) {
  enum { HIDDEN, WEIGHT, LABELS };
  uint64_t rows = dure_operand_rows(&call->operands[HIDDEN]);
  DURE_TRY(expect_rank(call, WEIGHT, 2));
  DURE_TRY(expect_dimension(call, WEIGHT, 1, last_dimension(&call->operands[HIDDEN])));
  DURE_TRY(expect_count(call, LABELS, rows));
  output_vector(call, loss, rows);
  output_vector(call, loss + 1, rows);
  const float soft_cap = call->attributes.linear_loss.soft_cap;
  DURE_TRY(expect_soft_cap(soft_cap));
  const bool keeps_both = soft_cap > 0 && call->op == DURE_OP_linear_cross_entropy_gradient;
  const uint64_t chunk_rows = dure_linear_cross_entropy_chunk(rows);
  uint64_t shape[2] = {keeps_both ? 2 * chunk_rows : chunk_rows, call->operands[WEIGHT].shape[0]};
  dure_operand_set_shape(&call->operands[chunk], 2, shape);
  return NULL;
}

dure_status dure_shape_linear_cross_entropy(dure_op_call *call) { return linear_cross_entropy_shapes(call, 3, 5); }

dure_status dure_shape_linear_cross_entropy_gradient(dure_op_call *call) {
  enum { HIDDEN, WEIGHT, LABELS, DLOSS, LOSS, LOG_SUM_EXP, DHIDDEN, DWEIGHT, CHUNK };
  DURE_TRY(expect_count(call, DLOSS, 1));
  DURE_TRY(linear_cross_entropy_shapes(call, LOSS, CHUNK));
  output_like(call, DHIDDEN, HIDDEN);
  output_like(call, DWEIGHT, WEIGHT);
  return NULL;
}

dure_status dure_shape_gradient_clip(dure_op_call *call) {
  enum { SQUARE_SUM, STEP, STATE };
  DURE_TRY(expect_count(call, SQUARE_SUM, 1));
  DURE_TRY(expect_count(call, STEP, DURE_STEP_COUNT));
  return expect_count(call, STATE, DURE_STATE_COUNT);
}

dure_status dure_shape_adamw(dure_op_call *call) {
  enum { GRADIENT, STEP, STATE, RANDOM, PARAMETER, MASTER, FIRST_MOMENT, SECOND_MOMENT, FIRST_SCALES };
  uint64_t count = dure_operand_count(&call->operands[GRADIENT]);
  DURE_TRY(expect_count(call, STEP, DURE_STEP_COUNT));
  DURE_TRY(expect_count(call, STATE, DURE_STATE_COUNT));
  DURE_TRY(expect_count(call, RANDOM, 4));
  DURE_TRY(expect_count(call, PARAMETER, count));
  DURE_TRY(expect_count(call, MASTER, count));
  for (uint32_t moment = FIRST_MOMENT; moment <= SECOND_MOMENT; moment++) {
    const uint32_t scales = moment - FIRST_MOMENT + FIRST_SCALES;
    DURE_TRY(expect_count(call, moment, count));
    DURE_TRY(expect_count(call, scales, (count + DURE_MOMENT_BLOCK - 1) / DURE_MOMENT_BLOCK));
    const bool has_blocks = call->operands[moment].dtype == DURE_DTYPE_U8;
    if (has_blocks == dure_operand_is_present(&call->operands[scales])) continue;
    return dure_fail(DURE_INVALID_ARGUMENT, "operand '%s' %s scales for its blocks",
                     dure_op_get(call->op)->operands[moment].name,
                     has_blocks ? "lacks" : "is no u8, so it cannot have");
  }
  if (call->attributes.adamw.first_element % 4 == 0) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "first_element is %llu, expected a multiple of 4",
                   (unsigned long long)call->attributes.adamw.first_element);
}

dure_status dure_shape_adjust_logits(dure_op_call *call) {
  enum { IDS, CHANGES, LOGITS };
  DURE_TRY(expect_rank(call, IDS, 2));
  const uint64_t rows = call->operands[IDS].shape[0];
  DURE_TRY(expect_count(call, CHANGES, 2 * rows * call->operands[IDS].shape[1]));
  if (!dure_operand_is_present(&call->operands[LOGITS]))
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'logits' is missing");
  DURE_TRY(expect_rank(call, LOGITS, 2));
  return expect_dimension(call, LOGITS, 0, rows);
}

dure_status dure_shape_mask_logits(dure_op_call *call) {
  enum { MASK, LOGITS };
  DURE_TRY(expect_rank(call, MASK, 2));
  if (!dure_operand_is_present(&call->operands[LOGITS]))
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'logits' is missing");
  DURE_TRY(expect_rank(call, LOGITS, 2));
  DURE_TRY(expect_dimension(call, LOGITS, 0, call->operands[MASK].shape[0]));
  return expect_dimension(call, MASK, 1, (call->operands[LOGITS].shape[1] + 31) / 32);
}

dure_status dure_shape_sample(dure_op_call *call) {
  enum { LOGITS, SETTINGS, RANDOM, TOKEN };
  DURE_TRY(expect_rank(call, LOGITS, 2));
  const uint64_t rows = call->operands[LOGITS].shape[0];
  DURE_TRY(
      expect_count(call, SETTINGS, call->operands[SETTINGS].rank == 2 ? DURE_SAMPLE_COUNT * rows : DURE_SAMPLE_COUNT));
  DURE_TRY(expect_count(call, RANDOM, call->operands[RANDOM].rank == 2 ? 4 * rows : 4));
  if (call->attributes.sample.candidate_count > call->operands[LOGITS].shape[1]) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%u candidates are more than the %llu logits of a row",
                     call->attributes.sample.candidate_count, (unsigned long long)call->operands[LOGITS].shape[1]);
  }
  output_vector(call, TOKEN, call->operands[LOGITS].shape[0]);
  return NULL;
}
