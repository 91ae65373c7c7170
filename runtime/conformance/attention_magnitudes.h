// The magnitude rules of the attention ops (see magnitudes.c).
//
// With S(t) the largest sum over d of |q k| * scale that query t meets, its scores carry an error of u * S, so its
// probabilities a relative one of u * (1 + S); online rescaling adds no larger term.
#ifndef DURE_RUNTIME_CONFORMANCE_ATTENTION_MAGNITUDES_H_
#define DURE_RUNTIME_CONFORMANCE_ATTENTION_MAGNITUDES_H_

#include "runtime/conformance/cases.h"

void dure_attention_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes);
void dure_attention_gradient_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                        double *magnitudes);
void dure_attention_cached_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                      double *magnitudes);

// Of the terms whose factors matrix units take in 16 bits: p v; ds k, ds q and p dy.
void dure_attention_rounded(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes);
void dure_attention_gradient_rounded(const dure_case *c, const dure_op_call *before, uint32_t output,
                                     double *magnitudes);

#endif  // DURE_RUNTIME_CONFORMANCE_ATTENTION_MAGNITUDES_H_
