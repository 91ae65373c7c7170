// The contents of a case's operands on the host, what the oracle makes of them, and how large its errors may be.
#ifndef DURE_RUNTIME_CONFORMANCE_CASE_DATA_H_
#define DURE_RUNTIME_CONFORMANCE_CASE_DATA_H_

#include "runtime/conformance/cases.h"

// One array of 32-bit elements (f32 or u32; of u8 operands bytes) for each operand that owns a base; NULL for the
// others.
typedef struct dure_case_data {
  uint32_t *bases[DURE_MAX_OPERANDS];
} dure_case_data;

void dure_case_data_free(dure_case_data *data);
DURE_MUST_CHECK dure_status dure_case_data_copy(const dure_case *c, const dure_case_data *data,
                                                dure_case_data *out_data);
// The case's inputs, and what its outputs hold before the op runs, from `seed`.
DURE_MUST_CHECK dure_status dure_case_data_generate(const dure_case *c, uint64_t seed, dure_case_data *out_data);
// The same of the first `most` elements of each base, and operands that only make sense together are as random as all
// others: for measurements.
DURE_MUST_CHECK dure_status dure_case_data_generate_part(const dure_case *c, uint64_t seed, uint64_t most,
                                                         dure_case_data *out_data);
// Replaces `data` by what the oracle leaves there.
DURE_MUST_CHECK dure_status dure_case_data_run_oracle(const dure_case *c, dure_case_data *data);
// For every element of output `operand` (in row-major order) the size of the terms that its rounding errors come from;
// released with free(). `initial` as dure_case_data_generate() made it.
DURE_MUST_CHECK dure_status dure_case_magnitudes(const dure_case *c, const dure_case_data *initial, uint32_t operand,
                                                 double **out_magnitudes);
// The same of the terms with a factor that is rounded on the way to 16-bit storage (storage_roundings): 0 where there
// is none. NULL: those are the same terms, or nothing is stored in 16 bits.
DURE_MUST_CHECK dure_status dure_case_rounded(const dure_case *c, const dure_case_data *initial, uint32_t operand,
                                              double **out_magnitudes);

// The case as a call over `data`; `buffers` are storage for the operands' buffers.
dure_op_call dure_case_call(const dure_case *c, const dure_case_data *data, dure_buffer buffers[DURE_MAX_OPERANDS]);
uint64_t dure_case_count(const dure_case_operand *operand);  // elements of the operand
// Where element `index` (row-major) of the operand lies in its base.
uint64_t dure_case_place(const dure_case_operand *operand, uint64_t index);
bool dure_case_is_written(const dure_case *c, uint32_t operand);

// What one comparison found. `worst` counts in tolerances.
typedef struct dure_comparison {
  uint64_t wrong_count;
  double worst;
  char message[512];  // about the first wrong element; empty when none is
} dure_comparison;

DURE_MUST_CHECK dure_status dure_case_compare(const dure_case *c, const dure_case_data *initial,
                                              const dure_case_data *expected, const dure_case_data *actual,
                                              dure_comparison *out_comparison);

#endif  // DURE_RUNTIME_CONFORMANCE_CASE_DATA_H_
