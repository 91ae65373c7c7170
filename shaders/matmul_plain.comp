// matmul for anything: any type, size, stride, offset and transposition, element by element. The yardstick and the fallback.
//
// One invocation computes ROWS x COLUMNS of c in registers, a workgroup of 8 x 8 invocations a tile of (8 ROWS) x (8 COLUMNS);
// neighbouring invocations own neighbouring columns. Of each k, ROWS values of a and COLUMNS of b are read.
//
// 2 K FLOP an output; 4 K (1 / ROWS + 1 / COLUMNS) + 4 bytes an output. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

#define ROWS 4
#define COLUMNS 4
#define WIDTH 8
#define HEIGHT 8
layout(local_size_x = WIDTH, local_size_y = HEIGHT) in;
READ_TENSOR(0, a, A_TYPE)
READ_TENSOR(1, b, B_TYPE)
shared float stage[ROWS * COLUMNS * WIDTH * HEIGHT];  // each invocation only reads what it wrote

void main() {
  const uint row0 = (gl_WorkGroupID.y * HEIGHT + gl_LocalInvocationID.y) * ROWS;
  const uint column0 = gl_WorkGroupID.x * (WIDTH * COLUMNS) + gl_LocalInvocationID.x;
  float sum[ROWS][COLUMNS];
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLUMNS; j++) sum[i][j] = bias_of(column0 + j * WIDTH);

  // Rows and columns outside are read as the last ones: never stored.
#ifdef TRANSPOSE_A
  const uint a_row = 1, a_k = a_stride;
#else
  const uint a_row = a_stride, a_k = 1;
#endif
#ifdef TRANSPOSE_B
  const uint b_column = b_stride, b_k = 1;
#else
  const uint b_column = 1, b_k = b_stride;
#endif
  uint a_at[ROWS], b_at[COLUMNS];
  UNROLL for (int i = 0; i < ROWS; i++) a_at[i] = a_offset + gl_WorkGroupID.z * a_batch + min(row0 + i, M - 1) * a_row;
  UNROLL for (int j = 0; j < COLUMNS; j++)
    b_at[j] = b_offset + gl_WorkGroupID.z * b_batch + min(column0 + j * WIDTH, N - 1) * b_column;

  // Four values of k a turn, so that a turn counts little against the driver's limit of iterations; then those left over.
#define OUTER(k)                                                                                     \
  {                                                                                                  \
    float left[ROWS];                                                                                \
    UNROLL for (int i = 0; i < ROWS; i++) left[i] = load_a_element(a_at[i] + (k) * a_k);                          \
    UNROLL for (int j = 0; j < COLUMNS; j++) {                                                       \
      const float right = load_b_element(b_at[j] + (k) * b_k);                                                    \
      UNROLL for (int i = 0; i < ROWS; i++) sum[i][j] = fma(left[i], right, sum[i][j]);              \
    }                                                                                                \
  }
  const uint K4 = K / 4 * 4;
  for (uint k = 0; k < K4; k += 4) {
    OUTER(k)
    OUTER(k + 1)
    OUTER(k + 2)
    OUTER(k + 3)
  }
  for (uint k = K4; k < K; k++) OUTER(k)

  if (!HAS_EPILOGUE && is_f32(C_TYPE)) {
    UNROLL for (int i = 0; i < ROWS; i++)
      UNROLL for (int j = 0; j < COLUMNS; j++) put(row0 + i, column0 + j * WIDTH, sum[i][j]);
    return;
  }
  const uint me = gl_LocalInvocationIndex;
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLUMNS; j++) stage[(i * COLUMNS + j) * (WIDTH * HEIGHT) + me] = sum[i][j];
  KEEP_LOOP for (int i = 0; i < ROWS; i++)
    KEEP_LOOP for (int j = 0; j < COLUMNS; j++)
      store(row0 + i, column0 + j * WIDTH, stage[(i * COLUMNS + j) * (WIDTH * HEIGHT) + me]);
}
