// For the gradient of an embedding: links every position to the next one with the same index.
//
//   next[r]       the smallest p > r with indices[p] == indices[r], or `rows`
//   continued[p]  1 where p is somebody's next; zero-filled beforehand, so 0 marks the first position of each index
//
// One invocation a position. The workgroup walks p upwards together, so that its loads are of one address; every p is
// written by at most one invocation. R^2 / 2 comparisons in all, none of them dependent on the vocabulary.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(set = 0, binding = 0) readonly buffer Indices { uint indices[]; };  // [rows]
layout(set = 0, binding = 1) buffer Chain { uint chain[]; };               // next [rows], continued [rows]
layout(push_constant) uniform Push { uint rows, indices_offset, chain_offset; };

void main() {
  const uint first = workgroup_index() * gl_WorkGroupSize.x;
  const uint r = first + gl_LocalInvocationIndex;
  if (r >= rows) return;
  const uint index = indices[indices_offset + r];
  uint next = rows;
  for (uint p = first + 1; p < rows && next == rows; p += 4) {
    // Four comparisons a step, the last first: the smallest match wins.
    for (uint k = 4; k-- > 0;) {
      const uint q = min(p + k, rows - 1);
      if (indices[indices_offset + q] == index && q > r) next = q;
    }
  }
  chain[chain_offset + r] = next;
  if (next < rows) chain[chain_offset + rows + next] = 1;
}
