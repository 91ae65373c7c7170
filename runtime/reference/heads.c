// Heads copied to where they lie differently.
#include <stdlib.h>

#include "runtime/reference/reference.h"

dure_status dure_reference_copy_heads(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const uint64_t rows = x->shape[0] * x->shape[1], from = x->shape[2], to = y->shape[2], D = x->shape[3];
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(2 * D, &scratch));
  double *values = scratch, *sums = scratch + D;
  for (uint64_t r = 0; r < rows; r++) {
    for (uint64_t h = 0; h < to; h++) {
      const uint64_t first = from == to ? h : 0, end = to == 1 ? from : first + 1;
      for (uint64_t d = 0; d < D; d++) sums[d] = 0;
      for (uint64_t other = first; other < end; other++) {
        dure_reference_load(x, (r * from + other) * D, D, values);
        for (uint64_t d = 0; d < D; d++) sums[d] += values[d];
      }
      dure_reference_store(y, (r * to + h) * D, D, sums, dure_reference_accumulates(call, 1));
    }
  }
  free(scratch);
  return NULL;
}
