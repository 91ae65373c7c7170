// What the matmul kernels for GPUs share: their operands by fours and eights, and how sums leave.
#ifndef MATMUL_GPU_GLSL
#define MATMUL_GPU_GLSL

#include "matmul_place.glsl"
#include "value.glsl"
layout(constant_id = 15) const uint FACTOR_TYPE = F32;     // of a and b
layout(constant_id = 17) const bool A_WIDE = false;       // a's lines begin at 16 bytes and are whole groups of 16 bytes
layout(constant_id = 18) const bool B_WIDE = false;

// Elements of a line from element `at` of the buffer on; `left`: how many of them exist. The others are 0.
#define LINE_LOADS(NAME, TYPE, IS_WIDE)                                                                 \
  vec4 four_of_##NAME(uint at, int left) {                                                              \
    if (left <= 0) return vec4(0);                                                                      \
    if (IS_WIDE) return load_##NAME##_four(at / 4);                                                     \
    vec4 value = vec4(0);                                                                               \
    [[unroll]] for (int i = 0; i < 4; i++) {                                                            \
      if (i < left) value[i] = load_##NAME##_element(at + i);                                           \
    }                                                                                                   \
    return value;                                                                                       \
  }                                                                                                     \
  uvec4 eight_of_##NAME(uint at, int left) { /* 16-bit types: as they are */                            \
    if (left <= 0) return uvec4(0);                                                                     \
    if (IS_WIDE) return NAME##_fours[at / 8];                                                           \
    uvec4 value = uvec4(0);                                                                             \
    [[unroll]] for (int i = 0; i < 8; i++) {                                                            \
      const uint element = i < left ? NAME##_words[(at + i) / 2] >> (at + i) % 2 * 16 & 0xffffu : 0;    \
      value[i / 2] |= element << i % 2 * 16;                                                            \
    }                                                                                                   \
    return value;                                                                                       \
  }
TENSOR_WORDS(0, a, readonly)
TENSOR_WORDS(1, b, readonly)
TENSOR_LOADS(a, FACTOR_TYPE)
TENSOR_LOADS(b, FACTOR_TYPE)
LINE_LOADS(a, FACTOR_TYPE, A_WIDE)
LINE_LOADS(b, FACTOR_TYPE, B_WIDE)

// Four sums of a row: with more than one chunk as they are, else through the epilogue.
void finish4(uint row, uint column, vec4 sums) {
  if ((flags & HAS_BIAS) != 0) sums += vec4(bias_of(column), bias_of(column + 1), bias_of(column + 2), bias_of(column + 3));
  store4(row, column, sums);
}

#endif
