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

void dure_adamw_sign_values(const dure_adamw_options *options, float out_values[DURE_STEP_COUNT]) {
  dure_adamw_step_values(options, 1, options->bias_rate, out_values);
  out_values[DURE_STEP_CORRECTION1] = out_values[DURE_STEP_CORRECTION2] = 1;
}

// Of elements [first, end) of a pool, as far as this rank keeps them.
static void record_squares(dure_program *program, const dure_parameter_layout *layout,
                           const dure_optimizer_tensors *tensors, size_t pool, uint64_t first, uint64_t end) {
  const uint64_t size = layout->pools[pool].count / tensors->shards, kept = tensors->shard * size, stride = 1;
  if (first < kept) first = kept;
  if (end > kept + size) end = kept + size;
  if (first >= end) return;
  const uint64_t count = end - first;
  dure_square_sum(program, dure_tensor_view(program, tensors->gradients[pool], 1, &count, &stride, first - kept),
                  tensors->square_sum, true);
}

// Of a model's part that is not the first: what all parts have alike is the first one's to count. Neighbours in a pool
// are one sum.
static void record_own_squares(dure_program *program, const dure_parameter_layout *layout,
                               const dure_optimizer_tensors *tensors) {
  dure_fill(program, tensors->square_sum, 0);
  for (size_t pool = 0; pool < layout->pool_count; pool++) {
    uint64_t first = 0, end = 0;
    for (size_t i = 0; i < layout->count; i++) {
      const dure_parameter *parameter = &layout->parameters[i];
      if (parameter->pool != pool || parameter->cut.run_count == 0) continue;
      if (parameter->offset - end >= dure_parameter_alignment(parameter)) {
        record_squares(program, layout, tensors, pool, first, end);
        first = parameter->offset;
      }
      end = parameter->offset + parameter->count;
    }
    record_squares(program, layout, tensors, pool, first, end);
  }
}

void dure_optimizer_record_norm(dure_program *program, const dure_parameter_layout *layout,
                                const dure_optimizer_tensors *tensors) {
  dure_program_scope(program, "gradient norm");
  if (layout->count > 0 && layout->parameters[0].cut.part > 0) {
    record_own_squares(program, layout, tensors);
    return;
  }
  for (size_t i = 0; i < layout->pool_count; i++) {
    dure_square_sum(program, tensors->gradients[i], tensors->square_sum, i > 0);
  }
}

void dure_optimizer_record_clip(dure_program *program, const dure_optimizer_tensors *tensors, bool scales_loss) {
  dure_program_scope(program, "gradient norm");
  const dure_gradient_clip_attributes attributes = {.is_dynamic = scales_loss,
                                                    .growth_interval = DURE_LOSS_SCALE_INTERVAL};
  dure_gradient_clip_with(program, tensors->square_sum, tensors->step, tensors->state, attributes);
}

dure_adamw_attributes dure_optimizer_attributes(const dure_parameter_layout *layout, size_t pool,
                                                const dure_adamw_options *options) {
  dure_adamw_attributes attributes = {
      .beta1 = (float)options->beta1,
      .beta2 = (float)options->beta2,
      .epsilon = (float)options->epsilon,
      .weight_decay = layout->pools[pool].decays ? (float)options->weight_decay : 0.0f,
  };
  if (layout->pools[pool].steers) {  // g / sqrt(g^2)
    attributes.beta1 = attributes.beta2 = 0;
    attributes.epsilon = 1e-30f;
  }
  // Elements count on from pool to pool, so that no two share a random number.
  for (size_t i = 0; i < pool; i++) attributes.first_element += layout->pools[i].count - layout->pools[i].padding;
  return attributes;
}

static dure_tensor tensor_of(const dure_tensor *tensors, size_t pool) {
  return tensors != NULL ? tensors[pool] : DURE_ABSENT;
}

void dure_optimizer_record_update(dure_program *program, const dure_parameter_layout *layout,
                                  const dure_optimizer_tensors *tensors, const dure_adamw_options *options) {
  dure_program_scope(program, "optimizer");
  float sign_values[DURE_STEP_COUNT];
  const uint64_t shape[1] = {DURE_STEP_COUNT};
  dure_adamw_sign_values(options, sign_values);
  for (size_t i = 0; i < layout->pool_count; i++) {
    const dure_adamw_tensors operands = {
        .gradient = tensors->gradients[i],
        .step = layout->pools[i].steers
                    ? dure_tensor_constant(program, "bias rate", DURE_DTYPE_F32, 1, shape, sign_values)
                    : tensors->step,
        .state = tensors->state,
        .random = tensors->random,
        .parameter = tensors->parameters[i],
        .master = tensor_of(tensors->masters, i),
        .first_moment = tensors->first_moments[i],
        .second_moment = tensors->second_moments[i],
        .first_scales = tensor_of(tensors->first_scales, i),
        .second_scales = tensor_of(tensors->second_scales, i),
    };
    dure_adamw_attributes attributes = dure_optimizer_attributes(layout, i, options);
    attributes.first_element += tensors->shard * (layout->pools[i].count / tensors->shards);
    dure_adamw_with(program, &operands, attributes);
  }
}
