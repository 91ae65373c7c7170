// A case as a program on a device: how the suite and the benchmark run one op.
#ifndef DURE_RUNTIME_CONFORMANCE_CASE_PROGRAM_H_
#define DURE_RUNTIME_CONFORMANCE_CASE_PROGRAM_H_

#include "runtime/conformance/case_data.h"
#include "runtime/program.h"

typedef struct dure_case_program {
  dure_tensor bases[DURE_MAX_OPERANDS];  // of the operands that own one
  dure_executable *executable;           // released with dure_executable_destroy
} dure_case_program;

DURE_MUST_CHECK dure_status dure_case_compile(const dure_case *c, dure_device *device,
                                              const dure_compile_options *options, dure_case_program *out_program);
// Uploads every base.
DURE_MUST_CHECK dure_status dure_case_write(const dure_case *c, const dure_case_program *program, dure_stream *stream,
                                            const dure_case_data *data);
// Downloads every base into `data`, whose arrays exist.
DURE_MUST_CHECK dure_status dure_case_read(const dure_case *c, const dure_case_program *program, dure_stream *stream,
                                           dure_case_data *data);

#endif  // DURE_RUNTIME_CONFORMANCE_CASE_PROGRAM_H_
