// The calls that `dure bench ops` measures.
#ifndef DURE_CLI_BENCH_CASES_H_
#define DURE_CLI_BENCH_CASES_H_

#include "runtime/conformance/cases.h"

// All of them, in the op table's order, the two that give the ceilings (a large copy, a large matmul) first.
// `scale` divides the number of rows: 1 for GPUs, more for slow devices. `storage` is the type of tensors that take any
// (DURE_DTYPE_NONE: f32). With `size` > 0 only the two and matmuls of size x size x size. Release with dure_cases_free.
DURE_MUST_CHECK dure_status bench_cases_collect(uint64_t scale, uint64_t size, dure_dtype storage,
                                                dure_case_list *out_list);

#endif  // DURE_CLI_BENCH_CASES_H_
