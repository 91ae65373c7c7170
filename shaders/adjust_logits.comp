// Penalties and biases before sampling: logits[b, ids[b, i]] is divided by its factor (multiplied, when it is not above
// 0), then gets its addend. One invocation an entry; ids of a row differ, so nothing is written twice.
// Bytes: 20 an entry.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(set = 0, binding = 0) readonly buffer Ids { uint ids[]; };           // [rows, count]
layout(set = 0, binding = 1) readonly buffer Changes { float changes[]; };  // [rows, count, 2]
layout(set = 0, binding = 2) buffer Logits { float logits[]; };             // [rows, vocabulary]
layout(push_constant) uniform Push {
  uint entries, count, vocabulary;  // entries = rows count
  uint ids_offset, changes_offset, logits_offset;
};

void main() {
  const uint i = workgroup_index() * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
  if (i >= entries) return;
  const uint id = ids[ids_offset + i];
  if (id >= vocabulary) return;
  const uint place = logits_offset + i / count * vocabulary + id;
  const float x = logits[place], factor = changes[changes_offset + 2 * i];
  logits[place] = (x > 0.0 ? x / factor : x * factor) + changes[changes_offset + 2 * i + 1];
}
