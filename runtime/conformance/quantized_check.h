// Judging 8-bit integers of quantize_rows and of cache_append's caches in blocks: where a quotient is within rounding
// error of a half, either neighbour is right.
#ifndef DURE_RUNTIME_CONFORMANCE_QUANTIZED_CHECK_H_
#define DURE_RUNTIME_CONFORMANCE_QUANTIZED_CHECK_H_

#include "runtime/conformance/case_data.h"

// `operand`: the codes. Fails only for want of memory.
DURE_MUST_CHECK dure_status dure_quantized_check(const dure_case *c, uint32_t operand, const dure_case_data *initial,
                                                 const dure_case_data *expected, const dure_case_data *actual,
                                                 dure_comparison *comparison);

#endif  // DURE_RUNTIME_CONFORMANCE_QUANTIZED_CHECK_H_
