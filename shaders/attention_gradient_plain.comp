// attention_gradient for any head size up to 256, any strides and offsets, any subgroup size (Dao et al. 2022, appendix
// B.2), in two passes, each without atomics: KEYS_PASS off: dq, for a few queries a workgroup; KEYS_PASS on: dk and dv, for
// a few keys a workgroup. delta comes from attention_delta.comp.
//
//   p = exp(score - log_sum_exp)       dp = dy.v   delta = dy.y   ds = p (dp - delta) dscore / d(q.k)
//   dq = sum over keys of ds k         dk = sum over queries of ds q          dv = sum over queries of p dy
//
// A workgroup of 64 keeps OWN rows (queries, or keys) in shared memory and goes through the other side's rows 64 at a
// time: first one row an invocation (both dot products, p and ds), then one element of D an invocation (the sums).
//
// 14 D FLOP a pair of query and key (7 products, two of them made twice); 16 D / OWN bytes a pair and pass.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "math.glsl"
#include "attention.glsl"

layout(set = 0, binding = 0) readonly buffer Q { float q[]; };
layout(set = 0, binding = 1) readonly buffer K { float k[]; };
layout(set = 0, binding = 2) readonly buffer V { float v[]; };
layout(set = 0, binding = 3) readonly buffer LogSumExp { float log_sum_exp[]; };
layout(set = 0, binding = 4) readonly buffer DY { float dy[]; };
layout(set = 0, binding = 5) readonly buffer Delta { float delta[]; };
layout(set = 0, binding = 6) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 7) readonly buffer Slopes { float slopes[]; };
#ifdef KEYS_PASS
layout(set = 0, binding = 8) buffer DK { float dk[]; };
layout(set = 0, binding = 9) buffer DV { float dv[]; };
#else
layout(set = 0, binding = 8) buffer DQ { float dq[]; };
#endif

#define WIDTH 64
#define MOST_D 256
#define PARTS (MOST_D / WIDTH)
layout(local_size_x = WIDTH) in;
shared float own_a[OWN][MOST_D];  // q, or k
shared float own_b[OWN][MOST_D];  // dy, or v
shared float weight_p[OWN][WIDTH], weight_ds[OWN][WIDTH];
shared uint pair_is_seen[OWN][WIDTH];

uint at_q(uint b, uint t, uint h) { return q_offset + (b * T + t) * q_t + h * q_h; }
uint at_k(uint b, uint t, uint g) { return k_offset + (b * T + t) * k_t + g * k_h; }
uint at_v(uint b, uint t, uint g) { return v_offset + (b * T + t) * v_t + g * v_h; }
uint at_dy(uint b, uint t, uint h) { return dy_offset + ((b * T + t) * H + h) * D; }
uint at_sum(uint b, uint t, uint h) { return (b * H + h) * T + t; }

void main() {
  const uint lane = gl_LocalInvocationIndex, b = gl_WorkGroupID.z, t0 = first_row + gl_WorkGroupID.x * OWN;
  const uint past = min(t0 + OWN, end_row);  // of the own rows
  const uint queries_per_key = H / G;
  float sum_a[OWN][PARTS], sum_b[OWN][PARTS];
  UNROLL for (int i = 0; i < OWN; i++)
    UNROLL for (int e = 0; e < PARTS; e++) sum_a[i][e] = sum_b[i][e] = 0;

#ifdef KEYS_PASS
  const uint g = gl_WorkGroupID.y;
  UNROLL for (int i = 0; i < OWN; i++) {
    const uint t = min(t0 + i, past - 1);
    for (uint d = lane; d < D; d += WIDTH) {
      own_a[i][d] = k[at_k(b, t, g) + d];
      own_b[i][d] = v[at_v(b, t, g) + d];
    }
  }
  const uint begin = t0, end = window > 0 ? min(T, past - 1 + window) : T;  // of the queries that see any of these keys
  for (uint h = g * queries_per_key; h < (g + 1) * queries_per_key; h++) {
    const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
#else
  const uint h = gl_WorkGroupID.y, g = h / queries_per_key;
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  float own_log_sum_exp[OWN], own_delta[OWN];
  uint first[OWN];  // key that each of the queries sees
  UNROLL for (int i = 0; i < OWN; i++) {
    const uint t = min(t0 + i, past - 1);
    for (uint d = lane; d < D; d += WIDTH) {
      own_a[i][d] = q[at_q(b, t, h) + d];
      own_b[i][d] = dy[at_dy(b, t, h) + d];
    }
    own_log_sum_exp[i] = log_sum_exp[log_sum_exp_offset + at_sum(b, t, h)];
    own_delta[i] = delta[delta_offset + at_sum(b, t, h)];
    first[i] = first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0);
  }
  const uint begin = first[0], end = past;  // of the keys that any of these queries sees
  {
#endif
    for (uint other0 = begin; other0 < end; other0 += WIDTH) {
      barrier();
      const uint other = other0 + lane;
      float score[OWN], dp[OWN];
      UNROLL for (int i = 0; i < OWN; i++) score[i] = dp[i] = 0;
      if (other < end) {
#ifdef KEYS_PASS
        const uint a = at_q(b, other, h), c = at_dy(b, other, h);
#else
        const uint a = at_k(b, other, g), c = at_v(b, other, g);
#endif
        for (uint d = 0; d < D; d++) {
#ifdef KEYS_PASS
          const float other_a = q[a + d], other_b = dy[c + d];
#else
          const float other_a = k[a + d], other_b = v[c + d];
#endif
          UNROLL for (int i = 0; i < OWN; i++) {
            score[i] = fma(own_a[i][d], other_a, score[i]);
            dp[i] = fma(own_b[i][d], other_b, dp[i]);
          }
        }
      }
#ifdef KEYS_PASS
      const uint t = min(other, T - 1), of = at_sum(b, t, h);
      const uint first = first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0);
      const float other_log_sum_exp = log_sum_exp[log_sum_exp_offset + of], other_delta = delta[delta_offset + of];
#endif
      UNROLL for (int i = 0; i < OWN; i++) {
        const float own = float(t0 + i);
        float derivative;
#ifdef KEYS_PASS
        const bool is_seen = other < end && t0 + i >= first && t0 + i <= other;
        const float value = attention_score(score[i], slope, float(other) - own, derivative);
        const float p = exponential(value - other_log_sum_exp), ds = derivative * p * (dp[i] - other_delta);
#else
        const bool is_seen = other < end && other >= first[i] && other <= t0 + i;
        const float value = attention_score(score[i], slope, own - float(other), derivative);
        const float p = exponential(value - own_log_sum_exp[i]), ds = derivative * p * (dp[i] - own_delta[i]);
#endif
        weight_p[i][lane] = p;
        weight_ds[i][lane] = ds;
        pair_is_seen[i][lane] = is_seen ? 1 : 0;
      }
      barrier();
      const uint count = min(WIDTH, end - other0);
      UNROLL for (int e = 0; e < PARTS; e++) {
        const uint d = e * WIDTH + lane;
        if (d < D) {
          for (uint j = 0; j < count; j++) {
#ifdef KEYS_PASS
            const float other_a = q[at_q(b, other0 + j, h) + d], other_b = dy[at_dy(b, other0 + j, h) + d];
#else
            const float other_a = k[at_k(b, other0 + j, g) + d];
#endif
            // Pairs that do not see each other are left out, rather than given weight 0: NaN must not cross.
            UNROLL for (int i = 0; i < OWN; i++) {
              if (pair_is_seen[i][j] != 0) {
                sum_a[i][e] = fma(weight_ds[i][j], other_a, sum_a[i][e]);
#ifdef KEYS_PASS
                sum_b[i][e] = fma(weight_p[i][j], other_b, sum_b[i][e]);
#endif
              }
            }
          }
        }
      }
    }
  }

  UNROLL for (int i = 0; i < OWN; i++) {
    UNROLL for (int e = 0; e < PARTS; e++) {
      const uint d = e * WIDTH + lane, t = t0 + i;
      if (d < D && t < past) {
#ifdef KEYS_PASS
        dk[out_offset + (b * T + t) * out_t + g * out_h + d] = sum_a[i][e];
        dv[second_offset + (b * T + t) * second_t + g * second_h + d] = sum_b[i][e];
#else
        dq[out_offset + (b * T + t) * out_t + h * out_h + d] = sum_a[i][e];
#endif
      }
    }
  }
}
