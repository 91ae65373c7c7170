// Tokens that must not be drawn: logits[r, v] becomes -infinity where bit v % 32 of mask[r, v / 32] is 0. One invocation a
// word of the mask; a word of ones, which nearly all are where nothing is forbidden, touches no logit.
// Bytes: 1/8 a logit, and 4 for each that is forbidden.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(set = 0, binding = 0) readonly buffer Mask { uint mask[]; };  // [rows, words]
layout(set = 0, binding = 1) buffer Logits { float logits[]; };      // [rows, vocabulary]
layout(push_constant) uniform Push {
  uint entries, words, vocabulary;  // entries = rows words
  uint mask_offset, logits_offset;
};

void main() {
  const uint i = workgroup_index() * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  if (i >= entries) return;
  const uint word = mask[mask_offset + i];
  if (word == 0xffffffffu) return;
  const uint first = i % words * 32u, place = logits_offset + i / words * vocabulary + first;
  const uint count = min(vocabulary - first, 32u);
  for (uint bit = 0u; bit < count; bit++) {
    if ((word >> bit & 1u) == 0u) logits[place + bit] = uintBitsToFloat(0xff800000u);
  }
}
