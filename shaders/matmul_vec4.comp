// matmul in registers, reading storage buffers 4 floats at a time: for drivers without fast shared memory or texel buffers.
//
// One invocation computes ROWS x (4 * QUADS) of c; a workgroup of WIDTH x HEIGHT invocations computes a tile of
// (ROWS * HEIGHT) x (4 * QUADS * WIDTH). Neighbouring invocations own neighbouring columns. No shared memory, no subgroups.
//
//   x ->  invocation 0: 4 columns | invocation 1: 4 columns | ...   (the next quad lies 4 * WIDTH columns on)
//   ROWS rows each, in vec4 registers; k advances by 4
//
// SwiftShader's allocator keeps nothing in registers across statements: the sum of one output over 4 values of k is one
// statement.
//
// Needs: rows of a and b that begin at multiples of 4 elements and are, or are padded with zeros to, multiples of 4 long.
// 2 K FLOP an output; 4 K (1 / ROWS + 1 / (4 QUADS)) + 4 bytes an output. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

layout(local_size_x = WIDTH, local_size_y = HEIGHT) in;
layout(set = 0, binding = 0) readonly buffer A { vec4 a[]; };
layout(set = 0, binding = 1) readonly buffer B { vec4 b[]; };
shared vec4 stage[ROWS * QUADS * WIDTH * HEIGHT];  // each invocation only reads what it wrote
#ifdef STAGED
const bool is_staged = true;
#else
const bool is_staged = false;
#endif

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

#ifdef TRANSPOSE_B
  const uint K4 = (K + 3) / 4;  // rows of a and b end in zeros where K is no multiple of 4
#else
  const uint K4 = K / 4;
#endif
  for (uint k = 0; k < K4; k++) {  // in fours
    vec4 left[ROWS];                  // 4 values of k of each row
#ifdef TRANSPOSE_A
    vec4 part[4];
    UNROLL for (int i = 0; i < ROWS; i++) {
      if (i % 4 == 0) {
        UNROLL for (int e = 0; e < 4; e++) part[e] = a[a_at[i / 4] + (k * 4 + e) * (a_stride / 4)];
      }
      left[i] = vec4(part[0][i % 4], part[1][i % 4], part[2][i % 4], part[3][i % 4]);
    }
#else
    UNROLL for (int i = 0; i < ROWS; i++) left[i] = a[a_at[i] + k];
#endif
    UNROLL for (int j = 0; j < QUADS; j++) {
      vec4 right[4];  // 4 columns of each of 4 values of k
#ifdef TRANSPOSE_B
      vec4 columns[4];
      UNROLL for (int e = 0; e < 4; e++) columns[e] = b[b_at[j * 4 + e] + k];
      UNROLL for (int e = 0; e < 4; e++) right[e] = vec4(columns[0][e], columns[1][e], columns[2][e], columns[3][e]);
#else
      UNROLL for (int e = 0; e < 4; e++) right[e] = b[b_at[j] + (k * 4 + e) * (b_stride / 4)];
#endif
      UNROLL for (int i = 0; i < ROWS; i++) {
        UNROLL for (int c = 0; c < 4; c++) {
          float total = sum[i][j][c];
          UNROLL for (int e = 0; e < 4; e++) total = fma(left[i][e], right[e][c], total);
          sum[i][j][c] = total;
        }
      }
    }
  }
#ifndef TRANSPOSE_B
  KEEP_LOOP for (uint k = K / 4 * 4; k < K; k++) {
    float left[ROWS];
#ifdef TRANSPOSE_A
    UNROLL for (int i = 0; i < ROWS; i++) left[i] = a[a_at[i / 4] + k * (a_stride / 4)][i % 4];
#else
    UNROLL for (int i = 0; i < ROWS; i++) left[i] = a[a0 + min(row0 + i, M - 1) * (a_stride / 4) + k / 4][k % 4];
#endif
    UNROLL for (int j = 0; j < QUADS; j++) {
      const vec4 right = b[b_at[j] + k * (b_stride / 4)];
      UNROLL for (int i = 0; i < ROWS; i++) sum[i][j] = fma(vec4(left[i]), right, sum[i][j]);
    }
  }
#endif

  if (!is_staged && PLAIN_STORE) {
    UNROLL for (int i = 0; i < ROWS; i++)
      UNROLL for (int j = 0; j < QUADS; j++) put4(row0 + i, column0 + j * (4 * WIDTH), sum[i][j]);
    return;
  }
  // Unrolled stores with all their conditions take llvmpipe ten seconds to compile: a loop over what was put aside instead.
  const uint me = gl_LocalInvocationIndex;
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < QUADS; j++) stage[(i * QUADS + j) * (WIDTH * HEIGHT) + me] = sum[i][j];
  KEEP_LOOP for (int e = 0; e < ROWS * QUADS; e++)
    store4(row0 + e / QUADS, column0 + e % QUADS * (4 * WIDTH), stage[e * (WIDTH * HEIGHT) + me]);
}
