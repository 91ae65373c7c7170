// Tiles of products of experts: 32 x 32 results a workgroup of 64 invocations, 4 x 4 each in registers, DEPTH terms of the
// sums at a time through shared memory.
//
//            32 columns: x, x + 8, ..           left[k][32]   the tile's rows        right[k][32]  its columns
//        +---+---+---+---+
//   rows | 0 | 1 |.. | 0 |..                    of each k an invocation reads 4 + 4 values for 16 multiply-adds
//   y,   +---+---+---+---+
//   y+8  | 8 | 9 |.. | 8 |..
#ifndef EXPERT_TILE_GLSL
#define EXPERT_TILE_GLSL
#extension GL_EXT_control_flow_attributes : require
#include "grid.glsl"
#include "value.glsl"

#define UNROLL [[unroll]]
const uint TILE = 32, DEPTH = 16, LANES = 64, EACH = 4;
layout(local_size_x = 64) in;
shared float left_tile[DEPTH][TILE + 1], right_tile[DEPTH][TILE + 1];
float sums[EACH][EACH];

void clear_sums() {
  UNROLL for (int i = 0; i < 4; i++)
    UNROLL for (int j = 0; j < 4; j++) sums[i][j] = 0.0;
}

void multiply_tiles() {
  const uint x = gl_LocalInvocationIndex % 8, y = gl_LocalInvocationIndex / 8;
  for (uint k = 0; k < DEPTH; k++) {
    float left[4], right[4];
    UNROLL for (int i = 0; i < 4; i++) left[i] = left_tile[k][y + 8 * i];
    UNROLL for (int j = 0; j < 4; j++) right[j] = right_tile[k][x + 8 * j];
    UNROLL for (int i = 0; i < 4; i++)
      UNROLL for (int j = 0; j < 4; j++) sums[i][j] = fma(left[i], right[j], sums[i][j]);
  }
}

#endif
