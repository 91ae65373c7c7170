// Global gradient norm, clipping, and AdamW (Loshchilov and Hutter 2019, algorithm 2).
#include <math.h>

#include "runtime/reference/reference.h"

enum { CHUNK = DURE_REFERENCE_CHUNK };

dure_status dure_reference_gradient_clip(const dure_op_call *call) {
  const dure_operand *square_sum = &call->operands[0], *step = &call->operands[1], *state = &call->operands[2];
  double norm = sqrt(dure_reference_get(square_sum, 0));
  double clip = dure_reference_get(step, DURE_STEP_CLIP);
  double scale = 1;
  if (clip > 0 && isfinite(clip) && clip / (norm + 1e-6) < 1) scale = clip / (norm + 1e-6);
  dure_reference_put(state, DURE_STATE_NORM, norm, false);
  dure_reference_put(state, DURE_STATE_SCALE, scale, false);
  if (!isfinite(norm)) dure_reference_put(state, DURE_STATE_FINITE, 0, false);
  return NULL;
}

typedef struct adamw_step {
  double beta1, beta2, epsilon, weight_decay, learning_rate, correction1, correction2, scale;
} adamw_step;

static adamw_step adamw_step_of(const dure_op_call *call) {
  const dure_adamw_attributes *attributes = &call->attributes.adamw;
  const dure_operand *step = &call->operands[1], *state = &call->operands[2];
  return (adamw_step){
      .beta1 = (double)attributes->beta1,
      .beta2 = (double)attributes->beta2,
      .epsilon = (double)attributes->epsilon,
      .weight_decay = (double)attributes->weight_decay,
      .learning_rate = dure_reference_get(step, DURE_STEP_LEARNING_RATE),
      .correction1 = dure_reference_get(step, DURE_STEP_CORRECTION1),
      .correction2 = dure_reference_get(step, DURE_STEP_CORRECTION2),
      .scale = dure_reference_get(state, DURE_STATE_SCALE),
  };
}

dure_status dure_reference_adamw(const dure_op_call *call) {
  const dure_operand *gradient = &call->operands[0], *state = &call->operands[2], *parameter = &call->operands[3];
  const dure_operand *first_moment = &call->operands[4], *second_moment = &call->operands[5];
  if (dure_reference_get(state, DURE_STATE_FINITE) == 0) return NULL;
  adamw_step s = adamw_step_of(call);
  uint64_t element_count = dure_operand_count(parameter);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = element_count - first < CHUNK ? element_count - first : CHUNK;
    double g[CHUNK], p[CHUNK], m[CHUNK], v[CHUNK];
    dure_reference_load(gradient, first, count, g);
    dure_reference_load(parameter, first, count, p);
    dure_reference_load(first_moment, first, count, m);
    dure_reference_load(second_moment, first, count, v);
    for (uint64_t i = 0; i < count; i++) {
      g[i] *= s.scale;
      m[i] = s.beta1 * m[i] + (1 - s.beta1) * g[i];
      v[i] = s.beta2 * v[i] + (1 - s.beta2) * g[i] * g[i];
      p[i] -=
          s.learning_rate * (m[i] * s.correction1 / (sqrt(v[i] * s.correction2) + s.epsilon) + s.weight_decay * p[i]);
    }
    dure_reference_store(parameter, first, count, p, false);
    dure_reference_store(first_moment, first, count, m, false);
    dure_reference_store(second_moment, first, count, v, false);
  }
  return NULL;
}
