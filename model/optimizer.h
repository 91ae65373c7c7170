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
  double bias_rate;     // of pools that steer: how far a step moves each element against its gradient's sign
} dure_adamw_options;

// The values of one step as the ops read them: t counts updates from 1; bias corrections are computed here in double.
void dure_adamw_step_values(const dure_adamw_options *options, uint64_t t, double learning_rate,
                            float out_values[DURE_STEP_COUNT]);

// What stands for those values in pools that steer: there AdamW without averages takes the gradient's sign.
void dure_adamw_sign_values(const dure_adamw_options *options, float out_values[DURE_STEP_COUNT]);

// Loss scaling of f16 (Micikevicius et al. 2018, section 3.2): where it starts, and after how many good steps it
// doubles.
#define DURE_LOSS_SCALE_FIRST 65536.0f
enum { DURE_LOSS_SCALE_INTERVAL = 2000 };

// Tensors of the optimizer's program: of each kind one a pool (NULL where there are none), and small ones.
typedef struct dure_optimizer_tensors {
  const dure_tensor *parameters, *masters, *gradients;  // [layout->pool_count]
  const dure_tensor *first_moments, *second_moments, *first_scales, *second_scales;
  dure_tensor step;        // f32 [DURE_STEP_COUNT], external
  dure_tensor state;       // f32 [DURE_STATE_COUNT], external
  dure_tensor square_sum;  // f32 [1], external
  dure_tensor random;      // u32 [4], external; absent: 16-bit parameters are rounded to nearest
  uint32_t shard, shards;  // the tensors are this one of so many parts of their pools; shards 1: all of them
} dure_optimizer_tensors;

// Records the sum of the squares of all gradients.
void dure_optimizer_record_norm(dure_program *program, const dure_parameter_layout *layout,
                                const dure_optimizer_tensors *tensors);
// Records the norm and the clip scale, from that sum. `scales_loss`: losses are scaled dynamically.
void dure_optimizer_record_clip(dure_program *program, const dure_optimizer_tensors *tensors, bool scales_loss);
// Records AdamW pool by pool, which obeys that scale.
void dure_optimizer_record_update(dure_program *program, const dure_parameter_layout *layout,
                                  const dure_optimizer_tensors *tensors, const dure_adamw_options *options);
// What adamw's row is told about a pool.
dure_adamw_attributes dure_optimizer_attributes(const dure_parameter_layout *layout, size_t pool,
                                                const dure_adamw_options *options);

#endif  // DURE_MODEL_OPTIMIZER_H_
