#include "runtime/adamw_host.h"

#include <math.h>
#include <string.h>

#include "runtime/moment_code.h"
#include "runtime/random.h"
#include "runtime/stochastic.h"

enum { BLOCK = DURE_MOMENT_BLOCK };

// Random words of the moments come from a stream of their own.
#define MOMENT_STREAM 0x80000000u

dure_adamw_host_step dure_adamw_host_step_of(const dure_adamw_attributes *attributes, const float *step,
                                             const float *state, const uint32_t *random) {
  return (dure_adamw_host_step){
      .beta1 = attributes->beta1,
      .beta2 = attributes->beta2,
      .epsilon = attributes->epsilon,
      .weight_decay = attributes->weight_decay,
      .learning_rate = step[DURE_STEP_LEARNING_RATE],
      .correction1 = step[DURE_STEP_CORRECTION1],
      .correction2 = step[DURE_STEP_CORRECTION2],
      .scale = state[DURE_STATE_SCALE],
      .is_finite = state[DURE_STATE_FINITE] != 0,
      .random = random,
      .first_element = attributes->first_element,
  };
}

// ---- one block in f32 -------------------------------------------------------------------------------------------

// Plain loops over whole arrays: compilers make vectors of them.
typedef struct block {
  float g[BLOCK], p[BLOCK], m[BLOCK], v[BLOCK];
} block;

static inline float flush(float x) { return fabsf(x) < 0x1p-100f ? 0.0f : x; }

// ops.h, adamw. No operation here may be contracted (-ffp-contract=off).
static void update(const dure_adamw_host_step *s, block *b) {
  const float beta1 = s->beta1, beta2 = s->beta2, other1 = 1.0f - s->beta1, other2 = 1.0f - s->beta2;
  const float scale = s->scale, rate = s->learning_rate, decay = s->weight_decay, epsilon = s->epsilon;
  const float correction1 = s->correction1, correction2 = s->correction2;
  for (int i = 0; i < BLOCK; i++) {
    const float g = b->g[i] * scale;
    const float m = flush(beta1 * b->m[i] + other1 * g);
    const float v = flush(beta2 * b->v[i] + other2 * (g * g));
    const float direction = (m * correction1) * (1.0f / (sqrtf(v * correction2) + epsilon));
    b->m[i] = m;
    b->v[i] = v;
    b->p[i] = b->p[i] - rate * (direction + decay * b->p[i]);
  }
}

// ---- storage ----------------------------------------------------------------------------------------------------

static void load(dure_dtype type, const void *array, uint64_t first, uint64_t count, float *out_values) {
  if (type == DURE_DTYPE_F32) {
    memcpy(out_values, (const float *)array + first, count * sizeof(float));
  } else {
    const uint16_t *bits = (const uint16_t *)array + first;
    for (uint64_t i = 0; i < count; i++)
      out_values[i] = type == DURE_DTYPE_BF16 ? dure_bf16_to_float(bits[i]) : dure_f16_to_float(bits[i]);
  }
}

static void store(dure_dtype type, void *array, uint64_t first, uint64_t count, const float *values) {
  if (type == DURE_DTYPE_F32) {
    memcpy((float *)array + first, values, count * sizeof(float));
  } else {
    uint16_t *bits = (uint16_t *)array + first;
    for (uint64_t i = 0; i < count; i++)
      bits[i] = type == DURE_DTYPE_BF16 ? dure_bf16_from_float(values[i]) : dure_f16_from_float(values[i]);
  }
}

// One random word for each of the block's elements.
static void draw(const dure_adamw_host_step *s, uint64_t first, uint32_t stream, uint32_t out_words[BLOCK]) {
  const uint64_t seed = s->random[0] | (uint64_t)s->random[1] << 32;
  for (uint32_t i = 0; i < BLOCK; i += 4)
    dure_random_words(seed, s->random[2], s->random[3] ^ stream, (s->first_element + first + i) / 4, out_words + i);
}

static void store_stochastically(const dure_adamw_host_step *s, dure_dtype type, void *array, uint64_t first,
                                 uint64_t count, const float *values) {
  uint16_t *bits = (uint16_t *)array + first;
  uint32_t words[BLOCK];
  draw(s, first, 0, words);
  for (uint64_t i = 0; i < count; i++) {
    bits[i] = type == DURE_DTYPE_BF16 ? dure_bf16_round_stochastically(values[i], words[i])
                                      : dure_f16_round_stochastically(values[i], words[i]);
  }
}

static float largest_magnitude(const float *values, uint64_t count) {
  float largest = 0;
  for (uint64_t i = 0; i < count; i++) largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
  return largest;
}

// ---- moments ----------------------------------------------------------------------------------------------------

static void load_moments(const dure_adamw_host_arrays *a, uint64_t first, uint64_t count, block *b) {
  if (a->first_type == DURE_DTYPE_U8) {
    const float scale = a->first_scales[first / BLOCK];
    for (uint64_t i = 0; i < count; i++)
      b->m[i] = dure_first_moment_decode(((const uint8_t *)a->first_moment)[first + i], scale);
  } else {
    load(a->first_type, a->first_moment, first, count, b->m);
  }
  if (a->second_type == DURE_DTYPE_U8) {
    const float scale = a->second_scales[first / BLOCK];
    for (uint64_t i = 0; i < count; i++)
      b->v[i] = dure_second_moment_decode(((const uint8_t *)a->second_moment)[first + i], scale);
  } else {
    load(a->second_type, a->second_moment, first, count, b->v);
  }
}

// Noise: the word's low half for the first moment, its high half for the second.
static void store_moments(const dure_adamw_host_step *s, const dure_adamw_host_arrays *a, uint64_t first,
                          uint64_t count, const block *b) {
  const bool has_blocks = a->first_type == DURE_DTYPE_U8 || a->second_type == DURE_DTYPE_U8;
  uint32_t words[BLOCK];
  if (has_blocks && s->random != NULL) {
    draw(s, first, MOMENT_STREAM, words);
  } else if (has_blocks) {
    for (int i = 0; i < BLOCK; i++) words[i] = DURE_MOMENT_NEAREST * 0x10001u;
  }
  if (a->first_type == DURE_DTYPE_U8) {
    const float scale = largest_magnitude(b->m, count), reciprocal = scale > 0 ? 1.0f / scale : 0.0f;
    a->first_scales[first / BLOCK] = scale;
    for (uint64_t i = 0; i < count; i++)
      ((uint8_t *)a->first_moment)[first + i] = dure_first_moment_encode(b->m[i] * reciprocal, words[i] & 0xffffu);
  } else {
    store(a->first_type, a->first_moment, first, count, b->m);
  }
  if (a->second_type == DURE_DTYPE_U8) {
    const float scale = largest_magnitude(b->v, count), reciprocal = scale > 0 ? 1.0f / scale : 0.0f;
    a->second_scales[first / BLOCK] = scale;
    for (uint64_t i = 0; i < count; i++)
      ((uint8_t *)a->second_moment)[first + i] = dure_second_moment_encode(b->v[i] * reciprocal, words[i] >> 16);
  } else {
    store(a->second_type, a->second_moment, first, count, b->v);
  }
}

// ---- the update -------------------------------------------------------------------------------------------------

void dure_adamw_host(const dure_adamw_host_step *step, const dure_adamw_host_arrays *arrays, uint64_t first,
                     uint64_t count) {
  if (!step->is_finite) return;
  const bool rounds_stochastically =
      arrays->master == NULL && step->random != NULL && arrays->parameter_type != DURE_DTYPE_F32;
  block b;
  memset(&b, 0, sizeof(b));  // a last block that is short leaves zeros behind it
  for (const uint64_t end = first + count; first < end; first += BLOCK) {
    const uint64_t size = end - first < BLOCK ? end - first : BLOCK;
    load(arrays->gradient_type, arrays->gradient, first, size, b.g);
    load_moments(arrays, first, size, &b);
    if (arrays->master != NULL) {
      load(DURE_DTYPE_F32, arrays->master, first, size, b.p);
    } else {
      load(arrays->parameter_type, arrays->parameter, first, size, b.p);
    }
    update(step, &b);
    store_moments(step, arrays, first, size, &b);
    if (arrays->master != NULL) store(DURE_DTYPE_F32, arrays->master, first, size, b.p);
    if (rounds_stochastically) {
      store_stochastically(step, arrays->parameter_type, arrays->parameter, first, size, b.p);
    } else {
      store(arrays->parameter_type, arrays->parameter, first, size, b.p);
    }
  }
}
