// AdamW (Loshchilov and Hutter 2019, algorithm 2) in place; nothing at all once `state` says that the step does not count.
// runtime/ops.h says what master, random and the types do; the driver folds the branches on specialisation constants.
// Bytes: 28 a parameter in f32, 30 with a bf16 gradient and parameter and a master, 20 without; about 15 FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "adamw.glsl"

layout(constant_id = 1) const uint steps = 1;
READ_TENSOR(0, gradient, gradient_type)
WRITE_TENSOR(4, parameter, parameter_type)
WRITE_TENSOR(5, master, F32)
WRITE_TENSOR(6, first_moment, first_type)
WRITE_TENSOR(7, second_moment, second_type)

#if WIDTH == 4
void store_parameter_stochastically(uint i, vec4 value) {
  const uvec4 words = random_words(i, 0);
  const uvec4 bits =
      parameter_type == F16 ? f16_bits_stochastic(value, words) : bf16_bits_stochastic(value, words);
  parameter_pairs[parameter_offset / 4 + i] = bits.xz | bits.yw << 16;
}
#else
void store_parameter_stochastically(uint i, float value) {
  const uvec4 words = uvec4(random_words(i / 4, 0)[i % 4]);
  const uint bits = parameter_type == F16 ? f16_bits_stochastic(vec4(value), words).x
                                          : bf16_bits_stochastic(vec4(value), words).x;
  const uint at = parameter_offset + i;
  atomicAnd(parameter_words[at / 2], at % 2 == 0 ? 0xffff0000u : 0xffffu);
  atomicOr(parameter_words[at / 2], bits << (at % 2 * 16));
}
#endif

void main() {
  if (!step_counts()) return;
  const Update u = read_update();
  for (uint s = 0, i = workgroup_index() * gl_WorkGroupSize.x * steps + gl_LocalInvocationIndex;
       s < steps && i < count / WIDTH; s++, i += gl_WorkGroupSize.x) {
    VALUE m = load_first_moment(first_offset / WIDTH + i), v = load_second_moment(second_offset / WIDTH + i);
    moments_of(u, load_gradient(gradient_offset / WIDTH + i), m, v);
    store_first_moment(first_offset / WIDTH + i, m);
    store_second_moment(second_offset / WIDTH + i, v);
    const VALUE before = has_master ? load_master(master_offset / WIDTH + i) : load_parameter(parameter_offset / WIDTH + i);
    const VALUE p = parameter_of(u, before, m, v);
    if (has_master) store_master(master_offset / WIDTH + i, p);
    if (has_random && !has_master && parameter_type != F32) store_parameter_stochastically(i, p);
    else store_parameter(parameter_offset / WIDTH + i, p);
  }
}
