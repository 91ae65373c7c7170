// The rows of all experts, one expert's after another's (runtime/ops.h): a counting sort without atomics, so that the order
// never varies. One workgroup an expert; each invocation counts the entries of lower experts, and of this one, in a run of
// consecutive entries, and then knows where its own begin. Bytes: 8 an entry and expert, from caches; 8 written.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(set = 0, binding = 0) readonly buffer Experts { uint experts[]; };  // [entries]
layout(set = 0, binding = 1) buffer Offsets { uint offsets[]; };           // [expert_count + 1]
layout(set = 0, binding = 2) buffer Rows { uint rows[]; };                 // [entries]
layout(set = 0, binding = 3) buffer Places { uint places[]; };             // [entries]
layout(push_constant) uniform Push {
  uint entries, chosen, expert_count;
  uint experts_offset, offsets_offset, rows_offset, places_offset;
};
shared uint lower[256], own[256];

void main() {
  const uint me = workgroup_index(), lane = gl_LocalInvocationIndex, lanes = gl_WorkGroupSize.x;
  if (me >= expert_count) return;
  const uint each = (entries + lanes - 1) / lanes;
  const uint begin = min(lane * each, entries), end = min(begin + each, entries);
  uint lower_count = 0, own_count = 0;
  for (uint i = begin; i < end; i++) {
    const uint expert = experts[experts_offset + i];
    lower_count += expert < me ? 1 : 0;
    own_count += expert == me ? 1 : 0;
  }
  lower[lane] = lower_count;
  own[lane] = own_count;
  barrier();
  uint start = 0, before = 0, all = 0;
  for (uint other = 0; other < lanes; other++) {
    start += lower[other];
    before += other < lane ? own[other] : 0;
    all += own[other];
  }
  if (lane == 0) offsets[offsets_offset + me] = start;
  if (lane == 0 && me + 1 == expert_count) offsets[offsets_offset + expert_count] = start + all;
  uint place = start + before;
  for (uint i = begin; i < end; i++) {
    if (experts[experts_offset + i] == me) {
      rows[rows_offset + place] = i / chosen;
      places[places_offset + i] = place++;
    }
  }
}
