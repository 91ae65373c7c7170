// Table look-up and its gradient.
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

// y[r, :] = table[indices[r] - first_row, :] for the indices that this part of the table covers; NaN beyond the whole
// table
dure_status dure_reference_embedding(const dure_op_call *call) {
  const dure_operand *table = &call->operands[0], *indices = &call->operands[1], *y = &call->operands[2];
  uint64_t C = dure_reference_width(table), V = dure_operand_rows(table), R = dure_operand_count(indices);
  uint64_t first_row = call->attributes.embedding.first_row;
  uint64_t row_count = call->attributes.embedding.row_count != 0 ? call->attributes.embedding.row_count : V;
  double *values = NULL;
  DURE_TRY(dure_reference_scratch(C, &values));
  for (uint64_t r = 0; r < R; r++) {
    uint64_t index = dure_reference_get_u32(indices, r);
    if (index >= row_count) {
      for (uint64_t c = 0; c < C; c++) values[c] = (double)NAN;
    } else if (index >= first_row && index - first_row < V) {
      dure_reference_load(table, (index - first_row) * C, C, values);
    } else {
      continue;  // another part of the table has this row
    }
    dure_reference_store(y, r * C, C, values, dure_reference_accumulates(call, 2));
  }
  free(values);
  return NULL;
}

// dtable[v, :] = sum over r with indices[r] == v of dy[r, :], in the order of r
dure_status dure_reference_embedding_gradient(const dure_op_call *call) {
  const dure_operand *indices = &call->operands[0], *dy = &call->operands[1], *dtable = &call->operands[2];
  uint64_t C = dure_reference_width(dy), V = dure_operand_count(dtable) / C, R = dure_operand_count(indices);
  uint64_t first_row = call->attributes.embedding.first_row;
  double *sums = NULL, *values = NULL;  // [V, C], [C]
  dure_status status = NULL;
  DURE_TRY_GOTO(status, dure_reference_scratch(V * C, &sums), done);
  DURE_TRY_GOTO(status, dure_reference_scratch(C, &values), done);
  for (uint64_t i = 0; i < V * C; i++) sums[i] = 0;
  for (uint64_t r = 0; r < R; r++) {
    uint64_t index = dure_reference_get_u32(indices, r);
    if (index < first_row || index - first_row >= V) continue;
    dure_reference_load(dy, r * C, C, values);
    double *sum = sums + (index - first_row) * C;
    for (uint64_t c = 0; c < C; c++) sum[c] += values[c];
  }
  for (uint64_t v = 0; v < V; v++)
    dure_reference_store(dtable, v * C, C, sums + v * C, dure_reference_accumulates(call, 2));
done:
  free(sums);
  free(values);
  return status;
}
