// z[e] = the sum over the rows p of expert e of x[p, :] y[p, :]^T, or z += (runtime/ops.h). A workgroup a tile of 32 x 32
// results of one expert. 2 FLOP a row and result; 1 / 4 byte of f32.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "expert_tile.glsl"

layout(constant_id = 0) const bool accumulate = false;
layout(constant_id = 1) const uint storage = F32;
layout(constant_id = 2) const uint z_type = F32;
READ_TENSOR(0, x, storage)                                                 // [rows, I]
layout(set = 0, binding = 1) readonly buffer Offsets { uint offsets[]; };  // [experts + 1]
READ_TENSOR(2, y, storage)                                                 // [rows, J]
WRITE_TENSOR(3, z, z_type)                                                 // [experts, I, J]
layout(push_constant) uniform Push {
  uint rows, I, J, first_row, row_tiles, column_tiles;
  uint x_stride, y_stride, z_stride, z_expert;
  uint x_offset, offsets_offset, y_offset, z_offset;
};

uint row_of(uint offset) { return min(max(offset, first_row) - first_row, rows); }

void main() {
  const uint lane = gl_LocalInvocationIndex, group = workgroup_index();
  const uint column0 = group % column_tiles * TILE, row0 = group / column_tiles % row_tiles * TILE;
  const uint expert = group / (column_tiles * row_tiles);
  const uint begin = row_of(offsets[offsets_offset + expert]), end = row_of(offsets[offsets_offset + expert + 1]);
  clear_sums();
  for (uint p0 = begin; p0 < end; p0 += DEPTH) {
    for (uint i = lane; i < TILE * DEPTH; i += LANES) {
      const uint k = i / TILE, n = i % TILE;
      float left = 0.0, right = 0.0;
      if (p0 + k < end && row0 + n < I) left = load_x_element(x_offset + (p0 + k) * x_stride + row0 + n);
      if (p0 + k < end && column0 + n < J) right = load_y_element(y_offset + (p0 + k) * y_stride + column0 + n);
      left_tile[k][n] = left;
      right_tile[k][n] = right;
    }
    barrier();
    multiply_tiles();
    barrier();
  }
  for (uint i = 0; i < EACH; i++) {
    for (uint j = 0; j < EACH; j++) {
      const uint row = row0 + lane / 8 + 8 * i, column = column0 + lane % 8 + 8 * j;
      if (row < I && column < J) {
        const uint at = z_offset + expert * z_expert + row * z_stride + column;
        float value = sums[i][j];
        if (accumulate) value += load_z_element(at);
        store_z_element(at, value);
      }
    }
  }
}
