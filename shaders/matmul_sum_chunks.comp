// The second stage of a matmul whose sums over k were cut into chunks: adds the chunks, in order, and does the epilogue.
//
//   a     [batch, K, M, N] f32, the chunks' sums: K counts chunks here          bias, c, residual ...   as in matmul.glsl
//
// An invocation adds four neighbouring columns. K FLOP an output, 4 K + 4 bytes an output.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

layout(local_size_x = 64) in;
layout(set = 0, binding = 0) readonly buffer Sums { float sums[]; };

void main() {
  const uint row = gl_WorkGroupID.y, column = gl_GlobalInvocationID.x * 4;
  vec4 t = vec4(0);
  for (uint chunk = 0; chunk < K; chunk++) {
    const uint at = a_offset + (gl_WorkGroupID.z * K + chunk) * a_batch + row * a_stride + column;
    for (uint i = 0; i < 4 && column + i < N; i++) t[i] += sums[at + i];
  }
  for (uint i = 0; i < 4; i++) t[i] += bias_of(column + i);
  store4(row, column, t);
}
