// AdamW with 8-bit moments (Dettmers et al. 2022, section 2.1) in blocks of 256 elements: runtime/moment_code.h has the
// code. A workgroup goes through a block twice, the second time with the block's largest moments known: what it computes
// twice comes from the cache and costs less than keeping it. Either moment may also be f32 or of 16 bits.
// Bytes: 14 a parameter in f32, 8 in bf16.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "adamw.glsl"
#include "workgroup.glsl"

layout(constant_id = 8) const uint blocks_each = 1;
layout(constant_id = 9) const bool is_aligned = false;  // every operand begins at a four of its elements
READ_TENSOR(0, gradient, gradient_type)
WRITE_TENSOR(4, parameter, parameter_type)
WRITE_TENSOR(5, master, F32)
WRITE_TENSOR(6, first_moment, first_type)
WRITE_TENSOR(7, second_moment, second_type)
layout(set = 0, binding = 8) buffer FirstScales { float first_scales[]; };
layout(set = 0, binding = 9) buffer SecondScales { float second_scales[]; };

const uint U8 = 3;
const uint BLOCK_FOURS = 64;
const uint NEAREST = 0x80008000u;

WORKGROUP_REDUCTION(float, workgroup_maximum, workgroup_maxima, subgroupMax, max)

uint fours() { return (count + 3) / 4; }
// Of four i: all but the last have 4 elements.
uint size_of(uint i) { return min(4, count - 4 * i); }
bool is_whole(uint i) { return is_aligned && size_of(i) == 4; }

#define DEFINE_FOURS(NAME, OFFSET)                                                                    \
  vec4 load_##NAME##_up_to_four(uint i) {                                                             \
    if (is_whole(i)) return load_##NAME##_four(OFFSET / 4 + i);                                       \
    vec4 values = vec4(0.0);                                                                          \
    for (uint k = 0; k < size_of(i); k++) values[k] = load_##NAME##_element(OFFSET + 4 * i + k);      \
    return values;                                                                                    \
  }
#define DEFINE_FOUR_STORES(NAME, OFFSET)                                                              \
  void store_##NAME##_up_to_four(uint i, vec4 values) {                                               \
    if (is_whole(i)) store_##NAME##_four(OFFSET / 4 + i, values);                                     \
    else for (uint k = 0; k < size_of(i); k++) store_##NAME##_element(OFFSET + 4 * i + k, values[k]); \
  }
DEFINE_FOURS(gradient, gradient_offset)
DEFINE_FOURS(parameter, parameter_offset)
DEFINE_FOURS(master, master_offset)
DEFINE_FOURS(first_moment, first_offset)
DEFINE_FOURS(second_moment, second_offset)
DEFINE_FOUR_STORES(parameter, parameter_offset)
DEFINE_FOUR_STORES(master, master_offset)
DEFINE_FOUR_STORES(first_moment, first_offset)
DEFINE_FOUR_STORES(second_moment, second_offset)

uvec4 bytes_of(uint word) { return uvec4(word, word >> 8, word >> 16, word >> 24) & 0xffu; }
uint word_of(uvec4 bytes) { return bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24; }
// Bits of a word's first bytes that belong to four i.
uint mask_of(uint i) { return 0xffffffffu >> (8 * (4 - size_of(i))); }

// The codes of four i (offsets of 8-bit moments count bytes and are multiples of 4).
void store_first_codes(uint i, uint word) {
  const uint at = first_offset / 4 + i;
  if (size_of(i) == 4) {
    first_moment_words[at] = word;
  } else {
    atomicAnd(first_moment_words[at], ~mask_of(i));
    atomicOr(first_moment_words[at], word & mask_of(i));
  }
}
void store_second_codes(uint i, uint word) {
  const uint at = second_offset / 4 + i;
  if (size_of(i) == 4) {
    second_moment_words[at] = word;
  } else {
    atomicAnd(second_moment_words[at], ~mask_of(i));
    atomicOr(second_moment_words[at], word & mask_of(i));
  }
}

// The moments of four i after this step; elements past the end give zero. Old scales.
void new_moments(Update u, uint i, float first_scale, float second_scale, out vec4 m, out vec4 v) {
  const uint mask = mask_of(i);
  if (first_type == U8) m = first_moment_decode(bytes_of(first_moment_words[first_offset / 4 + i] & mask), first_scale);
  else m = load_first_moment_up_to_four(i);
  if (second_type == U8) v = second_moment_decode(bytes_of(second_moment_words[second_offset / 4 + i] & mask), second_scale);
  else v = load_second_moment_up_to_four(i);
  moments_of(u, load_gradient_up_to_four(i), m, v);
}

void store_parameter_stochastically(uint i, vec4 value) {
  const uvec4 words = random_words(i, 0);
  const uvec4 bits =
      parameter_type == F16 ? f16_bits_stochastic(value, words) : bf16_bits_stochastic(value, words);
  if (is_whole(i)) {
    parameter_pairs[parameter_offset / 4 + i] = bits.xz | bits.yw << 16;
  } else {
    for (uint k = 0; k < size_of(i); k++) {
      const uint at = parameter_offset + 4 * i + k;
      atomicAnd(parameter_words[at / 2], at % 2 == 0 ? 0xffff0000u : 0xffffu);
      atomicOr(parameter_words[at / 2], bits[k] << (at % 2 * 16));
    }
  }
}

float largest(vec4 x) { return max(max(x.x, x.y), max(x.z, x.w)); }

void update_block(Update u, uint block) {
  const uint begin = block * BLOCK_FOURS, end = min(begin + BLOCK_FOURS, fours());
  float old_first = 0.0, old_second = 0.0;
  if (first_type == U8) old_first = first_scales[first_scales_offset + block];
  if (second_type == U8) old_second = second_scales[second_scales_offset + block];
  float most_first = 0.0, most_second = 0.0;
  vec4 m, v;
  for (uint i = begin + gl_LocalInvocationIndex; i < end; i += gl_WorkGroupSize.x) {
    new_moments(u, i, old_first, old_second, m, v);
    most_first = max(most_first, largest(abs(m)));
    most_second = max(most_second, largest(v));
  }
  most_first = workgroup_maximum(most_first);
  barrier();  // the old scales have been read, and the reduction's memory may be used again
  most_second = workgroup_maximum(most_second);
  const float first_ratio = most_first > 0.0 ? 1.0 / most_first : 0.0;
  const float second_ratio = most_second > 0.0 ? 1.0 / most_second : 0.0;
  if (gl_LocalInvocationIndex == 0) {
    if (first_type == U8) first_scales[first_scales_offset + block] = most_first;
    if (second_type == U8) second_scales[second_scales_offset + block] = most_second;
  }
  for (uint i = begin + gl_LocalInvocationIndex; i < end; i += gl_WorkGroupSize.x) {
    new_moments(u, i, old_first, old_second, m, v);
    const uvec4 noise = has_random ? random_words(i, MOMENT_STREAM) : uvec4(NEAREST);
    const vec4 before = has_master ? load_master_up_to_four(i) : load_parameter_up_to_four(i);
    const vec4 p = parameter_of(u, before, m, v);
    if (first_type == U8) store_first_codes(i, word_of(first_moment_encode(m * first_ratio, noise & 0xffffu)));
    else store_first_moment_up_to_four(i, m);
    if (second_type == U8) store_second_codes(i, word_of(second_moment_encode(v * second_ratio, noise >> 16)));
    else store_second_moment_up_to_four(i, v);
    if (has_master) store_master_up_to_four(i, p);
    if (has_random && !has_master && parameter_type != F32) store_parameter_stochastically(i, p);
    else store_parameter_up_to_four(i, p);
  }
}

void main() {
  if (!step_counts()) return;
  const Update u = read_update();
  const uint first = workgroup_index() * blocks_each;
  for (uint b = 0; b < blocks_each; b++) {
    if ((first + b) * BLOCK_FOURS < fours()) update_block(u, first + b);  // the same for the whole workgroup
  }
}
