// attention by tiles in shared memory, for GPUs (Dao et al. 2022, algorithm 1): any head size up to HEAD, strides, alignment,
// storage type and subgroup size. The tile picture and both products: lib/attention_tile.glsl.
//
// A workgroup owns ROWS queries of one head. For each tile of keys: scores; the new maximum of each query, by way of shared
// memory; probabilities into shared memory; then the sums of values. Tiles that no query of the workgroup sees (beyond the
// diagonal, the window or the document) are not visited; only tiles on an edge look at each pair.
//
// 4 HEAD FLOP a pair; 4 HEAD / ROWS elements of k and v a pair, 8 ROWS bytes of shared memory a pair. Not timed on a GPU yet.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "attention.glsl"
#include "attention_tile.glsl"

READ_TENSOR(0, q, TYPE)
READ_TENSOR(1, k, TYPE)
READ_TENSOR(2, v, TYPE)
layout(set = 0, binding = 3) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 4) readonly buffer Slopes { float slopes[]; };
WRITE_TENSOR(5, y, TYPE)
layout(set = 0, binding = 6) buffer LogSumExp { float log_sum_exp[]; };
DEFINE_FETCH(fetch_q, load_q)
DEFINE_FETCH(fetch_k, load_k)
DEFINE_FETCH(fetch_v, load_v)
DEFINE_STORE(store_columns, store_y)

shared vec4 highest_of[LANES * GROUPS];  // what a lane contributes to its group's 4 rows; later to their sums

uint first_of(uint b, uint t) { return first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0); }

void main() {
  const uint lane = gl_LocalInvocationIndex % LANES, group = gl_LocalInvocationIndex / LANES;
  const uint h = gl_WorkGroupID.y, b = gl_WorkGroupID.z, g = h / (H / G);
  const uint t0 = first_row + (gl_NumWorkGroups.x - 1 - gl_WorkGroupID.x) * ROWS;  // the longest rows first
  const uint past = min(t0 + ROWS, end_row);
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  const uvec4 rows = t0 + 4 * group + uvec4(0, 1, 2, 3);
  uvec4 first;  // key that each query sees
  UNROLL for (int r = 0; r < 4; r++) first[r] = first_of(b, min(rows[r], past - 1));
  const uint begin = first_of(b, t0), begin_of_last = first_of(b, past - 1);
#define Q_AT(r) (q_offset + (b * T + min(t0 + (r), past - 1)) * q_t + h * q_h)
#define K_AT(j) (k_offset + (b * T + min(key0 + (j), past - 1)) * k_t + g * k_h)
#define V_AT(j) (v_offset + (b * T + min(key0 + (j), past - 1)) * v_t + g * v_h)
#define KEY_IS_SEEN(j) bvec4(uvec4(greaterThanEqual(uvec4(key0 + (j)), first)) & uvec4(lessThanEqual(uvec4(key0 + (j)), rows)))

  vec4 maximum = vec4(-LARGEST_FLOAT), sum = vec4(0), result[4][PARTS];
  UNROLL for (int r = 0; r < 4; r++)
    UNROLL for (int part = 0; part < PARTS; part++) result[r][part] = vec4(0);

  for (uint key0 = begin; key0 < past; key0 += OTHERS) {
    const bool is_edge = key0 + OTHERS - 1 > t0 || key0 < begin_of_last;
    vec4 score[EACH];
    UNROLL for (int e = 0; e < EACH; e++) score[e] = vec4(0);
    ADD_PRODUCTS(score, fetch_q, Q_AT, fetch_k, K_AT)

    vec4 highest = maximum;
    bvec4 seen[EACH];
    UNROLL for (int e = 0; e < EACH; e++) {
      const uint j = lane * EACH + e;
      seen[e] = KEY_IS_SEEN(j);
      score[e] = attention_score(score[e], slope, vec4(rows) - float(key0 + j));
      highest = mix(highest, max(highest, score[e]), seen[e]);
    }
    highest_of[lane * GROUPS + group] = highest;
    barrier();
    UNROLL for (int i = 0; i < LANES; i++) highest = max(highest, highest_of[i * GROUPS + group]);
    const vec4 rescale = exponential(maximum - highest);
    maximum = highest;
    sum *= rescale;
    UNROLL for (int e = 0; e < EACH; e++) {
      const vec4 p = mix(vec4(0), exponential(score[e] - highest), seen[e]);
      sum += p;
      weights[(lane * EACH + e) * GROUPS + group] = p;
    }
    UNROLL for (int r = 0; r < 4; r++)
      UNROLL for (int part = 0; part < PARTS; part++) result[r][part] *= rescale[r];
    ADD_SUMS(result, fetch_v, V_AT, KEY_IS_SEEN)
  }

  barrier();
  highest_of[lane * GROUPS + group] = sum;
  barrier();
  vec4 total = vec4(0);
  UNROLL for (int i = 0; i < LANES; i++) total += highest_of[i * GROUPS + group];
  UNROLL for (int r = 0; r < 4; r++) {
    if (rows[r] < past) {
      const uint at = out_offset + (b * T + rows[r]) * out_t + h * out_h;
      UNROLL for (int part = 0; part < PARTS; part++) store_columns(at, (part * LANES + lane) * 4, result[r][part] / total[r]);
      if (lane == 0) log_sum_exp[log_sum_exp_offset + (b * H + h) * T + rows[r]] = maximum[r] + logarithm(total[r]);
    }
  }
}
