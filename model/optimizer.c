#include "model/optimizer.h"

#include <math.h>
#include <string.h>

void dure_adamw_step_values(const dure_adamw_options *options, uint64_t t, double learning_rate,
                            float out_values[DURE_STEP_COUNT]) {
  memset(out_values, 0, DURE_STEP_COUNT * sizeof(*out_values));
  out_values[DURE_STEP_LEARNING_RATE] = (float)learning_rate;
  out_values[DURE_STEP_CORRECTION1] = (float)(1 / (1 - pow(options->beta1, (double)t)));
  out_values[DURE_STEP_CORRECTION2] = (float)(1 / (1 - pow(options->beta2, (double)t)));
  out_values[DURE_STEP_CLIP] = (float)options->clip;
}

void dure_optimizer_record(dure_program *program, const dure_parameter_layout *layout,
                           const dure_optimizer_tensors *tensors, const dure_adamw_options *options) {
  dure_program_scope(program, "gradient norm");
  for (size_t i = 0; i < layout->pool_count; i++) {
    dure_square_sum(program, tensors->gradients[i], tensors->square_sum, i > 0);
  }
  dure_gradient_clip(program, tensors->square_sum, tensors->step, tensors->state);
  dure_program_scope(program, "optimizer");
  for (size_t i = 0; i < layout->pool_count; i++) {
    const dure_adamw_attributes attributes = {
        .beta1 = (float)options->beta1,
        .beta2 = (float)options->beta2,
        .epsilon = (float)options->epsilon,
        .weight_decay = layout->pools[i].decays ? (float)options->weight_decay : 0.0f,
    };
    dure_adamw(program, tensors->gradients[i], tensors->step, tensors->state, tensors->parameters[i],
               tensors->first_moments[i], tensors->second_moments[i], attributes);
  }
}
