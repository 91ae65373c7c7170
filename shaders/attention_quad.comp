// attention for software drivers whose subgroups are 4 lanes of a CPU's vector: SwiftShader (Dao et al. 2022, algorithm 1). A
// lane owns OWN queries of one head, whole; keys come 4 at a time by swaps: lib/attention_quad.glsl.
//
// Scores, running maximum and sum are a lane's own. Nothing of size T is stored. Needs head size HEAD and rows of q, k, v and
// y that begin at multiples of 4 elements.
//
// 4 HEAD FLOP a pair of query and key; 2 HEAD / OWN bytes and HEAD / (2 OWN) gathers a pair. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_quad : require
#include "attention.glsl"
#include "attention_quad.glsl"

layout(set = 0, binding = 0) readonly buffer Q { vec4 q[]; };
layout(set = 0, binding = 1) readonly buffer K { vec4 k[]; };
layout(set = 0, binding = 2) readonly buffer V { vec4 v[]; };
layout(set = 0, binding = 3) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 4) readonly buffer Slopes { float slopes[]; };
layout(set = 0, binding = 5) buffer Y { vec4 y[]; };
layout(set = 0, binding = 6) buffer LogSumExp { float log_sum_exp[]; };

uint first_of(uint b, uint t) { return first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0); }

void main() {
  const uint lane = gl_SubgroupInvocationID, h = gl_WorkGroupID.y, b = gl_WorkGroupID.z, g = h / (H / G);
  const uint t0 = first_row + (gl_NumWorkGroups.x - 1 - gl_WorkGroupID.x) * (LANES * OWN);  // the longest rows first
  const uint past = min(t0 + LANES * OWN, end_row);
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  vec4 query[OWN * PARTS], result[OWN * PARTS];
  float weights[OWN * LANES], maximum[OWN], sum[OWN];
  uint masks[OWN * LANES];
  uint row[OWN], first[OWN];  // first: key that the query sees
  UNROLL for (int n = 0; n < OWN; n++) {
    row[n] = t0 + n * LANES + lane;
    first[n] = first_of(b, min(row[n], past - 1));
    maximum[n] = -LARGEST_FLOAT;
    sum[n] = 0;
  }
  KEEP_LOOP for (uint i = 0; i < OWN * PARTS; i++) {
    const uint t = min(t0 + i / PARTS * LANES + lane, past - 1);
    query[i] = q[(q_offset + (b * T + t) * q_t + h * q_h) / 4 + i % PARTS];
    result[i] = vec4(0);
  }

  KEEP_LOOP for (uint i = 0; i < OWN * LANES; i++) {  // a place known at run time: so they are memory
    weights[i] = 0;
    masks[i] = 0;
  }

  const uint k_at = k_offset + b * T * k_t + g * k_h, v_at = v_offset + b * T * v_t + g * v_h;
  KEEP_LOOP for (uint key0 = first_of(b, t0); key0 < past; key0 += LANES) {
    const uint mine = min(key0 + lane, past - 1);  // fetched by this lane
    const uint k_row = (k_at + mine * k_t) / 4, v_row = (v_at + mine * v_t) / 4;
    vec4 p[OWN];
    UNROLL for (int n = 0; n < OWN; n++) p[n] = vec4(0);
    UNROLL for (int c = 0; c < PARTS; c++) {
      const vec4 fetched = k[k_row + c];
      UNROLL for (int j = 0; j < LANES; j++) {
        const vec4 key = part_of(fetched, j);
        UNROLL for (int n = 0; n < OWN; n++) ADD_DOT(p[n][j], query[n * PARTS + c], key)
      }
    }

    float rescale[OWN];
    const uvec4 key = key0 + OTHERS_ORDER;
    UNROLL for (int n = 0; n < OWN; n++) {
      const uvec4 mask = all_bits(greaterThanEqual(key, uvec4(first[n]))) & all_bits(lessThanEqual(key, uvec4(row[n])));
      const vec4 score = attention_score(p[n], slope, vec4(row[n]) - vec4(key));
      float highest = maximum[n];
      UNROLL for (int j = 0; j < LANES; j++) highest = mask[j] != 0 ? max(highest, score[j]) : highest;
      rescale[n] = exponential(maximum[n] - highest);
      maximum[n] = highest;
      const vec4 weight = uintBitsToFloat(floatBitsToUint(exponential(score - highest)) & mask);
      sum[n] = sum[n] * rescale[n] + weight.x + weight.y + weight.z + weight.w;
      UNROLL for (int j = 0; j < LANES; j++) {
        weights[n * LANES + j] = weight[j];
        masks[n * LANES + j] = mask[j];
      }
    }

    UNROLL for (int c = 0; c < PARTS; c++) {
      const vec4 fetched = v[v_row + c];
      vec4 values[LANES];
      UNROLL for (int j = 0; j < LANES; j++) values[j] = part_of(fetched, j);
      UNROLL for (int n = 0; n < OWN; n++) ADD_SUMS(result[n * PARTS + c], rescale[n], weights, masks, n * LANES, values)
    }
  }

  UNROLL for (int n = 0; n < OWN; n++) {
    if (row[n] < past) {
      const uint at = (out_offset + (b * T + row[n]) * out_t + h * out_h) / 4;
      const float factor = 1.0 / sum[n];
      KEEP_LOOP for (uint c = 0; c < PARTS; c++) y[at + c] = result[n * PARTS + c] * factor;
      log_sum_exp[log_sum_exp_offset + (b * H + h) * T + row[n]] = maximum[n] + logarithm(sum[n]);
    }
  }
}
