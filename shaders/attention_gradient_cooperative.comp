// attention_gradient by matrix units (VK_KHR_cooperative_matrix; Dao et al. 2022, appendix B.2), in two passes, each without
// atomics: KEYS_PASS off: dq, a workgroup owning ROWS queries; on: dk and dv, a workgroup owning ROWS keys and going through the
// queries of every head that shares them. delta comes from attention_delta.comp. Operands in f16 (or, rewritten by
// bfloat16_matrix.cmake, bf16), everything between in f32. Tile picture and products: lib/attention_matrix.glsl.
//
//   p = exp(score - log_sum_exp)       dp = dy.v   delta = dy.y   ds = p (dp - delta) dscore / d(q.k)
//   dq = sum over keys of ds k         dk = sum over queries of ds q          dv = sum over queries of p dy
//
// The two passes share this text: "own" and "other" are q, dy and k, v in the first, k, v and q, dy in the second. A tile:
//
//   both others -> shared | barrier | scores and dp -> slots; p and ds in the slots | barrier | fetch the next others; sums
//
// ds may be anything, and f16 reaches from 6e-5 to 65504: each subgroup keeps its ds `unit` times too large, a power of two that
// falls, with the sums, when a tile's largest would not fit.
//
// 14 HEAD FLOP a pair (7 products, two of them made twice). Not timed on a GPU yet: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "attention.glsl"
#include "attention_matrix.glsl"

READ_TENSOR(0, q, TYPE)
READ_TENSOR(1, k, TYPE)
READ_TENSOR(2, v, TYPE)
layout(set = 0, binding = 3) readonly buffer LogSumExp { float log_sum_exp[]; };
READ_TENSOR(4, dy, TYPE)
layout(set = 0, binding = 5) readonly buffer Delta { float delta[]; };
layout(set = 0, binding = 6) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 7) readonly buffer Slopes { float slopes[]; };
DEFINE_EIGHT(q)
DEFINE_EIGHT(k)
DEFINE_EIGHT(v)
DEFINE_EIGHT(dy)
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
shared uint first_of_other[OTHERS];  // beyond the last query: none is seen
shared vec2 sums_of_other[OTHERS];   // log_sum_exp and delta
#define FETCH_OTHERS FETCH_TILE(next_a, eight_of_q, Q_AT) FETCH_TILE(next_b, eight_of_dy, DY_AT)
#define IS_SEEN(n, j) (row[n] >= first_of_other[j] && row[n] <= query0 + (j))
#else
#define FETCH_OTHERS FETCH_TILE(next_a, eight_of_k, K_AT) FETCH_TILE(next_b, eight_of_v, V_AT)
#define IS_SEEN(n, j) (key0 + (j) >= first[n] && key0 + (j) <= row[n])
#endif

const uint A_AT = 0, B_AT = TILE, SLOTS_AT = 2 * TILE;

uvec4 next_a[SHARE], next_b[SHARE];

// Whether what this invocation brings into the tiles is not finite.
bool brings_bad() {
  bool is_bad = false;
  UNROLL for (uint i = 0; i < SHARE; i++) {
    if (i * gl_WorkGroupSize.x + gl_LocalInvocationIndex < OTHERS * EIGHTS) {
      is_bad = is_bad || any_not_finite(next_a[i]);
#ifdef KEYS_PASS
      is_bad = is_bad || any_not_finite(next_b[i]);
#endif
    }
  }
  return is_bad;
}

// The unit for f16 in which a subgroup's largest |ds| fits.
float unit_for(float most, float unit) {
  if (TYPE != F16 || !(most * unit > 32768.0)) return unit;
  const int exponent = clamp(int(floatBitsToUint(most) >> 23) - 127, -110, 127);
  return uintBitsToFloat(uint(127 + 13 - exponent) << 23);
}

void main() {
  const uint b = gl_WorkGroupID.z;
  const uint slot_p = SLOTS_AT + gl_SubgroupID * 2 * SLOT, slot_ds = slot_p + SLOT;
  LEFT own_a[BLOCKS][DEPTH];
  LEFT own_b[BLOCKS][DEPTH];
  SUMS sums_a[BLOCKS][COLUMNS];
  UNROLL for (uint i = 0; i < BLOCKS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) sums_a[i][j] = SUMS(0);
  if (gl_LocalInvocationIndex < 2) not_finite[gl_LocalInvocationIndex] = 0;
  uint row[EACH];  // of the invocation's rows in the slots: the query, or key
  float unit = TYPE == F16 ? 1.152921504606846976e18 : 1.0;

#ifdef KEYS_PASS
  const uint key0 = first_row + gl_WorkGroupID.x * ROWS, keys_past = min(key0 + ROWS, end_row), g = gl_WorkGroupID.y;
  const uint queries_past = window > 0 ? min(T, keys_past - 1 + window) : T;
  const uint part0 = key0 + gl_SubgroupID * PART_ROWS, past = keys_past;
  SUMS sums_b[BLOCKS][COLUMNS];
  UNROLL for (uint i = 0; i < BLOCKS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) sums_b[i][j] = SUMS(0);
  UNROLL for (uint n = 0; n < EACH; n++) row[n] = part0 + own_row(n);
  TAKE_OWN(own_a, eight_of_k, K_AT)
  TAKE_OWN(own_b, eight_of_v, V_AT)
  uint h = g * (H / G), query0 = key0;
  const uint past_head = h + H / G;
  FETCH_OTHERS
  KEEP_LOOP for (uint turn = 0; h < past_head; turn ^= 1) {
    const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
    const bool is_edge = query0 < key0 + ROWS || query0 + OTHERS > queries_past || first_of(b, QUERY(OTHERS - 1)) > key0;
    for (uint j = gl_LocalInvocationIndex; j < OTHERS; j += gl_WorkGroupSize.x) {
      const uint of = at_sum(b, QUERY(j), h);
      first_of_other[j] = query0 + j < queries_past ? first_of(b, query0 + j) : 0xffffffffu;
      sums_of_other[j] = vec2(log_sum_exp[log_sum_exp_offset + of], delta[delta_offset + of]);
    }
#else
  const uint h = gl_WorkGroupID.y, g = h / (H / G);
  const uint query0 = first_row + (gl_NumWorkGroups.x - 1 - gl_WorkGroupID.x) * ROWS;  // the longest rows first
  const uint queries_past = min(query0 + ROWS, end_row), keys_past = queries_past;
  const uint part0 = query0 + gl_SubgroupID * PART_ROWS, past = queries_past;
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  uint first[EACH];  // key that each query sees
  vec2 sums_of_own[EACH];
  UNROLL for (uint n = 0; n < EACH; n++) {
    row[n] = part0 + own_row(n);
    const uint t = min(row[n], queries_past - 1), of = at_sum(b, t, h);
    first[n] = first_of(b, t);
    sums_of_own[n] = vec2(log_sum_exp[log_sum_exp_offset + of], delta[delta_offset + of]);
  }
  TAKE_OWN(own_a, eight_of_q, Q_AT)
  TAKE_OWN(own_b, eight_of_dy, DY_AT)
  const uint begin_of_last = first_of(b, queries_past - 1);
  uint key0 = first_of(b, query0);
  FETCH_OTHERS
  KEEP_LOOP for (uint turn = 0; key0 < keys_past; turn ^= 1) {
    const bool is_edge = key0 + OTHERS - 1 > query0 || key0 < begin_of_last;
#endif
    PUT_TILE(A_AT, next_a)
    PUT_TILE(B_AT, next_b)
    if (is_edge && brings_bad()) not_finite[turn] = 1;
    barrier();
    if (gl_LocalInvocationIndex == 0) not_finite[turn ^ 1] = 0;
    PRODUCTS_INTO_SLOT(slot_p, own_a, A_AT)
    PRODUCTS_INTO_SLOT(slot_ds, own_b, B_AT)
    subgroupBarrier();

    vec4 p[EACH][FOURS], ds[EACH][FOURS];
    float most = 0;
    UNROLL for (uint n = 0; n < EACH; n++) {
      UNROLL for (uint i = 0; i < FOURS; i++) {
        const uint four = i * TEAM + member(), at = own_row(n) * SLOT_PITCH + four;
        vec4 log_sum_exps, deltas, derivative;
#ifdef KEYS_PASS
        const uvec4 others = query0 + four * 4 + uvec4(0, 1, 2, 3);
        UNROLL for (uint e = 0; e < 4; e++) {
          log_sum_exps[e] = sums_of_other[four * 4 + e].x;
          deltas[e] = sums_of_other[four * 4 + e].y;
        }
        const vec4 distance = vec4(others) - vec4(row[n]);
#else
        const uvec4 others = key0 + four * 4 + uvec4(0, 1, 2, 3);
        log_sum_exps = vec4(sums_of_own[n].x);
        deltas = vec4(sums_of_own[n].y);
        const vec4 distance = vec4(row[n]) - vec4(others);
#endif
        const vec4 score = attention_score(uintBitsToFloat(pool[slot_p + at]), slope, distance, derivative);
        p[n][i] = weight_exponential(score - log_sum_exps);
        ds[n][i] = derivative * p[n][i] * (uintBitsToFloat(pool[slot_ds + at]) - deltas);
        if (is_edge) {
          bvec4 is_seen;
          UNROLL for (uint e = 0; e < 4; e++) is_seen[e] = IS_SEEN(n, four * 4 + e);
          p[n][i] = mix(vec4(0), p[n][i], is_seen);
          ds[n][i] = mix(vec4(0), ds[n][i], is_seen);
        }
        if (TYPE == F16) {
          UNROLL for (uint e = 0; e < 4; e++)
            if (is_finite(ds[n][i][e])) most = max(most, abs(ds[n][i][e]));
        }
      }
    }
    const float unit_before = unit;
    if (TYPE == F16) {
      UNROLL for (uint m = 1; m < SUBGROUP; m *= 2) most = max(most, subgroupShuffleXor(most, m));
      unit = unit_for(most, unit);
    }
    subgroupBarrier();  // all have read the products, whose place the weights take
    UNROLL for (uint n = 0; n < EACH; n++) {
      UNROLL for (uint i = 0; i < FOURS; i++) {
        put_weights(slot_ds, own_row(n), i * TEAM + member(), ds[n][i] * unit);
#ifdef KEYS_PASS
        put_weights(slot_p, own_row(n), i * TEAM + member(), p[n][i]);
#endif
      }
    }
    subgroupBarrier();
    if (unit != unit_before) {
      const float factor = unit / unit_before;
      UNROLL for (uint i = 0; i < BLOCKS; i++)
        UNROLL for (uint j = 0; j < COLUMNS; j++) sums_a[i][j] *= factor;
    }
    if (not_finite[turn] == 0) {
      ADD_WEIGHTED(sums_a, slot_ds, A_AT)
#ifdef KEYS_PASS
      ADD_WEIGHTED(sums_b, slot_p, B_AT)
#endif
    } else {
      ADD_WEIGHTED_BY_HAND(sums_a, slot_ds, A_AT, IS_SEEN)
#ifdef KEYS_PASS
      ADD_WEIGHTED_BY_HAND(sums_b, slot_p, B_AT, IS_SEEN)
#endif
    }
#ifdef KEYS_PASS
    query0 += OTHERS;
    if (query0 >= queries_past || first_of(b, QUERY(0)) >= keys_past) {  // a later document sees none of these keys
      h++;
      query0 = key0;
    }
    if (h < past_head) {
      FETCH_OTHERS
    }
#else
    key0 += OTHERS;
    if (key0 < keys_past) {
      FETCH_OTHERS
    }
#endif
    barrier();
  }

  const uint count = past > part0 ? past - part0 : 0;
  const float factor = 1.0 / unit * (1.0 / WEIGHT_UNIT);
#ifdef KEYS_PASS
#define DK_AT(r) (out_offset + (b * T + part0 + (r)) * out_t + g * out_h)
#define DV_AT(r) (second_offset + (b * T + part0 + (r)) * second_t + g * second_h)
  STORE_SUMS(sums_a, slot_ds, store_dk_columns, DK_AT, count, factor)
  STORE_SUMS(sums_b, slot_p, store_dv_columns, DV_AT, count, 1.0 / WEIGHT_UNIT)
#else
#define DQ_AT(r) (out_offset + (b * T + part0 + (r)) * out_t + h * out_h)
  STORE_SUMS(sums_a, slot_ds, store_dq_columns, DQ_AT, count, factor)
#endif
}
