// matmul_q8 for GPUs: a workgroup of 128 makes 64 x 64 of c, an invocation 8 x 4.
//
//            |<- 64 columns: invocation x, x + 16, x + 32, x + 48 ->|
//     64 rows: y, y + 8 .. y + 56
//
// K advances by a block of 32: each invocation fetches 16 bytes of a and 16 of b into shared memory, stored by words so that
// neighbours read neighbouring banks; then 8 words x 32 dot products an invocation, and one scaling of each sum.
// 4.6 KiB of shared memory. 2 K FLOP and K (1 / 64 + 1 / 64) * 1.125 bytes an output.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "matmul_q8.glsl"

#define TILE 64
#define WIDTH_X 16
#define HEIGHT_Y 8
#define ROWS (TILE / HEIGHT_Y)
#define COLUMNS (TILE / WIDTH_X)
layout(local_size_x = WIDTH_X * HEIGHT_Y) in;
layout(set = 0, binding = 0) readonly buffer a_block { uvec4 a[]; };
layout(set = 0, binding = 2) readonly buffer b_block { uvec4 b[]; };

shared uint a_words[8][TILE + 1], b_words[8][TILE + 1];
shared float a_scale[TILE], b_scale[TILE];

void main() {
  const uint i0 = gl_LocalInvocationIndex, x = i0 % WIDTH_X, y = i0 / WIDTH_X;
  const uint row0 = gl_WorkGroupID.y * TILE, column0 = gl_WorkGroupID.x * TILE;
  // What this invocation fetches: half a block of a row of a and one of b. Rows outside are read as the last one.
  const uint fetched = i0 / 2, half_block = i0 % 2;
  const uint a_row = min(row0 + fetched, M - 1), b_row = min(column0 + fetched, N - 1);
  const uint a_at = a_offset / 4 + a_row * blocks * 2 + half_block, b_at = b_offset / 4 + b_row * blocks * 2 + half_block;
  float sum[ROWS][COLUMNS];
  UNROLL for (uint i = 0; i < ROWS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) sum[i][j] = 0;

  for (uint block = 0; block < blocks; block++) {
    const uvec4 a_part = a[a_at + block * 2], b_part = b[b_at + block * 2];
    const float scale = half_block == 0 ? a_scales[a_scales_offset + a_row * blocks + block]
                                        : b_scales[b_scales_offset + b_row * blocks + block];
    barrier();
    UNROLL for (uint w = 0; w < 4; w++) {
      a_words[half_block * 4 + w][fetched] = a_part[w];
      b_words[half_block * 4 + w][fetched] = b_part[w];
    }
    if (half_block == 0) {
      a_scale[fetched] = scale;
    } else {
      b_scale[fetched] = scale;
    }
    barrier();

    int dots[ROWS][COLUMNS];
    UNROLL for (uint i = 0; i < ROWS; i++)
      UNROLL for (uint j = 0; j < COLUMNS; j++) dots[i][j] = 0;
    UNROLL for (uint w = 0; w < 8; w++) {
      uint right[COLUMNS];
      UNROLL for (uint j = 0; j < COLUMNS; j++) right[j] = b_words[w][x + j * WIDTH_X];
      UNROLL for (uint i = 0; i < ROWS; i++) {
        const uint left = a_words[w][y + i * HEIGHT_Y];
        UNROLL for (uint j = 0; j < COLUMNS; j++) dots[i][j] = DOT(left, right[j], dots[i][j]);
      }
    }
    UNROLL for (uint i = 0; i < ROWS; i++) {
      const float left = a_scale[y + i * HEIGHT_Y];
      UNROLL for (uint j = 0; j < COLUMNS; j++)
        sum[i][j] = fma(left * b_scale[x + j * WIDTH_X], float(dots[i][j]), sum[i][j]);
    }
  }
  UNROLL for (uint i = 0; i < ROWS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) store_result(row0 + y + i * HEIGHT_Y, column0 + x + j * WIDTH_X, sum[i][j]);
}
