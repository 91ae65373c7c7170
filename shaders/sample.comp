// One token a row from logits [rows, vocabulary]: the largest, or drawn after top-k and top-p (runtime/ops.h). One
// workgroup a row.
//
// Thresholds are found on keys: unsigned integers in the order of the floats. A threshold is the largest key at or above
// which there are still k logits (or still the mass top_p). It is fixed three bits a pass, from the top: seven candidates
// are counted at once, so 11 passes over the row decide all 32 bits, without sorting. The token is then found by the
// running mass in index order, each invocation walking one contiguous part of the row.
// Bytes: 4 a logit and pass: 2 passes greedy, 5 plain, 11 more for each of top-k and top-p (from cache).
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "grid.glsl"
#include "math.glsl"
#include "random.glsl"
#include "row.glsl"
#include "workgroup.glsl"

layout(set = 0, binding = 0) readonly buffer Logits { float logits[]; };       // [rows, vocabulary]
layout(set = 0, binding = 0) readonly buffer Logits4 { vec4 logits4[]; };
layout(set = 0, binding = 1) readonly buffer Settings { float settings[]; };   // DURE_SAMPLE_...
layout(set = 0, binding = 2) readonly buffer Random { uint random[]; };        // seed low, seed high, step, stream
layout(set = 0, binding = 3) buffer Token { uint token[]; };                   // [rows]
layout(push_constant) uniform Push {
  uint rows, vocabulary, candidates;
  uint logits_offset, settings_offset, random_offset, token_offset;
};

WORKGROUP_REDUCTION(vec4, workgroup_sum, workgroup_sums, subgroupAdd, COMBINE_SUM)
WORKGROUP_REDUCTION(uint, workgroup_maximum, workgroup_maxima, subgroupMax, max)
WORKGROUP_REDUCTION(uint, workgroup_minimum, workgroup_minima, subgroupMin, min)
WORKGROUP_REDUCTION(uvec4, workgroup_count, workgroup_counts, subgroupAdd, COMBINE_SUM)
shared float part_mass[256];

uint lane, lanes;
Row row;
float row_maximum, temperature;

// Keys order as the floats do; the two zeros are one, and NaN comes below everything.
uvec4 keys(vec4 values) {
  const uvec4 bits = mix(floatBitsToUint(values), uvec4(0u), equal(values, vec4(0.0)));
  const uvec4 ordered = mix(bits | 0x80000000u, ~bits, notEqual(bits & 0x80000000u, uvec4(0u)));
  return mix(ordered, uvec4(0u), greaterThan(bits & 0x7fffffffu, uvec4(0x7f800000u)));
}
float from_key(uint key) { return uintBitsToFloat((key & 0x80000000u) != 0u ? key & 0x7fffffffu : ~key); }

// The row by fours: four i of `blocks`, of which the bits of the last argument's lanes are inside the row.
uint block_count() { return (row.end - 1) / 4 - row.begin / 4 + 1; }
vec4 load_block(uint block, out bvec4 inside) {
  const uint four = row.begin / 4 + block;
  const uvec4 place = uvec4(four * 4) + uvec4(0, 1, 2, 3);
  inside = bvec4(uvec4(greaterThanEqual(place, uvec4(row.begin))) & uvec4(lessThan(place, uvec4(row.end))));
  if (four >= row.body_begin && four < row.body_end) return logits4[four];
  const uvec4 safe = clamp(place, uvec4(row.begin), uvec4(row.end - 1));
  return vec4(logits[safe.x], logits[safe.y], logits[safe.z], logits[safe.w]);
}

vec4 mass(vec4 values) { return exponential((values - row_maximum) / temperature); }
float mass(float value) { return mass(vec4(value)).x; }

// How many logits, and which mass of those at or above `floor_key`, have keys of at least each of seven candidates.
void tally(uint prefix, uint shift, uint floor_key, bool by_mass, out float totals[8]) {
  vec4 low = vec4(0.0), high = vec4(0.0);
  uvec4 low_count = uvec4(0u), high_count = uvec4(0u);
  const uvec4 low_keys = uvec4(prefix) + (uvec4(1, 2, 3, 4) << shift);
  const uvec4 high_keys = uvec4(prefix) + (uvec4(5, 6, 7, 7) << shift);
  for (uint block = lane; block < block_count(); block += lanes) {
    bvec4 inside;
    const vec4 values = load_block(block, inside);
    const uvec4 key = keys(values);
    const vec4 masses = by_mass ? mass(values) : vec4(0.0);
    for (uint k = 0; k < 4; k++) {
      if (!inside[k] || key[k] < floor_key) continue;
      if (by_mass) {
        low += mix(vec4(0.0), vec4(masses[k]), lessThanEqual(low_keys, uvec4(key[k])));
        high += mix(vec4(0.0), vec4(masses[k]), lessThanEqual(high_keys, uvec4(key[k])));
      } else {
        low_count += uvec4(lessThanEqual(low_keys, uvec4(key[k])));
        high_count += uvec4(lessThanEqual(high_keys, uvec4(key[k])));
      }
    }
  }
  if (by_mass) {
    low = workgroup_sum(low);
    high = workgroup_sum(high);
  } else {
    low = vec4(workgroup_count(low_count));
    high = vec4(workgroup_count(high_count));
  }
  totals = float[8](0.0, low.x, low.y, low.z, low.w, high.x, high.y, high.z);
}

// The largest key at or above which at least `wanted` (logits, or mass) is found among the keys from floor_key on.
uint threshold(float wanted, uint floor_key, bool by_mass) {
  uint prefix = 0u;
  for (int shift = 30; shift >= 0; shift -= 3) {
    float totals[8];
    tally(prefix, uint(shift), floor_key, by_mass, totals);
    uint digit = 0u;
    const uint last = shift == 30 ? 3u : 7u;  // the first digit has two bits
    for (uint d = 1; d <= last; d++) {
      if (totals[d] >= wanted) digit = d;
    }
    prefix += digit << uint(shift);
  }
  return prefix;
}

uint largest_key() {
  uint largest = 0u;
  for (uint block = lane; block < block_count(); block += lanes) {
    bvec4 inside;
    const uvec4 key = mix(uvec4(0u), keys(load_block(block, inside)), inside);
    largest = max(largest, max(max(key.x, key.y), max(key.z, key.w)));
  }
  return workgroup_maximum(largest);
}

// The first candidate with this key.
uint first_of(uint wanted) {
  uint first = candidates - 1;
  for (uint block = lane; block < block_count(); block += lanes) {
    bvec4 inside;
    const uvec4 key = keys(load_block(block, inside));
    for (uint k = 0; k < 4; k++) {
      if (inside[k] && key[k] == wanted) first = min(first, (row.begin / 4 + block) * 4 + k - row.begin);
    }
  }
  return workgroup_minimum(first);
}

// The first index at which the running mass of the keys from `floor_key` on exceeds u times all of it.
uint pick(uint floor_key, float u) {
  const uint part = (candidates + lanes - 1) / lanes;
  const uint begin = min(lane * part, candidates), end = min(begin + part, candidates);
  float own = 0.0;
  uint last_kept = 0u;
  for (uint v = begin; v < end; v++) {
    const float value = logits[row.begin + v];
    if (keys(vec4(value)).x < floor_key) continue;
    own += mass(value);
    last_kept = v;
  }
  barrier();
  part_mass[lane] = own;
  barrier();
  float before = 0.0, total = 0.0;
  for (uint other = 0; other < lanes; other++) {
    if (other == lane) before = total;
    total += part_mass[other];
  }
  last_kept = workgroup_maximum(last_kept);  // rounding may leave the running mass just short of the total
  uint choice = last_kept;
  float running = before;
  for (uint v = begin; v < end; v++) {
    const float value = logits[row.begin + v];
    if (keys(vec4(value)).x < floor_key) continue;
    running += mass(value);
    if (running > u * total) {
      choice = v;
      break;
    }
  }
  return workgroup_minimum(choice);
}

void main() {
  const uint r = workgroup_index();
  if (r >= rows) return;
  lane = gl_LocalInvocationIndex;
  lanes = gl_WorkGroupSize.x;
  row = row_split(logits_offset + r * vocabulary, candidates, false);
  temperature = settings[settings_offset + 0];
  const float top_k = floor(settings[settings_offset + 1]);
  const float top_p = settings[settings_offset + 2];

  const uint largest = largest_key();
  uint choice;
  if (!(temperature > 0.0)) {
    choice = first_of(largest);
  } else {
    row_maximum = from_key(largest);
    uint floor_key = 0u;
    if (top_k >= 1.0 && top_k < float(candidates)) floor_key = threshold(top_k, 0u, false);
    if (top_p < 1.0) {
      float totals[8];
      tally(0u, 0u, 0u, true, totals);  // keys from 1 on: the whole row's mass
      floor_key = min(max(floor_key, threshold(top_p * totals[1], floor_key, true)), largest);
    }
    const uint base = random_offset;
    choice = pick(floor_key, random_uniform(uvec4(random[base], random[base + 1], random[base + 2], random[base + 3]), r));
  }
  if (lane == 0) token[token_offset + r] = choice;
}
