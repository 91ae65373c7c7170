// attention_gradient for software drivers whose subgroups are 8 lanes of a CPU's vector (Dao et al. 2022, appendix B.2), in
// two passes, each without atomics: KEYS_PASS off: dq; on: dk and dv. delta comes from attention_delta.comp.
//
//   p = exp(score - log_sum_exp)       dp = dy.v   delta = dy.y   ds = p (dp - delta) dscore / d(q.k)
//   dq = sum over keys of ds k         dk = sum over queries of ds q          dv = sum over queries of p dy
//
// As in attention_texel.comp a lane owns OWN rows of one head, whole (queries, or keys), and the other side's rows come 8
// at a time, fetched once between the lanes and handed round by shuffles. The two passes share this text: "own" and "other"
// are q, dy and k, v in the first pass, k, v and q, dy in the second.
//
// 14 HEAD FLOP a pair (7 products, two of them made twice); 2 HEAD / OWN bytes a pair and pass. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "math.glsl"
#include "attention.glsl"

#define LANES 8
#define OTHERS 8
#define PARTS (HEAD / 32)  // fetches of a row
layout(local_size_x = LANES) in;
layout(set = 0, binding = 0) uniform textureBuffer q;
layout(set = 0, binding = 1) uniform textureBuffer k;
layout(set = 0, binding = 2) uniform textureBuffer v;
layout(set = 0, binding = 3) readonly buffer LogSumExp { float log_sum_exp[]; };
layout(set = 0, binding = 4) uniform textureBuffer dy;
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

// Where a row begins, in texels.
uint at_q(uint b, uint t, uint h) { return (q_offset + (b * T + t) * q_t + h * q_h) / 4; }
uint at_k(uint b, uint t, uint g) { return (k_offset + (b * T + t) * k_t + g * k_h) / 4; }
uint at_v(uint b, uint t, uint g) { return (v_offset + (b * T + t) * v_t + g * v_h) / 4; }
uint at_dy(uint b, uint t, uint h) { return (dy_offset + ((b * T + t) * H + h) * HEAD) / 4; }
uint at_sum(uint b, uint t, uint h) { return (b * H + h) * T + t; }

void main() {
  const uint lane = gl_SubgroupInvocationID, b = gl_WorkGroupID.z;
  const uint queries_per_key = H / G;
#ifdef KEYS_PASS
  const uint t0 = first_row + gl_WorkGroupID.x * (LANES * OWN), g = gl_WorkGroupID.y, own_head = g;
#else
  const uint t0 = first_row + (gl_NumWorkGroups.x - 1 - gl_WorkGroupID.x) * (LANES * OWN);
  const uint h = gl_WorkGroupID.y, own_head = h, g = h / queries_per_key;
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  float own_log_sum_exp[OWN], own_delta[OWN];
  uint first[OWN];  // key that each of the queries sees
#endif
  const uint past = min(t0 + LANES * OWN, end_row);  // of the own rows
  vec4 own_a[OWN][HEAD / 4], own_b[OWN][HEAD / 4], sum_a[OWN][HEAD / 4];
#ifdef KEYS_PASS
  vec4 sum_b[OWN][HEAD / 4];
#endif
  UNROLL for (int n = 0; n < OWN; n++) {
    const uint t = min(t0 + n * LANES + lane, past - 1);
#ifdef KEYS_PASS
    const uint at_a = at_k(b, t, own_head), at_b = at_v(b, t, own_head);
#else
    const uint at_a = at_q(b, t, own_head), at_b = at_dy(b, t, own_head);
#endif
    UNROLL for (int c = 0; c < HEAD / 4; c++) {
      own_a[n][c] = texelFetch(OWN_A, int(at_a + c));
      own_b[n][c] = texelFetch(OWN_B, int(at_b + c));
      sum_a[n][c] = vec4(0);
#ifdef KEYS_PASS
      sum_b[n][c] = vec4(0);
#endif
    }
#ifndef KEYS_PASS
    own_log_sum_exp[n] = log_sum_exp[log_sum_exp_offset + at_sum(b, t, h)];
    own_delta[n] = delta[delta_offset + at_sum(b, t, h)];
    first[n] = first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0);
#endif
  }

#ifdef KEYS_PASS
  const uint begin = t0, end = window > 0 ? min(T, past - 1 + window) : T;
  KEEP_LOOP for (uint h = g * queries_per_key; h < (g + 1) * queries_per_key; h++) {
    const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
#else
  // The lowest of all lanes' first keys is lane 0's.
  const uint begin = subgroupShuffle(first[0], 0), end = past;
  {
#endif
    for (uint other0 = begin; other0 < end; other0 += OTHERS) {
      float p[OWN][OTHERS], ds[OWN][OTHERS];
      vec4 part_a[OTHERS][PARTS], part_b[OTHERS][PARTS];
      UNROLL for (int j = 0; j < OTHERS; j++) {
        const uint t = min(other0 + j, T - 1);
#ifdef KEYS_PASS
        const uint at_a = at_q(b, t, h), at_b = at_dy(b, t, h);
#else
        const uint at_a = at_k(b, t, g), at_b = at_v(b, t, g);
#endif
        UNROLL for (int n = 0; n < OWN; n++) p[n][j] = ds[n][j] = 0;
        UNROLL for (int f = 0; f < PARTS; f++) {
          part_a[j][f] = texelFetch(OTHER_A, int(at_a + f * LANES + lane));
          part_b[j][f] = texelFetch(OTHER_B, int(at_b + f * LANES + lane));
          UNROLL for (int s = 0; s < LANES; s++) {
            for (int e = 0; e < 4; e++) {
              const float a = subgroupShuffle(part_a[j][f][e], s), c = subgroupShuffle(part_b[j][f][e], s);
              for (int n = 0; n < OWN; n++) {
                p[n][j] = fma(own_a[n][f * LANES + s][e], a, p[n][j]);
                ds[n][j] = fma(own_b[n][f * LANES + s][e], c, ds[n][j]);
              }
            }
          }
        }
      }

      // From scores to p, from dp to ds.
#ifdef KEYS_PASS
      const uint mine = min(other0 + lane, T - 1), of = at_sum(b, mine, h);
      const uint mines_first = first_key(mine, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + mine] : 0);
      const float others_log_sum_exp = log_sum_exp[log_sum_exp_offset + of], others_delta = delta[delta_offset + of];
      float other_log_sum_exp[OTHERS], other_delta[OTHERS];
      uint first[OTHERS];
      UNROLL for (int j = 0; j < OTHERS; j++) {
        other_log_sum_exp[j] = subgroupShuffle(others_log_sum_exp, j);
        other_delta[j] = subgroupShuffle(others_delta, j);
        first[j] = HAS_DOCUMENTS ? subgroupShuffle(mines_first, j) : first_key(other0 + j, 0);
      }
#endif
      bool seen[OWN][OTHERS];
      UNROLL for (int n = 0; n < OWN; n++) {
        const uint t = t0 + n * LANES + lane;
        UNROLL for (int j = 0; j < OTHERS; j += 4) {
          vec4 derivatives, log_sum_exps;
          const vec4 others = vec4(other0 + j) + vec4(0, 1, 2, 3), mine_is = vec4(t);
          const vec4 products = vec4(p[n][j], p[n][j + 1], p[n][j + 2], p[n][j + 3]);
          UNROLL for (int i = 0; i < 4; i++) {
            const uint other = other0 + j + i;
#ifdef KEYS_PASS
            seen[n][j + i] = other < T && t >= first[j + i] && t <= other;
            log_sum_exps[i] = other_log_sum_exp[j + i];
          }
          const vec4 scores = attention_score(products, slope, others - mine_is, derivatives);
#else
            seen[n][j + i] = other >= first[n] && other <= t;
            log_sum_exps[i] = own_log_sum_exp[n];
          }
          const vec4 scores = attention_score(products, slope, mine_is - others, derivatives);
#endif
          const vec4 probabilities = exponential(scores - log_sum_exps);
          UNROLL for (int i = 0; i < 4; i++) {
            p[n][j + i] = probabilities[i];
#ifdef KEYS_PASS
            ds[n][j + i] = derivatives[i] * probabilities[i] * (ds[n][j + i] - other_delta[j + i]);
#else
            ds[n][j + i] = derivatives[i] * probabilities[i] * (ds[n][j + i] - own_delta[n]);
#endif
          }
        }
      }

      UNROLL for (int f = 0; f < PARTS; f++) {
        UNROLL for (int s = 0; s < LANES; s++) {
          UNROLL for (int e = 0; e < 4; e++) {
            float a[OTHERS];
            UNROLL for (int j = 0; j < OTHERS; j++) a[j] = subgroupShuffle(part_a[j][f][e], s);
#ifdef KEYS_PASS
            float c[OTHERS];
            UNROLL for (int j = 0; j < OTHERS; j++) c[j] = subgroupShuffle(part_b[j][f][e], s);
#endif
            // Pairs that do not see each other are left out, rather than given weight 0: NaN must not cross.
            for (int n = 0; n < OWN; n++) {
              float total = sum_a[n][f * LANES + s][e];
              for (int j = 0; j < OTHERS; j++) total = seen[n][j] ? fma(ds[n][j], a[j], total) : total;
              sum_a[n][f * LANES + s][e] = total;
#ifdef KEYS_PASS
              total = sum_b[n][f * LANES + s][e];
              for (int j = 0; j < OTHERS; j++) total = seen[n][j] ? fma(p[n][j], c[j], total) : total;
              sum_b[n][f * LANES + s][e] = total;
#endif
            }
          }
        }
      }
    }
  }

  UNROLL for (int n = 0; n < OWN; n++) {
    const uint t = t0 + n * LANES + lane;
    if (t < past) {
#ifdef KEYS_PASS
      const uint to_k = (out_offset + (b * T + t) * out_t + g * out_h) / 4;
      const uint to_v = (second_offset + (b * T + t) * second_t + g * second_h) / 4;
      UNROLL for (int c = 0; c < HEAD / 4; c++) {
        dk[to_k + c] = sum_a[n][c];
        dv[to_v + c] = sum_b[n][c];
      }
#else
      const uint to = (out_offset + (b * T + t) * out_t + h * out_h) / 4;
      UNROLL for (int c = 0; c < HEAD / 4; c++) dq[to + c] = sum_a[n][c];
#endif
    }
  }
}
