// What the kernels of matmul_blocks share: c = a b^T + bias + residual, b [N, K] packed (lib/blocks.glsl).
// Offsets count elements of a, bias, residual and c, elements of scales and minima, words of codes (multiples of four). Rows
// of residual and of c are residual_stride and c_stride apart.
#ifndef MATMUL_BLOCKS_GLSL
#define MATMUL_BLOCKS_GLSL
#extension GL_EXT_control_flow_attributes : require
#include "blocks.glsl"
#include "value.glsl"

layout(push_constant) uniform Push {
  uint M, N, blocks;
  uint residual_stride, c_stride;
  uint a_offset, codes_offset, scales_offset, minima_offset, bias_offset, residual_offset, c_offset;
  uint flags;
};
layout(constant_id = 4) const uint STORAGE = F32;
// Flags, which cost little where they are looked at, and not constants: a pipeline takes some drivers half a second.
const uint HAS_BIAS = 1, HAS_RESIDUAL = 2;

READ_TENSOR(2, scales, SCALE_TYPE)
READ_TENSOR(3, minima, SCALE_TYPE)
READ_TENSOR(4, bias, STORAGE)
READ_TENSOR(5, residual, STORAGE)
WRITE_TENSOR(6, c, STORAGE)

#define UNROLL [[unroll]]

// Of half `part` of a block.
float scale_of(uint block, uint part) { return load_scales_element(scales_offset + scale_place(block, part)); }
float minimum_of(uint block, uint part) {
  float minimum = 0;
  if (has_minima) minimum = load_minima_element(minima_offset + scale_place(block, part));
  return minimum;
}

float bias_of(uint column) {
  float bias = 0;
  if ((flags & HAS_BIAS) != 0 && column < N) bias = load_bias_element(bias_offset + column);
  return bias;
}

void store_result(uint row, uint column, float sum) {
  if (row >= M || column >= N) return;
  if ((flags & HAS_RESIDUAL) != 0) sum += load_residual_element(residual_offset + row * residual_stride + column);
  store_c_element(c_offset + row * c_stride + column, sum);
}

#endif
