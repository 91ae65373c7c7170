// attention by matrix units (VK_KHR_cooperative_matrix; Dao et al. 2022, algorithm 1, with the split of Dao 2023, section 3):
// q, k, v and y in f16 (or, rewritten by bfloat16_matrix.cmake, bf16); scores, softmax and sums in f32. Tile picture and products:
// lib/attention_matrix.glsl.
//
// A workgroup owns ROWS queries of one head, a subgroup PART_ROWS of them. A tile of OTHERS keys takes two barriers:
//
//   keys -> shared | barrier | fetch values; scores = q k -> slot; softmax in the slot; values -> shared | barrier |
//   fetch the next keys; sums = sums x rescale + weights x values
//
// so that memory is on its way while the units work. A row's sums are rescaled only in tiles that raise the maximum of one of
// the subgroup's rows. Tiles that no query of the workgroup sees are not visited; only tiles on an edge look at each pair.
//
// 4 HEAD FLOP a pair; 4 HEAD / ROWS bytes of k and v a pair; of shared memory 4 HEAD / PART_ROWS bytes for the tiles and 14 for
// the scores a pair. Not timed on a GPU yet: docs/kernels-vulkan.md.
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
layout(set = 0, binding = 3) readonly buffer DocumentStarts { uint document_starts[]; };
layout(set = 0, binding = 4) readonly buffer Slopes { float slopes[]; };
WRITE_TENSOR(5, y, TYPE)
layout(set = 0, binding = 6) buffer LogSumExp { float log_sum_exp[]; };
DEFINE_EIGHT(q)
DEFINE_EIGHT(k)
DEFINE_EIGHT(v)
DEFINE_STORE(store_columns, store_y)

uint first_of(uint b, uint t) { return first_key(t, HAS_DOCUMENTS ? document_starts[document_starts_offset + b * T + t] : 0); }

const uint KEYS_AT = 0, VALUES_AT = TILE, SLOTS_AT = 2 * TILE;

void main() {
  const uint h = gl_WorkGroupID.y, b = gl_WorkGroupID.z, g = h / (H / G);
  const uint t0 = first_row + (gl_NumWorkGroups.x - 1 - gl_WorkGroupID.x) * ROWS;  // the longest rows first
  const uint past = min(t0 + ROWS, end_row);
  const uint part0 = t0 + gl_SubgroupID * PART_ROWS, slot = SLOTS_AT + gl_SubgroupID * SLOT;
  const float slope = HAS_SLOPES ? slopes[slopes_offset + h] : 0.0;
  const uint begin = first_of(b, t0), begin_of_last = first_of(b, past - 1);
#define Q_AT(r) (q_offset + (b * T + min(t0 + (r), past - 1)) * q_t + h * q_h)
#define K_AT(j) (k_offset + (b * T + min(key0 + (j), past - 1)) * k_t + g * k_h)
#define V_AT(j) (v_offset + (b * T + min(key0 + (j), past - 1)) * v_t + g * v_h)
#define Y_AT(r) (out_offset + (b * T + part0 + (r)) * out_t + h * out_h)
#define KEY_IS_SEEN(n, j) (key0 + (j) >= first[n] && key0 + (j) <= row[n])

  LEFT queries[BLOCKS][DEPTH];
  SUMS sums[BLOCKS][COLUMNS];
  UNROLL for (uint i = 0; i < BLOCKS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) sums[i][j] = SUMS(0);
  uint row[EACH], first[EACH];  // of the invocation's rows in the slot: the query, the first key that it sees
  float maximum[EACH], sum[EACH];
  UNROLL for (uint n = 0; n < EACH; n++) {
    row[n] = part0 + own_row(n);
    first[n] = first_of(b, min(row[n], past - 1));
    maximum[n] = NOTHING_SEEN;
    sum[n] = 0;
  }
  if (gl_LocalInvocationIndex < 2) not_finite[gl_LocalInvocationIndex] = 0;
  TAKE_OWN(queries, eight_of_q, Q_AT)

  uvec4 next[SHARE];
  uint key0 = begin, turn = 0;
  FETCH_TILE(next, eight_of_k, K_AT)
  for (; key0 < past; turn ^= 1) {
    const bool is_edge = key0 + OTHERS - 1 > t0 || key0 < begin_of_last;
    PUT_TILE(KEYS_AT, next)
    barrier();
    if (gl_LocalInvocationIndex == 0) not_finite[turn ^ 1] = 0;
    FETCH_TILE(next, eight_of_v, V_AT)
    PRODUCTS_INTO_SLOT(slot, queries, KEYS_AT)
    subgroupBarrier();

    vec4 score[EACH][FOURS];
    float rescale[EACH];
    uint is_raised = 0;
    UNROLL for (uint n = 0; n < EACH; n++) {
      vec4 highest = vec4(maximum[n]);
      UNROLL for (uint i = 0; i < FOURS; i++) {
        const uint four = i * TEAM + member();
        const uvec4 keys = key0 + four * 4 + uvec4(0, 1, 2, 3);
        const vec4 product = uintBitsToFloat(pool[slot + own_row(n) * SLOT_PITCH + four]);
        score[n][i] = attention_score(product, slope, vec4(row[n]) - vec4(keys));
        if (is_edge) {
          const bvec4 is_seen = bvec4(uvec4(greaterThanEqual(keys, uvec4(first[n]))) & uvec4(lessThanEqual(keys, uvec4(row[n]))));
          score[n][i] = mix(vec4(UNSEEN), score[n][i], is_seen);
        }
        highest = max(highest, score[n][i]);
      }
      float most = max(max(highest.x, highest.y), max(highest.z, highest.w));
      UNROLL for (uint m = LANES_DOWN; m < SUBGROUP; m *= 2) most = max(most, subgroupShuffleXor(most, m));
      is_raised |= uint(most != maximum[n]);
      rescale[n] = exponential(maximum[n] - most);
      maximum[n] = most;
      sum[n] *= rescale[n];
    }
    UNROLL for (uint m = 1; m < LANES_DOWN; m *= 2) is_raised |= subgroupShuffleXor(is_raised, m);
    subgroupBarrier();  // all have read their scores, whose place the weights take
    UNROLL for (uint n = 0; n < EACH; n++) {
      UNROLL for (uint i = 0; i < FOURS; i++) {
        const vec4 p = weight_exponential(score[n][i] - maximum[n]);
        sum[n] += (p.x + p.y) + (p.z + p.w);
        put_weights(slot, own_row(n), i * TEAM + member(), p);
      }
    }
    PUT_FACTORS(slot, rescale)
    PUT_TILE(VALUES_AT, next)
    if (is_edge) {
      bool is_bad = false;
      UNROLL for (uint i = 0; i < SHARE; i++)
        is_bad = is_bad || i * gl_WorkGroupSize.x + gl_LocalInvocationIndex < OTHERS * EIGHTS && any_not_finite(next[i]);
      if (is_bad) not_finite[turn] = 1;
    }
    barrier();

    if (is_raised != 0) {
      SCALE_ROWS(sums, slot)
    }
    if (not_finite[turn] == 0) {
      ADD_WEIGHTED(sums, slot, VALUES_AT)
    } else {
      ADD_WEIGHTED_BY_HAND(sums, slot, VALUES_AT, KEY_IS_SEEN)
    }
    key0 += OTHERS;
    if (key0 < past) FETCH_TILE(next, eight_of_k, K_AT)
  }

  float inverse[EACH];
  UNROLL for (uint n = 0; n < EACH; n++) {
    UNROLL for (uint m = LANES_DOWN; m < SUBGROUP; m *= 2) sum[n] += subgroupShuffleXor(sum[n], m);
    inverse[n] = 1.0 / sum[n];
    if (row[n] < past && member() == 0)
      log_sum_exp[log_sum_exp_offset + (b * H + h) * T + row[n]] = maximum[n] + logarithm(sum[n] * (1.0 / WEIGHT_UNIT));
  }
  subgroupBarrier();
  PUT_FACTORS(slot, inverse)
  subgroupBarrier();
  SCALE_ROWS(sums, slot)
  const uint count = past > part0 ? past - part0 : 0;
  STORE_SUMS(sums, slot, store_columns, Y_AT, count, 1.0)
}
