#include "runtime/conformance/quantized_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

// The division may err by 2.5 units in the last place (Vulkan's table of precision), the product rounds once, and a
// quotient is at most 127.
static const double slack = 127 * 4 * 0x1p-23;

void dure_quantized_check(const dure_case *c, const dure_case_data *initial, const dure_case_data *expected,
                          const dure_case_data *actual, dure_comparison *comparison) {
  enum { X, Q, SCALES };
  dure_buffer before_buffers[DURE_MAX_OPERANDS], wanted_buffers[DURE_MAX_OPERANDS], found_buffers[DURE_MAX_OPERANDS];
  const dure_op_call before = dure_case_call(c, initial, before_buffers);
  const dure_op_call wanted = dure_case_call(c, expected, wanted_buffers);
  const dure_op_call found = dure_case_call(c, actual, found_buffers);
  const int8_t *wanted_q = (const int8_t *)wanted.operands[Q].buffer->mapped + wanted.operands[Q].offset;
  const int8_t *found_q = (const int8_t *)found.operands[Q].buffer->mapped + found.operands[Q].offset;
  for (uint64_t i = 0; i < dure_operand_count(&before.operands[X]); i++) {
    if (wanted_q[i] == found_q[i]) continue;
    const double scale = dure_reference_get(&wanted.operands[SCALES], i / DURE_QUANTIZED_BLOCK);
    const double x = dure_reference_get(&before.operands[X], i);
    const double distance = scale > 0 ? fabs(x / scale - found_q[i]) - 0.5 : (double)INFINITY;
    comparison->worst = fmax(comparison->worst, distance / slack);
    if (distance <= slack) continue;
    if (comparison->wrong_count++ > 0) continue;
    snprintf(comparison->message, sizeof(comparison->message), "q[%llu] is %d, expected %d (x is %.9g, the scale %.9g)",
             (unsigned long long)i, found_q[i], wanted_q[i], x, scale);
  }
}
