// Predicted time of a program on a device that runs it at given rates: nothing is compiled or run.
//
// The sum over the program's calls of max(FLOPs / rate, bytes / bandwidth) by class of op: the roofline model (Williams
// et al. 2009), call by call, with rates that kernels were measured to reach instead of the hardware's peaks. Calls are
// taken as if they ran one after the other; what a submission costs besides is not in it.
#ifndef DURE_RUNTIME_ESTIMATE_H_
#define DURE_RUNTIME_ESTIMATE_H_

#include "runtime/program.h"

typedef enum dure_time_class {
  DURE_TIME_MATMUL,
  DURE_TIME_ATTENTION,
  DURE_TIME_OTHER,
  DURE_TIME_CLASS_COUNT
} dure_time_class;

typedef struct dure_estimate {
  double seconds[DURE_TIME_CLASS_COUNT];
  dure_cost cost;
  uint64_t calls;
} dure_estimate;

// Adds `times` runs of the program to the estimate. Rates must be more than 0.
void dure_program_estimate(const dure_program *program, const dure_device_rates *rates, double times,
                           dure_estimate *estimate);
double dure_estimate_seconds(const dure_estimate *estimate);  // of all classes

#endif  // DURE_RUNTIME_ESTIMATE_H_
