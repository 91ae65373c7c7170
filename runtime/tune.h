// Tuning: what a device achieves is measured, its fastest kernel variants are found, and both are kept for later runs.
#ifndef DURE_RUNTIME_TUNE_H_
#define DURE_RUNTIME_TUNE_H_

#include "runtime/hal.h"
#include "runtime/program.h"

// One class of shapes that has been measured.
typedef struct dure_tune_result {
  const char *shape;              // "matmul nt 128 x 3072 x 384 f32"; valid during the call
  const char *chosen;             // the fastest variant; NULL: the shipped table's choice stays
  double seconds, usual_seconds;  // of the fastest variant and of the table's choice
  size_t index, count;            // this class's place, from 0
} dure_tune_result;

// Measures the device's kernel variants for each class of shapes, and its rates; uses the winners from now on and keeps
// them on disk (`out_path`, released with free(); NULL when there is nowhere to keep them). A minute or two. `sink` may
// be NULL. Fails with DURE_UNSUPPORTED when the backend has no variants, DURE_CANCELLED on an interrupt (nothing is
// kept then).
DURE_MUST_CHECK dure_status dure_device_tune(dure_device *device, dure_tune_sink sink, void *context, char **out_path);

// ---- for the backends ----

// Seconds of device time that the program takes once its kernels are compiled: the best of several runs. The inputs get
// numbers in [-1, 1).
DURE_MUST_CHECK dure_status dure_tune_time(dure_device *device, dure_stream *stream, dure_program *program,
                                           const dure_tensor *inputs, size_t input_count, double *out_seconds);
// A matmul of that shape as dure_tune_time has it.
DURE_MUST_CHECK dure_status dure_tune_time_matmul(dure_device *device, dure_stream *stream, dure_dtype dtype,
                                                  bool transpose_a, bool transpose_b, uint64_t M, uint64_t N,
                                                  uint64_t K, double *out_seconds);
// Attention, or its gradient, of one sequence of T positions and 12 heads of D elements, as dure_tune_time has it.
DURE_MUST_CHECK dure_status dure_tune_time_attention(dure_device *device, dure_stream *stream, dure_dtype dtype,
                                                     bool is_gradient, uint64_t T, uint64_t D, double *out_seconds);
// Measures what dure_device_rates holds, each with about 30 ms of work at the shipped rates.
DURE_MUST_CHECK dure_status dure_tune_rates(dure_device *device, dure_stream *stream, dure_device_rates *out_rates);

#endif  // DURE_RUNTIME_TUNE_H_
