// attention_gradient by tiles in shared memory, for GPUs (Dao et al. 2022, appendix B.2), in two passes, each without atomics:
// KEYS_PASS off: dq, a workgroup owning ROWS queries; on: dk and dv, a workgroup owning ROWS keys and going through the
// queries of every head that shares them. delta comes from attention_delta.comp. Tile picture: lib/attention_tile.glsl.
//
//   p = exp(score - log_sum_exp)       dp = dy.v   delta = dy.y   ds = p (dp - delta) dscore / d(q.k)
//   dq = sum over keys of ds k         dk = sum over queries of ds q          dv = sum over queries of p dy
//
// Each pass makes both score products, then its sums. 14 HEAD FLOP a pair (7 products, two of them made twice). Not timed on a
// GPU yet.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "attention.glsl"
#include "attention_tile.glsl"

READ_TENSOR(0, q, TYPE)
READ_TENSOR(1, k, TYPE)
READ_TENSOR(2, v, TYPE)
layout(set = 0, binding = 3) readonly buffer LogSumExp { float log_sum_exp[]; };
READ_TENSOR(4, dy, TYPE)
layout(set = 0, binding = 5) readonly buffer Delta { float delta[]; };
layout(set = 0, binding = 6) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 7) readonly buffer Slopes { float slopes[]; };
DEFINE_FETCH(fetch_q, load_q)
DEFINE_FETCH(fetch_k, load_k)
DEFINE_FETCH(fetch_v, load_v)
DEFINE_FETCH(fetch_dy, load_dy)
#ifdef KEYS_PASS
WRITE_TENSOR(8, dk, TYPE)
WRITE_TENSOR(9, dv, TYPE)
DEFINE_STORE(store_dk_columns, store_dk)
DEFINE_STORE(store_dv_columns, store_dv)
#else
WRITE_TENSOR(8, dq, TYPE)
DEFINE_STORE(store_dq_columns, store_dq)
#endif

uint at_sum(uint b, uint t, uint h) { return (b * H + h) * T + t; }
uint first_of(uint b, uint t) { return first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0); }

// A query's row, and a key's, from the tile's rows of them.
#define QUERY(r) min(query0 + (r), queries_past - 1)
#define KEY(j) min(key0 + (j), keys_past - 1)
#define Q_AT(r) (q_offset + (b * T + QUERY(r)) * q_t + h * q_h)
#define DY_AT(r) (dy_offset + ((b * T + QUERY(r)) * H + h) * D)
#define K_AT(j) (k_offset + (b * T + KEY(j)) * k_t + g * k_h)
#define V_AT(j) (v_offset + (b * T + KEY(j)) * v_t + g * v_h)

#ifdef KEYS_PASS
shared uint first_of_other[OTHERS];
#define IS_SEEN(j) bvec4(uvec4(greaterThanEqual(rows, uvec4(first_of_other[j]))) & uvec4(lessThanEqual(rows, uvec4(query0 + (j)))))
#else
#define IS_SEEN(j) bvec4(uvec4(greaterThanEqual(uvec4(key0 + (j)), first)) & uvec4(lessThanEqual(uvec4(key0 + (j)), rows)))
#endif

void main() {
  const uint lane = gl_LocalInvocationIndex % LANES, group = gl_LocalInvocationIndex / LANES, b = gl_WorkGroupID.z;
  vec4 sum_a[4][PARTS];
  UNROLL for (int r = 0; r < 4; r++)
    UNROLL for (int part = 0; part < PARTS; part++) sum_a[r][part] = vec4(0);

#ifdef KEYS_PASS
  const uint key0 = first_row + gl_WorkGroupID.x * ROWS, keys_past = min(key0 + ROWS, end_row), g = gl_WorkGroupID.y;
  const uint queries_past = window > 0 ? min(T, keys_past - 1 + window) : T;
  const uvec4 rows = key0 + 4 * group + uvec4(0, 1, 2, 3);
  vec4 sum_b[4][PARTS];
  UNROLL for (int r = 0; r < 4; r++)
    UNROLL for (int part = 0; part < PARTS; part++) sum_b[r][part] = vec4(0);
  for (uint h = g * (H / G); h < (g + 1) * (H / G); h++) {
    const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
    for (uint query0 = key0; query0 < queries_past; query0 += OTHERS) {
      const uint last = min(query0 + OTHERS, queries_past) - 1;
      if (first_of(b, query0) >= keys_past) break;  // a later document: the queries see none of these keys any more
      const bool is_edge = query0 < key0 + ROWS || query0 + OTHERS > queries_past || first_of(b, last) > key0;
      barrier();
      for (uint i = gl_LocalInvocationIndex; i < OTHERS; i += THREADS)  // beyond the last query: none is seen
        first_of_other[i] = query0 + i < queries_past ? first_of(b, query0 + i) : 0xffffffffu;
#else
  const uint h = gl_WorkGroupID.y, g = h / (H / G);
  const uint query0 = first_row + (gl_NumWorkGroups.x - 1 - gl_WorkGroupID.x) * ROWS;  // the longest rows first
  const uint queries_past = min(query0 + ROWS, end_row), keys_past = queries_past;
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  const uvec4 rows = query0 + 4 * group + uvec4(0, 1, 2, 3);
  uvec4 first;  // key that each query sees
  vec4 row_log_sum_exp, row_delta;
  UNROLL for (int r = 0; r < 4; r++) {
    const uint t = min(rows[r], queries_past - 1);
    first[r] = first_of(b, t);
    row_log_sum_exp[r] = log_sum_exp[log_sum_exp_offset + at_sum(b, t, h)];
    row_delta[r] = delta[delta_offset + at_sum(b, t, h)];
  }
  const uint begin_of_last = first_of(b, queries_past - 1);
  {
    for (uint key0 = first_of(b, query0); key0 < keys_past; key0 += OTHERS) {
      const bool is_edge = key0 + OTHERS - 1 > query0 || key0 < begin_of_last;
#endif
      vec4 score[EACH], ds[EACH];
      UNROLL for (int e = 0; e < EACH; e++) score[e] = ds[e] = vec4(0);
#ifdef KEYS_PASS
      ADD_PRODUCTS(score, fetch_k, K_AT, fetch_q, Q_AT)
      ADD_PRODUCTS(ds, fetch_v, V_AT, fetch_dy, DY_AT)
#else
      ADD_PRODUCTS(score, fetch_q, Q_AT, fetch_k, K_AT)
      ADD_PRODUCTS(ds, fetch_dy, DY_AT, fetch_v, V_AT)
#endif
      UNROLL for (int e = 0; e < EACH; e++) {
        const uint j = lane * EACH + e;
#ifdef KEYS_PASS
        const uint of = at_sum(b, QUERY(j), h);
        const vec4 row_log_sum_exp = vec4(log_sum_exp[log_sum_exp_offset + of]), row_delta = vec4(delta[delta_offset + of]);
        const vec4 distance = float(query0 + j) - vec4(rows);
#else
        const vec4 distance = vec4(rows) - float(key0 + j);
#endif
        vec4 derivative;
        const bvec4 seen = IS_SEEN(j);
        const vec4 p = exponential(attention_score(score[e], slope, distance, derivative) - row_log_sum_exp);
        ds[e] = mix(vec4(0), derivative * p * (ds[e] - row_delta), seen);
        score[e] = mix(vec4(0), p, seen);
      }
#ifdef KEYS_PASS
      UNROLL for (int e = 0; e < EACH; e++) weights[(lane * EACH + e) * GROUPS + group] = score[e];
      ADD_SUMS(sum_b, fetch_dy, DY_AT, IS_SEEN)
      barrier();
      UNROLL for (int e = 0; e < EACH; e++) weights[(lane * EACH + e) * GROUPS + group] = ds[e];
      ADD_SUMS(sum_a, fetch_q, Q_AT, IS_SEEN)
#else
      UNROLL for (int e = 0; e < EACH; e++) weights[(lane * EACH + e) * GROUPS + group] = ds[e];
      ADD_SUMS(sum_a, fetch_k, K_AT, IS_SEEN)
#endif
    }
  }

  UNROLL for (int r = 0; r < 4; r++) {
    UNROLL for (int part = 0; part < PARTS; part++) {
      const uint d = (part * LANES + lane) * 4;
#ifdef KEYS_PASS
      if (rows[r] < keys_past) {
        store_dk_columns(out_offset + (b * T + rows[r]) * out_t + g * out_h, d, sum_a[r][part]);
        store_dv_columns(second_offset + (b * T + rows[r]) * second_t + g * second_h, d, sum_b[r][part]);
      }
#else
      if (rows[r] < queries_past) store_dq_columns(out_offset + (b * T + rows[r]) * out_t + h * out_h, d, sum_a[r][part]);
#endif
    }
  }
}
