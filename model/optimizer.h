// AdamW with gradient clipping over pools of parameters (the ops adamw and gradient_clip in ops.h say what is
// computed).
#ifndef DURE_MODEL_OPTIMIZER_H_
#define DURE_MODEL_OPTIMIZER_H_

#include "model/parameters.h"
#include "runtime/program.h"

typedef struct dure_adamw_options {
  double beta1, beta2, epsilon;
  double weight_decay;  // of pools that decay
  double clip;          // largest gradient norm; 0: no clipping
} dure_adamw_options;

// The values of one step as the ops read them: t counts updates from 1; bias corrections are computed here in double.
void dure_adamw_step_values(const dure_adamw_options *options, uint64_t t, double learning_rate,
                            float out_values[DURE_STEP_COUNT]);

// Tensors of the optimizer's program: one of each kind a pool, and three small ones.
typedef struct dure_optimizer_tensors {
  const dure_tensor *parameters, *gradients, *first_moments, *second_moments;  // [layout->pool_count]
  dure_tensor step;                                                            // f32 [DURE_STEP_COUNT], external
  dure_tensor state;                                                           // f32 [DURE_STATE_COUNT], external
  dure_tensor square_sum;                                                      // f32 [1], external
} dure_optimizer_tensors;

// Records one update: the norm over all gradients, the clip scale, then AdamW pool by pool.
void dure_optimizer_record(dure_program *program, const dure_parameter_layout *layout,
                           const dure_optimizer_tensors *tensors, const dure_adamw_options *options);

#endif  // DURE_MODEL_OPTIMIZER_H_
