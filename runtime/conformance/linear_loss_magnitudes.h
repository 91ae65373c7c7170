// The sizes of the terms that linear_cross_entropy's rounding errors come from (see magnitudes.c).
#ifndef DURE_RUNTIME_CONFORMANCE_LINEAR_LOSS_MAGNITUDES_H_
#define DURE_RUNTIME_CONFORMANCE_LINEAR_LOSS_MAGNITUDES_H_

#include "runtime/conformance/cases.h"

void dure_linear_loss_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes);

#endif  // DURE_RUNTIME_CONFORMANCE_LINEAR_LOSS_MAGNITUDES_H_
