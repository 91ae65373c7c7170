// attention for software drivers whose subgroups are 8 lanes of a CPU's vector (Dao et al. 2022, algorithm 1): a lane owns
// QUERIES queries of one head, whole: no sum ever crosses lanes.
//
//   lane 0: queries 0, 8, 16, ..   lane 1: queries 1, 9, 17, ..   ...      q and y [HEAD] each in registers (on the stack)
//   keys 8 at a time: the lanes fetch k and v once between them, and every value goes round by a shuffle
//
// Scores, running maximum and sum are a lane's own. Nothing of size T is stored. Needs head size HEAD (a multiple of 32) and
// rows of q, k, v and y that begin at multiples of 4 elements.
//
// 4 HEAD FLOP a pair of query and key; HEAD / QUERIES bytes a pair. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "math.glsl"
#include "attention.glsl"

#define LANES 8
#define KEYS 8
#define PARTS (HEAD / 32)  // fetches of a row
layout(local_size_x = LANES) in;
layout(set = 0, binding = 0) uniform textureBuffer q;
layout(set = 0, binding = 1) uniform textureBuffer k;
layout(set = 0, binding = 2) uniform textureBuffer v;
layout(set = 0, binding = 3) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 4) readonly buffer Slopes { float slopes[]; };
layout(set = 0, binding = 5) buffer Y { vec4 y[]; };
layout(set = 0, binding = 6) buffer LogSumExp { float log_sum_exp[]; };

void main() {
  const uint lane = gl_SubgroupInvocationID, h = gl_WorkGroupID.y, b = gl_WorkGroupID.z, g = h / (H / G);
  const uint t0 = first_row + (gl_NumWorkGroups.x - 1 - gl_WorkGroupID.x) * (LANES * QUERIES);  // the longest rows first
  const uint past = min(t0 + LANES * QUERIES, end_row);
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  vec4 query[QUERIES][HEAD / 4], result[QUERIES][HEAD / 4];
  float maximum[QUERIES], sum[QUERIES];
  uint first[QUERIES];  // key that each query sees
  UNROLL for (int n = 0; n < QUERIES; n++) {
    const uint t = min(t0 + n * LANES + lane, past - 1), at = (q_offset + (b * T + t) * q_t + h * q_h) / 4;
    first[n] = first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0);
    UNROLL for (int c = 0; c < HEAD / 4; c++) {
      query[n][c] = texelFetch(q, int(at + c));
      result[n][c] = vec4(0);
    }
    maximum[n] = -LARGEST_FLOAT;
    sum[n] = 0;
  }

  const uint k_at = k_offset + b * T * k_t + g * k_h, v_at = v_offset + b * T * v_t + g * v_h;
  for (uint key0 = subgroupShuffle(first[0], 0); key0 < past; key0 += KEYS) {  // the lowest first key is lane 0's
    float p[QUERIES][KEYS];
    UNROLL for (int j = 0; j < KEYS; j++) {
      UNROLL for (int n = 0; n < QUERIES; n++) p[n][j] = 0;
      UNROLL for (int f = 0; f < PARTS; f++) {
        const vec4 part = texelFetch(k, int((k_at + min(key0 + j, T - 1) * k_t) / 4 + f * LANES + lane));
        UNROLL for (int s = 0; s < LANES; s++) {
          for (int e = 0; e < 4; e++) {
            const float value = subgroupShuffle(part[e], s);
            for (int n = 0; n < QUERIES; n++) p[n][j] = fma(query[n][f * LANES + s][e], value, p[n][j]);
          }
        }
      }
    }

    bool seen[QUERIES][KEYS];
    float rescale[QUERIES];
    UNROLL for (int n = 0; n < QUERIES; n++) {
      float highest = maximum[n];
      const uint t = t0 + n * LANES + lane;
      UNROLL for (int j = 0; j < KEYS; j += 4) {
        const vec4 distance = vec4(t) - (vec4(key0 + j) + vec4(0, 1, 2, 3));
        const vec4 scores = attention_score(vec4(p[n][j], p[n][j + 1], p[n][j + 2], p[n][j + 3]), slope, distance);
        UNROLL for (int i = 0; i < 4; i++) {
          seen[n][j + i] = key0 + j + i >= first[n] && key0 + j + i <= t;
          p[n][j + i] = scores[i];
          highest = seen[n][j + i] ? max(highest, scores[i]) : highest;
        }
      }
      rescale[n] = exponential(maximum[n] - highest);
      maximum[n] = highest;
      sum[n] *= rescale[n];
      UNROLL for (int j = 0; j < KEYS; j += 4) {
        const vec4 e = exponential(vec4(p[n][j], p[n][j + 1], p[n][j + 2], p[n][j + 3]) - highest);
        UNROLL for (int i = 0; i < 4; i++) {
          p[n][j + i] = e[i];
          sum[n] += seen[n][j + i] ? e[i] : 0.0;
        }
      }
    }

    UNROLL for (int f = 0; f < PARTS; f++) {
      vec4 part[KEYS];
      UNROLL for (int j = 0; j < KEYS; j++)
        part[j] = texelFetch(v, int((v_at + min(key0 + j, T - 1) * v_t) / 4 + f * LANES + lane));
      UNROLL for (int s = 0; s < LANES; s++) {
        UNROLL for (int e = 0; e < 4; e++) {
          float value[KEYS];
          UNROLL for (int j = 0; j < KEYS; j++) value[j] = subgroupShuffle(part[j][e], s);
          for (int n = 0; n < QUERIES; n++) {
            float total = result[n][f * LANES + s][e] * rescale[n];
            // Not p = 0: a value that is not finite must not reach queries that do not see it.
            for (int j = 0; j < KEYS; j++) total = seen[n][j] ? fma(p[n][j], value[j], total) : total;
            result[n][f * LANES + s][e] = total;
          }
        }
      }
    }
  }

  UNROLL for (int n = 0; n < QUERIES; n++) {
    const uint t = t0 + n * LANES + lane;
    if (t < past) {
      const uint at = (out_offset + (b * T + t) * out_t + h * out_h) / 4;
      const float factor = 1.0 / sum[n];
      UNROLL for (int c = 0; c < HEAD / 4; c++) y[at + c] = result[n][c] * factor;
      log_sum_exp[log_sum_exp_offset + (b * H + h) * T + t] = maximum[n] + logarithm(sum[n]);
    }
  }
}
