// quantize_rows, matmul_q8, unpack_blocks, matmul_blocks.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/reference/reference.h"

enum { BLOCK = DURE_QUANTIZED_BLOCK };

static int8_t *integers(const dure_operand *operand) {
  return (int8_t *)operand->buffer->mapped + operand->offset;  // contiguous
}

// In float, not double: the order of operations in ops.h is the definition.
float dure_reference_quantize_block(const double *x, int8_t *q) {
  float largest = 0;
  bool is_finite = true;
  for (uint64_t i = 0; i < BLOCK; i++) {
    const float magnitude = fabsf((float)x[i]);
    is_finite = is_finite && isfinite(magnitude);
    if (magnitude > largest) largest = magnitude;
  }
  memset(q, 0, BLOCK);
  if (!is_finite) return NAN;
  if (largest < 0x1p-100f) return 0;
  const float inverse = 127.0f / largest;
  for (uint64_t i = 0; i < BLOCK; i++) q[i] = (int8_t)rintf((float)x[i] * inverse);
  return largest * 0x1.020408p-7f;
}

dure_status dure_reference_quantize_rows(const dure_op_call *call) {
  enum { X, Q, SCALES };
  const dure_operand *x = &call->operands[X], *scales = &call->operands[SCALES];
  int8_t *q = integers(&call->operands[Q]);
  const uint64_t count = dure_operand_count(x) / BLOCK;
  for (uint64_t i = 0; i < count; i++) {
    double values[BLOCK];
    dure_reference_load(x, i * BLOCK, BLOCK, values);
    dure_reference_put(scales, i, (double)dure_reference_quantize_block(values, q + i * BLOCK), false);
  }
  return NULL;
}

void dure_reference_load_blocks(const dure_operand *operand, const dure_operand *scales, uint64_t first, uint64_t count,
                                double *out_values) {
  if (operand->dtype != DURE_DTYPE_U8) {
    dure_reference_load(operand, first, count, out_values);
    return;
  }
  for (uint64_t i = 0; i < count; i++)
    out_values[i] = integers(operand)[first + i] * dure_reference_get(scales, (first + i) / BLOCK);
}

dure_status dure_reference_matmul_q8(const dure_op_call *call) {
  enum { A, A_SCALES, B, B_SCALES, BIAS, C };
  const dure_operand *o = call->operands;
  const uint64_t N = o[B].shape[0], K = o[B].shape[1], blocks = K / BLOCK, M = dure_operand_rows(&o[A]);
  double *a_scales = NULL, *b_scales = NULL, *row = NULL;
  dure_status status = NULL;
  DURE_TRY_GOTO(status, dure_reference_scratch(blocks, &a_scales), done);
  DURE_TRY_GOTO(status, dure_reference_scratch(N * blocks, &b_scales), done);
  DURE_TRY_GOTO(status, dure_reference_scratch(N, &row), done);
  dure_reference_load(&o[B_SCALES], 0, N * blocks, b_scales);
  for (uint64_t m = 0; m < M; m++) {
    dure_reference_load(&o[A_SCALES], m * blocks, blocks, a_scales);
    for (uint64_t n = 0; n < N; n++) {
      double sum = 0;
      for (uint64_t i = 0; i < blocks; i++) {
        const int8_t *a = integers(&o[A]) + m * K + i * BLOCK, *b = integers(&o[B]) + n * K + i * BLOCK;
        int32_t dot = 0;
        for (uint64_t k = 0; k < BLOCK; k++) dot += a[k] * b[k];
        sum += a_scales[i] * b_scales[n * blocks + i] * dot;
      }
      row[n] = sum + (dure_operand_is_present(&o[BIAS]) ? dure_reference_get(&o[BIAS], n) : 0);
    }
    dure_reference_store(&o[C], m * N, N, row, dure_reference_accumulates(call, C));
  }
done:
  free(a_scales);
  free(b_scales);
  free(row);
  return status;
}

// ---- packed weights ----------------------------------------------------------------------------------------------

dure_packed_weight dure_reference_packed(const dure_op_call *call, uint32_t codes) {
  const dure_operand *o = &call->operands[codes];
  const uint32_t bits = call->attributes.blocks.bits;
  return (dure_packed_weight){.codes = integers(o),
                              .scales = &o[1],
                              .minima = dure_operand_is_present(&o[2]) ? &o[2] : NULL,
                              .bits = bits,
                              .group = dure_blocks_group(&call->attributes.blocks),
                              .rows = o->shape[0],
                              .width = o->shape[1] * (8 / bits)};
}

double dure_reference_packed_value(const dure_packed_weight *weight, uint64_t row, uint64_t k, double *out_magnitude) {
  const uint64_t block = row * (weight->width / BLOCK) + k / BLOCK, within = k % BLOCK;
  const uint64_t group = row * (weight->width / weight->group) + k / weight->group;
  float q;
  if (weight->bits == 8) {
    q = (float)weight->codes[block * BLOCK + within];
  } else {
    const uint8_t pair = (uint8_t)weight->codes[block * (BLOCK / 2) + within % (BLOCK / 2)];
    q = (float)((within < BLOCK / 2 ? pair & 15 : pair >> 4) - (weight->minima == NULL ? 8 : 0));
  }
  const float product = (float)dure_reference_get(weight->scales, group) * q;
  const float minimum = weight->minima != NULL ? (float)dure_reference_get(weight->minima, group) : 0;
  if (out_magnitude != NULL) *out_magnitude = fabs((double)product) + fabs((double)minimum);
  return weight->minima != NULL ? (double)(product + minimum) : (double)product;
}

dure_status dure_reference_unpack_blocks(const dure_op_call *call) {
  enum { CODES, SCALES, MINIMA, INDICES, Y };
  const dure_packed_weight weight = dure_reference_packed(call, CODES);
  const dure_operand *indices = &call->operands[INDICES], *y = &call->operands[Y];
  const uint64_t K = weight.width, rows = dure_operand_rows(y), first = call->attributes.blocks.first_row;
  const uint64_t whole = call->attributes.blocks.row_count > 0 ? call->attributes.blocks.row_count : weight.rows;
  for (uint64_t r = 0; r < rows; r++) {
    const uint64_t index = dure_operand_is_present(indices) ? dure_reference_get_u32(indices, r) : r + first;
    const bool is_here = index >= first && index - first < weight.rows;
    if (!is_here && index < whole) continue;
    for (uint64_t k = 0; k < K; k++) {
      const double value = is_here ? dure_reference_packed_value(&weight, index - first, k, NULL) : (double)NAN;
      dure_reference_put(y, r * K + k, value, false);
    }
  }
  return NULL;
}

dure_status dure_reference_matmul_blocks(const dure_op_call *call) {
  enum { A, CODES, SCALES, MINIMA, BIAS, RESIDUAL, C };
  const dure_operand *o = call->operands;
  const dure_packed_weight weight = dure_reference_packed(call, CODES);
  const uint64_t M = dure_operand_rows(&o[A]), N = weight.rows, K = weight.width;
  double *a = NULL, *b = NULL;
  DURE_TRY(dure_reference_scratch(M * K + K, &a));
  b = a + M * K;
  dure_reference_load(&o[A], 0, M * K, a);
  for (uint64_t n = 0; n < N; n++) {
    for (uint64_t k = 0; k < K; k++) b[k] = dure_reference_packed_value(&weight, n, k, NULL);
    for (uint64_t m = 0; m < M; m++) {
      double sum = dure_operand_is_present(&o[BIAS]) ? dure_reference_get(&o[BIAS], n) : 0;
      for (uint64_t k = 0; k < K; k++) sum += a[m * K + k] * b[k];
      if (dure_operand_is_present(&o[RESIDUAL])) sum += dure_reference_get(&o[RESIDUAL], m * N + n);
      dure_reference_put(&o[C], m * N + n, sum, false);
    }
  }
  free(a);
  return NULL;
}
