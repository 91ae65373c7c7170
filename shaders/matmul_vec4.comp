// matmul in registers, reading storage buffers 4 floats at a time: for drivers without fast shared memory or texel buffers.
//
// One invocation computes ROWS x (4 * QUADS) of c; a workgroup of WIDTH x HEIGHT invocations computes a tile of
// (ROWS * HEIGHT) x (4 * QUADS * WIDTH). Neighbouring invocations own neighbouring columns. No shared memory, no subgroups.
//
//   x ->  invocation 0: 4 columns | invocation 1: 4 columns | ...   (the next quad lies 4 * WIDTH columns on)
//   ROWS rows each, in vec4 registers; k advances by 4
//
// Needs: rows of a and b that begin at multiples of 4 elements; the dimensions that lie contiguous in a and b multiples of 4.
// 2 K FLOP an output; 4 K (1 / ROWS + 1 / (4 QUADS)) + 4 bytes an output. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

layout(local_size_x = WIDTH, local_size_y = HEIGHT) in;
layout(set = 0, binding = 0) readonly buffer A { vec4 a[]; };
layout(set = 0, binding = 1) readonly buffer B { vec4 b[]; };

void main() {
  const uint row0 = (gl_WorkGroupID.y * HEIGHT + gl_LocalInvocationID.y) * ROWS;
  const uint column0 = gl_WorkGroupID.x * (4 * QUADS * WIDTH) + gl_LocalInvocationID.x * 4;
  const uint a0 = (a_offset + gl_WorkGroupID.z * a_batch) / 4, b0 = (b_offset + gl_WorkGroupID.z * b_batch) / 4;
  vec4 first[QUADS];
  UNROLL for (int j = 0; j < QUADS; j++)
    UNROLL for (int e = 0; e < 4; e++) first[j][e] = bias_of(column0 + j * (4 * WIDTH) + e);
  vec4 sum[ROWS][QUADS];
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < QUADS; j++) sum[i][j] = first[j];

  // Rows and columns outside are read as the last ones: never stored.
#ifdef TRANSPOSE_A
  uint a_at[ROWS / 4];
  UNROLL for (int i = 0; i < ROWS / 4; i++) a_at[i] = a0 + min(row0 + 4 * i, (M - 1) / 4 * 4) / 4;
#else
  uint a_at[ROWS];
  UNROLL for (int i = 0; i < ROWS; i++) a_at[i] = a0 + min(row0 + i, M - 1) * (a_stride / 4);
#endif
#ifdef TRANSPOSE_B
  uint b_at[QUADS * 4];
  UNROLL for (int j = 0; j < QUADS * 4; j++) b_at[j] = b0 + min(column0 + j / 4 * (4 * WIDTH) + j % 4, N - 1) * (b_stride / 4);
#else
  uint b_at[QUADS];
  UNROLL for (int j = 0; j < QUADS; j++) b_at[j] = b0 + min(column0 + j * (4 * WIDTH), (N - 1) / 4 * 4) / 4;
#endif

#if defined(TRANSPOSE_A) && !defined(TRANSPOSE_B)
  // Both contiguous across k: outer products, 4 values of k a turn and then those left over.
#define OUTER(k)                                                                              \
  {                                                                                           \
    vec4 left[ROWS / 4];                                                                      \
    UNROLL for (int i = 0; i < ROWS / 4; i++) left[i] = a[a_at[i] + (k) * (a_stride / 4)];    \
    UNROLL for (int j = 0; j < QUADS; j++) {                                                  \
      const vec4 right = b[b_at[j] + (k) * (b_stride / 4)];                                   \
      UNROLL for (int i = 0; i < ROWS; i++) sum[i][j] = fma(vec4(left[i / 4][i % 4]), right, sum[i][j]); \
    }                                                                                         \
  }
  const uint K4 = K / 4 * 4;
  for (uint k = 0; k < K4; k += 4) {
    OUTER(k)
    OUTER(k + 1)
    OUTER(k + 2)
    OUTER(k + 3)
  }
  for (uint k = K4; k < K; k++) OUTER(k)
#else
  for (uint k = 0; k < K / 4; k++) {  // in fours: K is a multiple of 4
#ifdef TRANSPOSE_A
    vec4 part[ROWS / 4][4], left[ROWS];
    UNROLL for (int i = 0; i < ROWS / 4; i++)
      UNROLL for (int e = 0; e < 4; e++) part[i][e] = a[a_at[i] + (k * 4 + e) * (a_stride / 4)];
    UNROLL for (int i = 0; i < ROWS; i++)
      left[i] = vec4(part[i / 4][0][i % 4], part[i / 4][1][i % 4], part[i / 4][2][i % 4], part[i / 4][3][i % 4]);
#else
    vec4 left[ROWS];
    UNROLL for (int i = 0; i < ROWS; i++) left[i] = a[a_at[i] + k];
#endif
    UNROLL for (int j = 0; j < QUADS; j++) {
      vec4 right[4];  // 4 values of k of 4 columns
#ifdef TRANSPOSE_B
      vec4 columns[4];
      UNROLL for (int e = 0; e < 4; e++) columns[e] = b[b_at[j * 4 + e] + k];
      UNROLL for (int e = 0; e < 4; e++) right[e] = vec4(columns[0][e], columns[1][e], columns[2][e], columns[3][e]);
#else
      UNROLL for (int e = 0; e < 4; e++) right[e] = b[b_at[j] + (k * 4 + e) * (b_stride / 4)];
#endif
      UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int e = 0; e < 4; e++) sum[i][j] = fma(vec4(left[i][e]), right[e], sum[i][j]);
    }
  }
#endif

  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < QUADS; j++) store4(row0 + i, column0 + j * (4 * WIDTH), sum[i][j]);
}
