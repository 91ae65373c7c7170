// Planning a training run: what memory it takes and how long a step would be, without weights and without taking any
// memory; and the choice of the cheapest way to train within a budget of device memory.
//
// What can be chosen, besides what was asked for: how much of the forward pass is computed again in the backward pass,
// whether the loss is computed in chunks without its logits ("fused"), the type of gradients and of the optimizer's
// states, and whether the optimizer lies on the host. Choices that train the same way are compared by predicted time
// (runtime/estimate.h); those that round more are considered only when the others do not fit:
//   1. recomputation, fused loss               results are those of training without, up to the loss's rounding
//   2. and gradients in the 16-bit type        only without accumulation
//   3. and the optimizer on the host, or 8-bit moments
//
// Choosing aims at seven eighths of the budget: drivers, kernels, the rounding of allocations and a desktop take the
// rest. When nothing is that small, what is below the whole budget is taken, and said to be tight.
#ifndef DURE_MODEL_TRAINING_PLAN_H_
#define DURE_MODEL_TRAINING_PLAN_H_

#include "model/train_options.h"
#include "model/training_programs.h"
#include "runtime/estimate.h"

typedef enum dure_plan_class {
  DURE_PLAN_PARAMETERS,
  DURE_PLAN_MASTERS,  // f32 copies of 16-bit parameters
  DURE_PLAN_GRADIENTS,
  DURE_PLAN_OPTIMIZER,    // moments
  DURE_PLAN_ACTIVATIONS,  // what the step's programs keep and pass on; placed by lifetime, so less than their sum
  DURE_PLAN_WORKSPACE,    // what the largest kernel wants besides, in the same arena
  DURE_PLAN_STAGING,      // slots for whole pools, where ranks keep parts of parameters or gradients (staging.h)
  DURE_PLAN_EVALUATION,   // of the held-out loss
  DURE_PLAN_FIXED,        // tokens, labels, small values, and what the backend takes beyond its buffers
  DURE_PLAN_CLASS_COUNT,
} dure_plan_class;
const char *dure_plan_class_name(dure_plan_class kind);

// What one way of training takes.
typedef struct dure_training_footprint {
  dure_training_options options;
  uint64_t device_bytes[DURE_PLAN_CLASS_COUNT], host_bytes[DURE_PLAN_CLASS_COUNT];
  uint64_t device_total, host_total;
  dure_estimate device_time;  // of one step's programs
  double transfer_seconds;    // between host and device, at the same time as
  double host_seconds;        // AdamW on the host's cores
  double seconds;             // of a step
  double flops;               // of a step
  uint64_t gathered_bytes;    // of parameters that a micro-step has from other ranks' parts
} dure_training_footprint;

// What a plan is made for.
typedef struct dure_plan_request {
  const dure_model_config *config;
  const dure_parameter_layout *layout;
  dure_device *device;            // whose limits and kernels count; nothing is allocated on it
  dure_device_rates rates;        // of the device that is asked about
  double host_bandwidth;          // bytes/s that AdamW on the host moves
  bool shares_host_memory;        // the device that is asked about is made of the host's cores: nothing is transferred
  dure_training_options options;  // what is asked for; the rest may be changed:
  bool may_recompute;
  bool may_fuse_loss;
  bool may_shrink_gradients;
  bool may_shrink_moments;
  bool may_offload;
  bool evaluates;   // the run scores held-out text as well
  uint64_t budget;  // bytes of device memory; 0: no limit
} dure_plan_request;

typedef struct dure_training_plan {
  dure_training_footprint *tried;  // in the order in which they were
  size_t tried_count;
  size_t chosen;    // index of the fastest that fits, or of the smallest when none does
  size_t smallest;  // index of the one that takes least device memory
  bool fits;        // the chosen one, in the whole budget
  uint64_t aim;     // seven eighths of the budget; 0: no limit
} dure_training_plan;

// Fills a request from the options of `dure train`: the shape of a step, --dtype, --recompute (auto, none, activations,
// block; a number of blocks may follow: block:12), --offload (auto, none, optimizer), whether it evaluates,
// --device-memory as the budget, and the device's rates. The config, layout and device are borrowed.
// DURE_INVALID_ARGUMENT for words that mean nothing and sizes that the model does not have.
DURE_MUST_CHECK dure_status dure_plan_request_fill(const dure_train_options *options, const dure_model_config *config,
                                                   const dure_parameter_layout *layout, dure_device *device,
                                                   dure_plan_request *out_request);

// The footprint of training with `options` in place of the request's.
DURE_MUST_CHECK dure_status dure_training_footprint_measure(const dure_plan_request *request,
                                                            const dure_training_options *options,
                                                            dure_training_footprint *out_footprint);
// Chooses. Not to fit is no failure. Release with dure_training_plan_clear.
DURE_MUST_CHECK dure_status dure_training_plan_make(const dure_plan_request *request, dure_training_plan *out_plan);
void dure_training_plan_clear(dure_training_plan *plan);

// "blocks 1 to 18 of 24 recomputed, fused loss, 16-bit gradients, optimizer on the host"; "nothing recomputed".
void dure_training_choice_describe(const dure_training_options *options, uint32_t layer_count, char *out_text,
                                   size_t size);

// What a host moves when nothing else is known: AdamW on the cores of a desktop with two channels of memory, bytes/s.
#define DURE_PLAN_HOST_BANDWIDTH 20e9

#endif  // DURE_MODEL_TRAINING_PLAN_H_
