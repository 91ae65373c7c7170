// c = op(a) op(b) + bias and its epilogues, written so that the innermost loop runs along c's rows and vectorises.
#include <stdlib.h>

#include "runtime/reference/reference.h"

enum { A, B, BIAS, RESIDUAL, PREACTIVATION, C, SAVED };

// One matrix of a batch, taken transposed or not.
typedef struct matrix {
  const dure_operand *operand;
  uint64_t first;  // its element 0 in the operand
  uint64_t width;  // of its rows as stored
  bool transposed;
} matrix;

enum {
  BLOCK_ROWS = 4,       // rows of c computed together: each value of b is used for all of them
  BLOCK_COLUMNS = 256,  // columns of c computed together: their part of b stays in the cache
};

// out[i * count + j] = op(matrix)[row + i, column + j] for i < rows, j < count
static void load_block(matrix x, uint64_t row, uint64_t rows, uint64_t column, uint64_t count, double *line,
                       double *out) {
  if (!x.transposed) {
    for (uint64_t i = 0; i < rows; i++) {
      dure_reference_load(x.operand, x.first + (row + i) * x.width + column, count, out + i * count);
    }
    return;
  }
  for (uint64_t j = 0; j < count; j++) {
    dure_reference_load(x.operand, x.first + (column + j) * x.width + row, rows, line);
    for (uint64_t i = 0; i < rows; i++) out[i * count + j] = line[i];
  }
}

// sums[i, j] = sum over k of left[i, k] * right[k, j]
//   left [BLOCK_ROWS, K], right [K, count], sums [BLOCK_ROWS, BLOCK_COLUMNS]
static void multiply(const double *left, const double *right, uint64_t K, uint64_t count, double *sums) {
  double *s0 = sums, *s1 = s0 + BLOCK_COLUMNS, *s2 = s1 + BLOCK_COLUMNS, *s3 = s2 + BLOCK_COLUMNS;
  for (uint64_t i = 0; i < BLOCK_ROWS * BLOCK_COLUMNS; i++) sums[i] = 0;
  for (uint64_t k = 0; k < K; k++) {
    const double *b = right + k * count;
    double a0 = left[k], a1 = left[K + k], a2 = left[2 * K + k], a3 = left[3 * K + k];
    for (uint64_t j = 0; j < count; j++) {
      s0[j] += a0 * b[j];
      s1[j] += a1 * b[j];
      s2[j] += a2 * b[j];
      s3[j] += a3 * b[j];
    }
  }
}

typedef struct scratch {
  double *left;   // [BLOCK_ROWS, K]
  double *right;  // [K, BLOCK_COLUMNS]
  double *sums;   // [BLOCK_ROWS, BLOCK_COLUMNS]
  double *bias;   // [N]; zeros without one
  double *line;   // one row or column while it is transposed
} scratch;

// What becomes of `count` <= BLOCK_COLUMNS sums t, elements [first, first + count) of c (ops.h).
static void finish(const dure_op_call *call, uint64_t first, uint64_t count, double *t) {
  const dure_matmul_attributes *attributes = &call->attributes.matmul;
  const dure_operand *o = call->operands;
  const bool is_saved = dure_operand_is_present(&o[SAVED]);
  double others[BLOCK_COLUMNS];
  if (attributes->continues != DURE_CONTINUES_NOTHING) {
    dure_reference_load(&o[attributes->continues == DURE_CONTINUES_SAVED ? SAVED : C], first, count, others);
    for (uint64_t j = 0; j < count; j++) t[j] += others[j];
  }
  if (is_saved) {  // the activation is of what was saved, as it was rounded
    dure_reference_store(&o[SAVED], first, count, t, false);
    dure_reference_load(&o[SAVED], first, count, t);
  }
  if (attributes->epilogue == DURE_EPILOGUE_ACTIVATION) {
    for (uint64_t j = 0; j < count; j++) t[j] = dure_reference_activation_value(attributes->activation, t[j]);
  } else if (attributes->epilogue == DURE_EPILOGUE_ACTIVATION_GRADIENT) {
    dure_reference_load(&o[PREACTIVATION], first, count, others);
    for (uint64_t j = 0; j < count; j++) t[j] *= dure_reference_activation_slope(attributes->activation, others[j]);
  }
  if (dure_operand_is_present(&o[RESIDUAL])) {
    dure_reference_load(&o[RESIDUAL], first, count, others);
    for (uint64_t j = 0; j < count; j++) t[j] += others[j];
  }
  dure_reference_store(&o[C], first, count, t, dure_reference_accumulates(call, C));
}

static void multiply_matrices(const dure_op_call *call, matrix a, matrix b, uint64_t first_of_c, uint64_t M, uint64_t N,
                              uint64_t K, scratch s) {
  for (uint64_t n = 0; n < N; n += BLOCK_COLUMNS) {
    uint64_t columns = N - n < BLOCK_COLUMNS ? N - n : BLOCK_COLUMNS;
    load_block(b, 0, K, n, columns, s.line, s.right);
    for (uint64_t m = 0; m < M; m += BLOCK_ROWS) {
      uint64_t rows = M - m < BLOCK_ROWS ? M - m : BLOCK_ROWS;
      for (uint64_t i = rows * K; i < BLOCK_ROWS * K; i++) s.left[i] = 0;
      load_block(a, m, rows, 0, K, s.line, s.left);
      multiply(s.left, s.right, K, columns, s.sums);
      for (uint64_t i = 0; i < rows; i++) {
        double *sums = s.sums + i * BLOCK_COLUMNS;
        for (uint64_t j = 0; j < columns; j++) sums[j] += s.bias[n + j];
        finish(call, first_of_c + (m + i) * N + n, columns, sums);
      }
    }
  }
}

dure_status dure_reference_matmul(const dure_op_call *call) {
  const dure_operand *a = &call->operands[A], *b = &call->operands[B], *bias = &call->operands[BIAS];
  bool transpose_a = call->attributes.matmul.transpose_a, transpose_b = call->attributes.matmul.transpose_b;
  uint64_t batch = b->rank == 3 ? b->shape[0] : 1;  // a of rank 3 with b of rank 2 is one tall matrix
  uint64_t a_rows = batch > 0 ? dure_operand_rows(a) / batch : 0, b_rows = batch > 0 ? dure_operand_rows(b) / batch : 0;
  uint64_t M = transpose_a ? dure_reference_width(a) : a_rows;
  uint64_t K = transpose_a ? a_rows : dure_reference_width(a);
  uint64_t N = transpose_b ? b_rows : dure_reference_width(b);
  scratch s = {0};
  dure_status status = NULL;
  DURE_TRY_GOTO(status, dure_reference_scratch(BLOCK_ROWS * K, &s.left), done);
  DURE_TRY_GOTO(status, dure_reference_scratch(K * BLOCK_COLUMNS, &s.right), done);
  DURE_TRY_GOTO(status, dure_reference_scratch(BLOCK_ROWS * BLOCK_COLUMNS, &s.sums), done);
  DURE_TRY_GOTO(status, dure_reference_scratch(N, &s.bias), done);
  DURE_TRY_GOTO(status, dure_reference_scratch(K > BLOCK_ROWS ? K : BLOCK_ROWS, &s.line), done);
  for (uint64_t n = 0; n < N; n++) s.bias[n] = 0;
  if (dure_operand_is_present(bias)) dure_reference_load(bias, 0, N, s.bias);
  for (uint64_t z = 0; z < batch; z++) {
    matrix left = {a, z * M * K, dure_reference_width(a), transpose_a};
    matrix right = {b, z * K * N, dure_reference_width(b), transpose_b};
    multiply_matrices(call, left, right, z * M * N, M, N, K, s);
  }
done:
  free(s.left);
  free(s.right);
  free(s.sums);
  free(s.bias);
  free(s.line);
  return status;
}
