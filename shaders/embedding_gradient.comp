// dtable[v, :] += the sum of dy[r, :] over the positions r with indices[r] == v, from positions sorted by index
// (embedding_sort.comp). A workgroup walks one piece of PIECE sorted entries: the sum of an index that begins and ends in
// the piece is added to its row of the table; an index that goes on in the next piece, or comes from the one before, leaves
// partial sums, which embedding_gradient_pieces.comp adds up in order. So a token that makes up half of the text costs no
// more than others, nothing depends on the size of the vocabulary, and no row is written by two workgroups.
//   partials [pieces, 2, columns] f32: of the piece's first index if it came from before, of its last if it goes on
// Bytes: one element of dy, two of the table for each index that occurs.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint columns_each = 1;  // VALUEs that one invocation sums at a time
layout(constant_id = 2) const uint storage = F32;
layout(constant_id = 3) const uint dtable_type = F32;
layout(set = 0, binding = 0) readonly buffer Sorted { uvec2 sorted[]; };  // [rows] (index, position)
READ_TENSOR(1, dy, storage)                                               // [rows, columns]
WRITE_TENSOR(2, dtable, dtable_type)                                      // [table_rows, columns]
WRITE_TENSOR(3, partials, F32)
layout(push_constant) uniform Push {
  uint rows, columns, column_blocks;
  uint first_row, table_rows;  // this part of the table
  uint sorted_offset, dy_offset, dtable_offset, partials_offset;
};

const uint PIECE = 32;

void main() {
  const uint piece = workgroup_index() / column_blocks;
  const uint block = workgroup_index() % column_blocks;
  const uint begin = piece * PIECE, end = min(begin + PIECE, rows);
  if (begin >= rows) return;
  const uint first = block * gl_WorkGroupSize.x * columns_each + gl_LocalInvocationIndex;
  const bool comes_from_before = begin > 0 && sorted[sorted_offset + begin - 1].x == sorted[sorted_offset + begin].x;
  VALUE sums[columns_each];
  for (uint k = 0; k < columns_each; k++) sums[k] = VALUE(0.0);
  for (uint i = begin; i < end; i++) {
    const uvec2 entry = sorted[sorted_offset + i];
    const uint row = entry.x - first_row;
    if (entry.x < first_row || row >= table_rows) continue;
    for (uint k = 0; k < columns_each; k++) {
      const uint c = min(first + k * gl_WorkGroupSize.x, columns - 1);  // beyond the row: read, never stored
      sums[k] += load_dy(dy_offset + entry.y * columns + c);
    }
    const bool is_end = i + 1 == rows;
    if (!is_end && i + 1 < end && sorted[sorted_offset + i + 1].x == entry.x) continue;
    const bool goes_on = !is_end && sorted[sorted_offset + i + 1].x == entry.x;
    const bool is_first = sorted[sorted_offset + begin].x == entry.x;
    const bool is_partial = goes_on || (is_first && comes_from_before);
    const uint slot = is_first && comes_from_before ? 0 : 1;
    for (uint k = 0; k < columns_each; k++) {
      const uint c = first + k * gl_WorkGroupSize.x;
      const uint target = dtable_offset + row * columns + c;
      if (c < columns && is_partial) store_partials(partials_offset + (2 * piece + slot) * columns + c, sums[k]);
      if (c < columns && !is_partial) store_dtable(target, load_dtable(target) + sums[k]);
      sums[k] = VALUE(0.0);
    }
  }
}
