// sum_rows, sum, square_sum.
#include <stdlib.h>

#include "runtime/reference/reference.h"

enum { CHUNK = DURE_REFERENCE_CHUNK };

// y[n] = sum over m of x[m, n]
dure_status dure_reference_sum_rows(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  uint64_t N = dure_reference_width(x), rows = dure_operand_rows(x);
  double *sums = NULL, *values = NULL;
  dure_status status = NULL;
  DURE_TRY_GOTO(status, dure_reference_scratch(N, &sums), done);
  DURE_TRY_GOTO(status, dure_reference_scratch(N, &values), done);
  for (uint64_t n = 0; n < N; n++) sums[n] = 0;
  for (uint64_t m = 0; m < rows; m++) {
    dure_reference_load(x, m * N, N, values);
    for (uint64_t n = 0; n < N; n++) sums[n] += values[n];
  }
  dure_reference_store(y, 0, N, sums, dure_reference_accumulates(call, 1));
done:
  free(sums);
  free(values);
  return status;
}

static void sum_all(const dure_op_call *call, bool squares) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  uint64_t element_count = dure_operand_count(x);
  double total = 0;
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = element_count - first < CHUNK ? element_count - first : CHUNK;
    double values[CHUNK];
    dure_reference_load(x, first, count, values);
    for (uint64_t i = 0; i < count; i++) total += squares ? values[i] * values[i] : values[i];
  }
  dure_reference_put(y, 0, total, dure_reference_accumulates(call, 1));
}

dure_status dure_reference_sum(const dure_op_call *call) {
  sum_all(call, false);
  return NULL;
}

dure_status dure_reference_square_sum(const dure_op_call *call) {
  sum_all(call, true);
  return NULL;
}
