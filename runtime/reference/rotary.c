// Rotary position embedding (Su et al. 2021, section 3.4).
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

// One head's row in place: the pairs' angles from one row of the table.
static void rotate(const dure_rotary_attributes *attributes, const double *cosines, const double *sines, double *row) {
  uint32_t half = attributes->width / 2;
  for (uint32_t i = 0; i < half; i++) {
    uint32_t first = attributes->is_interleaved ? 2 * i : i, second = attributes->is_interleaved ? 2 * i + 1 : i + half;
    double x1 = row[first], x2 = row[second], sine = attributes->is_inverse ? -sines[i] : sines[i];
    row[first] = x1 * cosines[i] - x2 * sine;
    row[second] = x1 * sine + x2 * cosines[i];
  }
}

dure_status dure_reference_rotary(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *table = &call->operands[2], *y = &call->operands[3];
  const uint64_t H = x->shape[2], D = x->shape[3], R = x->shape[0] * x->shape[1];
  const uint32_t width = call->attributes.rotary.width;
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(D + width, &scratch));
  double *row = scratch, *angles = scratch + D;
  for (uint64_t r = 0; r < R; r++) {
    uint32_t position = dure_reference_get_u32(&call->operands[1], r);
    for (uint32_t i = 0; i < width; i++) angles[i] = (double)NAN;
    if (position < table->shape[0]) dure_reference_load(table, (uint64_t)position * width, width, angles);
    for (uint64_t h = 0; h < H; h++) {
      dure_reference_load(x, (r * H + h) * D, D, row);
      rotate(&call->attributes.rotary, angles, angles + width / 2, row);
      dure_reference_store(y, (r * H + h) * D, D, row, false);
    }
  }
  free(scratch);
  return NULL;
}
