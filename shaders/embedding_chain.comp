// For the gradient of an embedding: links every position to the next one with the same index.
//
//   next[r]       the smallest p > r with indices[p] == indices[r], or `rows`
//   continued[p]  1 where p is somebody's next; zero-filled beforehand, so 0 marks the first position of each index
//
// One invocation links `positions_each` positions. The workgroup walks p upwards together, comparing each index that it
// loads with all its own, until all have found theirs; every p is written by at most one invocation. R^2 / 2 comparisons
// at most, none of them dependent on the vocabulary.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint positions_each = 1;
layout(set = 0, binding = 0) readonly buffer Indices { uint indices[]; };  // [rows]
layout(set = 0, binding = 1) buffer Chain { uint chain[]; };               // next [rows], continued [rows]
layout(push_constant) uniform Push { uint rows, indices_offset, chain_offset; };

const uint LOADS = 4;  // at a time

void main() {
  const uint begin = workgroup_index() * gl_WorkGroupSize.x * positions_each;
  const uint first = begin + gl_LocalInvocationIndex;
  uint own[positions_each], next[positions_each];
  uint open = 0;
  for (uint k = 0; k < positions_each; k++) {
    const uint r = first + k * gl_WorkGroupSize.x;
    own[k] = indices[indices_offset + min(r, rows - 1)];
    next[k] = r < rows ? rows : 0;  // 0: nothing to find
    open += r < rows ? 1 : 0;
  }
  for (uint p = begin + 1; p < rows && open > 0; p += LOADS) {
    for (uint j = 0; j < LOADS; j++) {
      const uint q = min(p + j, rows - 1);
      const uint index = indices[indices_offset + q];
      for (uint k = 0; k < positions_each; k++) {
        if (index == own[k] && next[k] == rows && q > first + k * gl_WorkGroupSize.x) {
          next[k] = q;
          open--;
        }
      }
    }
  }
  for (uint k = 0; k < positions_each; k++) {
    const uint r = first + k * gl_WorkGroupSize.x;
    if (r >= rows) continue;
    chain[chain_offset + r] = next[k];
    if (next[k] < rows) chain[chain_offset + rows + next[k]] = 1;
  }
}
