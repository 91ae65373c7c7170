// For the gradient of an embedding: one pass of a stable radix sort (Knuth, The Art of Computer Programming 3, section
// 5.2.5) of positions by their index, four bits a pass from the lowest. One workgroup: each invocation counts the digits
// of a run of consecutive entries, the counts are summed in the order (digit, invocation), and each invocation then puts
// its entries one after the other where they belong. No atomics, so the order never varies.
//
// Entries are pairs (index, position). The first pass makes them from the indices; an index beyond the table becomes
// `row_count`, which sorts last.
#version 450
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool is_first_pass = false;
layout(set = 0, binding = 0) readonly buffer Indices { uint indices[]; };  // [rows]
layout(set = 0, binding = 1) readonly buffer From { uvec2 from[]; };       // [rows]
layout(set = 0, binding = 2) buffer To { uvec2 to[]; };                    // [rows]
layout(push_constant) uniform Push {
  uint rows, row_count, shift;
  uint indices_offset, from_offset, to_offset;
};

const uint DIGITS = 16;
shared uint places[DIGITS * gl_WorkGroupSize.x];  // [digit, invocation]: counts, then where the next entry goes
shared uint sums[gl_WorkGroupSize.x];

uvec2 entry(uint i) {
  if (is_first_pass) return uvec2(min(indices[indices_offset + i], row_count), i);
  return from[from_offset + i];
}

void main() {
  const uint lane = gl_LocalInvocationIndex, lanes = gl_WorkGroupSize.x;
  const uint each = (rows + lanes - 1) / lanes;
  const uint begin = min(lane * each, rows), end = min(begin + each, rows);
  for (uint d = 0; d < DIGITS; d++) places[d * lanes + lane] = 0;
  for (uint i = begin; i < end; i++) places[((entry(i).x >> shift) % DIGITS) * lanes + lane]++;
  barrier();
  uint sum = 0;  // of the sixteen counts from 16 lane on in the flat list
  for (uint k = 0; k < DIGITS; k++) sum += places[lane * DIGITS + k];
  sums[lane] = sum;
  barrier();
  uint before = 0;
  for (uint other = 0; other < lane; other++) before += sums[other];
  for (uint k = 0; k < DIGITS; k++) {
    const uint count = places[lane * DIGITS + k];
    places[lane * DIGITS + k] = before;
    before += count;
  }
  barrier();
  for (uint i = begin; i < end; i++) {
    const uvec2 moved = entry(i);
    const uint place = ((moved.x >> shift) % DIGITS) * lanes + lane;
    to[to_offset + places[place]++] = moved;
  }
}
