// matmul by tiles in shared memory, the classic for GPUs: any size, stride, offset and transposition.
//
// A workgroup of 128 computes 64 x 64 of c; 16 values of k at a time, op(a) [64, 16] and op(b) [16, 64] pass through shared
// memory, each element read once from the buffers by neighbouring invocations that read neighbouring elements.
//
//              16 invocations across: columns x, x + 16, x + 32, x + 48 each
//   8 down:    rows y, y + 8, .. y + 56 each      -> 8 x 4 sums an invocation: 12 shared reads for 32 multiply-adds
//
// 2 K FLOP an output; K / 8 + 4 bytes an output. 8.5 KiB of shared memory.
// For discrete and integrated GPUs; on software drivers, where shared memory is dear, it is only tested.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"

#define TILE 64
#define STEP 16
#define WIDTH 128
#define ACROSS 16
#define DOWN (WIDTH / ACROSS)
#define ROWS (TILE / DOWN)
#define COLUMNS (TILE / ACROSS)
#define SHARES (TILE * STEP / WIDTH)  // elements of each operand that an invocation brings
layout(local_size_x = WIDTH) in;
layout(set = 0, binding = 0) readonly buffer A { float a[]; };
layout(set = 0, binding = 1) readonly buffer B { float b[]; };
shared float tile_a[STEP][TILE + 4];  // the padding keeps columns in different banks
shared float tile_b[STEP][TILE + 4];

void main() {
  const uint me = gl_LocalInvocationIndex, x = me % ACROSS, y = me / ACROSS;
  const uint row0 = gl_WorkGroupID.y * TILE, column0 = gl_WorkGroupID.x * TILE;
  const uint a0 = a_offset + gl_WorkGroupID.z * a_batch, b0 = b_offset + gl_WorkGroupID.z * b_batch;
  float sum[ROWS][COLUMNS];
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLUMNS; j++) sum[i][j] = bias_of(column0 + x + j * ACROSS);

  for (uint k0 = 0; k0 < K; k0 += STEP) {
    UNROLL for (int i = 0; i < SHARES; i++) {
      const uint e = i * WIDTH + me;
#ifdef TRANSPOSE_A  // contiguous along the rows of the tile
      const uint row = e % TILE, ka = e / TILE;
      const uint a_at = a0 + (k0 + ka) * a_stride + row0 + row;
#else  // contiguous along k
      const uint ka = e % STEP, row = e / STEP;
      const uint a_at = a0 + (row0 + row) * a_stride + k0 + ka;
#endif
      tile_a[ka][row] = row0 + row < M && k0 + ka < K ? a[a_at] : 0.0;
#ifdef TRANSPOSE_B
      const uint kb = e % STEP, column = e / STEP;
      const uint b_at = b0 + (column0 + column) * b_stride + k0 + kb;
#else
      const uint column = e % TILE, kb = e / TILE;
      const uint b_at = b0 + (k0 + kb) * b_stride + column0 + column;
#endif
      tile_b[kb][column] = column0 + column < N && k0 + kb < K ? b[b_at] : 0.0;
    }
    barrier();
    UNROLL for (int k = 0; k < STEP; k++) {
      float left[ROWS], right[COLUMNS];
      UNROLL for (int i = 0; i < ROWS; i++) left[i] = tile_a[k][y + i * DOWN];
      UNROLL for (int j = 0; j < COLUMNS; j++) right[j] = tile_b[k][x + j * ACROSS];
      UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < COLUMNS; j++) sum[i][j] = fma(left[i], right[j], sum[i][j]);
    }
    barrier();
  }

  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLUMNS; j++) store(row0 + y + i * DOWN, column0 + x + j * ACROSS, sum[i][j]);
}
