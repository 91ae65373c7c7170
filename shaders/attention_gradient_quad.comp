// attention_gradient for software drivers whose subgroups are 4 lanes of a CPU's vector: SwiftShader (Dao et al. 2022, appendix
// B.2), in two passes, each without atomics: KEYS_PASS off: dq; on: dk and dv. delta comes from attention_delta.comp.
//
//   p = exp(score - log_sum_exp)       dp = dy.v   delta = dy.y   ds = p (dp - delta) dscore / d(q.k)
//   dq = sum over keys of ds k         dk = sum over queries of ds q          dv = sum over queries of p dy
//
// A lane owns OWN rows of one head (queries, or keys), the other side's rows come 4 at a time: lib/attention_quad.glsl. The two
// passes share this text: "own" and "other" are q, dy and k, v in the first pass, k, v and q, dy in the second. Needs head size
// HEAD and rows that begin at multiples of 4 elements.
//
// 14 HEAD FLOP a pair (7 products, two of them made twice); HEAD / (2 OWN) gathers a pair and pass. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_quad : require
#include "attention.glsl"
#include "attention_quad.glsl"

layout(set = 0, binding = 0) readonly buffer Q { vec4 q[]; };
layout(set = 0, binding = 1) readonly buffer K { vec4 k[]; };
layout(set = 0, binding = 2) readonly buffer V { vec4 v[]; };
layout(set = 0, binding = 3) readonly buffer LogSumExp { float log_sum_exp[]; };
layout(set = 0, binding = 4) readonly buffer DY { vec4 dy[]; };
layout(set = 0, binding = 5) readonly buffer Delta { float delta[]; };
layout(set = 0, binding = 6) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 7) readonly buffer Slopes { float slopes[]; };
#ifdef KEYS_PASS
layout(set = 0, binding = 8) buffer DK { vec4 dk[]; };
layout(set = 0, binding = 9) buffer DV { vec4 dv[]; };
#define OWN_A k
#define OWN_B v
#define OTHER_A q
#define OTHER_B dy
#else
layout(set = 0, binding = 8) buffer DQ { vec4 dq[]; };
#define OWN_A q
#define OWN_B dy
#define OTHER_A k
#define OTHER_B v
#endif

// Where a row begins, in fours.
uint at_q(uint b, uint t, uint h) { return (q_offset + (b * T + t) * q_t + h * q_h) / 4; }
uint at_k(uint b, uint t, uint g) { return (k_offset + (b * T + t) * k_t + g * k_h) / 4; }
uint at_v(uint b, uint t, uint g) { return (v_offset + (b * T + t) * v_t + g * v_h) / 4; }
uint at_dy(uint b, uint t, uint h) { return (dy_offset + ((b * T + t) * H + h) * HEAD) / 4; }
uint at_sum(uint b, uint t, uint h) { return (b * H + h) * T + t; }
uint first_of(uint b, uint t) { return first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0); }

void main() {
  const uint lane = gl_SubgroupInvocationID, b = gl_WorkGroupID.z;
  const uint queries_per_key = H / G;
#ifdef KEYS_PASS
  const uint t0 = first_row + gl_WorkGroupID.x * (LANES * OWN), g = gl_WorkGroupID.y;
#else
  const uint t0 = first_row + (gl_NumWorkGroups.x - 1 - gl_WorkGroupID.x) * (LANES * OWN);
  const uint h = gl_WorkGroupID.y, g = h / queries_per_key;
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  float own_log_sum_exp[OWN], own_delta[OWN];
  uint first[OWN];  // key that each of the queries sees
#endif
  const uint past = min(t0 + LANES * OWN, end_row);  // of the own rows
  uint row[OWN];
  vec4 own_a[OWN * PARTS], own_b[OWN * PARTS], sum_a[OWN * PARTS];
#ifdef KEYS_PASS
  vec4 sum_b[OWN * PARTS];
  float weights_b[OWN * LANES];
#endif
  float weights_a[OWN * LANES];
  uint masks[OWN * LANES];
  KEEP_LOOP for (uint i = 0; i < OWN * LANES; i++) {  // a place known at run time: so they are memory
    weights_a[i] = 0;
#ifdef KEYS_PASS
    weights_b[i] = 0;
#endif
    masks[i] = 0;
  }
  UNROLL for (int n = 0; n < OWN; n++) {
    row[n] = t0 + n * LANES + lane;
#ifndef KEYS_PASS
    const uint t = min(row[n], past - 1);
    own_log_sum_exp[n] = log_sum_exp[log_sum_exp_offset + at_sum(b, t, h)];
    own_delta[n] = delta[delta_offset + at_sum(b, t, h)];
    first[n] = first_of(b, t);
#endif
  }
  KEEP_LOOP for (uint i = 0; i < OWN * PARTS; i++) {
    const uint t = min(t0 + i / PARTS * LANES + lane, past - 1);
#ifdef KEYS_PASS
    own_a[i] = k[at_k(b, t, g) + i % PARTS];
    own_b[i] = v[at_v(b, t, g) + i % PARTS];
    sum_b[i] = vec4(0);
#else
    own_a[i] = q[at_q(b, t, h) + i % PARTS];
    own_b[i] = dy[at_dy(b, t, h) + i % PARTS];
#endif
    sum_a[i] = vec4(0);
  }

#ifdef KEYS_PASS
  const uint begin = t0, end = window > 0 ? min(T, past - 1 + window) : T;
  KEEP_LOOP for (uint h = g * queries_per_key; h < (g + 1) * queries_per_key; h++) {
    const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
#else
  const uint begin = first_of(b, t0), end = past;
  {
#endif
    KEEP_LOOP for (uint other0 = begin; other0 < end; other0 += LANES) {
      const uint mine = min(other0 + lane, end - 1);  // fetched by this lane
#ifdef KEYS_PASS
      const uint at_a = at_q(b, mine, h), at_b = at_dy(b, mine, h), of = at_sum(b, mine, h);
      const float mines_log_sum_exp = log_sum_exp[log_sum_exp_offset + of], mines_delta = delta[delta_offset + of];
      const vec4 facts = vec4(mines_log_sum_exp, mines_delta, uintBitsToFloat(first_of(b, mine)), 0);
#else
      const uint at_a = at_k(b, mine, g), at_b = at_v(b, mine, g);
#endif
      vec4 p[OWN], ds[OWN], part_a[PARTS], part_b[PARTS];
      UNROLL for (int n = 0; n < OWN; n++) p[n] = ds[n] = vec4(0);
      UNROLL for (int c = 0; c < PARTS; c++) {
        part_a[c] = OTHER_A[at_a + c];
        part_b[c] = OTHER_B[at_b + c];
        UNROLL for (int j = 0; j < LANES; j++) {
          const vec4 a = part_of(part_a[c], j), b = part_of(part_b[c], j);
          UNROLL for (int n = 0; n < OWN; n++) {
            ADD_DOT(p[n][j], own_a[n * PARTS + c], a)
            ADD_DOT(ds[n][j], own_b[n * PARTS + c], b)
          }
        }
      }

      const uvec4 other = other0 + OTHERS_ORDER;
#ifdef KEYS_PASS
      vec4 other_log_sum_exp, other_delta;
      uvec4 first;
      UNROLL for (int j = 0; j < LANES; j++) {
        const vec4 others_facts = part_of(facts, j);
        other_log_sum_exp[j] = others_facts.x;
        other_delta[j] = others_facts.y;
        first[j] = floatBitsToUint(others_facts.z);
      }
#endif
      UNROLL for (int n = 0; n < OWN; n++) {
        vec4 derivative;
#ifdef KEYS_PASS
        const uvec4 mask = all_bits(lessThan(other, uvec4(end))) & all_bits(lessThanEqual(first, uvec4(row[n]))) &
                  all_bits(lessThanEqual(uvec4(row[n]), other));
        const vec4 score = attention_score(p[n], slope, vec4(other) - vec4(row[n]), derivative);
#else
        const vec4 other_log_sum_exp = vec4(own_log_sum_exp[n]), other_delta = vec4(own_delta[n]);
        const uvec4 mask = all_bits(greaterThanEqual(other, uvec4(first[n]))) & all_bits(lessThanEqual(other, uvec4(row[n])));
        const vec4 score = attention_score(p[n], slope, vec4(row[n]) - vec4(other), derivative);
#endif
        const vec4 probability = exponential(score - other_log_sum_exp);
        const vec4 gradient = derivative * probability * (ds[n] - other_delta);
        UNROLL for (int j = 0; j < LANES; j++) {
          weights_a[n * LANES + j] = gradient[j];
#ifdef KEYS_PASS
          weights_b[n * LANES + j] = probability[j];
#endif
          masks[n * LANES + j] = mask[j];
        }
      }

      UNROLL for (int c = 0; c < PARTS; c++) {
        vec4 a[LANES];
        UNROLL for (int j = 0; j < LANES; j++) a[j] = part_of(part_a[c], j);
        UNROLL for (int n = 0; n < OWN; n++) ADD_SUMS(sum_a[n * PARTS + c], 1.0, weights_a, masks, n * LANES, a)
#ifdef KEYS_PASS
        UNROLL for (int j = 0; j < LANES; j++) a[j] = part_of(part_b[c], j);
        UNROLL for (int n = 0; n < OWN; n++) ADD_SUMS(sum_b[n * PARTS + c], 1.0, weights_b, masks, n * LANES, a)
#endif
      }
    }
  }

  UNROLL for (int n = 0; n < OWN; n++) {
    if (row[n] < past) {
#ifdef KEYS_PASS
      const uint to_k = (out_offset + (b * T + row[n]) * out_t + g * out_h) / 4;
      const uint to_v = (second_offset + (b * T + row[n]) * second_t + g * second_h) / 4;
      KEEP_LOOP for (uint c = 0; c < PARTS; c++) {
        dk[to_k + c] = sum_a[n * PARTS + c];
        dv[to_v + c] = sum_b[n * PARTS + c];
      }
#else
      const uint to = (out_offset + (b * T + row[n]) * out_t + h * out_h) / 4;
      KEEP_LOOP for (uint c = 0; c < PARTS; c++) dq[to + c] = sum_a[n * PARTS + c];
#endif
    }
  }
}
