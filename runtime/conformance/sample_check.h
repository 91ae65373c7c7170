// Judging a sampled token. Where the random number falls within rounding error of a boundary between two tokens, or a
// probability within rounding error of a cut, either side is right; so tokens are judged, not compared.
#ifndef DURE_RUNTIME_CONFORMANCE_SAMPLE_CHECK_H_
#define DURE_RUNTIME_CONFORMANCE_SAMPLE_CHECK_H_

#include "runtime/conformance/case_data.h"

DURE_MUST_CHECK dure_status dure_sample_check(const dure_case *c, const dure_case_data *initial,
                                              const dure_case_data *actual, dure_comparison *comparison);

#endif  // DURE_RUNTIME_CONFORMANCE_SAMPLE_CHECK_H_
