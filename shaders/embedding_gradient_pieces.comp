// For the gradient of an embedding: the indices whose sorted entries reach over the end of a piece. The workgroup of the
// piece in which such an index begins adds up the partial sums that it and the following pieces have left
// (embedding_gradient.comp), in order, and adds the sum to the table; all others leave at once.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint columns_each = 1;
layout(constant_id = 2) const uint dtable_type = F32;
layout(set = 0, binding = 0) readonly buffer Sorted { uvec2 sorted[]; };  // [rows] (index, position)
READ_TENSOR(1, partials, F32)                                             // [pieces, 2, columns]
WRITE_TENSOR(2, dtable, dtable_type)                                      // [table_rows, columns]
layout(push_constant) uniform Push {
  uint rows, columns, column_blocks;
  uint first_row, table_rows;
  uint sorted_offset, partials_offset, dtable_offset;
};

const uint PIECE = 32;

uint index_of(uint i) { return sorted[sorted_offset + i].x; }

void main() {
  const uint piece = workgroup_index() / column_blocks;
  const uint block = workgroup_index() % column_blocks;
  const uint begin = piece * PIECE, end = begin + PIECE;
  if (end >= rows) return;  // nothing goes on after the last piece
  const uint index = index_of(end - 1), row = index - first_row;
  if (index < first_row || row >= table_rows || index_of(end) != index) return;
  const bool begins_here = begin == 0 || index_of(begin - 1) != index;
  if (!begins_here) return;

  const uint first = block * gl_WorkGroupSize.x * columns_each + gl_LocalInvocationIndex;
  VALUE sums[columns_each];
  for (uint k = 0; k < columns_each; k++) {
    const uint c = min(first + k * gl_WorkGroupSize.x, columns - 1);
    sums[k] = load_partials(partials_offset + (2 * piece + 1) * columns + c);
  }
  for (uint next = piece + 1; next * PIECE < rows && index_of(next * PIECE) == index; next++) {
    for (uint k = 0; k < columns_each; k++) {
      const uint c = min(first + k * gl_WorkGroupSize.x, columns - 1);
      sums[k] += load_partials(partials_offset + 2 * next * columns + c);
    }
  }
  for (uint k = 0; k < columns_each; k++) {
    const uint c = first + k * gl_WorkGroupSize.x;
    const uint target = dtable_offset + row * columns + c;
    if (c < columns) store_dtable(target, load_dtable(target) + sums[k]);
  }
}
