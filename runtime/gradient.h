// What the gradient rules of ops.def's rows see: a recorded call, and slots for the gradients they contribute.
//
// A rule reads the gradient of its call's output (dure_gradient_of) and, for each input that wants one, opens a slot,
// records the call that computes the contribution into slot.tensor (adding when slot.accumulate), and closes it.
#ifndef DURE_RUNTIME_GRADIENT_H_
#define DURE_RUNTIME_GRADIENT_H_

#include "runtime/ops.h"
#include "runtime/program.h"

struct dure_program_call_record {
  dure_op op;
  uint32_t accumulate;
  dure_op_attributes attributes;
  dure_tensor operands[DURE_MAX_OPERANDS];
  uint32_t scope;  // index into the program's scopes
  uint32_t block;  // of the model, from 1; 0: none
};

typedef struct dure_gradient_slot {
  dure_tensor tensor;       // where the contribution goes; absent when the input wants none
  bool accumulate;          // add to it
  dure_tensor destination;  // set when `tensor` is a temporary that close() adds to the gradient
} dure_gradient_slot;

dure_program *dure_gradient_program(dure_gradient *gradient);
// Whether the loss's gradient with respect to `tensor` is needed.
bool dure_gradient_wants(const dure_gradient *gradient, dure_tensor tensor);
// The finished gradient of an output; absent when nothing after the call contributed to it.
dure_tensor dure_gradient_of(dure_gradient *gradient, dure_tensor output);
// `can_accumulate`: the call about to be recorded can add to its output.
dure_gradient_slot dure_gradient_open(dure_gradient *gradient, dure_tensor input, bool can_accumulate);
void dure_gradient_close(dure_gradient *gradient, const dure_gradient_slot *slot);
// The gradient of `output` (of the call whose rule is running) is a contribution to that of `input` as it is: added to
// it, or made it without a copy where possible. The last thing a rule does, since `output`'s may be written over later.
void dure_gradient_pass(dure_gradient *gradient, dure_tensor output, dure_tensor input);
void dure_gradient_pass_both(dure_gradient *gradient, dure_tensor output, dure_tensor a, dure_tensor b);
// Whether the rule may write over the gradient of its output.
bool dure_gradient_may_overwrite(const dure_gradient *gradient, dure_tensor output);
// The call that made `input`, when it alone did and the call whose rule is running alone reads it; its operands are as
// the backward pass may read them. false: there is no such call.
bool dure_gradient_producer(dure_gradient *gradient, dure_tensor input, dure_program_call_record *out_call);
// The contribution that a rule makes to the gradient of `input`, the only one, has gone through the activation at the
// end of input's producer: it is the gradient of what that activation took.
void dure_gradient_set_through(dure_gradient *gradient, dure_tensor input);
bool dure_gradient_is_through(const dure_gradient *gradient, dure_tensor output);
// Whether the rule may make calls in place of its own forward call, which then fill the gradients that it has opened:
// no other contribution to them may have been recorded before, nor a fill with zeros.
bool dure_gradient_is_first(const dure_gradient *gradient, dure_tensor input);
// Records a call in the place of the forward call whose rule is running.
bool dure_gradient_replace_forward(dure_gradient *gradient, dure_op op, dure_tensor operands[DURE_MAX_OPERANDS],
                                   const dure_op_attributes *attributes, uint32_t accumulate);
// The gradient of `input` now lies in `tensor` itself (in-place rules). Only one contribution may be made.
void dure_gradient_alias(dure_gradient *gradient, dure_tensor input, dure_tensor tensor);

#endif  // DURE_RUNTIME_GRADIENT_H_
