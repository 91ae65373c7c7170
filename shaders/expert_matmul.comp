// c[p, :] = a[p, :] op(b[e]), or c +=, for the rows p of each expert e (runtime/ops.h). The grid is the worst case: a tile
// of 32 rows belongs to one expert, so there are as many as all rows fill and one more an expert; a workgroup finds its
// own by walking the offsets, and ends where none is left. 2 K FLOP an output; K / 4 bytes an output of f32.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "expert_tile.glsl"

layout(constant_id = 0) const bool transpose_b = false;
layout(constant_id = 1) const bool accumulate = false;
layout(constant_id = 2) const uint storage = F32;
READ_TENSOR(0, a, storage)                                                 // [rows, K]
layout(set = 0, binding = 1) readonly buffer Offsets { uint offsets[]; };  // [experts + 1]
READ_TENSOR(2, b, storage)                                                 // [experts, K, N] or [experts, N, K]
WRITE_TENSOR(3, c, storage)                                                // [rows, N]
layout(push_constant) uniform Push {
  uint rows, K, N, experts, first_row, column_tiles;
  uint a_stride, b_stride, b_expert, c_stride;
  uint a_offset, offsets_offset, b_offset, c_offset;
};

uint row_of(uint offset) { return min(max(offset, first_row) - first_row, rows); }

void main() {
  const uint lane = gl_LocalInvocationIndex, column0 = workgroup_index() % column_tiles * TILE;
  uint tile = workgroup_index() / column_tiles, expert = 0, begin = 0, end = 0;
  for (; expert < experts; expert++) {
    begin = row_of(offsets[offsets_offset + expert]);
    end = row_of(offsets[offsets_offset + expert + 1]);
    const uint tiles = (end - begin + TILE - 1) / TILE;
    if (tile < tiles) break;
    tile -= tiles;
  }
  if (expert == experts) return;
  const uint row0 = begin + tile * TILE;
  clear_sums();
  for (uint k0 = 0; k0 < K; k0 += DEPTH) {
    for (uint i = lane; i < TILE * DEPTH; i += LANES) {
      const uint k = i % DEPTH, row = row0 + i / DEPTH;
      float value = 0.0;
      if (row < end && k0 + k < K) value = load_a_element(a_offset + row * a_stride + k0 + k);
      left_tile[k][i / DEPTH] = value;
    }
    for (uint i = lane; i < TILE * DEPTH; i += LANES) {
      const uint k = transpose_b ? i % DEPTH : i / TILE, n = transpose_b ? i / DEPTH : i % TILE;
      const uint at = transpose_b ? (column0 + n) * b_stride + k0 + k : (k0 + k) * b_stride + column0 + n;
      float value = 0.0;
      if (column0 + n < N && k0 + k < K) value = load_b_element(b_offset + expert * b_expert + at);
      right_tile[k][n] = value;
    }
    barrier();
    multiply_tiles();
    barrier();
  }
  for (uint i = 0; i < EACH; i++) {
    for (uint j = 0; j < EACH; j++) {
      const uint row = row0 + lane / 8 + 8 * i, column = column0 + lane % 8 + 8 * j;
      if (row < end && column < N) {
        const uint at = c_offset + row * c_stride + column;
        float value = sums[i][j];
        if (accumulate) value += load_c_element(at);
        store_c_element(at, value);
      }
    }
  }
}
