#include "runtime/conformance/quantized_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

// The division may err by 2.5 units in the last place (Vulkan's table of precision), the product rounds once, and a
// quotient is at most 127.
static const double slack = 127 * 4 * 0x1p-23;

// What the codes of one operand were made of.
typedef struct origin {
  uint32_t codes, scales;  // operands
  double *x;               // of each code; NaN: it was not written
} origin;

static void judge(const origin *of, const dure_op_call *wanted, const dure_op_call *found,
                  dure_comparison *comparison) {
  const dure_operand *codes = &wanted->operands[of->codes], *other = &found->operands[of->codes];
  const int8_t *wanted_q = (const int8_t *)codes->buffer->mapped + codes->offset;
  const int8_t *found_q = (const int8_t *)other->buffer->mapped + other->offset;
  for (uint64_t i = 0; i < dure_operand_count(codes); i++) {
    if (wanted_q[i] == found_q[i]) continue;
    const double scale = dure_reference_get(&wanted->operands[of->scales], i / DURE_QUANTIZED_BLOCK);
    const double x = of->x[i];
    const double distance = scale > 0 && !isnan(x) ? fabs(x / scale - found_q[i]) - 0.5 : (double)INFINITY;
    comparison->worst = fmax(comparison->worst, distance / slack);
    if (distance <= slack) continue;
    if (comparison->wrong_count++ > 0) continue;
    snprintf(
        comparison->message, sizeof(comparison->message), "%s[%llu] is %d, expected %d (x is %.9g, the scale %.9g)",
        dure_op_get(wanted->op)->operands[of->codes].name, (unsigned long long)i, found_q[i], wanted_q[i], x, scale);
  }
}

// The heads of k or v at the places in the cache where they go.
static void place_heads(const dure_op_call *call, uint32_t input, uint32_t cache, double *x) {
  enum { BLOCK_TABLE = 2, POSITIONS };
  const dure_operand *k = &call->operands[input];
  const uint64_t B = k->shape[0], T = k->shape[1], width = k->shape[2] * k->shape[3];
  for (uint64_t i = 0; i < dure_operand_count(&call->operands[cache]); i++) x[i] = (double)NAN;
  for (uint64_t row = 0; row < B * T; row++) {
    const uint64_t position = (uint64_t)dure_reference_get_u32(&call->operands[POSITIONS], row / T) + row % T;
    uint64_t place;
    if (dure_reference_cache_row(&call->operands[cache], &call->operands[BLOCK_TABLE], row / T, position, &place))
      dure_reference_load(k, row * width, width, x + place * width);
  }
}

dure_status dure_quantized_check(const dure_case *c, uint32_t operand, const dure_case_data *initial,
                                 const dure_case_data *expected, const dure_case_data *actual,
                                 dure_comparison *comparison) {
  dure_buffer before_buffers[DURE_MAX_OPERANDS], wanted_buffers[DURE_MAX_OPERANDS], found_buffers[DURE_MAX_OPERANDS];
  const dure_op_call before = dure_case_call(c, initial, before_buffers);
  const dure_op_call wanted = dure_case_call(c, expected, wanted_buffers);
  const dure_op_call found = dure_case_call(c, actual, found_buffers);
  const uint64_t count = dure_operand_count(&before.operands[operand]);
  origin of = {.codes = operand};
  DURE_TRY(dure_reference_scratch(count, &of.x));
  if (c->op == DURE_OP_cache_append) {
    enum { KEY_CACHE = 4, KEY_SCALES = 6 };
    of.scales = operand - KEY_CACHE + KEY_SCALES;
    place_heads(&before, operand - KEY_CACHE, operand, of.x);
  } else {
    enum { X, Q, SCALES };
    of.scales = SCALES;
    dure_reference_load(&before.operands[X], 0, count, of.x);
  }
  judge(&of, &wanted, &found, comparison);
  free(of.x);
  return NULL;
}
