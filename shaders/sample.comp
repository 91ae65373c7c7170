// One token a row from logits [rows, vocabulary]: the largest, or drawn after top-k, top-p, min-p and typical-p
// (runtime/ops.h). One workgroup a row.
//
// Thresholds are found on keys: unsigned integers in the order of the floats. A threshold is the largest key at or above
// which there are still k logits (or still the mass top_p). It is fixed three bits a pass, from the top: seven candidates
// are tallied at once, so at most 11 passes over the row decide all 32 bits, without sorting; it is found sooner when only
// one logit is left between two candidates. For typical-p the keys are those of minus the deviation: with
// t = (logit - maximum) / temperature, | -log p - H | is | t - the mean of t |. The token is then found by the running mass in index order, each invocation
// walking one contiguous part of the row.
// Bytes: 4 a logit and pass: 2 passes greedy, 3 plain, about 5 more for each of top-k and top-p (from cache).
// Measured on lavapipe with two cores: of 50,257 logits greedy 0.25 ms, plain 0.7, top-k and top-p 3.1.
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
#include "value.glsl"
#include "workgroup.glsl"

layout(constant_id = 2) const uint storage = F32;
READ_TENSOR(0, logits, storage)                                                // [rows, vocabulary]
layout(set = 0, binding = 1) readonly buffer Settings { float settings[]; };   // DURE_SAMPLE_..., of each row or of all
layout(set = 0, binding = 2) readonly buffer Random { uint random[]; };        // seed low, seed high, step, stream
layout(set = 0, binding = 3) buffer Token { uint token[]; };                   // [rows]
layout(push_constant) uniform Push {
  uint rows, vocabulary, candidates;
  uint logits_offset, settings_offset, random_offset, token_offset;
  uint settings_stride, random_stride;  // 0: the same for all rows
};

WORKGROUP_REDUCTION(vec4, workgroup_sum, workgroup_sums, subgroupAdd, COMBINE_SUM)
WORKGROUP_REDUCTION(uint, workgroup_maximum, workgroup_maxima, subgroupMax, max)
WORKGROUP_REDUCTION(uint, workgroup_minimum, workgroup_minima, subgroupMin, min)
WORKGROUP_REDUCTION(uvec4, workgroup_count, workgroup_counts, subgroupAdd, COMBINE_SUM)
shared float part_mass[256];

uint lane, lanes;
Row row;
float row_maximum, temperature, min_p;
float mean_exponent;      // of those that stay before typical-p
uint typical_key = 0u;    // of minus the largest deviation that stays

const uint BY_COUNT = 0u, BY_MASS = 1u, BY_TYPICALITY = 2u;

// Keys order as the floats do; the two zeros are one, and NaN comes below everything.
uvec4 keys(vec4 values) {
  const uvec4 bits = mix(floatBitsToUint(values), uvec4(0u), equal(values, vec4(0.0)));
  const uvec4 ordered = mix(bits | 0x80000000u, ~bits, notEqual(bits & 0x80000000u, uvec4(0u)));
  return mix(ordered, uvec4(0u), greaterThan(bits & 0x7fffffffu, uvec4(0x7f800000u)));
}
float from_key(uint key) { return uintBitsToFloat((key & 0x80000000u) != 0u ? key & 0x7fffffffu : ~key); }

vec4 mass(vec4 values) { return exponential((values - row_maximum) / temperature); }
float mass(float value) { return mass(vec4(value)).x; }

// Of minus the deviation. `precise`: what is compared must be what was tallied.
uvec4 typical_keys(vec4 values) {
  precise const vec4 deviation = abs((values - row_maximum) / temperature - mean_exponent);
  return keys(-deviation);
}

// The keys that are tallied: 0 for what is cut already.
uvec4 tallied_keys(vec4 values, vec4 masses, uint floor_key, uint by) {
  const uvec4 key = keys(values);
  const bvec4 is_cut = lessThan(key, uvec4(floor_key));
  if (by != BY_TYPICALITY) return mix(key, uvec4(0u), is_cut);
  return mix(mix(typical_keys(values), uvec4(0u), lessThan(masses, vec4(min_p))), uvec4(0u), is_cut);
}

// The floats before and after the aligned body, at most three each, as one more four for each of the first two
// invocations. Those that are not the row's are `outside`.
vec4 load_end(out bvec4 outside, out uint place) {
  place = lane == 0 ? row.begin : row.tail_begin;
  const uint end = lane == 0 ? row.head_end : lane == 1 ? row.end : place;
  const uvec4 places = uvec4(place) + uvec4(0, 1, 2, 3);
  outside = greaterThanEqual(places, uvec4(end));
  const uvec4 safe = min(places, uvec4(row.end - 1));
  return vec4(load_logits_element(safe.x), load_logits_element(safe.y), load_logits_element(safe.z),
              load_logits_element(safe.w));
}

// Of the keys from `floor_key` on: how many, and which mass, are at least each of seven candidates (prefix + 1..7 << shift)?
// Index 0 holds those from `prefix` on.
struct Tally {
  uvec4 low_keys, high_keys, low_count, high_count;
  vec4 low_mass, high_mass;
};

void tally_values(inout Tally tally, uvec4 key, vec4 masses, uint by) {
  for (uint k = 0; k < 4; k++) {
    const uvec4 is_low = uvec4(lessThanEqual(tally.low_keys, uvec4(key[k])));
    const uvec4 is_high = uvec4(lessThanEqual(tally.high_keys, uvec4(key[k])));
    tally.low_count += is_low;
    tally.high_count += is_high;
    if (by != BY_COUNT) {
      tally.low_mass += mix(vec4(0.0), vec4(masses[k]), notEqual(is_low, uvec4(0u)));
      tally.high_mass += mix(vec4(0.0), vec4(masses[k]), notEqual(is_high, uvec4(0u)));
    }
  }
}

Tally tally_row(uint prefix, uint shift, uint floor_key, uint by) {
  Tally tally;
  tally.low_keys = max(uvec4(prefix) + (uvec4(0, 1, 2, 3) << shift), uvec4(1u));  // key 0 counts for nothing
  tally.high_keys = max(uvec4(prefix) + (uvec4(4, 5, 6, 7) << shift), uvec4(1u));
  tally.low_count = tally.high_count = uvec4(0u);
  tally.low_mass = tally.high_mass = vec4(0.0);
  for (uint i = row.body_begin + lane; i < row.body_end; i += lanes) {
    const vec4 values = load_logits_four(i);
    const vec4 masses = by != BY_COUNT ? mass(values) : values;
    tally_values(tally, tallied_keys(values, masses, floor_key, by), masses, by);
  }
  bvec4 outside;
  uint place;
  const vec4 values = load_end(outside, place);
  const vec4 masses = by != BY_COUNT ? mass(values) : values;
  tally_values(tally, mix(tallied_keys(values, masses, floor_key, by), uvec4(0u), outside), masses, by);
  tally.low_count = workgroup_count(tally.low_count);
  tally.high_count = workgroup_count(tally.high_count);
  if (by != BY_COUNT) {
    tally.low_mass = workgroup_sum(tally.low_mass);
    tally.high_mass = workgroup_sum(tally.high_mass);
  }
  return tally;
}

// The mass of the keys from `floor_key` on.
float mass_from(uint floor_key) {
  vec4 sum = vec4(0.0);
  for (uint i = row.body_begin + lane; i < row.body_end; i += lanes) {
    const vec4 values = load_logits_four(i);
    sum += mix(mass(values), vec4(0.0), lessThan(keys(values), uvec4(floor_key)));
  }
  bvec4 outside;
  uint place;
  const vec4 values = load_end(outside, place);
  const vec4 end = mix(mass(values), vec4(0.0), lessThan(keys(values), uvec4(floor_key)));
  sum = workgroup_sum(sum + mix(end, vec4(0.0), outside));
  return (sum.x + sum.y) + (sum.z + sum.w);
}

// The same of those that min-p leaves too; fixes mean_exponent.
float mass_before_typical(uint floor_key) {
  float sum = 0.0, weighted = 0.0;
  for (uint i = lane; i < candidates; i += lanes) {
    const float value = load_logits_element(row.begin + i), value_mass = mass(value);
    if (keys(vec4(value)).x < floor_key || value_mass < min_p || !(value_mass > 0.0)) continue;
    sum += value_mass;
    weighted += value_mass * ((value - row_maximum) / temperature);
  }
  const vec4 sums = workgroup_sum(vec4(sum, weighted, 0.0, 0.0));
  mean_exponent = sums.y / sums.x;
  return sums.x;
}

// The largest key at or above which at least `wanted` (logits, or mass) is found among the keys from floor_key on; or a
// lower one with the same logits above it.
uint threshold(float wanted, uint floor_key, uint by) {
  uint prefix = 0u;
  for (int shift = 30; shift >= 0; shift -= 3) {
    const Tally tally = tally_row(prefix, uint(shift), floor_key, by);
    const uint last = shift == 30 ? 3u : 7u;  // the first digit has two bits
    uint digit = 0u;
    for (uint d = 1; d <= last; d++) {
      const float found = by != BY_COUNT ? (d < 4 ? tally.low_mass[d] : tally.high_mass[d - 4])
                                  : float(d < 4 ? tally.low_count[d] : tally.high_count[d - 4]);
      if (found >= wanted) digit = d;
    }
    const uint count = digit < 4 ? tally.low_count[digit] : tally.high_count[digit - 4];
    const uint above = digit == last ? 0u : digit < 3 ? tally.low_count[digit + 1] : tally.high_count[digit - 3];
    prefix += digit << uint(shift);
    if (digit < last && count - above <= 1u) break;
  }
  return prefix;
}

uint largest_key() {
  uvec4 largest = uvec4(0u);
  for (uint i = row.body_begin + lane; i < row.body_end; i += lanes) largest = max(largest, keys(load_logits_four(i)));
  bvec4 outside;
  uint place;
  const vec4 values = load_end(outside, place);
  largest = max(largest, mix(keys(values), uvec4(0u), outside));
  return workgroup_maximum(max(max(largest.x, largest.y), max(largest.z, largest.w)));
}

uint first_match(uvec4 key, uint wanted, uint place) {
  const uvec4 found = mix(uvec4(0xffffffffu), uvec4(place) + uvec4(0, 1, 2, 3), equal(key, uvec4(wanted)));
  return min(min(found.x, found.y), min(found.z, found.w));
}

// The first candidate with this key.
uint first_of(uint wanted) {
  uint first = row.end - 1;
  for (uint i = row.body_begin + lane; i < row.body_end; i += lanes) {
    first = min(first, first_match(keys(load_logits_four(i)), wanted, 4 * i));
  }
  bvec4 outside;
  uint place;
  const vec4 values = load_end(outside, place);
  first = min(first, first_match(mix(keys(values), uvec4(~wanted), outside), wanted, place));
  return workgroup_minimum(first) - row.begin;
}

// Its mass, 0 for what is cut.
float kept_mass(float value, uint floor_key) {
  if (keys(vec4(value)).x < floor_key) return 0.0;
  const float value_mass = mass(value);
  if (value_mass < min_p || (typical_key != 0u && typical_keys(vec4(value)).x < typical_key)) return 0.0;
  return value_mass;
}

// The first index at which the running mass of the keys from `floor_key` on exceeds u times all of it.
uint pick(uint floor_key, float u) {
  const uint part = (candidates + lanes - 1) / lanes;
  const uint begin = min(lane * part, candidates), end = min(begin + part, candidates);
  float own = 0.0;
  uint last_kept = 0u;
  for (uint v = begin; v < end; v++) {
    const float value_mass = kept_mass(load_logits_element(row.begin + v), floor_key);
    if (!(value_mass > 0.0)) continue;
    own += value_mass;
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
    const float value_mass = kept_mass(load_logits_element(row.begin + v), floor_key);
    if (!(value_mass > 0.0)) continue;
    running += value_mass;
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
  const uint setting = settings_offset + r * settings_stride;
  temperature = settings[setting];
  const float top_k = floor(settings[setting + 1]);
  const float top_p = settings[setting + 2];
  min_p = settings[setting + 3];
  const float typical_p = settings[setting + 4];

  const uint largest = largest_key();
  uint choice;
  if (!(temperature > 0.0)) {
    choice = first_of(largest);
  } else {
    row_maximum = from_key(largest);
    uint floor_key = 0u;
    if (top_k >= 1.0 && top_k < float(candidates)) floor_key = threshold(top_k, 0u, BY_COUNT);
    if (top_p < 1.0) {
      const float wanted = top_p * mass_from(floor_key);
      floor_key = min(max(floor_key, threshold(wanted, floor_key, BY_MASS)), largest);
    }
    if (typical_p > 0.0 && typical_p < 1.0)
      typical_key = threshold(typical_p * mass_before_typical(floor_key), floor_key, BY_TYPICALITY);
    const uint base = random_offset + r * random_stride;
    const uvec4 words = uvec4(random[base], random[base + 1], random[base + 2], random[base + 3]);
    choice = pick(floor_key, random_uniform(words, random_stride == 0u ? r : 0u));
  }
  if (lane == 0) token[token_offset + r] = choice;
}
