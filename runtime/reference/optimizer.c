// Global gradient norm, clipping, and AdamW (Loshchilov and Hutter 2019, algorithm 2).
#include <math.h>

#include "runtime/moment_code.h"
#include "runtime/random.h"
#include "runtime/reference/reference.h"
#include "runtime/stochastic.h"

enum { CHUNK = DURE_REFERENCE_CHUNK };

static double power_of_two_within(double value, double least, double most) {
  return value < least ? least : value > most ? most : value;
}

// What dynamic loss scaling does after a step (Micikevicius et al. 2018, section 3.2).
static void scale_losses(const dure_op_call *call, bool is_finite) {
  const dure_operand *state = &call->operands[2];
  const uint32_t growth_interval = call->attributes.gradient_clip.growth_interval;
  double loss_scale = dure_reference_get(state, DURE_STATE_LOSS_SCALE);
  double good_steps = is_finite ? dure_reference_get(state, DURE_STATE_GOOD_STEPS) + 1 : 0;
  if (!is_finite) {
    loss_scale = power_of_two_within(loss_scale / 2, 1, 0x1p24);
    dure_reference_put(state, DURE_STATE_SKIPPED, 1, true);
  } else if (growth_interval > 0 && good_steps >= growth_interval) {
    loss_scale = power_of_two_within(loss_scale * 2, 1, 0x1p24);
    good_steps = 0;
  }
  dure_reference_put(state, DURE_STATE_FINITE, is_finite ? 1 : 0, false);
  dure_reference_put(state, DURE_STATE_LOSS_SCALE, loss_scale, false);
  dure_reference_put(state, DURE_STATE_GOOD_STEPS, good_steps, false);
}

dure_status dure_reference_gradient_clip(const dure_op_call *call) {
  const dure_operand *square_sum = &call->operands[0], *step = &call->operands[1], *state = &call->operands[2];
  double loss_scale = dure_reference_get(state, DURE_STATE_LOSS_SCALE);
  double norm = sqrt(dure_reference_get(square_sum, 0)) / loss_scale;
  double clip = dure_reference_get(step, DURE_STEP_CLIP);
  double scale = 1;
  if (clip > 0 && isfinite(clip) && clip / (norm + 1e-6) < 1) scale = clip / (norm + 1e-6);
  dure_reference_put(state, DURE_STATE_NORM, norm, false);
  dure_reference_put(state, DURE_STATE_SCALE, scale / loss_scale, false);
  if (call->attributes.gradient_clip.is_dynamic) {
    scale_losses(call, isfinite(norm));
  } else if (!isfinite(norm)) {
    dure_reference_put(state, DURE_STATE_FINITE, 0, false);
  }
  return NULL;
}

// ---- adamw ------------------------------------------------------------------------------------------------------

enum { GRADIENT, STEP, STATE, RANDOM, PARAMETER, MASTER, FIRST_MOMENT, SECOND_MOMENT, FIRST_SCALES, SECOND_SCALES };

typedef struct adamw_step {
  double beta1, beta2, epsilon, weight_decay, learning_rate, correction1, correction2, scale;
} adamw_step;

static adamw_step adamw_step_of(const dure_op_call *call) {
  const dure_adamw_attributes *attributes = &call->attributes.adamw;
  const dure_operand *step = &call->operands[STEP], *state = &call->operands[STATE];
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

static double flush(double x) { return fabs(x) < 0x1p-100 ? 0 : x; }

// The random word of element `index` of a call; stream 0 for the parameter, 2^31 for the moments.
static uint32_t random_word(const dure_op_call *call, uint64_t index, uint32_t stream) {
  const dure_operand *random = &call->operands[RANDOM];
  const uint64_t seed = dure_reference_get_u32(random, 0) | (uint64_t)dure_reference_get_u32(random, 1) << 32;
  const uint64_t element = call->attributes.adamw.first_element + index;
  uint32_t words[4];
  dure_random_words(seed, dure_reference_get_u32(random, 2), dure_reference_get_u32(random, 3) ^ stream, element / 4,
                    words);
  return words[element % 4];
}

static void *data_of(const dure_operand *operand) { return (uint8_t *)operand->buffer->mapped + operand->offset; }

static void store_parameter(const dure_op_call *call, uint64_t first, uint64_t count, const double *p) {
  const dure_operand *parameter = &call->operands[PARAMETER];
  const bool is_drawn = dure_dtype_size(parameter->dtype) == 2 && dure_operand_is_present(&call->operands[RANDOM]) &&
                        !dure_operand_is_present(&call->operands[MASTER]);
  if (!is_drawn) {
    dure_reference_store(parameter, first, count, p, false);
    return;
  }
  uint16_t *bits = (uint16_t *)data_of(parameter) + first;
  for (uint64_t i = 0; i < count; i++) {
    const uint32_t word = random_word(call, first + i, 0);
    bits[i] = parameter->dtype == DURE_DTYPE_BF16 ? dure_bf16_round_stochastically((float)p[i], word)
                                                  : dure_f16_round_stochastically((float)p[i], word);
  }
}

// ---- moments; first is a multiple of DURE_MOMENT_BLOCK ----

static void load_moment(const dure_op_call *call, uint32_t moment, uint64_t first, uint64_t count, double *out_values) {
  const dure_operand *operand = &call->operands[moment];
  if (operand->dtype != DURE_DTYPE_U8) {
    dure_reference_load(operand, first, count, out_values);
    return;
  }
  const dure_operand *scales = &call->operands[moment == FIRST_MOMENT ? FIRST_SCALES : SECOND_SCALES];
  const uint8_t *codes = (const uint8_t *)data_of(operand) + first;
  for (uint64_t i = 0; i < count; i++) {
    const float scale = (float)dure_reference_get(scales, (first + i) / DURE_MOMENT_BLOCK);
    out_values[i] = (double)(moment == FIRST_MOMENT ? dure_first_moment_decode(codes[i], scale)
                                                    : dure_second_moment_decode(codes[i], scale));
  }
}

static void store_block(const dure_op_call *call, uint32_t moment, uint64_t first, uint64_t count,
                        const double *values) {
  const dure_operand *scales = &call->operands[moment == FIRST_MOMENT ? FIRST_SCALES : SECOND_SCALES];
  uint8_t *codes = (uint8_t *)data_of(&call->operands[moment]) + first;
  double scale = 0;
  for (uint64_t i = 0; i < count; i++) scale = fmax(scale, fabs(values[i]));
  dure_reference_put(scales, first / DURE_MOMENT_BLOCK, scale, false);
  for (uint64_t i = 0; i < count; i++) {
    uint32_t noise = DURE_MOMENT_NEAREST;
    if (dure_operand_is_present(&call->operands[RANDOM])) {
      const uint32_t word = random_word(call, first + i, 1u << 31);
      noise = moment == FIRST_MOMENT ? word & 0xffffu : word >> 16;
    }
    const float ratio = scale > 0 ? (float)(values[i] / scale) : 0;
    codes[i] =
        moment == FIRST_MOMENT ? dure_first_moment_encode(ratio, noise) : dure_second_moment_encode(ratio, noise);
  }
}

static void store_moment(const dure_op_call *call, uint32_t moment, uint64_t first, uint64_t count,
                         const double *values) {
  if (call->operands[moment].dtype != DURE_DTYPE_U8) {
    dure_reference_store(&call->operands[moment], first, count, values, false);
    return;
  }
  for (uint64_t i = 0; i < count; i += DURE_MOMENT_BLOCK)
    store_block(call, moment, first + i, count - i < DURE_MOMENT_BLOCK ? count - i : DURE_MOMENT_BLOCK, values + i);
}

dure_status dure_reference_adamw(const dure_op_call *call) {
  const dure_operand *operands = call->operands;
  if (dure_reference_get(&operands[STATE], DURE_STATE_FINITE) == 0) return NULL;
  const bool has_master = dure_operand_is_present(&operands[MASTER]);
  const dure_operand *updated = &operands[has_master ? MASTER : PARAMETER];
  adamw_step s = adamw_step_of(call);
  uint64_t element_count = dure_operand_count(updated);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = element_count - first < CHUNK ? element_count - first : CHUNK;
    double g[CHUNK], p[CHUNK], m[CHUNK], v[CHUNK];
    dure_reference_load(&operands[GRADIENT], first, count, g);
    dure_reference_load(updated, first, count, p);
    load_moment(call, FIRST_MOMENT, first, count, m);
    load_moment(call, SECOND_MOMENT, first, count, v);
    for (uint64_t i = 0; i < count; i++) {
      g[i] *= s.scale;
      m[i] = flush(s.beta1 * m[i] + (1 - s.beta1) * g[i]);
      v[i] = flush(s.beta2 * v[i] + (1 - s.beta2) * g[i] * g[i]);
      p[i] -=
          s.learning_rate * (m[i] * s.correction1 / (sqrt(v[i] * s.correction2) + s.epsilon) + s.weight_decay * p[i]);
    }
    if (has_master) dure_reference_store(&operands[MASTER], first, count, p, false);
    store_parameter(call, first, count, p);
    store_moment(call, FIRST_MOMENT, first, count, m);
    store_moment(call, SECOND_MOMENT, first, count, v);
  }
  return NULL;
}
