// What the AdamW kernels share: the arguments of runtime/vulkan/ops_optimizer.c and the update of runtime/ops.h, whose
// order of operations `precise` keeps, so that the host's version (runtime/adamw_host.c) gives the same bits.
#ifndef ADAMW_GLSL
#define ADAMW_GLSL
#include "grid.glsl"
#include "random.glsl"
#include "stochastic.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint gradient_type = F32;
layout(constant_id = 3) const uint parameter_type = F32;
layout(constant_id = 4) const uint first_type = F32;
layout(constant_id = 5) const uint second_type = F32;
layout(constant_id = 6) const bool has_master = false;
layout(constant_id = 7) const bool has_random = false;

layout(set = 0, binding = 1) readonly buffer Step { float step_values[]; };  // DURE_STEP_...
layout(set = 0, binding = 2) readonly buffer State { float state[]; };       // DURE_STATE_...
layout(set = 0, binding = 3) readonly buffer Random { uint random_key[]; };  // seed low, seed high, step, stream
layout(push_constant) uniform Push {
  uint count;  // elements
  uint gradient_offset, step_offset, state_offset, random_offset;
  uint parameter_offset, master_offset, first_offset, second_offset, first_scales_offset, second_scales_offset;
  uint first_group_low, first_group_high;  // element 0 is the first of this group of four, for random words
  float beta1, beta2, epsilon, weight_decay;
};

const uint MOMENT_STREAM = 0x80000000u;

bool step_counts() { return state[state_offset + 2] != 0.0; }

// Four words for the elements of a group of four.
uvec4 random_words(uint group, uint stream) {
  uint carry;
  const uint low = uaddCarry(first_group_low, group, carry);
  const uvec2 seed = uvec2(random_key[random_offset], random_key[random_offset + 1]);
  return philox(uvec4(low, first_group_high + carry, random_key[random_offset + 2],
                      random_key[random_offset + 3] ^ stream), seed);
}

float flushed(float x) { return abs(x) < 7.888609052210118e-31 ? 0.0 : x; }
vec4 flushed(vec4 x) { return mix(x, vec4(0.0), lessThan(abs(x), vec4(7.888609052210118e-31))); }  // 2^-100

struct Update {
  float scale, learning_rate, correction1, correction2, other1, other2;
};
Update read_update() {
  return Update(state[state_offset + 1], step_values[step_offset], step_values[step_offset + 1],
                step_values[step_offset + 2], 1.0 - beta1, 1.0 - beta2);
}

#define DEFINE_UPDATE(TYPE)                                                                    \
  void moments_of(Update u, TYPE gradient, inout TYPE m, inout TYPE v) {                       \
    precise TYPE g = gradient * u.scale;                                                       \
    precise TYPE first = beta1 * m + u.other1 * g;                                             \
    precise TYPE second = beta2 * v + u.other2 * (g * g);                                      \
    m = flushed(first);                                                                        \
    v = flushed(second);                                                                       \
  }                                                                                            \
  TYPE parameter_of(Update u, TYPE p, TYPE m, TYPE v) {                                        \
    precise TYPE root = sqrt(v * u.correction2) + epsilon;                                     \
    precise TYPE direction = (m * u.correction1) * (1.0 / root);                               \
    precise TYPE result = p - u.learning_rate * (direction + weight_decay * p);                \
    return result;                                                                             \
  }
DEFINE_UPDATE(float)
DEFINE_UPDATE(vec4)

#endif
