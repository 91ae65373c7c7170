// What the kernels of matmul_q8 share: c = a b^T + bias of signed 8-bit integers in blocks of 32, a scale each (runtime/ops.h).
//
//   a [M, K], b [N, K]    words of four integers, the first in the lowest byte; a row is K / 4 words, a block 8
//   a_scales [M, K / 32], b_scales [N, K / 32]    f32
//   bias [N], c [M, N]    of type STORAGE_TYPE; rows of c are c_stride apart
// Offsets count words in a and b (multiples of four), floats in scales, elements in bias and c.
//
// dot(a, b, sum): sum + the four products. The integers' sum over a block stays below 2^19, so it is exact as an integer
// (with -DDOT_PRODUCT one instruction, else shifts and multiplications) and as a float.
#ifndef MATMUL_Q8_GLSL
#define MATMUL_Q8_GLSL
#extension GL_EXT_control_flow_attributes : require
#include "value.glsl"

layout(push_constant) uniform Push {
  uint M, N, blocks;
  uint c_stride;
  uint a_offset, a_scales_offset, b_offset, b_scales_offset, bias_offset, c_offset;
};
// Constants 0 and 1 belong to lib/workgroup.glsl where it is used.
layout(constant_id = 2) const uint STORAGE_TYPE = 0;
layout(constant_id = 3) const bool has_bias = false;
layout(constant_id = 4) const bool accumulates = false;

layout(set = 0, binding = 1) readonly buffer a_scales_block { float a_scales[]; };
layout(set = 0, binding = 3) readonly buffer b_scales_block { float b_scales[]; };
READ_TENSOR(4, bias, STORAGE_TYPE)
WRITE_TENSOR(5, c, STORAGE_TYPE)

#define UNROLL [[unroll]]

#ifdef DOT_PRODUCT
#extension GL_EXT_spirv_intrinsics : require
// OpSDotAccSat over packed words: capabilities DotProductInput4x8BitPacked and DotProduct.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4453)
int dot_accumulate(uint a, uint b, int sum, spirv_literal uint packed_format);
#define DOT(a, b, sum) dot_accumulate(a, b, sum, 0)
#else
#define BYTE(word, i) bitfieldExtract(int(word), 8 * (i), 8)
#define DOT(a, b, sum) \
  ((sum) + BYTE(a, 0) * BYTE(b, 0) + BYTE(a, 1) * BYTE(b, 1) + BYTE(a, 2) * BYTE(b, 2) + BYTE(a, 3) * BYTE(b, 3))
#endif

// The four integers of a word as floats.
vec4 unpack(uint word) {
  const ivec4 bytes = ivec4(uvec4(word << 24, word << 16, word << 8, word)) >> 24;
  return vec4(bytes);
}

void store_result(uint row, uint column, float sum) {
  if (row >= M || column >= N) return;
  const uint place = c_offset + row * c_stride + column;
  if (has_bias) sum += load_bias_element(bias_offset + column);
  if (accumulates) sum += load_c_element(place);
  store_c_element(place, sum);
}

#endif
