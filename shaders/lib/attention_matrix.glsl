// What the attention kernels for matrix units share (attention_cooperative.comp, attention_gradient_cooperative.comp): the
// split of the work, tiles in shared memory, and the two kinds of product.
//
// A workgroup owns ROWS rows (queries, or keys in the pass for dk and dv) of one head, each subgroup PART_ROWS of them from
// score to result, and goes through the other side's rows OTHERS at a time:
//
//                      OTHERS                                       HEAD
//               +----------------+                          +--------------------+
//   subgroup 0  |  own . other   |  scores -> weights       |  weights x other   |  PART_ROWS
//               +----------------+  ------------------->    +--------------------+
//   subgroup 1  |                |  in the subgroup's       |  sums, in registers|
//               +----------------+  slots of shared memory  +--------------------+
//
// Own rows stay in registers as matrices. The other side's tiles pass through registers into shared memory as they lie in
// memory, HEAD columns (zeros beyond D) of 16 bits: the units read them turned for the scores, straight for the sums. What
// the elements of a cooperative matrix are to an invocation is the driver's secret, so scores (f32) go through a slot, a row
// of it for each row; the weights come back in the same row as 16-bit values. Factors of whole rows (the new maximum's) become
// a matrix of equal columns by way of the slot too, and multiply the sums element by element.
//
// A NaN among the other rows must not reach rows that do not see it, and 0 x NaN is NaN: the invocation that brings a value
// that is not finite into a tile on an edge raises a flag, and such a tile's sums are made by hand, pair by pair.
//
// Barriers, of subgroups too, stand only where the whole workgroup passes: llvmpipe holds up all of it at either.
#ifndef ATTENTION_MATRIX_GLSL
#define ATTENTION_MATRIX_GLSL
#define WIDTH 4
#include "value.glsl"

layout(constant_id = 3) const uint TYPE = F16;         // of q, k, v and all others: 16 bits
layout(constant_id = 4) const bool IN_FOURS = false;   // rows begin at multiples of 4 elements and D is one
layout(constant_id = 5) const bool IN_EIGHTS = false;  // the same of 8: what is read, 16 bytes at a time
layout(local_size_x_id = 6) in;
layout(constant_id = 7) const uint SUBGROUP = 32;
layout(constant_id = 8) const uint ROWS = 64;
layout(constant_id = 9) const uint OTHERS = 32;
layout(constant_id = 10) const uint PART_ROWS = 16;
layout(constant_id = 11) const uint HEAD = 64;    // D, to whole matrices
layout(constant_id = 12) const uint POOL = 2048;  // of shared memory, 16 bytes each
layout(constant_id = 13) const uint MATRIX_M = 16;
layout(constant_id = 14) const uint MATRIX_N = 16;
layout(constant_id = 15) const uint MATRIX_K = 16;
#include "attention_rows.glsl"

// In groups of 16 bytes; odd pitches, so that 8 rows of 16 bytes, which is what the units load at once, lie in different banks.
const uint EIGHTS = HEAD / 8, PITCH = EIGHTS / 2 * 2 + 1, TILE = OTHERS * PITCH;
const uint STRIP = OTHERS / 8;  // where a row's floats behind its weights begin: see LOAD_STRIP
const uint SLOT_PITCH = STRIP + (STRIP > MATRIX_N / 4 ? STRIP : MATRIX_N / 4) + 1, SLOT = PART_ROWS * SLOT_PITCH;
const uint SHARE = (OTHERS * EIGHTS + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;  // eights of a tile an invocation brings
shared uvec4 pool[POOL];
shared uint not_finite[2];  // of the tiles of even and odd turns

const uint BLOCKS = PART_ROWS / MATRIX_M;  // matrices of a subgroup: down its rows, across the other side's, across the head
const uint ACROSS = OTHERS / MATRIX_N;
const uint COLUMNS = HEAD / MATRIX_N;
const uint DEPTH = HEAD / MATRIX_K;
#define SUMS coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define LEFT coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>

// In a slot an invocation has the rows lane % LANES_DOWN + n LANES_DOWN, n < EACH; TEAM of them share a row, `member` being
// which one it is, and take every TEAM-th four of it, FOURS in all.
const uint TEAM = SUBGROUP > PART_ROWS ? SUBGROUP / PART_ROWS : 1;
const uint LANES_DOWN = SUBGROUP / TEAM, EACH = PART_ROWS / LANES_DOWN, FOURS = OTHERS / 4 / TEAM;
uint own_row(uint n) { return gl_SubgroupInvocationID % LANES_DOWN + n * LANES_DOWN; }
uint member() { return gl_SubgroupInvocationID / LANES_DOWN; }

// Elements d .. d + 7 of a row that begins at element `at`, as they are; zeros beyond D.
#define DEFINE_EIGHT(NAME)                                                                              \
  uvec4 eight_of_##NAME(uint at, uint d) {                                                              \
    uvec4 value = uvec4(0);                                                                             \
    if (IN_EIGHTS) {                                                                                    \
      if (d < D) value = NAME##_fours[(at + d) / 8];                                                    \
    } else {                                                                                            \
      UNROLL for (uint i = 0; i < 8; i++) {                                                             \
        if (d + i < D) value[i / 2] |= (NAME##_words[(at + d + i) / 2] >> (at + d + i) % 2 * 16 & 0xffffu) << i % 2 * 16; \
      }                                                                                                 \
    }                                                                                                   \
    return value;                                                                                       \
  }

// A tile on its way: `values` [SHARE] from memory, AT(j) being element 0 of its row j, and from there into the pool.
#define FETCH_TILE(values, EIGHT, AT)                                                                   \
  UNROLL for (uint i = 0; i < SHARE; i++) {                                                             \
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex;                                    \
    if (e < OTHERS * EIGHTS) values[i] = EIGHT(AT(e / EIGHTS), e % EIGHTS * 8);                         \
  }
#define PUT_TILE(place, values)                                                                         \
  UNROLL for (uint i = 0; i < SHARE; i++) {                                                             \
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex;                                    \
    if (e < OTHERS * EIGHTS) pool[(place) + e / EIGHTS * PITCH + e % EIGHTS] = values[i];               \
  }
// The workgroup's own rows as matrices, by way of the whole pool.
#define TAKE_OWN(matrices, EIGHT, AT)                                                                   \
  for (uint e = gl_LocalInvocationIndex; e < ROWS * EIGHTS; e += gl_WorkGroupSize.x)                    \
    pool[e / EIGHTS * PITCH + e % EIGHTS] = EIGHT(AT(e / EIGHTS), e % EIGHTS * 8);                      \
  barrier();                                                                                            \
  UNROLL for (uint i = 0; i < BLOCKS; i++)                                                              \
    UNROLL for (uint k = 0; k < DEPTH; k++)                                                             \
      coopMatLoad(matrices[i][k], pool, (gl_SubgroupID * PART_ROWS + i * MATRIX_M) * PITCH + k * MATRIX_K / 8, PITCH, \
                  gl_CooperativeMatrixLayoutRowMajor);                                                  \
  barrier();

// Whether any of eight 16-bit floats is NaN or infinite.
bool any_not_finite(uvec4 eight) {
  const uint mask = TYPE == F16 ? 0x7c00u : 0x7f80u;
  return any(equal(eight & mask, uvec4(mask))) || any(equal(eight >> 16 & mask, uvec4(mask)));
}

// Weights in f16 are kept WEIGHT_UNIT times too large, so that small ones do not fall below f16's normal numbers.
const float WEIGHT_EXPONENT = TYPE == F16 ? 10.0 : 0.0, WEIGHT_UNIT = TYPE == F16 ? 1024.0 : 1.0;

// Four floats as 16-bit values, to nearest (ties away from 0), cheaper than a store's: packHalf2x16 may round either way, so it
// gets nothing to round.
uvec2 weights_of(vec4 values) {
  const uvec4 bits = floatBitsToUint(values);
  const bvec4 is_nan = greaterThan(bits & 0x7fffffffu, uvec4(0x7f800000u));
  const uvec4 rounded = mix(TYPE == F16 ? bits + 0x1000u & 0xffffe000u : bits + 0x8000u & 0xffff0000u, uvec4(0x7fc00000u), is_nan);
  uvec2 words;
  if (TYPE == F16) {
    const vec4 exact = uintBitsToFloat(rounded);
    words = uvec2(packHalf2x16(exact.xy), packHalf2x16(exact.zw));
  } else {
    words = rounded.xz >> 16 | rounded.yw;
  }
  return words;
}
// Two neighbouring fours of a row's weights and single ones, in a slot.
void put_weights(uint slot, uint row, uint four, vec4 values) {
  const uvec2 words = weights_of(values);
  const uint at = slot + row * SLOT_PITCH + four / 2;
  if (four % 2 == 0) {
    pool[at].x = words.x;
    pool[at].y = words.y;
  } else {
    pool[at].z = words.x;
    pool[at].w = words.y;
  }
}
float element_of(uint place, uint pitch, uint row, uint column) {
  const uint word = pool[place + row * pitch + column / 8][column / 2 % 4];
  return widen(TYPE, uvec2(word >> column % 2 * 16, 0)).x;
}

// Scores of pairs that do not see each other, and the maximum of a row that has seen nothing: their difference is finite.
const float UNSEEN = -LARGEST_FLOAT, NOTHING_SEEN = -0.5 * LARGEST_FLOAT;

// WEIGHT_UNIT e^x to 2 or 3 units in the last place near 0; the argument's NaN stays.
vec4 weight_exponential(vec4 x) {
  return mix(exp2(x * 1.44269504 + WEIGHT_EXPONENT), x, greaterThan(floatBitsToUint(x) & 0x7fffffffu, uvec4(0x7f800000u)));
}

// The products of a subgroup's own rows (matrices) and a tile, into a slot.
#define PRODUCTS_INTO_SLOT(slot, own, place)                                                            \
  KEEP_LOOP for (uint j = 0; j < ACROSS; j++) {                                                         \
    SUMS products[BLOCKS];                                                                              \
    UNROLL for (uint i = 0; i < BLOCKS; i++) products[i] = SUMS(0);                                     \
    UNROLL for (uint k = 0; k < DEPTH; k++) {                                                           \
      RIGHT right;                                                                                      \
      coopMatLoad(right, pool, (place) + j * MATRIX_N * PITCH + k * MATRIX_K / 8, PITCH,                \
                  gl_CooperativeMatrixLayoutColumnMajor);                                               \
      UNROLL for (uint i = 0; i < BLOCKS; i++) products[i] = coopMatMulAdd(own[i][k], right, products[i]); \
    }                                                                                                   \
    UNROLL for (uint i = 0; i < BLOCKS; i++)                                                            \
      coopMatStore(products[i], pool, (slot) + i * MATRIX_M * SLOT_PITCH + j * MATRIX_N / 4, SLOT_PITCH, \
                   gl_CooperativeMatrixLayoutRowMajor);                                                 \
  }

// sums [BLOCKS][COLUMNS] += the weights in a slot times a tile.
#define ADD_WEIGHTED(sums, slot, place)                                                                 \
  KEEP_LOOP for (uint k = 0; k < OTHERS; k += MATRIX_K) {                                                \
    LEFT left[BLOCKS];                                                                                  \
    UNROLL for (uint i = 0; i < BLOCKS; i++)                                                            \
      coopMatLoad(left[i], pool, (slot) + i * MATRIX_M * SLOT_PITCH + k / 8, SLOT_PITCH,                \
                  gl_CooperativeMatrixLayoutRowMajor);                                                  \
    UNROLL for (uint j = 0; j < COLUMNS; j++) {                                                         \
      RIGHT right;                                                                                      \
      coopMatLoad(right, pool, (place) + k * PITCH + j * MATRIX_N / 8, PITCH, gl_CooperativeMatrixLayoutRowMajor); \
      UNROLL for (uint i = 0; i < BLOCKS; i++) sums[i][j] = coopMatMulAdd(left[i], right, sums[i][j]);  \
    }                                                                                                   \
  }

// What lies behind a row's weights in its slot: a strip of MATRIX_N floats, which become a matrix of sums.
#define LOAD_STRIP(matrix, slot, i)                                                                     \
  SUMS matrix;                                                                                          \
  coopMatLoad(matrix, pool, (slot) + (i) * MATRIX_M * SLOT_PITCH + STRIP, SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);

// The same as ADD_WEIGHTED by hand, leaving out pairs of which SEEN(n, j) is false: n of the invocation's rows.
#define ADD_WEIGHTED_BY_HAND(sums, slot, place, SEEN)                                                   \
  UNROLL for (uint c = 0; c < COLUMNS; c++) {                                                           \
    UNROLL for (uint n = 0; n < EACH; n++) {                                                            \
      for (uint e = member(); e < MATRIX_N; e += TEAM) {                                                \
        float total = 0;                                                                                \
        for (uint j = 0; j < OTHERS; j++)                                                               \
          if (SEEN(n, j))                                                                               \
            total = fma(element_of(slot, SLOT_PITCH, own_row(n), j), element_of(place, PITCH, j, c * MATRIX_N + e), total); \
        pool[(slot) + own_row(n) * SLOT_PITCH + STRIP + e / 4][e % 4] = floatBitsToUint(total);         \
      }                                                                                                 \
    }                                                                                                   \
    subgroupBarrier();                                                                                  \
    UNROLL for (uint i = 0; i < BLOCKS; i++) {                                                          \
      LOAD_STRIP(totals, slot, i)                                                                       \
      sums[i][c] += totals;                                                                             \
    }                                                                                                   \
    subgroupBarrier();                                                                                  \
  }

// Factors [EACH] of the invocation's rows, the same in all members of a team, for the sums' rows; a barrier is due between the two.
#define PUT_FACTORS(slot, factors)                                                                      \
  UNROLL for (uint n = 0; n < EACH; n++)                                                                \
    for (uint e = member(); e < MATRIX_N / 4; e += TEAM)                                                \
      pool[(slot) + own_row(n) * SLOT_PITCH + STRIP + e] = floatBitsToUint(vec4(factors[n]));
#define SCALE_ROWS(sums, slot)                                                                          \
  UNROLL for (uint i = 0; i < BLOCKS; i++) {                                                            \
    LOAD_STRIP(factor, slot, i)                                                                         \
    UNROLL for (uint j = 0; j < COLUMNS; j++) sums[i][j] *= factor;                                     \
  }

// A subgroup's sums into rows of an output, OTHERS columns at a time through a slot. AT(r): element 0 of its row r; rows from
// `count` on are left alone.
#define STORE_SUMS(sums, slot, STORE_COLUMNS, AT, count, factor)                                        \
  UNROLL for (uint c = 0; c < COLUMNS; c += ACROSS) {                                                   \
    subgroupBarrier();                                                                                  \
    UNROLL for (uint j = 0; j < ACROSS; j++) {                                                          \
      if (c + j < COLUMNS) {                                                                            \
        UNROLL for (uint i = 0; i < BLOCKS; i++)                                                        \
          coopMatStore(sums[i][min(c + j, COLUMNS - 1)], pool, (slot) + i * MATRIX_M * SLOT_PITCH + j * MATRIX_N / 4, \
                       SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);                                 \
      }                                                                                                 \
    }                                                                                                   \
    subgroupBarrier();                                                                                  \
    for (uint e = gl_SubgroupInvocationID; e < SLOT / SLOT_PITCH * (OTHERS / 4); e += SUBGROUP) {       \
      const uint r = e / (OTHERS / 4), four = e % (OTHERS / 4), d = c * MATRIX_N + four * 4;            \
      if (r < (count) && d < D) STORE_COLUMNS(AT(r), d, uintBitsToFloat(pool[(slot) + r * SLOT_PITCH + four]) * (factor)); \
    }                                                                                                   \
  }

#endif
