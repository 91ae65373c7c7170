// The calls that `dure bench ops` measures.
#ifndef DURE_CLI_BENCH_CASES_H_
#define DURE_CLI_BENCH_CASES_H_

#include "runtime/conformance/cases.h"

typedef struct bench_choice {
  uint64_t scale;         // divides the number of rows: 1 for GPUs, more for slow devices
  uint64_t size;          // > 0: besides the two that give the ceilings only matmuls of size x size x size
  uint64_t attention[4];  // B, T, H, D; B > 0: besides those two only attention of that shape, forward and backward
  bool is_large;          // operands of several times a large card's caches, instead of the sizes of small models
  dure_dtype storage;     // of tensors that take any; DURE_DTYPE_NONE: f32
} bench_choice;

// All of them, in the op table's order, the two that give the ceilings (a large copy, a large matmul) first. Release
// with dure_cases_free.
DURE_MUST_CHECK dure_status bench_cases_collect(const bench_choice *choice, dure_case_list *out_list);

#endif  // DURE_CLI_BENCH_CASES_H_
